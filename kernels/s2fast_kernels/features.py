"""Result type of all detectors: keypoints with packed descriptors; and the budget that limits their number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2fast_kernels.row_order import row_order

WORDS = 8
"""Number of 64-bit words in a packed descriptor."""

_MAGNITUDE = (1 << 31) - 1
"""Bits of a float32 other than its sign."""


@dataclass(frozen=True, slots=True)
class Features:
    """Keypoints and packed descriptors of one image, one per row."""

    xy: npt.NDArray[np.float32]
    """(n, 2) position x, y [px], pixel centres at integers."""

    size: npt.NDArray[np.float32]
    """(n,) diameter of the keypoint [px]; its descriptor samples up to about five diameters along rows and columns."""

    angle: npt.NDArray[np.float32]
    """(n,) orientation [rad], 0 if upright."""

    response: npt.NDArray[np.float32]
    """(n,) strength of the keypoint, the higher the better; for AKAZE the determinant of the Hessian."""

    level: npt.NDArray[np.int16]
    """(n,) scale-space level the keypoint was found at, ``octave * layers + layer``."""

    descriptors: npt.NDArray[np.uint64]
    """(n, 8) packed descriptor: the detector's bytes, padded with zero bytes; for AKAZE 61 bytes and 3 zero bytes."""

    def __len__(self) -> int:
        """Return the number of keypoints."""
        return len(self.xy)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Features:
        """Return the selected rows, by index (in the given order) or by mask."""
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
        """Return features without keypoints."""
        return cls(
            np.zeros((0, 2), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int16),
            np.zeros((0, WORDS), np.uint64),
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """Maximum number of keypoints of an image, and their spatial distribution."""

    keypoints: int
    """Maximum number of keypoints to keep."""

    cell_px: int | None = None
    """Side of square cells among which the keypoints are distributed in turns, the strongest of each cell first [px];
    None: a single cell, so that the strongest of all are kept."""

    def __post_init__(self) -> None:
        if self.keypoints < 0 or (self.cell_px is not None and self.cell_px < 1):
            raise ValueError(f"a budget needs keypoints >= 0 and cell_px >= 1 or None, got {self}")

    def cells(self, xy: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.int64]:
        """Return the cell number of each position; pixel centres are at integers."""
        if self.cell_px is None:
            return np.zeros(len(xy), np.int64)
        across = -(-shape[1] // self.cell_px)
        x, y = np.floor(xy.T + np.float32(0.5)).astype(np.int64)
        column, row = (np.clip(axis, 0, side - 1) // self.cell_px for axis, side in ((x, shape[1]), (y, shape[0])))
        cells: npt.NDArray[np.int64] = row * across + column
        return cells

    def cell_count(self, shape: tuple[int, int]) -> int:
        """Return the number of cells of an image."""
        return 1 if self.cell_px is None else -(-shape[0] // self.cell_px) * -(-shape[1] // self.cell_px)

    def select(
        self, xy: npt.NDArray[np.float32], response: npt.NDArray[np.float32], shape: tuple[int, int]
    ) -> npt.NDArray[np.intp]:
        """Select the keypoints to keep.

        Parameters
        ----------
        xy, response
            (n, 2) positions [px] and (n,) responses.
        shape
            Rows and columns of the image [px].

        Returns
        -------
        (at most `keypoints`,) intp
            Selected rows, ascending. The best keypoint of every cell is selected first, then the second best of every
            cell, and so on. Within a round, or without cells, stronger keypoints come first; ties go to the lower row.

        Examples
        --------
        >>> xy = np.array([[1, 1], [2, 2], [90, 1]], np.float32)
        >>> response = np.array([3, 2, 1], np.float32)
        >>> Budget(2).select(xy, response, (100, 100)).tolist()
        [0, 1]
        >>> Budget(2, cell_px=50).select(xy, response, (100, 100)).tolist()
        [0, 2]
        """
        if len(xy) <= self.keypoints:
            return np.arange(len(xy))
        by_response = row_order(_falling(response))
        cell = self.cells(xy, shape)[by_response]
        by_cell = row_order(cell)
        sorted_cell = cell[by_cell]
        rank = np.empty(len(xy), np.int64)
        rank[by_cell] = np.arange(len(xy)) - np.searchsorted(sorted_cell, sorted_cell)
        turn = row_order(rank)
        selected: npt.NDArray[np.intp] = np.sort(by_response[turn[: self.keypoints]])
        return selected


def _falling(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return non-negative integers that ascend as values, none of them NaN, fall.

    Examples
    --------
    >>> np.argsort(_falling(np.array([1.5, -2, 0, 3], np.float32))).tolist()
    [3, 0, 2, 1]
    """
    bits = values.view(np.int32).astype(np.int64)
    # The bits of floats ascend with their magnitude.
    magnitude = bits & _MAGNITUDE
    return np.where(bits < 0, magnitude, -magnitude) + _MAGNITUDE


def pack(descriptor_bytes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Pack (n, at most 64) uint8 descriptors into (n, 8) uint64 rows, padded with zeros.

    The padding does not change distances, but makes OpenCV and FAISS faster.
    """
    padded = np.zeros((len(descriptor_bytes), WORDS * 8), np.uint8)
    padded[:, : descriptor_bytes.shape[1]] = descriptor_bytes
    return padded.view(np.uint64)
