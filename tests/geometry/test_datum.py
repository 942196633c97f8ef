"""Which pairs tie scenes, and what their offsets are relative to."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from s2fast.geometry.datum import add_network, offsets

NAN = float("nan")


def series(*names: str, **fields: object) -> pd.DataFrame:
    """Scenes by id: ``A1`` is of tile A and of the first pass."""
    times = pd.to_datetime([f"2019-01-0{name[1]}T08:36:01Z" for name in names])
    table = pd.DataFrame({"tile": [name[0] for name in names], "platform": "S2A", "sensing_time": times}, list(names))
    return table.assign(**fields)


def measured(truth: dict[str, tuple[float, float]], pairs: list[tuple[str, str]], error_m: float = 0.1) -> pd.DataFrame:
    """Verified pairs of scenes with these true offsets."""
    shift = np.array([np.subtract(truth[train], truth[query]) for query, train in pairs], float).reshape(-1, 2)
    return pd.DataFrame(
        {
            "query": [query for query, _ in pairs],
            "train": [train for _, train in pairs],
            "dx_m": shift[:, 0],
            "dy_m": shift[:, 1],
            "shift_error_m": error_m,
            "verified": pd.array([True] * len(pairs), "boolean"),
            "model": "shift",
        }
    )


def test_tables_agree_with_the_network() -> None:
    scenes = series("A1", "A2", "A3", "B4", "B5")
    truth = {"A1": (0, 0), "A2": (1, 0), "A3": (2, 0), "B4": (500, 500), "B5": (503, 500)}
    pairs = measured(truth, [("A1", "A2"), ("A1", "A3"), ("A2", "A3"), ("A1", "B4"), ("B4", "B5")])
    pairs.loc[4, "verified"] = pd.NA
    found = add_network(scenes, pairs)
    np.testing.assert_allclose(found["offset_x_m"], [-1, 0, 1, NAN, NAN], atol=1e-9)
    assert found["n_verified"].tolist() == [3, 2, 2, 1, 0]
    # A1 and B4 are of two tiles and two passes, and B4 with B5 is not verified.
    np.testing.assert_allclose(pairs["network_residual_m"], [0, 0, 0, NAN, NAN], atol=1e-9)
    np.testing.assert_allclose(found["closure_m"], [0, 0, 0, NAN, NAN], atol=1e-9)
    assert not found["disagrees"].any()
    assert found["datum"].tolist() == ["median of A"] * 3 + [""] * 2


TRUTH = {"A1": (0.0, 3.0), "A2": (1.0, 0.0), "A3": (2.0, 0.0), "B1": (0.5, 2.0), "B4": (7.0, 5.0), "B5": (6.0, 5.0)}
WITHIN = [*itertools.combinations(["A1", "A2", "A3"], 2), *itertools.combinations(["B1", "B4", "B5"], 2)]


@pytest.mark.parametrize(
    ("change", "linked"),
    [
        ({}, True),
        ({"platform": "S2B"}, False),
        ({"platform": ""}, False),
        ({"sensing_time": pd.Timestamp("2019-01-01T08:36:20Z")}, True),
        ({"sensing_time": pd.Timestamp("2019-01-01T10:16:01Z")}, False),
        ({"sensing_time": pd.NaT}, False),
    ],
)
def test_neighbouring_tiles_of_one_pass_have_one_datum(change: dict[str, object], linked: bool) -> None:
    scenes = series(*TRUTH)
    for name, value in change.items():
        scenes.loc["B1", name] = value
    if change.get("platform") == "":
        scenes.loc["A1", "platform"] = ""
    pairs = measured(TRUTH, [*WITHIN, ("A1", "B1")])
    found, residuals = offsets(scenes, pairs)
    wanted = pd.DataFrame(TRUTH, ["offset_x_m", "offset_y_m"]).T
    tiles = scenes["tile"].to_numpy()
    wanted -= wanted.median() if linked else wanted.groupby(tiles).transform("median")
    np.testing.assert_allclose(found[["offset_x_m", "offset_y_m"]], wanted, atol=1e-6)
    assert found["datum"].unique().tolist() == (["median of A, B"] if linked else ["median of A", "median of B"])
    assert residuals.isna().tolist() == [False] * len(WITHIN) + [not linked]


def test_pairs_of_two_tiles_in_two_passes_move_nothing() -> None:
    scenes, pairs = series(*TRUTH), measured(TRUTH, [*WITHIN, ("A1", "B1"), ("A2", "B4")])
    pairs.loc[len(pairs) - 1, ["dx_m", "dy_m"]] += 50
    found, residuals = offsets(scenes, pairs)
    pd.testing.assert_frame_equal(found, offsets(scenes, pairs[:-1])[0])
    assert residuals.isna().tolist() == [False] * (len(pairs) - 1) + [True]


def test_a_link_to_few_scenes_of_a_tile_does_not_cut_off_the_others() -> None:
    # B1 is linked to tile A, but not to the three other scenes of its tile.
    truth = TRUTH | {"B6": (5.0, 5.0)}
    pairs = measured(truth, [*WITHIN[:3], ("A1", "B1"), ("B4", "B5"), ("B4", "B6"), ("B5", "B6")])
    found, _ = offsets(series(*truth), pairs)
    assert found["datum"].tolist() == ["median of A"] * 3 + ["", *["median of B"] * 3]
    assert found["offset_x_m"].isna().tolist() == [False] * 3 + [True] + [False] * 3
    np.testing.assert_allclose(found.loc[["A1", "A2", "A3"], "offset_x_m"], [-1, 0, 1], atol=1e-9)


def test_the_error_of_a_link_is_part_of_the_offsets_errors() -> None:
    scenes, pairs = series(*TRUTH), measured(TRUTH, [*WITHIN, ("A1", "B1")])
    pairs.loc[len(pairs) - 1, "shift_error_m"] = 2.0
    found, _ = offsets(scenes, pairs, "A1")
    assert found["offset_error_m"][:3].tolist() == pytest.approx([0, 0.1 * np.sqrt(2 / 3), 0.1 * np.sqrt(2 / 3)])
    assert found["offset_error_m"]["B1"] == pytest.approx(2.0)
    assert found["offset_error_m"]["B4"] == pytest.approx(np.hypot(2.0, 0.1 * np.sqrt(2 / 3)))


@pytest.mark.parametrize("reference", ["A2", "R9"])
def test_a_reference_is_held_fixed(reference: str) -> None:
    truth = TRUTH | {"R9": (40.0, -30.0), "C7": (0.0, 0.0), "C8": (0.0, 0.0)}
    scenes = series(*truth)
    scenes.loc["R9", ["tile", "platform", "sensing_time"]] = ["", "", pd.NaT]
    pairs = measured(truth, [*WITHIN, ("A1", "R9"), ("R9", "B4"), ("A2", "B5"), ("C7", "C8")])
    found, _ = offsets(scenes, pairs, reference)
    # Each scene is relative to it, across tiles and passes; what nothing ties to it has no offset.
    tied = [name for name in truth if name[0] in ("AB" if reference == "A2" else "ABR")]
    for name in tied:
        at = found.loc[name, ["offset_x_m", "offset_y_m"]].to_numpy(float)
        np.testing.assert_allclose(at, np.subtract(truth[name], truth[reference]), atol=1e-6)
    assert found.loc[reference, ["offset_x_m", "offset_y_m", "offset_error_m"]].tolist() == [0, 0, 0]
    assert found["datum"].tolist() == [reference if name in tied else "" for name in truth]
    assert found.loc[["C7", "C8"], "offset_x_m"].isna().all()


def test_a_reference_that_nothing_is_tied_to_gives_no_offsets() -> None:
    found, residuals = offsets(series(*TRUTH, "R9"), measured(TRUTH, WITHIN), "R9")
    assert found["offset_x_m"].isna().all()
    assert residuals.isna().all()


def test_scenes_without_names_are_one_series() -> None:
    truth = {"A1": (0.0, 0.0), "A2": (2.0, 0.0)}
    scenes = series(*truth, tile="", platform="", sensing_time=None)
    found, _ = offsets(scenes, measured(truth, [("A1", "A2")]))
    assert found["offset_x_m"].tolist() == pytest.approx([-1, 1])
    assert found["datum"].tolist() == ["median"] * 2
