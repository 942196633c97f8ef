"""What every AKAZE backend takes and returns: settings, features, the operand check."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WORDS = 8
"""Words of 64 bits in a packed descriptor."""

DESCRIPTOR_BYTES = 61
"""Bytes of a descriptor as OpenCV writes it: 486 bits."""


@dataclass(frozen=True, slots=True)
class AkazeSettings:
    """The detector's parameters, with OpenCV's defaults."""

    threshold: float = 0.001
    """Least determinant of the Hessian a keypoint may have."""

    octaves: int = 4
    """Octaves of the scale space."""

    layers: int = 4
    """Levels an octave."""

    upright: bool = False
    """True: orientation is taken as 0 and not estimated."""


@dataclass(frozen=True, slots=True)
class Features:
    """Keypoints and packed descriptors of one image, row by row."""

    xy: npt.NDArray[np.float32]
    """(n, 2) position x, y [px], pixel centres at integers."""

    size: npt.NDArray[np.float32]
    """(n,) diameter of the keypoint's neighbourhood [px]."""

    angle: npt.NDArray[np.float32]
    """(n,) orientation [rad], 0 where upright."""

    response: npt.NDArray[np.float32]
    """(n,) determinant of the Hessian at the keypoint."""

    level: npt.NDArray[np.int16]
    """(n,) scale-space level the keypoint was found at, ``octave * layers + layer``."""

    descriptors: npt.NDArray[np.uint64]
    """(n, 8) packed M-LDB descriptor: OpenCV's 61 bytes, then three zero bytes."""

    def __len__(self) -> int:
        """Count the keypoints."""
        return len(self.xy)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Features:
        """Select rows, by index or by mask, in the order given."""
        return Features(
            self.xy[rows],
            self.size[rows],
            self.angle[rows],
            self.response[rows],
            self.level[rows],
            np.ascontiguousarray(self.descriptors[rows]),
        )

    @classmethod
    def none(cls) -> Features:
        """Make features without a keypoint."""
        return cls(
            np.zeros((0, 2), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int16),
            np.zeros((0, WORDS), np.uint64),
        )


def pack(descriptor_bytes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Pack (n, 61) uint8 descriptors into (n, 8) uint64 rows: 486 bits, the last 26 zero.

    Padding alone makes OpenCV and FAISS faster with the same distances.
    """
    padded = np.zeros((len(descriptor_bytes), WORDS * 8), np.uint8)
    padded[:, : descriptor_bytes.shape[1]] = descriptor_bytes
    return padded.view(np.uint64)


def unpack(descriptors: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """Undo `pack`: (n, 8) uint64 rows to (n, 61) uint8 as OpenCV writes them."""
    return np.ascontiguousarray(descriptors.view(np.uint8).reshape(len(descriptors), WORDS * 8)[:, :DESCRIPTOR_BYTES])


def check_image(image: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> None:
    """Raise ValueError unless the image is (h, w) uint8, or float32 in [0, 1]."""
    if image.ndim != 2 or image.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"image must be (h, w) uint8 or float32 in [0, 1], got {image.shape} {image.dtype}; "
            "stretch 16-bit reflectances to 8 bit first: unscaled they give no keypoints"
        )
    if image.dtype == np.float32 and image.size:
        low, high = float(image.min()), float(image.max())
        # NaN compares false with everything, so it is refused here too.
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(f"a float32 image must lie in [0, 1] without NaN, got {low} to {high}")
