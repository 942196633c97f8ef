"""The scenes of a run that are most alike, by votes of their strongest keypoints; no georeferencing is used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from s2fast.config import Config
from s2fast.errors import ConfigError
from s2fast.folder.checksums import sealed, unsealed
from s2fast.folder.content_key import content_key
from s2fast.folder.run_folder import RunFolder
from s2fast.retrieval.build import spread
from s2fast.retrieval.index import Keypoints
from s2fast.retrieval.votes import votes_of
from s2fast_kernels.hamming_top2 import hamming_top2
from s2fast_kernels.machine import MIB

SIMILAR_JSON = "similar.json"
"""File of the run folder that keeps the pairs."""

PER_SCENE = 1_000
"""Keypoints of each scene that vote, spread over it."""

_BYTES_PER_SCENE = 90 * PER_SCENE
"""Memory of a scene's keypoints."""

_BYTES_PER_COLUMN = 40 * PER_SCENE
"""Memory of the votes of one scene for another."""

_BYTES_PER_PAIR = 8
"""Memory of the number of votes of one scene for another, which is held for all pairs."""

_BLOCK = 128
"""Scenes that are searched at once."""


def similar_pairs(folder: RunFolder, features: Mapping[str, str], config: Config) -> list[tuple[str, str]]:
    """Return the pairs of scenes of which one is among the most similar to the other.

    Parameters
    ----------
    folder
        The run folder, with all features; keeps the result in `SIMILAR_JSON`.
    features
        Content key of each scene's features, in the run's order.
    config
        ``matching.similar`` is the number of scenes, ``compute.budget_mb`` the memory.

    Returns
    -------
    list[tuple[str, str]]
        Query before train, in the run's order.

    Raises
    ------
    ConfigError
        The scenes' keypoints exceed the budget.
    """
    stored = stored_pairs(folder, features, config)
    if stored is not None:
        return stored
    needed = len(features) * (_BYTES_PER_SCENE + len(features) * _BYTES_PER_PAIR) + _BLOCK * _BYTES_PER_COLUMN
    if needed > config.compute.budget_mb * MIB:
        raise ConfigError(
            f'matching.pairs = "similar" takes {-(-needed // MIB)} MiB for {len(features)} scenes and '
            f"compute.budget_mb is {config.compute.budget_mb}: raise it"
        )
    pairs = most_similar(
        [_strongest(folder, scene_id) for scene_id in features], config.matching.similar, config.compute.device
    )
    names = list(features)
    named = [(names[query], names[train]) for query, train in pairs]
    folder.write(SIMILAR_JSON, json.dumps(sealed({"key": _key(features, config), "pairs": named})).encode())
    return named


def stored_pairs(folder: RunFolder, features: Mapping[str, str], config: Config) -> list[tuple[str, str]] | None:
    """Return the pairs that `similar_pairs` stored for these features and settings; None if it has not."""
    try:
        kept = unsealed(json.loads(folder.read(SIMILAR_JSON)))
    except (FileNotFoundError, ValueError):
        return None
    if kept.get("key") != _key(features, config):
        return None
    return [(query, train) for query, train in kept["pairs"]]


def _key(features: Mapping[str, str], config: Config) -> str:
    return content_key("similar", config.matching.similar, PER_SCENE, list(features.items()))


def _strongest(folder: RunFolder, scene_id: str) -> Keypoints:
    tile = folder.tile(scene_id)
    found = spread(folder.own_features(scene_id), tile.full_shape, PER_SCENE)
    return Keypoints(found.xy, found.size, found.angle, found.descriptors)


def most_similar(scenes: Sequence[Keypoints], count: int, device: str = "auto") -> list[tuple[int, int]]:
    """Return the pairs of which one is among the `count` scenes for which the other's keypoints vote most.

    Examples
    --------
    >>> most_similar([], 3)
    []
    """
    chosen: set[tuple[int, int]] = set()
    votes = np.zeros((len(scenes), len(scenes)))
    for first in range(0, len(scenes), _BLOCK):
        block = scenes[first : first + _BLOCK]
        offsets = np.cumsum([0, *map(len, block)], dtype=np.int64)
        descriptors = np.concatenate([scene.descriptors for scene in block])
        keypoints = np.concatenate([np.column_stack([scene.xy, scene.size, scene.angle]) for scene in block])
        for number, query in enumerate(scenes):
            found = hamming_top2(query.descriptors, descriptors, offsets, device=device)
            cast = votes_of(found, query, keypoints, offsets)
            votes[number, first : first + len(block)] = cast.counted(len(block)).votes
    np.fill_diagonal(votes, -1.0)
    for number, row in enumerate(votes):
        best = np.argsort(-row, kind="stable")[: min(count, len(scenes) - 1)]
        chosen.update((min(number, other), max(number, other)) for other in best.tolist())
    return sorted(chosen)
