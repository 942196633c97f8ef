"""Select the matches that the outputs show: a sample per pair for the page, and one for the map of displacements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from s2fast.folder.run_folder import RunFolder
from s2fast.report.accuracy import Accuracy
from s2fast.report.displacements import KeypointPositions
from s2fast.report.inlier_statistics import inlier_statistics
from s2fast.report.match_columns import INLIER, MatchColumns, rank_within, stored_matches
from s2fast.verdicts import is_verified
from s2fast_kernels.row_order import row_order

MOST_MATCHES = 150
"""Maximum number of matches per pair in the page, or beside it."""

_PAGE_BYTES = 8_000_000
"""Size limit of the matches of all pairs together in the page; beyond, they are in files beside it."""

_BESIDE_BYTES = 32_000_000
"""Size limit of the matches of all pairs together in files beside the page."""

_BYTES_PER_MATCH = 19
"""Size of a match in the page, as text."""

MOST_LINES, LEAST_LINES = 200, 20
"""Maximum number of vectors per pair on the map, in runs of few and of very many verified pairs: the run folder has all
of them."""

_LINES = 100_000
"""Number of vectors on the map that many verified pairs share: of more, a reader cannot tell one from another."""


@dataclass(frozen=True, slots=True)
class ShownMatches:
    """Samples of a run's matches, in ascending order of pair."""

    positions: KeypointPositions
    """The positions of the scenes' keypoints."""
    page: MatchColumns
    """At most `matches_per_pair` matches of each pair, see `nearest_of_each_kind`."""
    map: MatchColumns
    """At most `lines_per_pair` inliers of each verified pair, see `spread`."""
    inliers: npt.NDArray[np.intp]
    """Number of stored inliers of each verified pair; 0 for the others."""
    statistics: pd.DataFrame
    """Statistics of each pair's stored inliers, see `inlier_statistics`."""
    accuracy: Accuracy
    """Residuals of the stored inliers of verified pairs."""

    @classmethod
    def of(
        cls, folder: RunFolder, pairs: pd.DataFrame, blocks: Sequence[str], scene_ids: Sequence[str]
    ) -> ShownMatches:
        """Select the matches of all pairs, reading every block once; the parameters are those of `stored_matches`."""
        positions = KeypointPositions(folder, scene_ids)
        verified = is_verified(pairs).to_numpy()
        most = matches_per_pair(len(pairs)), lines_per_pair(int(verified.sum()))
        inliers = np.zeros(len(pairs), np.intp)
        accuracy = Accuracy(pairs)
        on_page, on_map = [], []

        def displaced() -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]]:
            for matches in stored_matches(folder, pairs, blocks, scene_ids):
                sample = _sampled(positions, verified, most, matches)
                on_page.append(sample.page)
                on_map.append(sample.map)
                accuracy.add(*sample.residuals)
                judged, counts = np.unique(sample.residuals[0], return_counts=True)
                inliers[judged] = counts
                yield sample.displaced

        statistics = inlier_statistics(displaced(), len(pairs))
        shown = MatchColumns.joined(on_page), MatchColumns.joined(on_map)
        return cls(positions, *shown, inliers, statistics, accuracy)


@dataclass(frozen=True, slots=True)
class _Sample:
    """What is needed of the matches of a block of pairs."""

    page: MatchColumns
    """See `ShownMatches.page`."""
    map: MatchColumns
    """See `ShownMatches.map`."""
    displaced: tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]
    """Inliers of all pairs, as `inlier_statistics` takes them."""
    residuals: tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], npt.NDArray[np.uint16]]
    """Inliers of verified pairs, as `Accuracy.add` takes them."""


def _sampled(
    positions: KeypointPositions, verified: npt.NDArray[np.bool_], most: tuple[int, int], matches: MatchColumns
) -> _Sample:
    """Return what is needed of a block's matches; `most` are the numbers per pair for the page and for the map."""
    most_on_page, most_on_map = most
    agreeing = matches[matches.kind == INLIER]
    found = positions.displacements(agreeing)
    chosen = verified[agreeing.pair]
    of_verified = agreeing[chosen]
    return _Sample(
        page=nearest_of_each_kind(matches, most_on_page),
        map=of_verified[spread(found.start[chosen], of_verified.pair, most_on_map)],
        displaced=(agreeing.pair, found.shift),
        residuals=(of_verified.pair, found.shift[chosen], positions.share(of_verified.query, of_verified.query_row)),
    )


def fit_the_page(pairs: int) -> bool:
    """Return whether the matches of so many pairs are in the page itself."""
    return pairs * MOST_MATCHES * _BYTES_PER_MATCH <= _PAGE_BYTES


def matches_per_pair(pairs: int) -> int:
    """Return the maximum number of matches per pair in the page, or beside it.

    Examples
    --------
    >>> matches_per_pair(1225), matches_per_pair(79_800)
    (150, 21)
    """
    return min(MOST_MATCHES, _BESIDE_BYTES // (_BYTES_PER_MATCH * max(pairs, 1)))


def lines_per_pair(verified: int) -> int:
    """Return the maximum number of vectors per verified pair on the map.

    Examples
    --------
    >>> lines_per_pair(15), lines_per_pair(1000), lines_per_pair(79_800)
    (200, 100, 20)
    """
    return max(LEAST_LINES, min(MOST_LINES, _LINES // max(verified, 1)))


def nearest_of_each_kind(matches: MatchColumns, most: int) -> MatchColumns:
    """Return at most `most` matches of each pair, the nearest descriptors of each kind, inliers first.

    At most two thirds of them are inliers if there are enough others. Pairs ascend.
    """
    if not len(matches):
        return matches
    member, starts = _groups(matches.pair)
    kind = 2 * member + (matches.kind != INLIER)
    ranked = row_order(matches.distance, kind)
    counts = np.bincount(kind, minlength=2 * len(starts))
    inliers, others = counts.reshape(-1, 2).T
    first = np.minimum(inliers, np.maximum(2 * most // 3, most - others))
    kept = np.minimum(counts, np.stack([first, most - first], axis=1).ravel())
    rank = np.arange(len(ranked)) - np.repeat(np.cumsum(counts) - counts, counts)
    return matches[ranked[rank < np.repeat(kept, counts)]]


def spread(points: npt.NDArray[np.float64], group: npt.NDArray[np.intp], most: int) -> npt.NDArray[np.intp]:
    """Select at most `most` points of each group, evenly over the ground.

    The points of a group are taken from the cells of a square grid: the first of each cell, then the second, and so on.

    Parameters
    ----------
    points : (n, 2) float64
        Positions.
    group : (n,) intp
        Groups, in ascending order.
    most
        Maximum number per group.

    Returns
    -------
    (k,) intp
        Rows of the selected points, ascending.
    """
    if not len(points):
        return np.zeros(0, np.intp)
    member, starts = _groups(group)
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    side = np.maximum((high - low).max(axis=1) / np.sqrt(most), np.finfo(float).tiny)
    column, row = ((points - low[member]) // side[member, None]).astype(np.intp).T
    in_turn = row_order(rank_within(row, column, member), member)
    return np.sort(in_turn[np.arange(len(points)) - starts[member] < most])


def _groups(group: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the number of each row's group, from 0, and the first row of each group; groups ascend."""
    is_first = np.ones(len(group), np.bool_)
    is_first[1:] = np.diff(group) != 0
    return np.cumsum(is_first) - 1, np.flatnonzero(is_first)
