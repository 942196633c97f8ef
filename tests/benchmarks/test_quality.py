"""Quality against known displacements, on synthetic runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.datasets import DataSpec, open_dataset
from s2fast.config import load_config
from s2fast.errors import InputError
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.results import Run
from s2fast.sweeps.data import Truth, load_truth
from s2fast.sweeps.quality import _matches, _verdicts, area_under_curve, quality
from tests.archives import Archive

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("quality") / "out"
    run_stages(Job(load_config(overrides={"regions.mode": "none"}), [archive.scenes], None, out))
    return Run(out)


def test_true_matches_are_those_at_the_known_displacement(run: Run) -> None:
    # The archive's ground is one image, cut at the headers' places: every displacement is 0.
    found = quality(run, Truth(None))
    kept = sum(len(table) for table in run.folder.verified.match_tables())
    assert found.matches == kept == run.pairs()["n_good"].sum()
    assert found.pairs_with_ground == 6
    assert found.precision_pct > 50
    assert found.true_matches <= found.matches
    assert found.matchable_pct == 100
    assert (found.verified_pairs, found.false_verifications) == (6, 0)
    assert found.shift_error_px is not None
    assert found.shift_error_px < 0.5


def test_with_a_wrong_truth_nothing_is_true(run: Run) -> None:
    wrong = Truth({name: (500.0 * number, 0.0) for number, name in enumerate(run.scene_ids)})
    right = quality(run, Truth(None))
    assert quality(run, wrong).true_matches < 0.05 * right.true_matches
    # A displacement that all scenes share is none.
    assert quality(run, Truth(dict.fromkeys(run.scene_ids, (500.0, 70.0)))) == right


def test_matches_of_turned_grids_are_as_true(run: Run) -> None:
    upright = {item.scene.scene_id: item.raster for item in run.record.usable}
    turned = {}
    for name, raster in upright.items():
        a, b, c, d, e, f = raster.transform
        turned[name] = replace(raster, transform=(-d, -e, -f, a, b, c))
    pairs = run.pairs()
    shared = dict.fromkeys(zip(pairs["query"], pairs["train"], strict=True), True)
    wanted = _matches(run, Truth(None), upright, shared)
    assert wanted[1] > 0
    assert _matches(run, Truth(None), turned, shared) == wanted


def verdicts(rows: list[tuple[str, str, bool | None, float, float]]) -> tuple[int | None, int | None, float | None]:
    pairs = pd.DataFrame(rows, columns=["query", "train", "verified", "dx_m", "dy_m"])
    pairs["verified"] = pairs["verified"].astype("boolean")
    truth = Truth({"a": (0.0, 0.0), "b": (30.0, -40.0), "far": (0.0, 0.0)})
    shared = {("a", "b"): True, ("a", "far"): False, ("b", "far"): False}
    return _verdicts(pairs, truth, shared, {"a": 10.0, "b": 10.0})


def test_verdicts_are_held_against_the_truth() -> None:
    assert verdicts([("a", "b", True, 33.0, -36.0)]) == (1, 0, 0.5)
    # The wrong shift; no ground in common; not verified says nothing.
    assert verdicts([("a", "b", True, -30.0, 40.0), ("a", "far", True, 0.0, 0.0), ("b", "far", False, 0, 0)]) == (
        0,
        2,
        None,
    )


def test_without_verification_there_are_no_verdicts() -> None:
    assert verdicts([("a", "b", None, np.nan, np.nan)]) == (None, None, None)


def test_the_area_under_the_curve_is_the_chance_to_rank_a_pair_right() -> None:
    score, same = pd.Series([9.0, 4.0, 4.0, 1.0]), pd.Series([True, True, False, False])
    # Of four comparisons three are right and one is a tie.
    assert area_under_curve(score, same) == 0.875
    assert area_under_curve(score, ~same) == 0.125
    assert area_under_curve(score, pd.Series([True] * 4)) is None


def test_a_synthetic_set_is_made_once_with_its_truth(tmp_path: Path) -> None:
    spec = DataSpec(kind="synth", size=256, tiles=["36UXA"], dates=2)
    data = open_dataset(spec, tmp_path)
    assert len(data.scenes) == 2
    assert data.regions is not None
    made = Path(data.scenes[0]).stat().st_mtime_ns
    assert Path(open_dataset(spec, tmp_path).scenes[0]).stat().st_mtime_ns == made
    truth = load_truth(data.truth)
    assert truth is not None
    assert truth.shifts_m is not None
    assert len(truth.shifts_m) == 2
    query, train = truth.shifts_m
    there, back = truth.shift_m(query, train), truth.shift_m(train, query)
    assert there != (0.0, 0.0)
    assert there == (-back[0], -back[1])


def test_a_folder_without_truth_and_a_folder_without_scenes(archive: Archive, tmp_path: Path) -> None:
    data = open_dataset(DataSpec(kind="folder", folder=str(archive.scenes)), tmp_path)
    assert len(data.scenes) == 4
    assert data.truth is None
    with pytest.raises(InputError, match="contains no scene"):
        open_dataset(DataSpec(kind="folder", folder=str(tmp_path)), tmp_path)
    with pytest.raises(InputError, match="no folder"):
        open_dataset(DataSpec(kind="folder", folder=str(tmp_path / "absent")), tmp_path)


def test_the_real_set_has_48_scenes_and_truth_0(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.datasets.REAL", shared_data / "ukraine")
    data = open_dataset(DataSpec(with_regions=False), tmp_path)
    assert len(data.scenes) == 48
    assert data.regions is None
    assert load_truth(data.truth) == Truth(None)
