"""What results show without truth, held against tables made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from s2fast.folder.record import NullRecord
from s2fast.geometry.nulls import NullRate
from s2fast.sweeps.without_truth import Found, found_in


def run_of(pairs: pd.DataFrame, scenes: pd.DataFrame, null: NullRate | None = None) -> Any:
    history = SimpleNamespace(null_rate=NullRecord.of(null) if null else None)
    return SimpleNamespace(pairs=lambda: pairs, scenes=lambda: scenes, record=SimpleNamespace(history=history))


def pairs_of(rows: list[tuple[str, str, bool | None, float, float, float]], **columns: Any) -> pd.DataFrame:
    pairs = pd.DataFrame(rows, columns=["query", "train", "verified", "dx_m", "dy_m", "shift_error_m"])
    pairs["verified"] = pairs["verified"].astype("boolean")
    fixed = {"overlap_pct": 50.0, "n_good": 10, "n_inliers": 5, "model": "shift"}
    return pairs.assign(**(fixed | columns))


def scenes_of(names: str, tiles: str, outside: str = "", disagreeing: str = "") -> pd.DataFrame:
    offsets = [np.nan if name in outside else 0.0 for name in names]
    disagrees = [name in disagreeing for name in names]
    return pd.DataFrame({"scene_id": list(names), "tile": list(tiles), "offset_x_m": offsets, "disagrees": disagrees})


def test_every_value_by_hand() -> None:
    pairs = pairs_of(
        [
            ("a", "b", True, 1.0, 0.0, 0.1),
            ("b", "c", True, 1.0, 0.0, 0.2),
            ("a", "c", True, 2.0, 3.0, 0.6),
            ("a", "d", False, 9.0, 9.0, 9.0),
            ("b", "d", True, 0.0, 0.0, 0.3),
        ],
        overlap_pct=[50, 50, 50, 50, 0.0],
    )
    found = found_in(run_of(pairs, scenes_of("abcd", "xxxx", disagreeing="d"), NullRate(trials=50, verified=1)))
    assert found == Found(
        pairs_with_ground=4, good_matches=50, verified_pairs=4, verified_pct=100.0, inliers=20, null_trials=50,
        null_verified=1, null_pct=2.0, null_low_pct=0.05062, null_high_pct=10.65, stated_error_m=0.25, triples=1,
        closure_m=3.0, closure_95_m=3.0, agreeing_pct=75.0,
    )  # fmt: skip


def test_a_triple_of_two_tiles_or_with_a_turned_pair_has_no_closure() -> None:
    rows = [("a", "b", True, 1.0, 0.0, 0.1), ("b", "c", True, 1.0, 0.0, 0.1), ("a", "c", True, 2.0, 3.0, 0.1)]
    assert found_in(run_of(pairs_of(rows), scenes_of("abc", "xxy"))).triples == 0
    turned = pairs_of(rows, model=["shift", "similarity", "shift"])
    found = found_in(run_of(turned, scenes_of("abc", "xxx")))
    assert (found.triples, found.closure_m, found.closure_95_m) == (0, None, None)


def test_the_only_scene_of_a_tile_has_no_series_to_agree_with() -> None:
    rows = [("a", "b", True, 1.0, 0.0, 0.1)]
    assert found_in(run_of(pairs_of(rows), scenes_of("abz", "xxy", outside="z"))).agreeing_pct == 100
    assert found_in(run_of(pairs_of(rows), scenes_of("abz", "xxx", outside="z"))).agreeing_pct == pytest.approx(66.67)
    assert found_in(run_of(pairs_of(rows), scenes_of("ab", "xy", outside="ab"))).agreeing_pct is None


def test_without_verification_or_without_a_verified_pair_there_is_nothing_to_tell() -> None:
    unjudged = pairs_of([("a", "b", None, np.nan, np.nan, np.nan)])
    assert found_in(run_of(unjudged, scenes_of("ab", "xx"))) == Found(1, 10)
    found = found_in(run_of(pairs_of([("a", "b", False, np.nan, np.nan, np.nan)]), scenes_of("ab", "xx", outside="ab")))
    assert (found.verified_pairs, found.stated_error_m, found.closure_m, found.agreeing_pct) == (0, None, None, 0)
