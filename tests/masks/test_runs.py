"""Whole runs with masks: what is masked, what is said of it, and what is computed again."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio.shutil
import shapely

import s2fast
from s2fast.config import Ingest, load_config
from s2fast.errors import InputError
from s2fast.files.source import Source
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.masks.lookup import FoundMask
from s2fast.masks.read import is_classification
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.stages.keys import features_keys, tile_key
from tests.archives import textured, write_scene
from tests.command_line import s2fast as s2fast_command
from tests.masks.products import SIDE, beside, box, gml, write_classes, write_product

SETTINGS = {"features.upsample": 1, "features.upright": True, "features.threshold": 0.001}


def run(archive: Path, out: Path, **settings: Any) -> RunRecord:
    overrides = {**SETTINGS, **{f"ingest.{name}": value for name, value in settings.items()}}
    return run_stages(Job(load_config(overrides=overrides), [archive], None, out))


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four products of one ground: with a classification, raster classes, polygons, and without a mask."""
    folder = tmp_path_factory.mktemp("products")
    left = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    left[:, : SIDE // 8] = 9
    write_classes(beside(write_product(folder, "L2A", "20190427"), "SCL_20m.jp2"), left, 20)
    bands = np.zeros((3, SIDE // 6, SIDE // 6), np.uint8)
    bands[1, :, : SIDE // 24] = 1
    bands[2] = 1
    write_classes(beside(write_product(folder, "L1C", "20220606"), "MSK_CLASSI_B00.jp2"), bands, 60)
    path = beside(write_product(folder, "L1C", "20160830"), "MSK_CLOUDS_B00.gml")
    path.write_text(gml(("exterior", box(0, 0, SIDE // 4, SIDE))))
    write_product(folder, "L1C", "20190606")
    return folder


@pytest.fixture(scope="module")
def finished(products: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    out = tmp_path_factory.mktemp("masked") / "out"
    return run(products, out, mask_buffer_m=20), out


@pytest.mark.slow
def test_no_keypoint_lies_on_a_cloud_and_each_source_is_named(finished: tuple[RunRecord, Path]) -> None:
    record, out = finished
    scenes = s2fast.open_run(out).scenes().set_index("scene_id")
    found = {item.scene.scene_id: item.mask_kind for item in record.usable}
    assert dict(scenes["mask"]) == {
        "S2A_20160830T083601_T36UXA": "MSK_CLOUDS, brightness",
        "S2A_20190427T083601_T36UXA": "SCL",
        "S2A_20190606T083601_T36UXA": "brightness",
        "S2A_20220606T083601_T36UXA": "MSK_CLASSI, brightness",
    }
    folder = RunFolder(out)
    # 60 columns of cloud, widened by two.
    masked = SIDE // 4 + 2
    for name, kind in found.items():
        columns = folder.features(name).xy[:, 0]
        if kind:
            assert masked - 0.5 < columns.min() < masked + 10
            assert folder.missing(name).mean() == pytest.approx(masked / SIDE)
            assert scenes["clear_pct"][name] < 75
            assert folder.grey(name)[:, :masked].std() > 1, "pixels are kept as they are"
        else:
            assert columns.min() < 30
    csv = pd.read_csv(out / "scenes.csv").set_index("scene_id")
    assert dict(csv["mask"]) == dict(scenes["mask"])
    assert "clear by ${scene.mask}" in (out / "report.html").read_text("utf-8")


@pytest.mark.slow
def test_a_run_repeated_computes_nothing_and_a_changed_mask_its_scene_only(
    products: Path, finished: tuple[RunRecord, Path]
) -> None:
    _, out = finished
    again = run(products, out, mask_buffer_m=20)
    assert again.history.stages["ingest"].done == 4
    before = features_keys(again)
    changed = load_config(overrides={**SETTINGS, "ingest.mask_buffer_m": 20, "ingest.mask_values": [9]})
    keys = {
        item.scene.scene_id
        for item in again.usable
        if tile_key(item, changed, None) != RunFolder(out).tile_key(item.scene.scene_id)
    }
    assert keys == {"S2A_20190427T083601_T36UXA"}
    assert len(set(before.values())) == 4


def test_keys_change_only_with_the_result(products: Path, tmp_path: Path) -> None:
    def keys(mask: str, *, clouds: bool = True) -> dict[str, str]:
        config = load_config(overrides={**SETTINGS, "ingest.mask": mask, "ingest.clouds": clouds})
        from s2fast.planning import plan

        return features_keys(plan(Job(config, [products], None, tmp_path)))

    auto, bright, none, filled = keys("auto"), keys("bright"), keys("none"), keys("auto", clouds=False)
    without = "S2A_20190606T083601_T36UXA"
    assert auto[without] == bright[without]
    for name in auto:
        assert len({auto[name], bright[name], none[name], filled[name]}) == 4 - (name == without)


@pytest.fixture
def bright_scene(tmp_path: Path) -> Path:
    """A scene of which three quarters are white."""
    grey = textured(np.random.default_rng(8), (SIDE, SIDE)) // 2
    grey[: 3 * SIDE // 4] = 230 + grey[: 3 * SIDE // 4] // 8
    return write_scene(tmp_path / "in" / "T36UXA_20190701T083601_TCI.jp2", np.stack([grey] * 3))


@pytest.mark.slow
def test_what_is_not_judged_is_never_clear(bright_scene: Path, tmp_path: Path) -> None:
    record = run(bright_scene.parent, tmp_path / "out")
    [scene] = s2fast.open_run(tmp_path / "out").scenes().to_dict("records")
    assert scene["mask"] == "not judged: over 60 % bright"
    assert np.isnan(scene["clear_pct"])
    [warning] = record.history.warnings
    assert warning.startswith("clouds were not judged in 1 scene, over 60 % bright")
    assert str(scene["scene_id"]) in warning
    record = run(bright_scene.parent, tmp_path / "out", mask="none")
    [scene] = s2fast.open_run(tmp_path / "out").scenes().to_dict("records")
    assert scene["mask"] == "not judged"
    assert np.isnan(scene["clear_pct"])
    assert list(record.history.warnings) == []


@pytest.mark.slow
def test_a_mask_that_cannot_be_used_leaves_out_its_scene_only(products: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    everything = np.ones((SIDE, SIDE), np.uint8)
    for item, values in (("20190427", everything), ("20190606", 0 * everything), ("20220606", everything[:50])):
        corner = (300_000.0, 5_000_000.0) if item == "20220606" else (600000.0, 5600040.0)
        write_classes(masks / f"{item}.tif", values, 10, corner)
    record = run(products, tmp_path / "out", mask="file", mask_file=f"{masks}/{{date}}.tif")
    problems = {name.split("_")[1][:8]: text for name, text in record.history.problems.items()}
    assert set(problems) == {"20160830", "20190427", "20220606"}
    assert "20160830.tif does not exist: make it" in problems["20160830"]
    assert "20190427.tif leaves no pixel of it" in problems["20190427"]
    assert "20220606.tif lies on other ground than its scene" in problems["20220606"]
    assert not any("\n" in text for text in problems.values())
    [scene] = s2fast.open_run(tmp_path / "out").scenes().to_dict("records")
    assert scene["mask"] == "own file"
    saved = json.loads((tmp_path / "out" / "run.json").read_text())["scenes"]
    masks_of = [item["mask"]["path"] for item in saved if item["mask"]]
    assert str(masks / "20190606.tif") in masks_of
    with pytest.raises(InputError, match="none of the 4 scenes found can be used; the first problem: .*does not exist"):
        run(products.parent / products.name, tmp_path / "other", mask="scl", mask_file=f"{masks}/{{id}}.tif")


@pytest.mark.slow
def test_masks_beside_their_scenes_are_no_scenes(tmp_path: Path) -> None:
    """As docs/masks.md names them."""
    for name in ("a", "b"):
        write_scene(tmp_path / "in" / f"{name}.tif", textured(np.random.default_rng(1), (SIDE, SIDE)))
        write_scene(tmp_path / "in" / f"{name}_cloud.tif", np.eye(SIDE, dtype=np.uint8))
    pattern = "{folder}/{stem}_cloud.tif"
    record = run(tmp_path / "in", tmp_path / "out", mask="file", mask_file=pattern)
    assert record.history.problems == {}
    assert [str(item) for item in record.usable] == ["a", "b"]
    # What is named counts, and without such a mask it is a raster as any other.
    named = [tmp_path / "in", tmp_path / "in/b_cloud.tif"]
    config = load_config(overrides={**SETTINGS, "ingest.mask": "file", "ingest.mask_file": pattern})
    record = run_stages(Job(config, named, None, tmp_path / "named"))
    assert list(record.history.problems) == ["b_cloud"]
    assert len(run(tmp_path / "in", tmp_path / "none", mask="none").usable) == 4
    own = run(tmp_path / "in", tmp_path / "own", mask="file", mask_file="{folder}/{stem}.tif", mask_values=[7])
    assert len(own.usable) == 4


@pytest.mark.slow
@pytest.mark.parametrize("keys", [False, True], ids=["within its keys", "after its keys"])
def test_a_mask_cut_short_is_one_line_and_gdals_words_are_in_the_log(
    keys: bool,
    products: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for date in ("20160830", "20190427", "20190606", "20220606"):
        write_classes(tmp_path / f"{date}.tif", np.zeros((SIDE, SIDE), np.uint8), 10)
    write_classes(tmp_path / "20190606.tif", np.random.default_rng(0).integers(0, 2, (SIDE, SIDE), np.uint8), 10)
    cut = tmp_path / "20190606.tif"
    rasterio.shutil.copy(cut, tmp_path / "cog.tif", driver="COG")  # its header comes first
    whole = (tmp_path / "cog.tif").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2 if keys else whole.index(b"WGS 84")])
    settings = ("--set", "ingest.mask=file", "--set", f"ingest.mask_file={tmp_path}/{{date}}.tif")
    assert s2fast_command(monkeypatch, "ingest", "--scenes", products, "--out", tmp_path / "out", *settings) == 3
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    [told] = [record.message for record in warned if record.name.startswith("s2fast")]
    assert "20190606.tif" in told
    assert "TIFF" in told
    # Once a logger passes nothing on, pytest listens to it itself.
    assert not logging.getLogger("rasterio").propagate
    log = (tmp_path / "out" / "run.log").read_text()
    assert ("warning rasterio" in log) is not keys, log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"), [("fmask", "Fmask"), ("qa_pixel", "QA_PIXEL"), ("probability", "CLD"), ("classes", "MSK_CLASSI")]
)
@pytest.mark.parametrize("noisy", [True, False])
def test_noise_is_no_mask_of_any_kind(kind: str, name: str, noisy: bool, tmp_path: Path) -> None:
    values = np.zeros((3, 300, 300), np.uint8)
    values[:, 40:200, 100:160] = 90
    if noisy:
        np.random.default_rng(1).shuffle(values.reshape(3, -1), axis=1)
    path = Source.local(write_classes(tmp_path / f"{name}.tif", values, 20))
    assert is_classification(FoundMask(kind, path, ""), Ingest()) is not noisy


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["all cloud", "noise", "no classes"])
def test_a_mask_that_is_none_or_leaves_nothing_is_not_used_by_auto(kind: str, tmp_path: Path) -> None:
    product = write_product(tmp_path / "in", "L2A", "20190427")
    classes = np.full((SIDE // 2, SIDE // 2), {"all cloud": 9, "noise": 4, "no classes": 120}[kind], np.uint8)
    if kind == "noise":
        classes[:] = np.random.default_rng(1).choice(np.array([4, 5, 8], np.uint8), classes.shape, p=(0.4, 0.4, 0.2))
    write_classes(beside(product, "SCL_20m.jp2"), classes, 20)
    found = {}
    for mask in ("auto", "bright"):
        record = run(tmp_path / "in", tmp_path / mask, mask=mask)
        assert not record.history.problems
        done = s2fast.open_run(tmp_path / mask)
        found[mask] = done.scenes()["mask"].tolist(), done.features(done.scene_ids[0]).xy
    assert [words for words, _ in found.values()] == [["brightness (SCL not used)"], ["brightness"]]
    np.testing.assert_array_equal(found["auto"][1], found["bright"][1])
    assert len(found["auto"][1]) > 100


@pytest.mark.slow
def test_masks_that_leave_nothing_of_any_scene_end_in_one_line(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_scene(tmp_path / "in" / f"{name}.tif", np.full((64, 64), 90, np.uint8))
        write_scene(tmp_path / "masks" / f"{name}.tif", np.ones((64, 64), np.uint8))
    pattern = f"{tmp_path}/masks/{{stem}}.tif"
    for _ in range(2):
        with pytest.raises(InputError, match=r"none of the 2 scenes can be used; the first problem: .*leaves no pixel"):
            run(tmp_path / "in", tmp_path / "out", mask="file", mask_file=pattern)
    assert len(run(tmp_path / "in", tmp_path / "out", mask="none").usable) == 2


@pytest.mark.slow
def test_own_polygons_elsewhere_are_named_and_none_mean_a_clear_sky(products: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    here = geopandas.GeoSeries([shapely.box(600_100, 5_599_900, 600_300, 5_600_000)], crs="EPSG:32636").to_crs(4326)
    here.to_file(masks / "20190427.geojson")
    here.transform(lambda xy: xy[:, ::-1]).to_file(masks / "20190606.geojson")
    # Metres, which GeoJSON takes for degrees.
    here.to_crs(32636).set_crs(4326, allow_override=True).to_file(masks / "20220606.geojson")
    (masks / "20160830.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    record = run(products, tmp_path / "out", mask="file", mask_file=f"{masks}/{{date}}.geojson")
    assert record.history.problems == {}
    (warning,) = record.history.warnings
    assert warning.startswith("the polygons of clouds of 2 scenes lie elsewhere and mask nothing: S2A_20190606")
    assert "20190606.geojson: they lie at longitude 50.5" in warning
    assert "it lies at longitude 34.4" in warning
    assert "\n" not in warning
    scenes = s2fast.open_run(tmp_path / "out").scenes().set_index("scene_id")
    assert set(scenes["mask"]) == {"own polygons"}
    masked = scenes["clear_pct"] < scenes["clear_pct"].max()
    assert [name[4:12] for name in scenes.index[masked]] == ["20190427"]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"mask": "file"}, {"mask": "scl"}], ids=["own masks", "of products"])
def test_a_reference_from_outside_needs_no_mask(
    settings: dict[str, Any], products: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (image,) = products.rglob("*20190427*TCI*.jp2")
    archive, reference = tmp_path / "archive", tmp_path / "ortho.tif"
    shutil.copytree(next(path for path in image.parents if path.parent == products), archive / "one.SAFE")
    rasterio.shutil.copy(image, reference, driver="GTiff")
    if settings["mask"] == "file":
        settings = settings | {"mask_file": f"{tmp_path}/{{date}}.geojson"}
        shapes = [shapely.box(600_100, 5_599_900, 600_300, 5_600_000)]
        geopandas.GeoSeries(shapes, crs="EPSG:32636").to_crs(4326).to_file(tmp_path / "20190427.geojson")
    overrides = {**SETTINGS, **{f"ingest.{name}": value for name, value in settings.items()}}
    config = load_config(overrides=overrides)
    record = run_stages(Job(config, [archive], None, tmp_path / "out", reference=reference))
    assert record.history.problems == {}
    wanted = "the reference has no mask, so that its clouds are found by brightness: "
    assert [text.startswith(wanted) for text in caplog.messages if "mask" in text] == [True]
    scenes = s2fast.open_run(tmp_path / "out").scenes().set_index("scene_id")
    assert scenes.loc["ortho", "mask"] == "brightness"
    assert scenes["mask"].drop("ortho").tolist() == ["own polygons" if settings["mask"] == "file" else "SCL"]
    # One that is a scene of the run needs the mask that all have.
    if settings["mask"] == "file":
        (tmp_path / "20190427.geojson").unlink()
        with pytest.raises(InputError, match=r"the reference cannot be used: .*20190427\.geojson does not exist"):
            run_stages(Job(config, [archive], None, tmp_path / "other", reference=scenes.index.drop("ortho")[0]))
