"""Select the pairs that a run compares, and partition them into blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from s2fast.config import Config, Matching
from s2fast.errors import ConfigError, RunFolderError
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.placement import Placement, overlap_pct
from s2fast.retrieval.likeness import similar_pairs, stored_pairs
from s2fast.stages.device_budget import within_device_budget
from s2fast.stages.keys import features_keys
from s2fast.stages.memory import match_bytes
from s2fast_kernels.machine import MIB

_MIN_SIDE = 4
"""Minimum number of scenes per side of a block, where memory allows: writing and reading the files of a block costs as
much as matching several pairs."""

_MAX_SIDE = 16
"""Maximum number of scenes per side of a block: large enough to make the overhead per block negligible, small enough to
distribute blocks over many workers."""

_LEAST_GROUPS = 8
"""Minimum number of groups into which scenes are divided, where there are scenes enough. Their 36 combinations are
enough blocks for several workers; more blocks would take more time for their files and preparation."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair to compare."""

    query: str
    """Scene id, earlier in the run's order."""
    train: str
    """Scene id, later in the run's order."""
    key: str
    """Content key of the result."""
    verdict_key: str = ""
    """Content key of its verdict if it is verified when it is matched; empty: it is only matched."""


def checked_features(record: RunRecord, folder: RunFolder) -> dict[str, str]:
    """Return the content keys of all scenes' features by scene id; the run folder holds them.

    Raises
    ------
    RunFolderError
        A scene has no features under the run's settings.
    """
    features = features_keys(record)
    for scene_id, key in features.items():
        if folder.features_key(scene_id) != key:
            raise RunFolderError(f"{folder} has no features of {scene_id} under these settings: run extract first")
    return features


def wanted_pairs(
    record: RunRecord, folder: RunFolder, key: Callable[[str, str, Config], str], *, searches: bool = True
) -> list[Pair]:
    """Return all pairs of the run, in order, with their content keys.

    Parameters
    ----------
    record, folder
        The run.
    key
        Function that computes the content key: `s2fast.stages.keys.pair_key` or `verdict_key`.
    searches
        Whether to search the most similar scenes, which ``matching.pairs = "similar"`` takes, if the run folder does
        not hold them. False: nothing is written.

    Raises
    ------
    RunFolderError
        A scene has no features under the run's settings, or the most similar scenes have not been searched.
    ConfigError
        ``matching.pairs_file`` is invalid.
    """
    features = checked_features(record, folder)
    if record.config.matching.pairs == "similar":
        if not searches and stored_pairs(folder, features, record.config) is None:
            raise RunFolderError(f"{folder} has no similar pairs under these settings: run match first")
        with within_device_budget(record.config):
            pairs = similar_pairs(folder, features, record.config)
    else:
        pairs = selected_pairs(list(features), record.config.matching, folder.placement, record.reference)
    return [Pair(query, train, key(features[query], features[train], record.config)) for query, train in pairs]


def selected_pairs(
    scene_ids: Sequence[str], settings: Matching, placement: Callable[[str], Placement], reference: str = ""
) -> list[tuple[str, str]]:
    """Return the pairs of scenes that the settings select, query before train in the given order.

    Those of ``pairs = "similar"`` depend on the features: see `s2fast.retrieval.likeness.similar_pairs`.
    """
    if settings.pairs == "file":
        return pairs_from_file(Path(settings.pairs_file), scene_ids)
    pairs = list(itertools.combinations(scene_ids, 2))
    if settings.pairs == "overlapping":
        placements = {scene_id: placement(scene_id) for scene_id in scene_ids}
        pairs = [(query, train) for query, train in pairs if overlap_pct(placements[query], placements[train]) > 0]
    if settings.pairs == "reference":
        pairs = [pair for pair in pairs if reference in pair]
    return pairs


def pairs_from_file(path: Path, scene_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Read pairs from a CSV file, without duplicates, query before train, in the order of `scene_ids`."""
    order = {scene_id: number for number, scene_id in enumerate(scene_ids)}
    try:
        table = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:  # pandas' own errors are subclasses of ValueError
        raise ConfigError(f"matching.pairs_file: cannot read {path} as CSV: {error}") from error
    if not {"query", "train"} <= set(table.columns):
        got = ", ".join(table.columns)
        raise ConfigError(f"matching.pairs_file: {path} has the columns {got}; it must have query and train")
    pairs = set()
    for query, train in zip(table["query"], table["train"], strict=True):
        for scene_id in (query, train):
            if scene_id not in order:
                raise ConfigError(
                    f"matching.pairs_file: {path} names {scene_id}, which is not a scene of this run: write whole ids, "
                    f"such as {scene_ids[0]}"
                )
        if query != train:
            pairs.add((query, train) if order[query] < order[train] else (train, query))
    if not pairs:
        raise ConfigError(f"matching.pairs_file: {path} lists no pair of two scenes: write at least one")
    return sorted(pairs, key=lambda pair: (order[pair[0]], order[pair[1]]))


def block_side(scenes: int) -> int:
    """Return the number of scenes per side of a block of pairs of this many scenes, where memory allows.

    Examples
    --------
    >>> [block_side(scenes) for scenes in (2, 48, 100, 900)]
    [4, 6, 12, 16]
    """
    return max(_MIN_SIDE, min(_MAX_SIDE, scenes // _LEAST_GROUPS))


def plan_blocks(pairs: Sequence[Pair], keypoints: Mapping[str, int], budget_bytes: int) -> list[tuple[Pair, ...]]:
    """Partition pairs into blocks that share scenes, each within the memory budget; the partition is deterministic.

    Parameters
    ----------
    pairs
        Pairs to compare.
    keypoints
        Number of keypoints of every scene in `pairs`, in the run's order.
    budget_bytes
        Memory budget of a block.

    Returns
    -------
    list[tuple[Pair, ...]]
        Blocks of at most 16 x 16 scenes; every pair is in exactly one of them.

    Raises
    ------
    ConfigError
        A single pair exceeds the budget.
    """
    most = max(keypoints.values(), default=0)
    _check_fits(most, budget_bytes)
    side = block_side(len(keypoints))
    while match_bytes(most, side) > budget_bytes:
        side -= 1
    group = {scene: number // side for number, scene in enumerate(keypoints)}
    blocks: dict[tuple[int, int], list[Pair]] = {}
    for pair in pairs:
        blocks.setdefault((group[pair.query], group[pair.train]), []).append(pair)
    return [tuple(block) for _, block in sorted(blocks.items())]


def check_budget(record: RunRecord, folder: RunFolder, threads: int) -> None:
    """Check that a pair of the scenes whose features are stored fits into ``compute.budget_mb``.

    Raises
    ------
    ConfigError
        It does not.
    """
    del threads
    stored = [name for name, key in features_keys(record).items() if folder.features_key(name) == key]
    _check_fits(max(map(folder.keypoints, stored), default=0), record.config.compute.budget_mb * MIB)


def _check_fits(keypoints: int, budget_bytes: int) -> None:
    needed = match_bytes(keypoints, 1)
    if needed > budget_bytes:
        raise ConfigError(
            f"matching scenes of {keypoints} keypoints may take {-(-needed // MIB)} MiB and compute.budget_mb is "
            f"{budget_bytes // MIB}: raise it, or set features.max_per_scene"
        )


def keypoint_counts(record: RunRecord, folder: RunFolder) -> dict[str, int]:
    """Return the number of keypoints of every scene, by scene id, in the run's order."""
    names = [item.scene.scene_id for item in record.usable]
    return {name: folder.keypoints(name) for name in names}
