"""Sparse maxima of the scale space, and the non-maximum suppression that selects the keypoints among them.

Shared by all backends that compute the scale space themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import numpy.typing as npt

from s2fast_kernels.akaze.numba_suppress import kill_weaker, row_starts, same_level
from s2fast_kernels.akaze.scales import Level
from s2fast_kernels.threads import map_in_threads

_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


@dataclass(frozen=True, slots=True)
class Candidates:
    """Maxima of the determinant on any levels, one per row."""

    level: npt.NDArray[np.int16]
    """(n,) level of the maximum."""

    y: npt.NDArray[np.int32]
    """(n,) row [px of the level's octave]."""

    x: npt.NDArray[np.int32]
    """(n,) column [px of the level's octave]."""

    response: npt.NDArray[np.float32]
    """(n,) determinant of the Hessian."""

    offset: npt.NDArray[np.float32]
    """(n, 2) refined position relative to (x, y): x, y [px of the level's octave]."""

    valid: npt.NDArray[np.bool_]
    """(n,) True if stable and inside the valid area: it becomes a keypoint if it survives suppression."""

    angle: npt.NDArray[np.float32]
    """(n,) orientation [degrees], if described."""

    row: npt.NDArray[np.int64]
    """(n,) row of the descriptor table, -1 if not described."""

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self.y)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Candidates:
        """Return the selected rows, by index, mask or slice."""
        columns = (getattr(self, field.name) for field in fields(self))
        if isinstance(rows, slice):
            return Candidates(*(column[rows] for column in columns))
        # NumPy takes rows by their numbers several times as fast as by a mask.
        numbers = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Candidates(*(column.take(numbers, axis=0) for column in columns))

    def positions(self, octave: npt.NDArray[np.int_] | int) -> npt.NDArray[np.float32]:
        """Return refined positions; see the function `positions`."""
        return positions(octave, self.x, self.y, self.offset)

    def middle(self, octave: int) -> npt.NDArray[np.int32]:
        """Return positions rounded to pixels of the octave, OpenCV's centres of orientations: (n, 2) row, column.

        OpenCV divides the reported float32 position by the octave's ratio and rounds halves to even. This is the only
        result that depends on the absolute position of a keypoint in the image. Any other rounding would centre a few
        keypoints, halfway between two pixels, on the other pixel and change their orientation.
        """
        middle: npt.NDArray[np.int32] = np.rint(self.positions(octave)[:, ::-1] / np.float32(1 << octave)).astype(
            np.int32
        )
        return middle

    @classmethod
    def make(
        cls,
        level: int,
        y: npt.NDArray[np.int32],
        x: npt.NDArray[np.int32],
        response: npt.NDArray[np.float32],
        offset: npt.NDArray[np.float32],
        valid: npt.NDArray[np.bool_],
    ) -> Candidates:
        """Return candidates of one level, none of them described."""
        n = len(y)
        return cls(
            np.full(n, level, np.int16),
            y,
            x,
            response,
            offset,
            valid,
            np.zeros(n, np.float32),
            np.full(n, -1, np.int64),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Candidates]) -> Candidates:
        """Return the concatenation of candidates."""
        if not parts:
            return cls.make(
                0,
                np.zeros(0, np.int32),
                np.zeros(0, np.int32),
                np.zeros(0, np.float32),
                np.zeros((0, 2), np.float32),
                np.zeros(0, np.bool_),
            )
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def unique(self) -> Candidates:
        """Return the candidates sorted by (level, y, x), without the duplicates found in overlapping windows."""
        key = (self.level.astype(np.int64) << 48) | (self.y.astype(np.int64) << 24) | self.x
        order = np.argsort((key << 1) | (self.row < 0))
        key = key[order]
        first = np.ones(len(order), np.bool_)
        first[1:] = key[1:] != key[:-1]
        return self.take(order[first])


def positions(
    octave: npt.NDArray[np.int_] | int,
    x: npt.NDArray[np.int32],
    y: npt.NDArray[np.int32],
    offset: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Return refined positions x, y in the image [px], float32, rounded once; `octave` is one for all or one each.

    Examples
    --------
    >>> one = np.ones(1, np.int32)
    >>> positions(1, one, 2 * one, np.array([[0.25, 0]], np.float32)).tolist()
    [[3.0, 4.5]]
    """
    ratio = np.left_shift(1, octave)
    result = np.empty((len(x), 2), np.float32)
    for axis, pixel in enumerate((x, y)):
        result[:, axis] = (pixel + offset[:, axis].astype(np.float64)) * ratio + 0.5 * (ratio - 1)
    return result


@dataclass(slots=True)
class LevelList:
    """One level's candidates, prepared for suppression: sorted by row, then column, with the start of each row."""

    level: Level
    """The level."""
    rows: npt.NDArray[np.int32]
    """(n,) row of each candidate [px of the octave], ascending."""
    columns: npt.NDArray[np.int32]
    """(n,) its column [px of the octave], ascending within a row."""
    response: npt.NDArray[np.float32]
    """(n,) its determinant of the Hessian."""
    starts: npt.NDArray[np.int64]
    """(rows + 1,) first candidate of each row of the octave."""
    alive: npt.NDArray[np.bool_]
    """(n,) True: it survives suppression within the level."""

    @classmethod
    def thinned(
        cls,
        level: Level,
        rows: npt.NDArray[np.int32],
        columns: npt.NDArray[np.int32],
        response: npt.NDArray[np.float32],
        row_count: int,
    ) -> LevelList:
        """Return a level's sorted candidates, suppressed within the level."""
        starts = row_starts(rows, row_count)
        return cls(level, rows, columns, response, starts, same_level(rows, columns, starts, response, level.radius))

    def surviving_above(self, above: LevelList) -> npt.NDArray[np.bool_]:
        """Return which candidates survive suppression by the surviving candidates of the next level."""
        alive = self.alive.copy()
        ratio = 1 << (above.level.octave - self.level.octave)
        kill_weaker(
            above.rows, above.columns, above.response, above.alive, ratio, 1, above.level.radius * ratio,
            self.columns, self.starts, self.response, alive,
        )  # fmt: skip
        return alive

    def surviving_below(
        self, alive: npt.NDArray[np.bool_], below: LevelList, below_alive: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Return which candidates of `alive` survive suppression by the `below_alive` ones of the previous level."""
        alive = alive.copy()
        ratio = 1 << (self.level.octave - below.level.octave)
        kill_weaker(
            below.rows, below.columns, below.response, below_alive, 1, ratio, self.level.radius,
            self.columns, self.starts, self.response, alive,
        )  # fmt: skip
        return alive


def by_level(windows: Sequence[Candidates], flat: Sequence[Level]) -> list[Candidates]:
    """Join the candidates of windows, each sorted by level: those of each level by `Candidates.unique`."""
    levels = [level.index for level in flat]
    starts, ends = ([np.searchsorted(own.level, levels, side=side).tolist() for own in windows] for side in _SIDES)

    def joined(i: int) -> Candidates:
        parts = zip(windows, starts, ends, strict=True)
        return Candidates.concatenate([own.take(slice(start[i], end[i])) for own, start, end in parts]).unique()

    return map_in_threads(joined, range(len(flat)))


def survivors(candidates: Sequence[Candidates], flat: Sequence[Level], height: int) -> list[npt.NDArray[np.bool_]]:
    """Return which candidates survive non-maximum suppression.

    Candidates are suppressed within each level first, then by the level above, and then by the survivors of the level
    below. The last two steps use the neighbouring levels as the step before left them, so that a level depends only on
    its neighbours.

    Parameters
    ----------
    candidates
        All candidates of an image, level by level, sorted by `Candidates.unique`.
    flat
        The levels of all octaves, see `levels`.
    height
        Rows of the (padded) image [px].

    Returns
    -------
    list of (n,) bool
        True: the candidate survives.
    """

    def thinned(i: int) -> LevelList:
        own, level = candidates[i], flat[i]
        return LevelList.thinned(level, own.y, own.x, own.response, height >> level.octave)

    lists = map_in_threads(thinned, range(len(flat)))

    def after_above(i: int) -> npt.NDArray[np.bool_]:
        return lists[i].surviving_above(lists[i + 1]) if i + 1 < len(lists) else lists[i].alive

    alive_after_above = map_in_threads(after_above, range(len(lists)))

    def after_below(i: int) -> npt.NDArray[np.bool_]:
        if i == 0:
            return alive_after_above[0]
        return lists[i].surviving_below(alive_after_above[i], lists[i - 1], alive_after_above[i - 1])

    return map_in_threads(after_below, range(len(lists)))
