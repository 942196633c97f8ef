"""Find the good matches of two scenes: nearest neighbours, ratio test, mutual nearest neighbours, search radius."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import numpy.typing as npt

from s2fast.config import Matching
from s2fast.geometry.placement import SEARCHED_RADII, pair_grid_m, radii_m
from s2fast.geometry.witnesses import LEAST_WITNESSES, MAX_LOG_NFA, NeighbourCorrelation, highest_peaks
from s2fast.stages.matched_scene import MatchedScene as MatchedScene
from s2fast_kernels import hamming_top2, hamming_top2_both, window_matches
from s2fast_kernels.backends import CPU, Backend, find_device, resolve
from s2fast_kernels.hamming_top2.reference import NO_DISTANCE, NO_ROW, Top2
from s2fast_kernels.hamming_window_top2_both import WindowRows
from s2fast_kernels.threads import map_in_threads
from s2fast_kernels.window_matches.contract import MatchTest

_searching = Lock()
"""Held during an exhaustive search on a device: two blocks that are matched at once would need its memory twice."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Good matches of one pair, in ascending order of query row."""

    query_row: npt.NDArray[np.int32]
    """(k,) rows of the query's features."""
    train_row: npt.NDArray[np.int32]
    """(k,) rows of the train's features."""
    distance: npt.NDArray[np.uint16]
    """(k,) Hamming distance [bits]."""
    second: npt.NDArray[np.uint16]
    """(k,) Hamming distance of the second-best neighbour [bits], 65535 if there is none."""
    radius_m: float
    """Search radius: greatest shift between the scenes [m]."""


def backends(settings: Matching) -> Sequence[Backend]:
    """Return the kernels for the search mode of the settings, fastest first."""
    return window_matches.BACKENDS if settings.mode == "windowed" else hamming_top2.BACKENDS


@dataclass(frozen=True, slots=True)
class MatchingRule:
    """Rule by which two scenes are matched."""

    settings: Matching
    """Parameters of the rule."""
    backend: str
    """Name of the search kernel; one of `backends`."""
    device: str = "cpu"
    """Where it runs: "cpu" or "cuda:0"."""

    @classmethod
    def of(cls, settings: Matching, device: str = "auto") -> MatchingRule:
        """Resolve the backend and the device; raise BackendError if a requested one cannot run, or is not, here."""
        selected = resolve(backends(settings), settings.backend, device)
        return cls(settings, selected.name, selected.device)

    def in_this_process(self, device: str) -> MatchingRule:
        """Return the rule for this process; on GPUs, ``compute.device`` may select another one in every worker."""
        return self if self.device == CPU else MatchingRule(self.settings, self.backend, find_device(device))

    def good_matches(self, pairs: Sequence[tuple[MatchedScene, MatchedScene]]) -> Iterator[Matches]:
        """Yield the good matches of every pair of a query and a train; neighbouring pairs may share a query."""
        if self.settings.mode == "exhaustive":
            for _, group in itertools.groupby(pairs, key=_searched_query):
                yield from self._exhaustive_matches(list(group))
            return
        if self.settings.radius_m == "auto":
            yield from self._agreeing_matches(pairs)
            return
        for (matches,) in self.matches_at(pairs, self.first_radii_m(pairs), np.zeros((len(pairs), 1, 2))):
            yield matches

    def first_radii_m(self, pairs: Sequence[tuple[MatchedScene, MatchedScene]]) -> list[float]:
        """Return the first, or the only, search radius of every pair [m]."""
        return [radii_m(query.placement, train.placement, self.settings.radius_m)[0] for query, train in pairs]

    def _exhaustive_matches(self, pairs: Sequence[tuple[MatchedScene, MatchedScene]]) -> Iterator[Matches]:
        """Yield the good matches of pairs that share a query and its rows, compared with the rows of all trains."""
        parts = [(query.rows_for(train), train.rows_for(query)) for query, train in pairs]
        queries = pairs[0][0].descriptors[parts[0][0]]
        rows = [train.descriptors[part] for (_, train), (_, part) in zip(pairs, parts, strict=True)]
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in rows])]).astype(np.int64)
        train_rows = np.concatenate(rows)
        with _searching if self.device != CPU else nullcontext():
            if self.settings.mutual:
                top2, back = both_directions(queries, train_rows, offsets, self.backend, self.device)
                good = passing(top2, self.settings) & mutual(top2, back, offsets)
            else:
                top2 = hamming_top2.hamming_top2(queries, train_rows, offsets, backend=self.backend, device=self.device)
                good = passing(top2, self.settings)
        for number, radius in enumerate(self.first_radii_m(pairs)):
            yield _moved(_selected(top2, good, number, radius), parts[number])

    def matches_at(
        self,
        pairs: Sequence[tuple[MatchedScene, MatchedScene]],
        radius_m: Sequence[float],
        away_m: npt.NDArray[np.float64],
    ) -> list[list[Matches]]:
        """Find the good matches of pairs near each of several places on the map.

        Parameters
        ----------
        pairs
            k pairs of a query and a train.
        radius_m
            Search radius of every pair [m]; matches are searched within `SEARCHED_RADII` times this distance.
        away_m : (k, p, 2) float64
            Offsets of the search windows from the expected positions, east and north [m].

        Returns
        -------
        list of list of Matches
            For every pair, the matches at each of its places.
        """
        if self.settings.radius_m == "auto" and len(set(radius_m)) > 1:
            return self._by_radius(pairs, radius_m, away_m)
        rows = [(query.rows_for(train), train.rows_for(query)) for query, train in pairs]
        if len(pairs) > 1:
            # Each scene is prepared once: threads that match pairs of one scene would prepare it several times.
            searched = {
                (id(scene), radius, query.placement.metric, part.start): (scene, SEARCHED_RADII * radius, query, part)
                for (query, train), radius, parts in zip(pairs, radius_m, rows, strict=True)
                for scene, part in zip((query, train), parts, strict=True)
            }
            map_in_threads(lambda wanted: wanted[0].prepared(*wanted[1:]), searched.values())
        prepared = [
            (
                query.prepared(SEARCHED_RADII * radius, query, parts[0]),
                train.prepared(SEARCHED_RADII * radius, query, parts[1]),
            )
            for (query, train), radius, parts in zip(pairs, radius_m, rows, strict=True)
        ]
        return [
            [_moved(matches, parts) for matches in places]
            for places, parts in zip(self.searched(prepared, away_m), rows, strict=True)
        ]

    def searched(
        self, prepared: Sequence[tuple[WindowRows, WindowRows]], away_m: npt.NDArray[np.float64]
    ) -> list[list[Matches]]:
        """Find the good matches of prepared pairs near each of several places; see `matches_at`.

        The result refers to the prepared rows; its search radius is that of the pair.
        """
        test = MatchTest(self.settings.ratio, self.settings.max_distance_bits, self.settings.mutual)
        found = window_matches.window_matches(prepared, away_m, test, backend=self.backend, device=self.device)
        places = away_m.shape[1]
        return [
            [Matches(*found.trial(pair * places + place), query.radius / SEARCHED_RADII) for place in range(places)]
            for pair, (query, _) in enumerate(prepared)
        ]

    def _by_radius(
        self,
        pairs: Sequence[tuple[MatchedScene, MatchedScene]],
        radius_m: Sequence[float],
        away_m: npt.NDArray[np.float64],
    ) -> list[list[Matches]]:
        """Search one radius after another, so that a scene is prepared for one radius at a time; see `matches_at`."""
        found: list[list[Matches]] = [[] for _ in pairs]
        for radius in sorted(set(radius_m)):
            numbers = [number for number, wanted in enumerate(radius_m) if wanted == radius]
            some = [pairs[number] for number in numbers]
            for number, matches in zip(
                numbers, self.matches_at(some, [radius] * len(some), away_m[numbers]), strict=True
            ):
                found[number] = matches
        return found

    def _agreeing_matches(self, pairs: Sequence[tuple[MatchedScene, MatchedScene]]) -> list[Matches]:
        """Return the matches of every pair with ``radius_m = "auto"``; all pairs' first radii are searched together.

        They are those of the first radius within which the positions agree; if there is none, those of the smallest.
        """
        tried = [radii_m(query.placement, train.placement, "auto") for query, train in pairs]

        def agree(item: tuple[int, Matches]) -> bool:
            number, matches = item
            return len(tried[number]) > 1 and _agree(*pairs[number], matches, len(tried[number]))

        found: list[Matches] = []
        left, turn = list(range(len(pairs))), 0
        while left:
            radii = [tried[number][turn] for number in left]
            some = self.matches_at([pairs[number] for number in left], radii, np.zeros((len(left), 1, 2)))
            within = [(number, matches) for number, (matches,) in zip(left, some, strict=True)]
            found = found or [matches for _, matches in within]
            agreed = map_in_threads(agree, within)
            for (number, matches), ends in zip(within, agreed, strict=True):
                if ends:
                    found[number] = matches
            turn += 1
            left = [number for number, ends in zip(left, agreed, strict=True) if not ends and turn < len(tried[number])]
        return found

    def near_matches(self, query: MatchedScene, train: MatchedScene, radius_m: float) -> Matches:
        """Find the good matches of two scenes among keypoints near each other on the map.

        Parameters
        ----------
        query, train
            The scenes.
        radius_m
            Search radius [m]; matches are searched within `SEARCHED_RADII` times this distance.
        """
        return self.matches_at([(query, train)], [radius_m], np.zeros((1, 1, 2)))[0][0]


def _searched_query(pair: tuple[MatchedScene, MatchedScene]) -> tuple[int, int, int]:
    """Return the same for pairs of one query of which the same rows are matched."""
    query, train = pair
    rows = query.rows_for(train)
    return id(query), rows.start, rows.stop


def _agree(query: MatchedScene, train: MatchedScene, matches: Matches, tried: int) -> bool:
    """Return whether the matches agree significantly on a shift within their search radius."""
    grid = pair_grid_m(query.placement, train.placement)
    here = query.on_own_map[matches.query_row]
    moved = (train.on_map_of(query)[matches.train_row] - here) / grid
    if len(moved) < LEAST_WITNESSES:
        return False
    share = NeighbourCorrelation.of(here, query.size_m[matches.query_row]).shares()
    peak, _ = highest_peaks(moved, share, SEARCHED_RADII * matches.radius_m / grid, 0.0)
    inside = float(np.hypot(*peak.at)) * grid <= matches.radius_m
    return inside and peak.votes >= LEAST_WITNESSES and peak.log_nfa + math.log10(tried) <= MAX_LOG_NFA


def _moved(matches: Matches, parts: tuple[slice, slice]) -> Matches:
    """Return matches of parts of the features with rows of all of them."""
    query, train = parts
    if not (query.start or train.start):
        return matches
    rows = matches.query_row + np.int32(query.start), matches.train_row + np.int32(train.start)
    return replace(matches, query_row=rows[0], train_row=rows[1])


def _selected(top2: Top2, good: npt.NDArray[np.bool_], number: int, radius_m: float) -> Matches:
    rows = np.flatnonzero(good[:, number])
    found = top2.index[rows, number], top2.best[rows, number], top2.second[rows, number]
    return Matches(rows.astype(np.int32), *found, radius_m)


def passing(top2: Top2, settings: Matching) -> npt.NDArray[np.bool_]:
    """Apply the ratio test and the maximum distance of exhaustive search: (n, s) bool.

    A query without a second neighbour has no good match.
    """
    below = top2.best < settings.ratio * top2.second.astype(np.float64)
    good: npt.NDArray[np.bool_] = below & (top2.second != NO_DISTANCE) & (top2.best <= settings.max_distance_bits)
    return good


def both_directions(
    query: npt.NDArray[np.uint64],
    train: npt.NDArray[np.uint64],
    offsets: npt.NDArray[np.int64],
    backend: str,
    device: str = "auto",
) -> tuple[Top2, Top2]:
    """Search forward (n, s) and backward from every train row (m, 1); in one pass if the backend supports it."""
    if backend in {row.name for row in hamming_top2_both.BACKENDS}:
        return hamming_top2_both.hamming_top2_both(query, train, offsets, backend=backend)
    ends = np.array([0, len(query)], np.int64)
    return (
        hamming_top2.hamming_top2(query, train, offsets, backend=backend, device=device),
        hamming_top2.hamming_top2(train, query, ends, backend=backend, device=device),
    )


def mutual(forward: Top2, backward: Top2, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which queries are the best neighbour of their own best neighbour: (n, s) bool."""
    is_mutual: npt.NDArray[np.bool_] = forward.index != NO_ROW
    if not len(backward.index):
        return is_mutual
    rows = np.where(is_mutual, forward.index + offsets[None, :-1], 0)
    is_mutual &= backward.index[rows, 0] == np.arange(len(forward.index))[:, None]
    return is_mutual


def similarity_pct(n_good: int, n_query: int) -> float:
    """Return the similarity as defined by the notebook [%].

    Examples
    --------
    >>> similarity_pct(2, 3), similarity_pct(0, 0)
    (66.67, 0.0)
    """
    return round(100 * n_good / max(n_query, 1), 2)
