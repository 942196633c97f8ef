"""A series of crops of real scenes without georeferencing is matched in pixels."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from pathlib import Path, PurePosixPath

import cv2
import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from s2fast.archive.find import find_scenes
from s2fast.archive.listing import Looking
from s2fast.archive.ungeoreferenced import not_comparable
from s2fast.config import load_config
from s2fast.errors import ConfigError, InputError
from s2fast.model import PIXEL_TRANSFORM, Raster
from s2fast.pipeline import run_stages
from s2fast.planning import Job, plan
from s2fast.results import Run
from s2fast.retrieval.build import build
from s2fast.retrieval.finder import Finder
from s2fast.retrieval.index import Index
from tests.archives import textured, write_scene
from tests.command_line import assert_one_line, s2fast

CORNERS = {"early.png": (100, 100), "late.jpg": (137, 80), "later.tif": (90, 120)}
"""Upper left corners of the crops, x and y."""

IN_PIXELS = {
    "verification.prior": "none",
    "matching.mode": "exhaustive",
    "features.max_per_scene": 2000,
    "features.upright": False,
}

pytestmark = pytest.mark.filterwarnings(f"ignore::{NotGeoreferencedWarning.__module__}.NotGeoreferencedWarning")


@pytest.fixture(scope="module")
def series(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of two clear dates, one of them twice, as PNG, JPEG and TIFF."""
    folder = tmp_path_factory.mktemp("series")
    scenes = [next(shared_data.glob(f"ukraine/**/T36UYA_{time}*_TCI.jp2")) for time in ("20190417", "20190427")]
    for (name, (x, y)), scene in zip(CORNERS.items(), [scenes[1], scenes[1], scenes[0]], strict=True):
        with rasterio.open(scene) as dataset:
            pixels = dataset.read(window=rasterio.windows.Window(x, y, 500, 500))
        assert cv2.imwrite(str(folder / name), np.moveaxis(pixels[::-1], 0, 2))
    # The preview of a raster is no scene.
    cv2.imwrite(str(folder / "later.png"), pixels[0, ::4, ::4])
    return folder


@pytest.fixture(scope="module")
def run(series: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("run") / "out"
    run_stages(Job(load_config(None, IN_PIXELS), [str(series)], None, out))
    return Run(out)


@pytest.mark.slow
def test_shifts_are_in_pixels_and_columns_of_metres_empty(run: Run) -> None:
    pairs, scenes = run.pairs(), run.scenes()
    assert scenes["scene_id"].tolist() == ["early", "late", "later"]
    assert pairs["verified"].all()
    at = {Path(name).stem: corner for name, corner in CORNERS.items()}
    for pair in pairs.itertuples():
        moved = np.subtract(at[pair.query], at[pair.train])
        np.testing.assert_allclose([pair.dx_px, pair.dy_px], moved, atol=0.5)
    for table in (pairs, scenes):
        metres = [name for name in table if name.endswith("_m")]
        assert len(metres) > 3
        assert table[metres].isna().all(axis=None)
    assert pairs["overlap_pct"].isna().all()
    assert scenes.crs is None
    assert set(scenes["crs"]) == {""}
    assert scenes["correction"].str.fullmatch(r"move \d+\.\d\d px (left|right), \d+\.\d\d px (up|down)").all()
    # Relative to the median, which is where "early" lies.
    moves = scenes.set_index("scene_id")["correction"].str.extract(r"move ([\d.]+) px (\w+), ([\d.]+) px (\w+)")
    assert moves.loc[["late", "later"], [1, 3]].to_numpy().tolist() == [["right", "up"], ["left", "down"]]
    np.testing.assert_allclose(moves.loc[["late", "later"], [0, 2]].astype(float), [[37, 20], [10, 20]], atol=0.5)
    offsets = scenes.set_index("scene_id")[["offset_x_px", "offset_y_px"]]
    np.testing.assert_allclose(offsets, [[0, 0], [-37, 20], [10, -20]], atol=0.5)
    assert scenes["offset_error_px"].between(0, 0.5).all()
    matches = run.matches("early", "late")
    assert matches[["dx_m", "dy_m", "query_map_x"]].isna().all(axis=None)
    assert (matches["query_x_px"] - matches["train_x_px"]).median() == pytest.approx(37, abs=0.2)


@pytest.mark.slow
def test_files_lists_and_pictures_serve_scenes_without_a_crs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(str(run.folder))
    csv = pd.read_csv(out / "pairs.csv")
    assert csv["dx_m"].isna().all()
    assert csv["dx_px"].notna().all()
    for name in ("scenes", "links", "offsets", "displacements"):
        assert geopandas.read_parquet(out / f"{name}.parquet").crs is None
    with sqlite3.connect(out / "run.gpkg") as layers:
        assert layers.execute("SELECT count(*) FROM displacements WHERE dx_m IS NOT NULL").fetchone() == (0,)
    page = (out / "report.html").read_text()
    assert '"in_pixels":true' in page.replace(" ", "")
    assert s2fast(monkeypatch, "pairs", out) == 0
    assert "dx_px" in capsys.readouterr().out
    assert s2fast(monkeypatch, "pairs", out, "--format", "json") == 0
    assert {row["dx_m"] for row in json.loads(capsys.readouterr().out)} == {None}
    assert s2fast(monkeypatch, "show", out, "early", "late", "-o", tmp_path / "pair.png") == 0
    capsys.readouterr()
    for arguments in (
        ("align", out, "--to", tmp_path / "aligned"),
        ("stac", out, "--to", tmp_path / "stac"),
        ("pairs", out, "--max-shift", "3"),
    ):
        assert s2fast(monkeypatch, *arguments) == 2
        assert_one_line(capsys.readouterr().err, "have no CRS")
    with pytest.raises(InputError, match="early has no CRS"):
        run.displacement("early", "late")


@pytest.mark.slow
def test_what_needs_a_crs_is_refused_before_anything_is_read(series: Path, tmp_path: Path) -> None:
    def planned(settings: dict[str, object], regions: str | None = None) -> None:
        plan(Job(load_config(None, IN_PIXELS | settings), [str(series)], regions, tmp_path / "out"))

    with pytest.raises(ConfigError, match="whether it overlaps others is unknown"):
        planned({"matching.pairs": "overlapping"})
    polygons = tmp_path / "polygons.geojson"
    polygons.write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(InputError, match="polygons cannot be placed"):
        planned({}, str(polygons))
    with pytest.raises(InputError, match="in pixels"):
        planned({"verification.prior": "map", "matching.mode": "windowed"})


@pytest.mark.slow
def test_scenes_without_a_crs_are_left_out_beside_others(series: Path, tmp_path: Path) -> None:
    write_scene(tmp_path / "placed.tif", textured(np.random.default_rng(0), (300, 300)))
    job = Job(load_config(None, IN_PIXELS), [str(series), str(tmp_path / "placed.tif")], None, tmp_path / "out")
    record = plan(job)
    assert [str(item) for item in record.usable] == ["placed"]
    assert set(record.history.problems) == {"early", "late", "later"}
    assert "1 other scene has one" in record.history.problems["early"]


@pytest.mark.slow
def test_a_picture_is_found_in_scenes_without_a_crs_and_they_are_no_null_trials(
    series: Path, run: Run, tmp_path: Path
) -> None:
    build(str(tmp_path / "index"), [Path(str(run.folder))], 2000)
    finder = Finder(Index(tmp_path / "index"))
    found = finder.find(str(series / "late.jpg"))
    assert (found.verdict, found.entry and found.entry.scene_id) == ("found", "late")
    assert set(found.agreeing) == {"early", "late", "later"}
    assert (found.nulls, found.nulls_verified) == (1, 0)
    assert found.feature()["geometry"] is None


def test_previews_in_a_zip_are_no_scenes(series: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "series.zip", "w") as archive:
        for file in sorted(series.iterdir()):
            archive.write(file, f"exports/{file.name}")
    found = find_scenes([tmp_path / "series.zip"], looking=Looking(pictures=True)).scenes
    assert [PurePosixPath(scene.source.name).name for scene in found] == list(CORNERS)
    assert [scene.scene_id for scene in find_scenes([tmp_path / "series.zip"]).scenes] == ["later"]


def test_a_reference_is_in_the_unit_of_the_scenes() -> None:
    without = Raster((9, 9), (9, 9), "", PIXEL_TRANSFORM)
    placed = Raster((9, 9), (9, 9), "EPSG:32636", (10, 0, 500000, 0, -10, 5000000))
    assert not_comparable({"a": without, "b": without}, "a") == {}
    assert list(not_comparable({"a": without, "b": placed, "c": placed}, "b")) == ["a"]
    with pytest.raises(InputError, match="the reference a has no CRS"):
        not_comparable({"a": without, "b": placed}, "a")
    with pytest.raises(InputError, match="the reference b has a CRS, and no scene has one"):
        not_comparable({"a": without, "b": placed}, "b")
