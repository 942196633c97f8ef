"""Sparse maxima of the scale space, and the suppression that decides which of them are keypoints.

Shared by the backends that build the scale space themselves: the lists are small, whatever made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from s2fast_kernels.akaze.numba_suppress import kill_weaker, row_starts, same_level
from s2fast_kernels.akaze.scales import Level


@dataclass(frozen=True, slots=True)
class Candidates:
    """Maxima of the determinant on any levels, one a row."""

    level: npt.NDArray[np.int16]
    """(n,) level they were found on."""

    y: npt.NDArray[np.int32]
    """(n,) row [px of the level's octave]."""

    x: npt.NDArray[np.int32]
    """(n,) column [px of the level's octave]."""

    response: npt.NDArray[np.float32]
    """(n,) determinant of the Hessian."""

    offset: npt.NDArray[np.float32]
    """(n, 2) refined position relative to (x, y): x, y [px of the level's octave]."""

    valid: npt.NDArray[np.bool_]
    """(n,) True: stable, and inside the wanted area, so that it may become a keypoint if it survives."""

    angle: npt.NDArray[np.float32]
    """(n,) orientation [degrees] where described."""

    row: npt.NDArray[np.int64]
    """(n,) row of the descriptor table, -1 where not described."""

    def __len__(self) -> int:
        """Count the candidates."""
        return len(self.y)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Candidates:
        """Select rows, by index, mask or slice."""
        return Candidates(*(getattr(self, field.name)[rows] for field in fields(self)))

    def positions(self, octave: npt.NDArray[np.int_] | int) -> npt.NDArray[np.float32]:
        """Give refined positions; see the function of that name."""
        return positions(octave, self.x, self.y, self.offset)

    def middle(self, octave: int) -> npt.NDArray[np.int32]:
        """Round positions to pixels of the octave, as OpenCV does to centre an orientation: (n, 2) row, column.

        OpenCV divides the reported float32 position by the octave's ratio and rounds halves to even. Nowhere else does
        it matter where in the image a keypoint lies; without it a few, halfway between two pixels, would be
        centred on the other one and get another orientation.
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
        """Candidates of one level, none of them described."""
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
        """Join candidates, in the order given."""
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
        """Sort by (level, y, x) and keep one of each; windows see candidates of their neighbours' cores as well."""
        place = (self.level.astype(np.int64) << 48) | (self.y.astype(np.int64) << 24) | self.x
        order = np.argsort((place << 1) | (self.row < 0))
        place = place[order]
        first = np.ones(len(order), np.bool_)
        first[1:] = place[1:] != place[:-1]
        return self.take(order[first])


def positions(
    octave: npt.NDArray[np.int_] | int,
    x: npt.NDArray[np.int32],
    y: npt.NDArray[np.int32],
    offset: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Refined positions x, y in the image [px], float32, rounded once; octaves one for all or one each.

    Examples
    --------
    >>> one = np.ones(1, np.int32)
    >>> positions(1, one, 2 * one, np.array([[0.25, 0]], np.float32)).tolist()
    [[3.0, 4.5]]
    """
    ratio = np.broadcast_to(np.left_shift(1, octave), len(x))[:, None]
    where = np.stack([x, y], axis=1) + offset.astype(np.float64)
    result: npt.NDArray[np.float32] = (where * ratio + 0.5 * (ratio - 1)).astype(np.float32)
    return result


@dataclass(slots=True)
class LevelList:
    """One level's candidates as suppression wants them: sorted by row, then column, with an index of rows."""

    level: Level
    rows: npt.NDArray[np.int32]
    columns: npt.NDArray[np.int32]
    response: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int64]
    alive: npt.NDArray[np.bool_]

    @classmethod
    def thinned(
        cls,
        level: Level,
        rows: npt.NDArray[np.int32],
        columns: npt.NDArray[np.int32],
        response: npt.NDArray[np.float32],
        row_count: int,
    ) -> LevelList:
        """Take a level's sorted candidates and suppress them against each other."""
        starts = row_starts(rows, row_count)
        return cls(level, rows, columns, response, starts, same_level(rows, columns, starts, response, level.radius))

    def killed_by_above(self, above: LevelList) -> npt.NDArray[np.bool_]:
        """Who still lives once the next level's living candidates have met this level's."""
        alive = self.alive.copy()
        ratio = 1 << (above.level.octave - self.level.octave)
        kill_weaker(
            above.rows, above.columns, above.response, above.alive, ratio, 1, above.level.radius * ratio,
            self.columns, self.starts, self.response, alive,
        )  # fmt: skip
        return alive

    def killed_by_below(
        self, alive: npt.NDArray[np.bool_], below: LevelList, below_alive: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Who of `alive` still lives once the level below, as `below_alive` left it, has met this level's."""
        alive = alive.copy()
        ratio = 1 << (self.level.octave - below.level.octave)
        kill_weaker(
            below.rows, below.columns, below.response, below_alive, 1, ratio, self.level.radius,
            self.columns, self.starts, self.response, alive,
        )  # fmt: skip
        return alive


def survivors(candidates: Candidates, octaves: Sequence[Sequence[Level]], height: int) -> npt.NDArray[np.bool_]:
    """Decide which candidates are keypoints.

    A level's fate depends on its own candidates and on those of the levels next to it, before anything was decided
    between levels: first each level meets the one above it, then, as that left them, the one below.

    Parameters
    ----------
    candidates
        All candidates of an image, as `Candidates.unique` sorts them.
    octaves
        See `levels`.
    height
        Rows of the (padded) image [px].

    Returns
    -------
    (n,) bool
        True: the candidate survives.
    """
    flat = [level for octave in octaves for level in octave]
    ends = np.searchsorted(candidates.level, [level.index for level in flat], side="right")
    parts = [slice(start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]
    lists = [
        LevelList.thinned(
            level, candidates.y[part], candidates.x[part], candidates.response[part], height >> level.octave
        )
        for level, part in zip(flat, parts, strict=True)
    ]
    met_above = [
        here.killed_by_above(lists[i + 1]) if i + 1 < len(lists) else here.alive for i, here in enumerate(lists)
    ]
    alive = np.zeros(len(candidates), np.bool_)
    for i, (here, part) in enumerate(zip(lists, parts, strict=True)):
        alive[part] = here.killed_by_below(met_above[i], lists[i - 1], met_above[i - 1]) if i else met_above[0]
    return alive
