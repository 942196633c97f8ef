"""Local displacements: found where they are, refused where they are not, and taken away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio
from rasterio.transform import Affine
from threadpoolctl import threadpool_info, threadpool_limits

import s2fast
from s2fast.align import local
from s2fast.align.correction import Correction, corrections
from s2fast.align.field_model import Cells, Field, Model, choose
from s2fast.align.local import BANDS, with_fields
from s2fast.errors import InputError
from s2fast.results import Run
from tests.archives import ORIGINS, safe_path, textured, write_scene
from tests.command_line import s2fast as command

SIDE, MARGIN, TILE = 512, 24, "36UYA"
DAYS = {"20190427": "nothing", "20190507": "nothing", "20190517": "nothing", "20190527": "turned", "20190606": "bent"}


def scene_id(day: str) -> str:
    return f"S2A_{day}T083601_T{TILE}"


def warp(kind: str, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """Return how far right and down a scene shows the ground, at its pixels [px]."""
    right, down = (x - SIDE / 2) * 4e-3, (y - SIDE / 2) * 4e-3
    if kind == "turned":
        return [1 - down, right - 2]
    wave = 2 * np.pi / SIDE
    return [1.0 * np.sin(y * wave), 0.8 * np.cos(x * wave)] if kind == "bent" else [0 * x, 0 * y]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("local")
    rng = np.random.default_rng(8)
    ground = textured(rng, (SIDE + 2 * MARGIN, SIDE + 2 * MARGIN))
    x, y = np.meshgrid(*[np.arange(SIDE) + 0.5] * 2)
    for day, kind in DAYS.items():
        right, down = warp(kind, x, y)
        at = [(axis - moved - 0.5 + MARGIN).astype(np.float32) for axis, moved in ((x, right), (y, down))]
        seen = cv2.remap(ground, *at, cv2.INTER_CUBIC) + rng.normal(0, 3, (SIDE, SIDE))
        pixels = np.clip(seen, 1, 255).astype(np.uint8)
        write_scene(safe_path(folder / "archive", TILE, f"{day}T083601"), np.stack([pixels] * 3), ORIGINS[TILE])
    return s2fast.run(scenes=folder / "archive", out=folder / "out")


def apart(one: Path, other: Path) -> float:
    """Mean difference of the grey levels inside two rasters on one grid."""
    inner = (slice(20, -20), slice(20, -20))
    pixels = [rasterio.open(path).read(1)[inner].astype(np.float64) for path in (one, other)]
    return float(np.abs(pixels[0] - pixels[1]).mean())


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["median", scene_id("20190427")])
def test_the_right_model_is_chosen_and_takes_the_displacements_away(run: Run, tmp_path: Path, reference: str) -> None:
    table = run.align(tmp_path, form="resampled", resampling="cubic", model="auto", reference=reference, check=True)
    rows = table.set_index("scene_id")
    assert rows["aligned"].all()
    assert rows["model"].tolist() == ["shift"] * 3 + ["similarity", "grid"]
    changed = rows["gain_m"] > 0
    assert changed.tolist() == (rows["model"] != "shift").tolist()
    told = (tmp_path / "alignment.html").read_text("utf-8")
    assert "<h1>5 of 5 scenes aligned</h1>" in told
    assert told.count("<tr") == 1 + len(DAYS)
    assert "<svg" in told
    assert "<script" not in told
    assert (rows.loc[changed, "after_ce90_m"] < 0.7 * rows.loc[changed, "before_ce90_m"]).all()
    fixed, bent = (tmp_path / rows.loc[scene_id(day), "files"] for day in ("20190507", "20190606"))
    with rasterio.open(tmp_path / f"{scene_id('20190606')}_displacement.tif") as field:
        dx, dy, error, count = field.read()
        assert field.descriptions == BANDS
        assert field.tags()["S2FAST_MODEL"] == "grid"
        at = np.column_stack(np.meshgrid(*[np.linspace(0, SIDE, 2 * side + 1)[1::2] for side in dx.shape]))
        x, y = at[:, : dx.shape[1]], at[:, dx.shape[1] :]
    right, down = warp("bent", x, y)
    inner = (slice(4, -4), slice(4, -4))
    left = np.hypot(dx - 10 * right, dy + 10 * down)[inner]
    # 0.15 px are allowed; the datum of so few scenes is off by some of it.
    assert np.median(left) < 1.5
    assert np.median(error) < 1.0
    assert count.sum() > 0
    # The pixels show what the unmoved scene shows, apart from noise and one more interpolation.
    assert apart(bent, fixed) < 6 < apart(run_source(run, "20190606"), fixed) / 1.5


def run_source(run: Run, day: str) -> Path:
    (item,) = [item for item in run.record.usable if item.scene.scene_id == scene_id(day)]
    assert item.scene.source.path is not None
    return item.scene.source.path


@pytest.mark.slow
def test_a_geotransform_holds_a_similarity_but_no_grid(run: Run, tmp_path: Path) -> None:
    table = run.align(tmp_path, model="auto").set_index("scene_id")
    assert table.loc[scene_id("20190527"), "model"] == "similarity"
    assert "grid" not in table["model"].tolist()
    with rasterio.open(tmp_path / table.loc[scene_id("20190527"), "files"]) as turned:
        back = ~Affine(10, 0, ORIGINS[TILE][0], 0, -10, ORIGINS[TILE][1]) @ turned.transform
    x, y = np.meshgrid([50.0, 256.0, 460.0], [50.0, 256.0, 460.0])
    right, down = warp("turned", x, y)
    found = np.array(back @ (x, y)) - [x, y]
    # Any displacement that the datum has is common to all; the rest is right to a tenth of a pixel.
    np.testing.assert_allclose(found, [-right, -down], atol=0.15)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    run.align(tmp_path, model="auto")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(InputError, match="model is 'grid', and form is 'vrt': a geotransform cannot hold a grid"):
        run.align(tmp_path, model="grid")
    with pytest.raises(InputError, match="max_error_m is -1: it must be a length in metres"):
        run.align(tmp_path / "refused", max_error_m=-1)
    with pytest.raises(InputError, match="it must be one of shift, similarity, affine, grid, auto"):
        run.align(tmp_path, model="spline")


@pytest.mark.slow
def test_a_model_that_gains_nothing_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "align", run.folder, "--to", tmp_path, "--as", "resampled", "--model", "grid") == 0
    lines = capsys.readouterr().err.splitlines()
    refused = [line for line in lines if "grid gains nothing: held-out matches are" in line]
    assert [line.split(": ")[1] for line in refused] == [scene_id(day) for day in list(DAYS)[:3]]
    table = pd.read_csv(tmp_path / "alignment.csv")
    assert table["model"].tolist() == ["shift"] * 3 + ["grid"] * 2
    told = (tmp_path / "alignment.html").read_text("utf-8")
    assert told.count("aligned; grid gains nothing") == 3
    assert "<svg" not in told
    field = tmp_path / f"{scene_id('20190606')}_displacement.tif"
    assert field.exists()
    plain = run.align(tmp_path, form="resampled").set_index("scene_id")
    assert not field.exists()
    told = "not connected: its pairs have rotation or scale, which model auto corrects"
    assert plain["reason"].tolist() == [""] * 3 + [told] * 2


@pytest.mark.slow
def test_linear_algebra_runs_on_one_thread(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def observed(*arguments: Any) -> Any:
        threads.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return real(*arguments)

    real = local._with_field
    with monkeypatch.context() as patched, threadpool_limits(2, user_api="blas"):
        patched.setattr(local, "_with_field", observed)
        run.align(tmp_path, model="affine")
        after = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert set(threads) == {1}
    assert set(after) == {2}


def cells(rng: np.random.Generator, moved: npt.NDArray[np.float64] | float, count: int = 200) -> Cells:
    share = rng.uniform(size=(count, 2))
    noise = rng.normal(0, 1, (count, 2))
    return Cells(share, moved + noise, np.full(count, 10.0), np.diag([5000.0, -5000.0]), 10.0)


def test_noise_is_a_shift() -> None:
    chosen = [choose(cells(np.random.default_rng(seed), 7.0)).model for seed in range(12)]
    assert chosen.count(Model.SHIFT) == 12


def test_an_affinity_that_is_no_similarity() -> None:
    rng = np.random.default_rng(1)
    plain = cells(rng, 0.0)
    sheared = plain.moved_m + (plain.share - 0.5) * [6, 6]
    assert choose(Cells(plain.share, sheared, plain.count, plain.sides_m, 10.0)).model is Model.AFFINE


@pytest.mark.parametrize("kept", [slice(20), slice(90)])
def test_few_cells_allow_no_grid(kept: slice) -> None:
    rng = np.random.default_rng(2)
    whole = cells(rng, 0.0)
    bent = 15 * np.sin(2 * np.pi * whole.share)
    choice = choose(Cells(whole.share[kept], bent[kept], whole.count[kept], whole.sides_m, 10.0))
    assert Model.GRID not in choice.held_out_m
    assert choose(Cells(whole.share, bent, whole.count, whole.sides_m, 10.0)).model is Model.GRID


def test_one_corner_decides_nothing() -> None:
    # What only a sixteenth of the ground shows, such as a cloud's edge, is no reason to bend the scene.
    rng = np.random.default_rng(3)
    plain = cells(rng, 0.0)
    corner = (plain.share < 0.25).all(axis=1)
    moved = plain.moved_m + 12.0 * corner[:, None]
    assert choose(Cells(plain.share, moved, plain.count, plain.sides_m, 10.0)).model is Model.SHIFT


def test_the_stated_error_is_the_scatter() -> None:
    share = np.random.default_rng(4).uniform(0.1, 0.9, (50, 2))
    fields: list[Field] = []
    for seed in range(20):
        drawn = cells(np.random.default_rng(seed), 0.0)
        fields.append(choose(Cells(drawn.share, drawn.moved_m, drawn.count, drawn.sides_m, 10.0), models=()).field)
    scatter = np.std([field.at(share) for field in fields], axis=0).mean()
    stated = np.mean([field.error_m(share) for field in fields])
    assert stated == pytest.approx(scatter, rel=0.3)


def between(run: Run, days: list[str], reference: str = "") -> dict[str, Correction]:
    """Correct a run as if its only verified pairs were those between some days."""
    kept = [scene_id(day) for day in days]
    pairs = run.pairs()
    pairs["verified"] &= pairs["query"].isin(kept) & pairs["train"].isin(kept)
    planned = corrections(run.record, run.scenes(), pairs, reference=reference, plain_only=False)
    found = with_fields(planned, run.folder, run.record, pairs, tuple(Model), reference)
    return {one.scene_id[4:12]: one for one in found if one.scene_id[4:12] in days}


@pytest.mark.slow
def test_of_two_scenes_neither_is_taken_for_the_distorted_one(run: Run) -> None:
    # Either shift would be a correction that fits nowhere, with an error that is too small.
    found = between(run, ["20190427", "20190606"])
    for one, other in (("20190427", "20190606"), ("20190606", "20190427")):
        assert found[one].problem.startswith(f"displaced from {scene_id(other)} by more than a shift: held-out")
        assert found[one].problem.endswith(
            "cannot be told without a third scene that is verified with both, or reference"
        )
    assert between(run, ["20190427", "20190606"], scene_id("20190427"))["20190606"].model is Model.GRID
    alike = between(run, ["20190427", "20190517"])
    assert [(one.problem, one.note, one.model) for one in alike.values()] == [("", "", Model.SHIFT)] * 2


@pytest.mark.slow
def test_two_that_are_alike_tell_that_the_third_is_distorted(run: Run) -> None:
    found = between(run, ["20190427", "20190517", "20190606"])
    assert [one.model for one in found.values()] == [Model.SHIFT, Model.SHIFT, Model.GRID]
    assert {one.problem + one.note for one in found.values()} == {""}
