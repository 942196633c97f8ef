"""Which scenes and which ground does a picture resemble? Votes of its keypoints that agree on rotation and scale.

A keypoint votes for a scene if its nearest neighbour there is close, and closer than the second by a ratio; the closer,
the more its vote counts. Each vote implies a rotation and a scale, since keypoints have an orientation and a size: only
votes that agree on both count together, since those of chance are spread over all rotations. A scene keeps its highest
count, a place that of the different keypoints that voted for any of its dates.

References
----------
Jegou, Douze, Schmid: Hamming embedding and weak geometric consistency. ECCV 2008.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast.retrieval.index import SEGMENT_SCENES, Index, Keypoints
from s2fast_kernels.hamming_top2 import hamming_top2
from s2fast_kernels.hamming_top2.reference import Top2

RATIO = 0.85
"""A vote's best distance is below this share of its second best."""

MAX_BITS = 120
"""A vote counts 1 at a distance of 0 and nothing at this one [bits]. Selected, with `RATIO`, among 36 combinations on
60 crops of the 48 real scenes; neighbouring ones do no worse within the noise."""

TURNS = 12
"""Bins of the rotation; a vote counts in the two nearest, so that votes within 30 to 60 degrees agree."""

OCTAVE_BINS = 2
"""Bins of the scale per octave; a vote counts in the two nearest."""

_OCTAVES = 5
"""Greatest scale, either way [octaves]."""

_SCALES = 2 * _OCTAVES * OCTAVE_BINS + 1

BINS = TURNS * _SCALES
"""Number of bins of rotation and scale."""

CANDIDATES = 20
"""Number of scenes that are verified."""

_HELD = np.dtype([("place", np.int32), ("query", np.int32), ("bin", np.int16), ("bits", np.uint8)])
"""A vote that is held until all segments are searched."""

_HELD_ROWS = 1 << 18
"""Votes that are held beside as many as are left of those before."""

_CHANCE_QUANTILE = 0.5
"""Most of an archive's scenes show other ground: the median scene's votes are those of chance."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """The votes of one picture."""

    scenes: npt.NDArray[np.float64]
    """(scenes,) votes for each scene of the index; -1 if it was left out."""
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

    def candidates(self, places: Sequence[str], most: int = CANDIDATES) -> list[int]:
        """Return the numbers of the scenes to verify, most likely first."""
        ranked = self.ranked(places)
        return [int(number) for number in ranked[:most] if self.scenes[number] > 0]


class Box:
    """Collects the votes of the keypoints of one picture, segment by segment.

    Parameters
    ----------
    places
        The place of every scene.
    """

    def __init__(self, places: Sequence[str]) -> None:
        self._scenes = np.full(len(places), -1.0)
        self._names: dict[str, int] = {}
        self._place = np.array([self._names.setdefault(place, len(self._names)) for place in places], np.int64)
        self._held = np.empty(0, _HELD)
        self._new: list[npt.NDArray[np.void]] = []

    def add(self, first: int, wanted: npt.NDArray[np.bool_], votes: Votes) -> None:
        """Add the votes for consecutive scenes, the first of which has number `first`, if they are `wanted`."""
        votes = votes.take(wanted[votes.scene])
        bins = votes.bins
        of = votes.scene[:, None] * BINS + bins
        weight = np.repeat(votes.weight, bins.shape[1])
        count = np.bincount(of.ravel(), weight, len(wanted) * BINS).reshape(-1, BINS)
        self._scenes[first : first + len(wanted)] = np.where(wanted, count.max(axis=1), -1.0)
        new = np.empty(len(bins), _HELD)
        new["place"], new["query"] = self._place[first + votes.scene], votes.query
        new["bin"], new["bits"] = votes.bin, votes.best
        self._new.append(new)
        if sum(map(len, self._new)) > len(self._held) + _HELD_ROWS:
            self._merge()

    def _merge(self) -> None:
        """Hold the nearest of the votes that one keypoint casts for the dates of a place, by place."""
        every = np.concatenate([self._held, *self._new])
        every = every[np.lexsort([every[name] for name in ("bits", "bin", "query", "place")])]
        first = np.ones(len(every), np.bool_)
        first[1:] = np.any([np.diff(every[name].astype(np.int64)) != 0 for name in ("place", "query", "bin")], axis=0)
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
        return Ballot(self._scenes, places, {place: int(dates[self._names[place]]) for place in places}, searched)


def _votes_for(held: npt.NDArray[np.void]) -> float:
    """Return the votes for a place: in a bin, each keypoint of the picture counts once, as much as its nearest vote."""
    bins = _four(held["bin"].astype(np.int64))
    codes = (held["query"].astype(np.int64)[:, None] * BINS + bins).ravel()
    weight = np.repeat(_weight(held["bits"]), bins.shape[1])
    order = np.lexsort((-weight, codes))
    first = np.ones(len(order), np.bool_)
    first[1:] = np.diff(codes[order]) != 0
    return float(np.bincount(codes[order[first]] % BINS, weight[order[first]], 1).max())


@dataclass(frozen=True, slots=True)
class Votes:
    """Votes of keypoints for scenes."""

    query: npt.NDArray[np.int64]
    """(k,) row of the picture's keypoint."""
    scene: npt.NDArray[np.int64]
    """(k,) number of the scene within its segment."""
    bin: npt.NDArray[np.int64]
    """(k,) first of the bins of rotation and scale in which it counts, see `bins`."""
    best: npt.NDArray[np.uint16]
    """(k,) distance [bits]."""

    @property
    def bins(self) -> npt.NDArray[np.int64]:
        """(k, 4) bins of rotation and scale in which it counts."""
        return _four(self.bin)

    @property
    def weight(self) -> npt.NDArray[np.float64]:
        """(k,) how much it counts, 0 to 1."""
        return _weight(self.best)

    def take(self, rows: npt.NDArray[np.bool_]) -> Votes:
        """Return the selected votes."""
        return Votes(self.query[rows], self.scene[rows], self.bin[rows], self.best[rows])


def vote(
    index: Index,
    query: Keypoints,
    *,
    backend: str = "auto",
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
    backend, device
        See `s2fast_kernels.hamming_top2`.
    without
        Ids of scenes that do not count.
    at_once
        Number of scenes for which neighbours are held.

    Returns
    -------
    Ballot
    """
    box = Box([entry.place for entry in index.entries])
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
            found = hamming_top2(query.descriptors, descriptors[rows], offsets, backend=backend, device=device)
            votes = votes_of(found, query, keypoints[rows, 2], keypoints[rows, 3], offsets)
            box.add(first + low, wanted[part], votes)
        searched += len(query) * len(descriptors)
    return box.counted(searched)


def votes_of(
    found: Top2,
    query: Keypoints,
    size: npt.NDArray[np.float32],
    angle: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
) -> Votes:
    """Return the votes among nearest neighbours; of several for one keypoint of a scene, the nearest.

    Parameters
    ----------
    found
        The two nearest neighbours of every keypoint of the picture in every scene.
    query
        The picture's keypoints.
    size, angle : (rows,) float32
        Of the scenes' keypoints, scene after scene.
    offsets : (scenes + 1,) int64
        First row of each scene.
    """
    row, scene = np.nonzero((found.best <= MAX_BITS) & (found.best < RATIO * found.second))
    train = offsets[scene] + found.index[row, scene]
    return cast(query, size, angle, row, scene, train, found.best[row, scene])


def cast(
    query: Keypoints,
    size: npt.NDArray[np.float32],
    angle: npt.NDArray[np.float32],
    row: npt.NDArray[np.int64],
    scene: npt.NDArray[np.int64],
    train: npt.NDArray[np.int64],
    best: npt.NDArray[np.uint16],
) -> Votes:
    """Return the votes of matches that passed the test; of several for one keypoint of a scene, the nearest.

    Parameters
    ----------
    query, size, angle
        See `votes_of`.
    row, scene, train, best : (k,)
        Of each match, the keypoint of the picture, the scene, the row of its keypoint and the distance [bits].
    """
    nearest = np.lexsort((row, best, train))
    first = np.ones(len(nearest), np.bool_)
    first[1:] = np.diff(train[nearest]) != 0
    kept = np.sort(nearest[first])
    row, scene, train = row[kept], scene[kept], train[kept]
    first_bin = bins_of(query.size[row], query.angle[row], size[train], angle[train])[:, 0]
    return Votes(row, scene, first_bin, best[kept])


def bins_of(
    query_size: npt.NDArray[np.float32],
    query_angle: npt.NDArray[np.float32],
    train_size: npt.NDArray[np.float32],
    train_angle: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]:
    """Return the bins of rotation and scale in which matches count: (k, 4) int64."""
    turn = ((train_angle - query_angle) / (2 * np.pi) % 1.0) * TURNS
    scale = np.log2(train_size / query_size) * OCTAVE_BINS + _OCTAVES * OCTAVE_BINS
    turns = np.floor(turn - 0.5).astype(np.int64) % TURNS
    scales = np.floor(np.clip(scale, 0.0, _SCALES - 2)).astype(np.int64)
    return _four(turns * _SCALES + scales)


def _four(first: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the bins of the two nearest rotations and scales, given the first of each: (k, 4)."""
    turns = (first // _SCALES)[:, None] + (0, 0, 1, 1)
    scales = (first % _SCALES)[:, None] + (0, 1, 0, 1)
    return np.asarray(turns % TURNS * _SCALES + scales)


def _weight(bits: npt.NDArray[np.unsignedinteger[Any]]) -> npt.NDArray[np.float64]:
    """Return how much votes count, by their distances."""
    return np.asarray(1 - bits / MAX_BITS)
