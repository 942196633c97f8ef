"""Rank scenes and places by the votes of a picture's keypoints that agree on where it lies.

A keypoint votes for a scene if its nearest neighbour there is close, and closer than the second by a ratio; the closer,
the more its vote counts. Keypoints have an orientation and a size, so each vote implies a rotation, a scale, and where
the middle of the picture lies. Only votes that agree on all of these count together, in one cell: those of chance are
spread over all rotations and the whole scene. A scene keeps its highest count, a place that of the different keypoints
that voted for any of its dates.

References
----------
Lowe: Distinctive image features from scale-invariant keypoints. IJCV 60, 2004 (votes for a similarity).
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast.retrieval.cells import ACROSS, CELL_SIDES, CELLS, SCALES, STEPS, bins_of, cells_of, numbered, scale_of
from s2fast.retrieval.index import SEGMENT_SCENES, Entry, Index, Keypoints
from s2fast_kernels.hamming_top2 import hamming_top2
from s2fast_kernels.hamming_top2.reference import Top2

RATIO = 0.85
"""A vote's best distance is below this share of its second best."""

MAX_BITS = 100
"""A vote counts 1 at a distance of 0 and nothing at this one [bits]. Selected, with `RATIO` and `CELL_SIDES`, on 80
crops of the 48 real scenes, of 128 and 256 px; neighbouring values do no worse within the noise."""

_FARTHEST = STEPS * (ACROSS // 2 - 1)
"""Largest step of a position; what lies farther out counts there."""

CANDIDATES = 20
"""Number of scenes that are verified."""

LATER_CANDIDATES = 60
"""Number of scenes that are verified if none of these was, near their votes too: other dates may have more votes."""

_HELD = np.dtype(
    [("place", np.int32), ("query", np.int32), ("bin", np.int16), ("x", np.int16), ("y", np.int16), ("bits", np.uint8)]
)
"""A vote that is held until all segments are searched; of those that differ in `bits` only, the nearest."""

_HELD_ROWS = 1 << 18
"""Votes that are held beside as many as are left of those before."""

_CHANCE_QUANTILE = 0.5
"""Most of an archive's scenes show other ground: the median scene's votes are those of chance."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """The votes of one picture."""

    scenes: npt.NDArray[np.float64]
    """(scenes,) votes for each scene of the index; -1 if it was left out."""
    at: npt.NDArray[np.float32]
    """(scenes, 3) where in each scene most votes agree that the picture lies: x and y of its middle, and its longer
    side [px of the scene]."""
    places: dict[str, float]
    """Votes for each place."""
    dates: dict[str, int]
    """Number of scenes of each place."""
    searched: int
    """Number of comparisons of descriptors."""

    def ranked(self, places: Sequence[str]) -> npt.NDArray[np.intp]:
        """Return all scenes, most likely first.

        Parameters
        ----------
        places
            The place of every scene.

        Returns
        -------
        (scenes that were not left out,) intp
            In turns: the best scene by its own votes, then the best scene of the next place by the place's votes, and
            so on. Votes of places are compared by how far they exceed what chance gives for their number of dates.
        """
        counted = np.flatnonzero(self.scenes >= 0)
        alone = counted[np.argsort(-self.scenes[counted], kind="stable")]
        chance = float(np.quantile(self.scenes[counted], _CHANCE_QUANTILE)) if len(counted) else 0.0
        excess = {}
        for place, votes in self.places.items():
            expected = chance * self.dates[place] ** 0.5
            excess[place] = (votes - expected) / (expected + 1) ** 0.5
        best: dict[str, int] = {}
        for number in alone.tolist():
            best.setdefault(places[number], number)
        by_place = [best[place] for place in sorted(excess, key=lambda place: (-excess[place], place))]
        merged: dict[int, None] = {}
        for turn in range(len(alone)):
            merged.setdefault(int(alone[turn]))
            if turn < len(by_place):
                merged.setdefault(by_place[turn])
        return np.fromiter(merged, np.intp)

    def candidates(self, places: Sequence[str], most: int) -> list[int]:
        """Return the numbers of the scenes to verify, most likely first."""
        ranked = self.ranked(places)
        return [int(number) for number in ranked[:most] if self.scenes[number] > 0]


class Box:
    """Collects the votes of the keypoints of one picture, segment by segment.

    Parameters
    ----------
    entries
        All scenes of the index.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        places = [entry.place for entry in entries]
        self._origin = _origins(entries)
        self._scenes = np.full(len(places), -1.0)
        self._at = np.zeros((len(places), 3), np.float32)
        self._names: dict[str, int] = {}
        self._place = np.array([self._names.setdefault(place, len(self._names)) for place in places], np.int64)
        self._held = np.empty(0, _HELD)
        self._new: list[npt.NDArray[np.void]] = []

    def add(self, first: int, wanted: npt.NDArray[np.bool_], votes: Votes) -> None:
        """Add the votes for consecutive scenes, the first of which has number `first`, if they are `wanted`."""
        votes = votes.take(wanted[votes.scene])
        counts = votes.counted(len(wanted))
        self._scenes[first : first + len(wanted)] = np.where(wanted, counts.votes, -1.0)
        self._at[first : first + len(wanted)] = counts.at
        new = np.empty(len(votes.bin), _HELD)
        new["place"], new["query"] = self._place[first + votes.scene], votes.query
        new["bin"], new["bits"] = votes.bin, votes.best
        new["x"], new["y"] = votes.moved(self._origin[first + votes.scene]).T
        self._new.append(new)
        if sum(map(len, self._new)) > len(self._held) + _HELD_ROWS:
            self._merge()

    def _merge(self) -> None:
        """Hold the nearest of the equal votes that one keypoint casts for the dates of a place, by place."""
        every = np.concatenate([self._held, *self._new])
        same = ("y", "x", "bin", "query", "place")
        every = every[np.lexsort([every[name] for name in ("bits", *same)])]
        first = np.ones(len(every), np.bool_)
        first[1:] = np.any([np.diff(every[name].astype(np.int64)) != 0 for name in same], axis=0)
        self._held, self._new = every[first], []

    def counted(self, searched: int) -> Ballot:
        """Return the result."""
        self._merge()
        edges = np.searchsorted(self._held["place"], np.arange(len(self._names) + 1))
        dates = np.bincount(self._place[self._scenes >= 0], minlength=len(self._names))
        places = {
            place: _votes_for(self._held[edges[number] : edges[number + 1]])
            for place, number in self._names.items()
            if dates[number]
        }
        return Ballot(
            self._scenes, self._at, places, {place: int(dates[self._names[place]]) for place in places}, searched
        )


def _origins(entries: Sequence[Entry]) -> npt.NDArray[np.float64]:
    """Return the upper left corner of each scene in pixels of its place's first: (scenes, 2).

    0 for a scene whose pixels have another size or CRS: its votes do not add up with those of the first.
    """
    first: dict[str, Entry] = {}
    found = np.zeros((len(entries), 2))
    for number, entry in enumerate(entries):
        known = first.setdefault(entry.place, entry)
        (a, b, x, d, e, y), (a0, b0, x0, d0, e0, y0) = entry.transform, known.transform
        turned = np.array([[a0, b0], [d0, e0]])
        alike = entry.crs == known.crs and (a, b, d, e) == (a0, b0, d0, e0)
        if alike and (x, y) != (x0, y0) and np.linalg.det(turned):
            found[number] = np.linalg.solve(turned, (x - x0, y - y0))
    return found


def _votes_for(held: npt.NDArray[np.void]) -> float:
    """Return the votes for a place: in a cell, each keypoint of the picture counts once, by its nearest vote."""
    _, cells = numbered(cells_of(held["bin"].astype(np.int64), np.column_stack([held["x"], held["y"]])))
    codes = (held["query"].astype(np.int64)[:, None] * (cells.max(initial=0) + 1) + cells).ravel()
    weight = np.repeat(_weight(held["bits"]), cells.shape[1])
    order = np.lexsort((-weight, codes))
    first = np.ones(len(order), np.bool_)
    first[1:] = np.diff(codes[order]) != 0
    kept = order[first]
    return float(np.bincount(cells.ravel()[kept], weight[kept], 1).max())


@dataclass(frozen=True, slots=True)
class Counts:
    """The votes of consecutive scenes, counted."""

    votes: npt.NDArray[np.float64]
    """(scenes,) votes in the fullest cell."""
    at: npt.NDArray[np.float32]
    """(scenes, 3) see `Ballot.at`."""


@dataclass(frozen=True, slots=True)
class Votes:
    """Votes of keypoints for scenes."""

    query: npt.NDArray[np.int64]
    """(k,) row of the picture's keypoint."""
    scene: npt.NDArray[np.int64]
    """(k,) number of the scene within its segment."""
    bin: npt.NDArray[np.int64]
    """(k,) first of the bins of rotation and scale in which it counts, see `bins_of`."""
    best: npt.NDArray[np.uint16]
    """(k,) distance [bits]."""
    step: npt.NDArray[np.int64]
    """(k, 2) where the middle of the picture lies in the scene, x and y, in steps of cells at the scale of `bin`."""
    side: float
    """Longer side of the picture, as far as it has keypoints [px]."""

    def moved(self, px: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return `step`, moved by (k, 2) pixels of the scene; a foreign index may hold any distance."""
        moved = np.nan_to_num(self.step + np.rint(px / _step_px(self.side, self.bin)), nan=_FARTHEST)
        return np.asarray(np.clip(moved, -_FARTHEST, _FARTHEST).astype(np.int64))

    @property
    def weight(self) -> npt.NDArray[np.float64]:
        """(k,) how much it counts, 0 to 1."""
        return _weight(self.best)

    def take(self, rows: npt.NDArray[np.bool_]) -> Votes:
        """Return the selected votes."""
        return Votes(self.query[rows], self.scene[rows], self.bin[rows], self.best[rows], self.step[rows], self.side)

    def counted(self, scenes: int) -> Counts:
        """Return the votes in the fullest cell of each scene, and where that lies."""
        cells = cells_of(self.bin, self.step)
        filled, number = numbered(self.scene[:, None] * CELLS + cells)
        votes = np.bincount(number.ravel(), np.repeat(self.weight, cells.shape[1]), len(filled))
        order = np.lexsort((filled, votes))
        fullest = np.full(scenes, -1)
        fullest[filled[order] // CELLS] = order  # the last of each scene remains
        most = np.zeros(scenes)
        most[fullest >= 0] = votes[fullest[fullest >= 0]]
        # The mean of the votes in it is nearer to the truth than its centre.
        weight = self.weight * (number == fullest[self.scene][:, None]).any(axis=1)
        scale = self.side * scale_of(self.bin % SCALES + 0.5)
        where = np.column_stack([(self.step + 0.5) * _step_px(self.side, self.bin), scale])
        total = np.maximum(np.bincount(self.scene, weight, scenes), np.finfo(float).tiny)
        at = np.column_stack([np.bincount(self.scene, weight * part, scenes) / total for part in where.T])
        return Counts(most, at.astype(np.float32))


def vote(
    index: Index,
    query: Keypoints,
    *,
    device: str = "auto",
    without: Set[str] = frozenset(),
    at_once: int = SEGMENT_SCENES,
) -> Ballot:
    """Let a picture's keypoints vote for the scenes of an index; every keypoint of the index is compared.

    Parameters
    ----------
    index
        The index.
    query
        The picture's keypoints.
    device
        See `s2fast_kernels.hamming_top2`.
    without
        Ids of scenes that do not count.
    at_once
        Number of scenes for which neighbours are held.

    Returns
    -------
    Ballot
    """
    box = Box(index.entries)
    searched = 0
    for first, segment in index.segments():
        wanted = index.counted[first : first + len(segment.entries)] & np.array(
            [entry.scene_id not in without for entry in segment.entries], np.bool_
        )
        descriptors, keypoints = index.descriptors(segment), index.keypoints(segment)
        for low in range(0, len(wanted), at_once):
            part = slice(low, low + at_once)
            offsets = segment.offsets[low : low + at_once + 1]
            rows, offsets = slice(int(offsets[0]), int(offsets[-1])), offsets - offsets[0]
            found = hamming_top2(query.descriptors, descriptors[rows], offsets, device=device)
            votes = votes_of(found, query, keypoints[rows], offsets)
            box.add(first + low, wanted[part], votes)
        searched += len(query) * len(descriptors)
    return box.counted(searched)


def votes_of(
    found: Top2,
    query: Keypoints,
    keypoints: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
) -> Votes:
    """Return the votes among nearest neighbours; of several for one keypoint of a scene, the nearest.

    Parameters
    ----------
    found
        The two nearest neighbours of every keypoint of the picture in every scene.
    query
        The picture's keypoints.
    keypoints : (rows, 4) float32
        The scenes' keypoints, scene after scene: x, y, size, angle.
    offsets : (scenes + 1,) int64
        First row of each scene.
    """
    row, scene = np.nonzero((found.best <= MAX_BITS) & (found.best < RATIO * found.second))
    train = offsets[scene] + found.index[row, scene]
    return cast(query, keypoints, row, scene, train, found.best[row, scene])


def cast(
    query: Keypoints,
    keypoints: npt.NDArray[np.float32],
    row: npt.NDArray[np.int64],
    scene: npt.NDArray[np.int64],
    train: npt.NDArray[np.int64],
    best: npt.NDArray[np.uint16],
) -> Votes:
    """Return the votes of matches that passed the test; of several for one keypoint of a scene, the nearest.

    Parameters
    ----------
    query, keypoints
        See `votes_of`.
    row, scene, train, best : (k,)
        Of each match, the keypoint of the picture, the scene, the row of its keypoint and the distance [bits].
    """
    nearest = np.lexsort((row, best, train))
    first = np.ones(len(nearest), np.bool_)
    first[1:] = np.diff(train[nearest]) != 0
    kept = np.sort(nearest[first])
    row, scene, train = row[kept], scene[kept], train[kept]
    x, y, size, angle = keypoints[train].T.astype(np.float64)
    number = bins_of(query.size[row], query.angle[row], size, angle)[:, 0]
    xy = query.xy.astype(np.float64) if len(query) else np.zeros((1, 2))
    low, high = xy.min(axis=0), xy.max(axis=0)
    side = max(1.0, float((high - low).max()))
    turn, scale = angle - query.angle[row], size / query.size[row]
    cosine, sine = scale * np.cos(turn), scale * np.sin(turn)
    right, down = ((low + high) / 2 - query.xy.astype(np.float64)[row]).T
    middle = np.column_stack([x + cosine * right - sine * down, y + sine * right + cosine * down])
    step = np.floor(np.clip(middle / _step_px(side, number), -_FARTHEST, _FARTHEST)).astype(np.int64)
    return Votes(row, scene, number, best[kept], step, side)


def _step_px(side: float, number: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the length of a step of `Votes.step` at the scale of each vote's first bin: (k, 1) [px of the scene]."""
    return (side * CELL_SIDES / STEPS * scale_of(number % SCALES))[:, None]


def _weight(bits: npt.NDArray[np.unsignedinteger[Any]]) -> npt.NDArray[np.float64]:
    """Return how much votes count, by their distances."""
    return np.asarray(1 - bits / MAX_BITS)
