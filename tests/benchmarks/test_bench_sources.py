"""The commands that measure masks, resolutions, second looks and checks print their rows, on small data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_geom
from shapely.geometry import box, mapping

from benchmarks import (
    bench_masks,
    bench_quality,
    bench_resolutions,
    bench_safety,
    bench_second_look,
    colours,
    drawn_clouds,
    grids,
    interpolated,
)
from tests.archives import safe_path, textured, write_scene

SIDE_PX = 320

pytestmark = pytest.mark.slow


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_masks_of_every_kind_hide_the_clouds_that_were_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_masks.main(["--side", "600", "--only", "costs", "--json"]) == 0
    found = rows(capsys)
    assert {row["mask"] for row in found} == set(bench_masks.STORED)
    for row in found:
        # A third of the ground, and 50 m around each cloud; of the next zone's raster, some lies beside the tile.
        assert 33 < row["masked %"] < 75
        assert row["peak of arrays MiB"] > 0


def test_drawn_clouds_become_masks_of_their_dates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real places and dates of the drawings, on other ground."""
    assert {date: len(shapes) for date, shapes in drawn_clouds.drawn().items()} == {
        "20190706": 3, "20190726": 6, "20190805": 2, "20160212": 5, "20161205": 3,
    }  # fmt: skip
    random = np.random.default_rng(2)
    ground = textured(random, (SIDE_PX, SIDE_PX)) // 2
    corner, pixel_m = (699_960.0, 5_600_040.0), 343.125
    for date in ("20190606", "20190706", "20161205"):
        pixels = np.clip(ground + random.normal(0, 3, ground.shape), 30, 110).astype(np.uint8)
        pixels[40:60, 60:90] = 250
        path = write_scene(tmp_path / "ukraine" / date / f"T36UYA_{date}T083601_TCI.jp2", pixels, corner)
        with rasterio.open(path, "r+") as scene:
            scene.transform = rasterio.Affine(pixel_m, 0, corner[0], 0, -pixel_m, corner[1])
    folder = tmp_path / "masked"
    folder.mkdir()
    assert sorted(drawn_clouds.with_masks(tmp_path / "ukraine", folder)) == ["20161205", "20190706"]
    with rasterio.open(folder / "T36UYA_20190706T083601_SCL.jp2") as mask:
        classes = mask.read(1)
        assert (classes[40:60, 60:90] == 9).all(), "bright"
        assert classes[300, 310] == 9, "drawn as a whole"
        assert (classes[70:200, 60:90] == 4).all()
    with rasterio.open(folder / "T36UYA_20161205T083601_SCL.jp2") as mask:
        assert (mask.read(1)[40:60, 60:90] == 4).all(), "snow"
    monkeypatch.setattr(bench_masks, "MASKS", {"drawn": "auto"})
    assert bench_masks.main(["--data", str(tmp_path), "--only", "verdicts", "--json"]) == 0
    (row,) = rows(capsys)
    assert row["drawn dates: pairs"] == row["same tile: pairs"] == 3
    assert row["drawn dates: right %"] == 100
    assert row["wrong"] == 0


def test_resolutions_of_a_place_with_one_scene(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, place in enumerate(("paris", "lebanon")):
        pixels = textured(np.random.default_rng(seed), (SIDE_PX, SIDE_PX))
        write_scene(tmp_path / place / "TCI.jp2", np.stack([pixels] * 3))
    options = ["--data", str(tmp_path), "--only", "paris", "--factors", "1", "2", "--json"]
    assert bench_resolutions.main(options) == 0
    without, levels, *combinations = rows(capsys)
    assert (without["coarser"], levels["coarser"]) == (False, True)
    # Two images at two sizes and in the next zone, and each of them beside other ground.
    assert levels["pairs"] == 3 * 3 + 6
    assert (levels["unrelated"], levels["verified among them"]) == (6, 0)
    found = {(row["fine"], row["coarse"]): row for row in combinations}
    assert set(found) == {("1", "1"), ("1", "2"), ("1", "2z"), ("2", "2"), ("2", "2z"), ("2z", "2z")}
    assert found["1", "2"]["right %"] == 100
    assert found["1", "2"]["error px, median"] < 0.05
    assert found["1", "2"]["wrong"] == 0


def test_scenes_interpolated_back_onto_their_grid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = textured(np.random.default_rng(4), (SIDE_PX + 200, SIDE_PX + 200))
    write_scene(tmp_path / "paris" / "TCI.jp2", np.stack([pixels] * 3))
    monkeypatch.setattr(interpolated, "SIDES", (3,))
    monkeypatch.setattr(interpolated, "KERNELS", {"linear": cv2.INTER_LINEAR})
    assert bench_resolutions.main(["--data", str(tmp_path), "--only", "paris", "--interpolated", "--json"]) == 0
    found = {(row["scenes"], row["beside"]): row for row in rows(capsys)}
    assert {names: row["pairs"] for names, row in found.items()} == {
        ("sharp", "itself"): 1,
        ("linear3", "itself"): 1,
        ("linear3", "sharp"): 2,
    }
    assert [row["scenes told right"] for row in found.values()] == [2, 2, 2]
    assert found["sharp", "itself"]["error px, median"] < 0.1
    assert found["linear3", "itself"]["within twice the stated error %"] == 100


def test_scenes_on_other_grids(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = textured(np.random.default_rng(7), (SIDE_PX, SIDE_PX))
    write_scene(tmp_path / "paris" / "TCI.jp2", np.stack([pixels] * 3))
    monkeypatch.setattr(grids, "KERNELS", ("nearest",))
    every = grids.grids
    monkeypatch.setattr(grids, "grids", lambda image: [every(image)[0], every(image)[9]])
    options = ["--data", str(tmp_path), "--only", "paris", "--grids", "--side", "400", "--json"]
    assert bench_resolutions.main(options) == 0
    plain, *found = rows(capsys)
    assert (plain["grid"], plain["verified"]) == ("as they are", 1)
    assert [(row["grid"], row["verified"]) for row in found] == [("degrees", 1), ("pixels of 1 x 2", 1)]
    # Of two rows that are equally near, GDAL takes the lower one: the ground moves by half a pixel, which is known.
    assert found[1]["warped off px"] == 0.5
    assert all(row["of the stated"] < 2 for row in found)


def test_second_looks_at_moved_and_unrelated_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    ground = textured(random, (SIDE_PX, SIDE_PX))
    for number in range(3):
        noisy = np.clip(ground + random.normal(0, 4, ground.shape), 1, 255).astype(np.uint8)
        write_scene(tmp_path / "ukraine" / safe_path(Path(), "36UYA", f"2019060{number + 1}T083601"), noisy)
    options = ["--data", str(tmp_path), "--pairs", "2", "--unrelated", "4", "--json"]
    assert bench_second_look.main(options) == 0
    near, middle, far, farthest, unrelated = rows(capsys)
    assert [row["moved px"] for row in (near, middle, far, farthest)] == [7, 30, 100, 180]
    for row in (near, middle):
        assert (row["found"], row["wrong"], row["verified there"]) == (2, 0, 0)
        assert row["error px, largest"] < 0.05
        assert row["bound"] == 2
    # Beyond 0.3 of the scenes' sides nothing is looked for.
    assert (farthest["found"], farthest["error px, largest"]) == (0, None)
    assert (unrelated["pairs"], unrelated["verified by the second"]) == (4, 0)


def test_checks_of_strangers_files_are_counted_within_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = textured(np.random.default_rng(0), (SIDE_PX, SIDE_PX))
    for number in range(2):
        write_scene(tmp_path / "ukraine" / safe_path(Path(), "36UYA", f"2019060{number + 1}T083601"), pixels)
    with rasterio.open(next((tmp_path / "ukraine").rglob("*.jp2"))) as scene:
        polygon = transform_geom(scene.crs, "EPSG:4326", mapping(box(*scene.bounds)))
    features = [{"type": "Feature", "properties": {}, "geometry": polygon}]
    collection = {"type": "FeatureCollection", "features": features}
    (tmp_path / "ukraine" / "deforestation_labels.geojson").write_text(json.dumps(collection), "utf-8")
    assert bench_safety.main(["--data", str(tmp_path), "--size", "0", "--json"]) == 0
    *groups, whole = rows(capsys)
    assert [row["checks"] for row in groups] == list(bench_safety.CHECKS)
    assert all(row["calls"] > 0 and 0 < row["CPU s"] < whole["CPU s of the run"] for row in groups)
    assert whole["CPU s"] == pytest.approx(sum(row["CPU s"] for row in groups))
    assert whole["% of the run"] == pytest.approx(100 * whole["CPU s"] / whole["CPU s of the run"])


def test_colours_are_matched_as_well_by_luma_as_by_all_bands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(6)
    bands = np.stack([textured(random, (SIDE_PX, 2 * SIDE_PX)) // 2 + 40 for _ in range(3)])
    path = write_scene(tmp_path / "site" / "T36UYA_20190606T083601_TCI.jp2", bands, (699_960.0, 5_600_040.0))
    monkeypatch.setattr(colours, "_SIDE_PX", SIDE_PX)
    monkeypatch.setattr(colours, "_SCENES", [str(path.relative_to(tmp_path))])
    names = ["colours", "colours, opencv grey"]
    assert bench_quality.main(["--data", str(tmp_path), "--only", *names, "--json"]) == 0
    luma, opencv = rows(capsys)
    assert [luma["row"], opencv["row"]] == names
    assert luma["verified"] == opencv["verified"] == luma["pairs"] == 2
    assert max(luma["error px, median"], opencv["error px, median"]) < 0.05
    assert luma["keypoints"] != opencv["keypoints"]
