"""Displacements of scenes from their reference by ground cells, from the matches that a run has kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import maximum_filter

from s2fast.align.field_model import CELLS, Cells, Model, fit_values
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.geometry.shift import INLIER_PX
from s2fast.report.displacements import KeypointPositions
from s2fast.report.match_columns import INLIER, MatchColumns, stored_matches
from s2fast.verdicts import is_verified

_MOST_PARTNERS = 5
"""Greatest number of scenes, those with most inliers, from which a scene's displacements are taken."""

_ROUNDS = 20
"""Maximum number of iterations; each selects the matches near the field and fits it again."""


_ENDS = (("query", "train"), ("train", "query"))


@dataclass(frozen=True, slots=True)
class Part:
    """Displacements of a scene from one other."""

    partner: str
    """Id of the other scene."""
    cells: Cells
    """Position in the scene minus position in the other."""
    there: npt.NDArray[np.float64]
    """(n, 2) mean positions of the cells' matches in the other scene, see `Cells.share`."""


@dataclass(frozen=True, slots=True)
class _Side:
    """One scene of a pair."""

    sides_m: npt.NDArray[np.float64]
    """See `Cells.sides_m`."""
    px_m: float
    """Side of a pixel [m]."""
    share: npt.NDArray[np.float64]
    """(n, 2) see `Cells.share`, of matches."""
    there: npt.NDArray[np.float64]
    """(n, 2) the same of the matches in the other scene."""
    moved_m: npt.NDArray[np.float64]
    """(n, 2) position in this scene minus position in the other, east and north [m], of matches."""
    inlier: npt.NDArray[np.bool_]
    """(n,) which matches agree with the pair's shift or affinity."""


def sampled(
    folder: RunFolder, pairs: pd.DataFrame, scene_ids: Sequence[str], partners: Collection[str],
    wanted: Sequence[str], reference: str = "",
) -> dict[str, list[Part]]:  # fmt: skip
    """Return the displacements of scenes from others by ground cells.

    A scene is compared with the reference; without one, with those scenes of its tile with which it has most inliers.

    Parameters
    ----------
    folder, pairs, scene_ids
        The run: its folder, its table of pairs, and the ids of its scenes in their order.
    partners
        Scenes that others may be compared with.
    wanted
        Scenes whose displacements are returned.
    reference
        Id of the scene that is held fixed; empty: there is none.

    Returns
    -------
    dict
        Scene id to its displacements, from the partner with most inliers first; without scenes that have no verified
        pair with kept matches.
    """
    chosen = _partners(pairs, partners, wanted, reference)
    needed = {frozenset((scene, other)) for scene, others in chosen.items() for other in others}
    rows = [frozenset(ends) in needed for ends in zip(pairs["query"], pairs["train"], strict=True)]
    used = pairs[rows].reset_index(drop=True)
    if used.empty:
        return {}
    found: dict[tuple[str, str], Part] = {}
    names = [scene for scene in scene_ids if any(scene in ends for ends in needed)]
    positions = KeypointPositions(folder, names)
    stored = folder.verified.rows().drop_duplicates(["query", "train"], keep="last").set_index(["query", "train"])
    blocks = stored["block"].reindex(pd.MultiIndex.from_frame(used[["query", "train"]])).tolist()
    for matches in stored_matches(folder, used, blocks, names):
        for number in np.unique(matches.pair):
            row = used.iloc[number]
            for side, other in _ENDS:
                scene, partner = row[side], row[other]
                if partner in chosen.get(scene, ()):
                    part = _part(partner, _side(matches[matches.pair == number], positions, side, other))
                    if part is not None:
                        found[scene, partner] = part
    parts = {scene: [found[scene, one] for one in others if (scene, one) in found] for scene, others in chosen.items()}
    return {scene: of_scene for scene, of_scene in parts.items() if of_scene}


def _partners(
    pairs: pd.DataFrame, partners: Collection[str], wanted: Sequence[str], reference: str
) -> dict[str, list[str]]:
    """Return the scenes with which each wanted scene is compared."""
    used = pairs[is_verified(pairs)]
    swapped = {f"{side}{what}": f"{other}{what}" for side, other in _ENDS for what in ("", "_tile")}
    both = pd.concat([used, used.rename(columns=swapped)])
    both = both[both["query"].isin(wanted)]
    if reference:
        both = both[both["train"] == reference]
    else:
        both = both[both["train"].isin(list(partners)) & (both["query_tile"] == both["train_tile"])]
    both = both.sort_values("n_inliers", ascending=False, kind="stable")
    return {str(scene): list(names)[:_MOST_PARTNERS] for scene, names in both.groupby("query")["train"]}


def _side(matches: MatchColumns, positions: KeypointPositions, side: str, other: str) -> _Side:
    """Return the matches of one pair as one of its scenes sees them."""
    grid: PixelGrid = positions.grids[getattr(matches, side)[0]]
    share, there = (
        (positions.share(getattr(matches, end), getattr(matches, f"{end}_row")) / 65535).astype(np.float64)
        for end in (side, other)
    )
    shift = positions.displacements(matches).shift
    sides_m = grid.px_m * [grid.shape[1], grid.shape[0]]
    return _Side(sides_m, grid.pixel_m, share, there, shift if side == "train" else -shift, matches.kind == INLIER)


def _part(partner: str, pair: _Side) -> Part | None:
    """Return the displacements of one pair by cells; None without inliers.

    Inliers lie near one shift. Where the displacement departs further from it, matches are found by following a spline
    from the cells beside; each is weighted by its distance from it (biweight).
    """
    if not pair.inlier.any():
        return None
    used, weight = pair.inlier, np.ones(len(pair.inlier))
    cells, there = _gathered(pair, used, weight)
    for _ in range(_ROUNDS):
        far = np.hypot(*(pair.moved_m - fit_values(Model.GRID, cells).at(pair.share)).T) / (INLIER_PX * pair.px_m)
        before, used = used, (far < 1) & _near_cells(pair.share, cells)
        if not used.any():
            return None
        cells, there = _gathered(pair, used, np.maximum(0, 1 - far**2) ** 2)
        if (before == used).all():
            break
    return Part(partner, cells, there)


def _number(share: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return the number of the cell of each position."""
    at = np.clip((share * CELLS).astype(np.intp), 0, CELLS - 1)
    return np.asarray(at[:, 1] * CELLS + at[:, 0])


def _near_cells(share: npt.NDArray[np.float64], cells: Cells) -> npt.NDArray[np.bool_]:
    """Return which positions are in or beside a cell: farther away the spline is a guess."""
    held = np.zeros((CELLS, CELLS), np.uint8)
    held.flat[_number(cells.share)] = 1
    return np.asarray(maximum_filter(held, 3).flat[_number(share)] > 0)


def _gathered(
    pair: _Side, used: npt.NDArray[np.bool_], weight: npt.NDArray[np.float64]
) -> tuple[Cells, npt.NDArray[np.float64]]:
    """Return the weighted means of the cells that hold used matches, and their positions in the other scene."""
    names, cell, count = np.unique(_number(pair.share[used]), return_inverse=True, return_counts=True)
    weight = np.maximum(weight[used], 1e-6)
    total = np.bincount(cell, weight, len(names))
    share, moved, there = (
        np.column_stack([np.bincount(cell, weight * axis, len(names)) / total for axis in values[used].T])
        for values in (pair.share, pair.moved_m, pair.there)
    )
    return Cells(share, moved, count.astype(np.float64), pair.sides_m, pair.px_m), there


def together(parts: Sequence[Cells]) -> Cells:
    """Return the medians over several partners of a scene, of the cells that most of them share."""
    number = np.concatenate([_number(part.share) for part in parts])
    _, cell, held = np.unique(number, return_inverse=True, return_counts=True)
    values = np.concatenate([np.column_stack([part.share, part.moved_m]) for part in parts])
    count = np.bincount(cell, np.concatenate([part.count for part in parts])) / len(parts)
    kept = np.flatnonzero(held > len(parts) / 2)
    middle = np.array([np.median(values[cell == place], axis=0) for place in kept]).reshape(-1, 4)
    return Cells(middle[:, :2], middle[:, 2:], count[kept], parts[0].sides_m, parts[0].px_m)
