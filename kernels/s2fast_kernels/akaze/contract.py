"""Contract of all AKAZE backends: settings, and checks of the operands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2fast_kernels.features import WORDS

DESCRIPTOR_BYTES = 61
"""Size of OpenCV's descriptor: 486 bits."""

DESCRIPTOR_BITS = 486
"""Number of bits of a full descriptor."""

MAX_OCTAVES, MAX_LAYERS = 8, 16
"""Upper limits; more are useless: octave 8 of a full tile is smaller than a keypoint's border."""


@dataclass(frozen=True, slots=True)
class AkazeSettings:
    """The detector's parameters, with OpenCV's defaults."""

    threshold: float = 0.001
    """Minimum determinant of the Hessian at a keypoint."""

    octaves: int = 4
    """Number of octaves of the scale space."""

    layers: int = 4
    """Number of levels per octave."""

    upright: bool = False
    """True: orientations are 0 and not estimated."""

    descriptor_size: int = 0
    """Number of bits of the descriptor, as in OpenCV; 0: all 486. Fewer bits are a fixed pseudo-random selection."""

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise ValueError(f"threshold must be at least 0, got {self.threshold}")
        if not 1 <= self.octaves <= MAX_OCTAVES:
            raise ValueError(f"octaves must be 1 to {MAX_OCTAVES}, got {self.octaves}")
        if not 1 <= self.layers <= MAX_LAYERS:
            raise ValueError(f"layers must be 1 to {MAX_LAYERS}, got {self.layers}")
        if not 0 <= self.descriptor_size <= DESCRIPTOR_BITS:
            raise ValueError(f"descriptor_size must be 0 (all) to {DESCRIPTOR_BITS} bits, got {self.descriptor_size}")


def unpack(descriptors: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """Undo `s2fast_kernels.features.pack`: convert (n, 8) uint64 rows to OpenCV's (n, 61) uint8."""
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
        # NaN compares false with everything, so it is rejected here too.
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(f"a float32 image must be in [0, 1] without NaN, got {low} to {high}")


def check_contrast(contrast: float | None) -> None:
    """Raise ValueError unless the contrast factor is positive and finite, or None."""
    if contrast is not None and not 0 < contrast < float("inf"):
        raise ValueError(f"contrast must be positive and finite, got {contrast}")


def check_core(core: tuple[int, int, int, int] | None, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the core is None or (top, bottom, left, right) within the image."""
    if core is None:
        return
    top, bottom, left, right = core
    if not (0 <= top <= bottom <= shape[0] and 0 <= left <= right <= shape[1]):
        raise ValueError(f"core (top, bottom, left, right) = {core} is not inside an image of {shape} px")


def in_core(xy: npt.NDArray[np.float32], core: tuple[int, int, int, int]) -> npt.NDArray[np.bool_]:
    """Return which positions have their nearest pixel, halves rounded up, in the core."""
    top, bottom, left, right = core
    x, y = np.floor(xy.T + np.float32(0.5))
    inside: npt.NDArray[np.bool_] = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    return inside
