"""Keypoints that vote for displacements in the second look: the largest of either scene near any of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from s2fast.geometry.evidence import Evidence
from s2fast.geometry.nearby import near_any
from s2fast.stages.matched_pair import MatchedPair
from s2fast.stages.matched_scene import MatchedScene
from s2fast.stages.matching_rule import Matches
from s2fast_kernels.hamming_window_top2_both import WindowRows

MOST_COARSE = 4000
"""Most keypoints of a scene that vote: the largest. Of 60 pairs of real scenes with 20,000 keypoints, moved by 30 and
180 pixels, 1500, 4000, 8000 and all find 96, 108, 112 and 116 of 120, in 1, 1.3, 2.4 and 7 times the CPU time."""


@dataclass(frozen=True, slots=True, eq=False)
class Voters:
    """Keypoints of a scene that vote, on the query's map."""

    search: WindowRows
    """The keypoints as input of a search."""
    xy_m: npt.NDArray[np.float64]
    """(k, 2) positions [m]."""
    size_m: npt.NDArray[np.float64]
    """(k,) diameters on the ground [m]."""


Whole: TypeAlias = dict[tuple[int, int, str, float, float], Voters]
"""Voters of scenes whose keypoints all lie near the other scene, by all that they depend on."""


def voters(pair: MatchedPair, reach: float, whole: Whole) -> tuple[Voters, Voters]:
    """Return the largest keypoints of both scenes among those that may have a match: near any of the other scene.

    Of scenes with little ground in common, the largest of all keypoints would hardly lie there.

    Parameters
    ----------
    pair
        The pair.
    reach
        Distance of near keypoints, within which their matches are searched [m].
    whole
        Voters that pairs of the block share; those of this pair are added.
    """
    query, train = pair.query, pair.train
    of_query, of_train = query.rows_for(train), train.rows_for(query)
    here, there = query.on_own_map[of_query], train.on_map_of(query)[of_train]

    def largest(
        scene: MatchedScene, part: slice, on_map: npt.NDArray[np.float64], near: npt.NDArray[np.bool_]
    ) -> Voters:
        key = id(scene), part.start, query.placement.metric, query.placement.grid_m, reach
        all_near = bool(near.all())
        if all_near and key in whole:
            return whole[key]
        rows = np.flatnonzero(near)
        rows = rows[_largest(scene.size[part][rows], MOST_COARSE)]
        xy_m = on_map[rows]
        found = Voters(scene.prepared_rows(reach, query, part.start + rows, xy_m), xy_m, scene.size_m[part][rows])
        if all_near:
            whole[key] = found
        return found

    return (
        largest(query, of_query, here, near_any(here, there, reach)),
        largest(train, of_train, there, near_any(there, here, reach)),
    )


def votes(pair: MatchedPair, both: tuple[Voters, Voters], matches: Matches) -> Evidence:
    """Return matches of voters of a pair on the query's map."""
    query, train = both
    on_ground = np.ones(len(matches.query_row), np.bool_)
    return pair.with_matches(matches).evidence(on_ground, (query.xy_m, train.xy_m, query.size_m))


def _largest(size: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.intp]:
    """Return the numbers of the largest sizes, ascending; of equal ones, the first.

    Examples
    --------
    >>> _largest(np.array([1, 3, 2, 1, 2, 2], np.float32), 3)
    array([1, 2, 4])
    """
    if len(size) <= count:
        return np.arange(len(size))
    least = np.partition(size, -count)[-count]
    chosen = size > least
    chosen[np.flatnonzero(size == least)[: count - np.count_nonzero(chosen)]] = True
    return np.flatnonzero(chosen)
