"""What every detector returns: keypoints with packed descriptors; and the budget that limits their number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WORDS = 8
"""Words of 64 bits in a packed descriptor."""


@dataclass(frozen=True, slots=True)
class Features:
    """Keypoints and packed descriptors of one image, row by row."""

    xy: npt.NDArray[np.float32]
    """(n, 2) position x, y [px], pixel centres at integers."""

    size: npt.NDArray[np.float32]
    """(n,) diameter of the keypoint [px]; its descriptor looks about five diameters far, along rows and columns."""

    angle: npt.NDArray[np.float32]
    """(n,) orientation [rad], 0 where upright."""

    response: npt.NDArray[np.float32]
    """(n,) strength of the keypoint, the more the better: of AKAZE the determinant of the Hessian."""

    level: npt.NDArray[np.int16]
    """(n,) scale-space level the keypoint was found at, ``octave * layers + layer``."""

    descriptors: npt.NDArray[np.uint64]
    """(n, 8) packed descriptor: the bytes of the detector's own, then zero bytes; of AKAZE 61 and three."""

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
        """Return features without a keypoint."""
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
    """How many keypoints an image may keep, and how they are spread."""

    keypoints: int
    """Most keypoints to keep."""

    cell_px: int | None = None
    """Side of square ground cells that take turns, best keypoint first [px]; None: one cell, the strongest of all."""

    def __post_init__(self) -> None:
        if self.keypoints < 0 or (self.cell_px is not None and self.cell_px < 1):
            raise ValueError(f"a budget needs keypoints >= 0 and cell_px >= 1 or None, got {self}")

    def cells(self, xy: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.int64]:
        """Return the cell of each position; pixel centres are at integers."""
        if self.cell_px is None:
            return np.zeros(len(xy), np.int64)
        across = -(-shape[1] // self.cell_px)
        inside = np.clip(np.floor(xy + np.float32(0.5)), 0, [shape[1] - 1, shape[0] - 1]).astype(np.int64)
        cells: npt.NDArray[np.int64] = inside[:, 1] // self.cell_px * across + inside[:, 0] // self.cell_px
        return cells

    def cell_count(self, shape: tuple[int, int]) -> int:
        """Count the cells of an image."""
        return 1 if self.cell_px is None else -(-shape[0] // self.cell_px) * -(-shape[1] // self.cell_px)

    def select(
        self, xy: npt.NDArray[np.float32], response: npt.NDArray[np.float32], shape: tuple[int, int]
    ) -> npt.NDArray[np.intp]:
        """Choose keypoints.

        Parameters
        ----------
        xy, response
            (n, 2) positions [px] and (n,) responses.
        shape
            Rows and columns of the image [px].

        Returns
        -------
        (at most `keypoints`,) intp
            Rows chosen, ascending. Every cell's best come first, then every cell's second best, and so on; within a
            round, and without cells, the stronger; of equally strong ones the lower row.

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
        by_response = np.argsort(-response, kind="stable")
        cell = self.cells(xy, shape)[by_response]
        by_cell = np.argsort(cell, kind="stable")
        sorted_cell = cell[by_cell]
        rank = np.empty(len(xy), np.int64)
        rank[by_cell] = np.arange(len(xy)) - np.searchsorted(sorted_cell, sorted_cell)
        turn = np.argsort(rank, kind="stable")
        chosen: npt.NDArray[np.intp] = np.sort(by_response[turn[: self.keypoints]])
        return chosen


def pack(descriptor_bytes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Pack (n, at most 64) uint8 descriptors into (n, 8) uint64 rows, the rest of each row zero.

    Padding alone makes OpenCV and FAISS faster with the same distances.
    """
    padded = np.zeros((len(descriptor_bytes), WORDS * 8), np.uint8)
    padded[:, : descriptor_bytes.shape[1]] = descriptor_bytes
    return padded.view(np.uint64)
