"""The samples of matches that page and map show, against the same rules pair by pair."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.report.displacements import KeypointPositions
from s2fast.report.match_columns import INLIER, OUTLIER, UNKNOWN, MatchColumns, rank_within, stored_matches
from s2fast.report.shown_matches import nearest_of_each_kind, spread

SEEDS = st.integers(0, 2**32 - 1)


def made_up(rng: np.random.Generator, counts: list[int], kinds: list[int]) -> MatchColumns:
    """Make up matches of pairs 0, 2, 4 ..., with many equal distances."""
    pair = np.repeat(2 * np.arange(len(counts)), counts)
    n = len(pair)
    rows = rng.integers(0, 900, (2, n), np.int32)
    distance, kind = rng.integers(0, 12, n).astype(np.uint16), rng.choice(np.array(kinds, np.uint8), n)
    return MatchColumns(pair, pair % 5, pair % 7, rows[0], rows[1], distance, kind)


def nearest_by_pair(matches: pd.DataFrame, most: int) -> pd.DataFrame:
    """Select the nearest matches of one pair."""
    ranked = matches.assign(other=matches["kind"] != INLIER).sort_values(["other", "distance"], kind="stable")
    n_inliers = int((~ranked["other"]).sum())
    first = min(n_inliers, max(2 * most // 3, most - (len(ranked) - n_inliers)))
    return pd.concat([ranked[:first], ranked[n_inliers : n_inliers + most - first]])


@pytest.mark.slow
@given(
    seed=SEEDS,
    counts=st.lists(st.sampled_from([0, 1, 2, 9, 40]), max_size=6),
    most=st.sampled_from([1, 2, 7, 30, 100]),
    kinds=st.sampled_from([[INLIER, OUTLIER], [UNKNOWN], [INLIER], [OUTLIER]]),
)
def test_nearest_of_each_kind_are_those_of_each_pair(seed: int, counts: list[int], most: int, kinds: list[int]) -> None:
    matches = made_up(np.random.default_rng(seed), counts, kinds)
    found = nearest_of_each_kind(matches, most)
    names = MatchColumns.__dataclass_fields__
    table = pd.DataFrame({name: getattr(matches, name) for name in names})
    wanted = [nearest_by_pair(of_pair, most) for _, of_pair in table.groupby("pair")]
    for name in names:
        expected = np.concatenate([part[name].to_numpy() for part in wanted]) if wanted else np.zeros(0)
        np.testing.assert_array_equal(getattr(found, name), expected)


def spread_by_group(points: np.ndarray, most: int) -> np.ndarray:  # type: ignore[type-arg]
    """Select points of one group."""
    if len(points) <= most:
        return np.arange(len(points))
    side = max(np.ptp(points, axis=0).max() / np.sqrt(most), np.finfo(float).tiny)
    rank = pd.DataFrame((points - points.min(axis=0)) // side).groupby([0, 1]).cumcount()
    return np.sort(np.argsort(rank.to_numpy(), kind="stable")[:most])


@pytest.mark.slow
@given(
    seed=SEEDS,
    counts=st.lists(st.sampled_from([1, 2, 199, 200, 201, 650]), max_size=5),
    grid=st.booleans(),
    most=st.sampled_from([20, 107, 200]),
)
def test_points_are_spread_as_in_each_group(seed: int, counts: list[int], grid: bool, most: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [rng.normal(5e5, 3e3, (count, 2)) for count in counts]
    groups = [np.round(points, -3) for points in groups] if grid else groups
    starts = np.cumsum([0, *counts])
    wanted = [start + spread_by_group(points, most) for start, points in zip(starts[:-1], groups, strict=True)]
    points = np.vstack([np.zeros((0, 2)), *groups])
    found = spread(points, np.repeat(3 * np.arange(len(counts)), counts), most)
    np.testing.assert_array_equal(found, np.concatenate([np.zeros(0, np.intp), *wanted]))


def test_ranks_follow_the_given_order() -> None:
    first, second = np.array([1, 0, 1, 1, 0, 1]), np.array([7, 7, 8, 7, 7, 8])
    assert rank_within(first, second).tolist() == [0, 0, 0, 1, 1, 1]
    assert rank_within(np.zeros(0, np.intp)).tolist() == []


def table(query: list[str], train: list[str], inlier: list[bool | None]) -> pa.Table:
    rows = np.arange(len(query), dtype=np.int32)
    names = {side: pa.array(ids).dictionary_encode() for side, ids in (("query", query), ("train", train))}
    columns = {"query_row": rows, "train_row": rows + 10, "distance": (rows + 20).astype(np.uint16)}
    return pa.table({**names, **columns, "inlier": pa.array(inlier, pa.bool_())})


def test_matches_of_blocks_are_numbered_and_stale_ones_left_out() -> None:
    blocks = {
        "one": table(list("bbaaxa"), list("ccbbba"), [True, False, None, True, True, True]),
        # The pair a, b was computed again under other settings: the run's is in block one.
        "two": table(list("aac"), list("bcd"), [True, True, False]),
        "empty": None,
    }
    read: list[str] = []

    def match_table(name: str) -> pa.Table | None:
        read.append(name)
        return blocks[name]

    folder = SimpleNamespace(verified=SimpleNamespace(match_table=match_table))
    pairs = pd.DataFrame({"query": list("aabca"), "train": list("bccdd")})
    found = list(stored_matches(folder, pairs, ["one", "two", "one", "two", "empty"], list("abcd")))  # type: ignore[arg-type]
    assert sorted(read) == ["empty", "one", "two"]
    one, two = found
    assert one.pair.tolist() == [0, 0, 2, 2]
    assert one.query_row.tolist() == [2, 3, 0, 1]
    assert one.train_row.tolist() == [12, 13, 10, 11]
    assert one.distance.tolist() == [22, 23, 20, 21]
    assert one.kind.tolist() == [UNKNOWN, INLIER, INLIER, OUTLIER]
    assert two.pair.tolist() == [1, 3]
    assert (two.query.tolist(), two.train.tolist()) == ([0, 2], [2, 3])
    joined = MatchColumns.joined([two, one])
    assert joined.pair.tolist() == [0, 0, 1, 2, 2, 3]
    assert joined.query_row.tolist() == [2, 3, 1, 0, 1, 2]


@pytest.mark.parametrize("count", [0, 5])
def test_positions_are_those_of_each_scenes_grid(count: int) -> None:
    rng = np.random.default_rng(0)
    ids = ["a", "b", "c"]
    transforms = {"a": (10.0, 1.0, 5e5, 2.0, -10.0, 5.5e6), "b": (20.0, 0, 3e5, 0, -20.0, 5.5e6), "c": (1.0,) * 6}
    transforms["c"] = (0.0001, 0.0, 33.0, 0.0, -0.0001, 49.6)
    codes = {"a": "EPSG:32636", "b": "EPSG:32637", "c": "EPSG:4326"}
    pixels = {"a": rng.uniform(0, 90, (30, 2)).astype(np.float32), "b": np.zeros((0, 2), np.float32)}
    pixels["c"] = rng.uniform(0, 90, (7, 2)).astype(np.float32)

    def tile(name: str) -> SimpleNamespace:
        return SimpleNamespace(crs=codes[name], transform=transforms[name], full_shape=(100, 120))

    positions = KeypointPositions(SimpleNamespace(tile=tile, positions=pixels.__getitem__), ids)  # type: ignore[arg-type]
    scenes = rng.choice([0, 2], (2, count))
    rows = [np.array([rng.integers(len(pixels[ids[scene]])) for scene in side], np.int32) for side in scenes]
    nothing = np.zeros(count, np.uint8)
    matches = MatchColumns(scenes[0], scenes[0], scenes[1], *rows, nothing, nothing)  # type: ignore[arg-type]
    found = positions.displacements(matches)
    grids = {name: PixelGrid(codes[name], transforms[name], (100, 120)) for name in ids}
    for at in range(count):
        query, train = ids[scenes[0][at]], ids[scenes[1][at]]
        target = grids[query].metric
        start = grids[query].on_map(pixels[query][rows[0][at : at + 1]], target)
        end = grids[train].on_map(pixels[train][rows[1][at : at + 1]], target)
        np.testing.assert_array_equal(found.start[at], start[0])
        np.testing.assert_array_equal(found.end[at], end[0])
        share = (pixels[query][rows[0][at]] + 0.5) / (120, 100) * 65535
        np.testing.assert_array_equal(positions.share(scenes[0], rows[0])[at], np.rint(share))
    assert found.shift.shape == (count, 2)
