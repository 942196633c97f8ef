"""A whole small archive: deterministic bytes, real file layouts, a truth that matches the pixels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import geopandas
import numpy as np
import pytest
import rasterio
from numba.core import sigutils
from numpy.typing import NDArray
from rasterio.features import geometry_mask

from s2fast.errors import ConfigError
from s2fast.image.interpolated import FACTORS, LEAST_DEPTH, _depths
from s2fast.synth import synth
from s2fast.synth.archive import Scene, scenes_of
from s2fast.synth.clearings import clearings_in
from s2fast.synth.plan import acquisitions_of, tiles_of
from s2fast.work.compilation import SYNTH_MODULES
from s2fast_kernels import compiled

SIZE = 512
DATES = 3


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth(tmp_path_factory.mktemp("synth") / "archive", size=SIZE, dates=DATES, seed=3).parent


@pytest.fixture(scope="module")
def truth(archive: Path) -> dict[str, Any]:
    contents: dict[str, Any] = json.loads((archive / "truth.json").read_text(encoding="utf-8"))
    return contents


@pytest.mark.slow
def test_what_is_compiled_beforehand_is_what_drawing_calls(archive: Path) -> None:
    assert archive.exists()
    for module in SYNTH_MODULES:
        for function, signatures in compiled._declared[module]:
            wanted = [sigutils.normalize_signature(signature)[0] for signature in signatures]
            assert function.signatures == wanted, function


def scenes(size: int = SIZE, dates: int = DATES, seed: int = 3) -> list[Scene]:
    tiles = tiles_of(["36UXA", "36UYA"], size)
    return scenes_of(tiles, acquisitions_of(dates, seed), clearings_in(tiles, dates, seed), seed)


def grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image.transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY))


def read(archive: Path, scene: dict[str, Any]) -> NDArray[np.uint8]:
    with rasterio.open(archive / scene["path"]) as file:
        return np.asarray(file.read())


@pytest.mark.slow
def test_the_same_arguments_give_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    again = synth(tmp_path / "again", size=SIZE, dates=DATES, seed=3).parent
    names = sorted(path.relative_to(archive) for path in archive.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in names:
        assert (archive / name).read_bytes() == (again / name).read_bytes(), name


@pytest.mark.slow
def test_the_folder_holds_what_was_promised_and_nothing_else(archive: Path, truth: dict[str, Any]) -> None:
    files = {str(path.relative_to(archive)) for path in archive.rglob("*") if path.is_file()}
    assert files == {"regions.geojson", "truth.json", *(scene["path"] for scene in truth["scenes"])}
    assert len(truth["scenes"]) == 2 * DATES


def test_another_seed_gives_other_ground() -> None:
    mine, others = scenes(seed=3)[0], scenes(seed=4)[0]
    assert not np.array_equal(mine.render(0, 0, 64, 64)[0], others.render(0, 0, 64, 64)[0])


@pytest.mark.parametrize("index", [2, 4])
def test_a_pixel_does_not_depend_on_the_window_around_it(index: int) -> None:
    scene = scenes()[index]
    whole, classes = scene.render(0, 0, 200, 150)
    part, part_classes = scene.render(33, 65, 91, 57)
    np.testing.assert_array_equal(part, whole[:, 65:122, 33:124])
    np.testing.assert_array_equal(part_classes, classes[65:122, 33:124])


@pytest.mark.parametrize("date", range(DATES))
def test_neighbours_show_the_same_pixels_in_their_strip(date: int) -> None:
    west, east = scenes()[2 * date : 2 * date + 2]
    offset = (east.tile.left - west.tile.left) // 10
    strip = SIZE - offset
    assert 0.08 * SIZE < strip < 0.10 * SIZE
    np.testing.assert_array_equal(west.render(offset, 100, strip, 200)[0], east.render(0, 100, strip, 200)[0])


@pytest.mark.slow
def test_the_ground_repeats_at_no_number_of_pixels() -> None:
    """Noise on a lattice along the map's axes would, and pass for pixels that were interpolated from larger ones."""
    snow = scenes(dates=4, seed=0)[-1]
    assert snow.acquisition.label == "snow"
    image = grey(snow.render(0, 0, SIZE, SIZE)[0])
    for turned in (image, image.T):
        depths = _depths(turned)
        assert max(depths[side] for side in FACTORS) < LEAST_DEPTH


@pytest.mark.slow
def test_phase_correlation_finds_a_shift_of_the_ground() -> None:
    still, *_ = acquisitions_of(1, seed=3)
    moved = replace(still, index=1, shift_x=5.9, shift_y=-3.2)
    tile = tiles_of(["36UXA"], SIZE)
    first, second = (grey(scene.render(0, 0, SIZE, SIZE)[0]) for scene in scenes_of(tile, [still, moved], [], seed=3))
    # The peak's centre is unbiased only about zero: undo the shift, and nothing may be left.
    undo = np.array([[1, 0, 0.59], [0, 1, 0.32]], np.float32)
    back = cv2.warpAffine(
        second, undo, (SIZE, SIZE), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
    )
    hanning = cv2.createHanningWindow((SIZE, SIZE), cv2.CV_32F)
    left_over, _ = cv2.phaseCorrelate(first.astype(np.float32), back.astype(np.float32), hanning)
    np.testing.assert_allclose(left_over, 0, atol=0.1)


@pytest.mark.slow
def test_features_of_two_clear_dates_match_at_the_shift_the_truth_tells(archive: Path, truth: dict[str, Any]) -> None:
    first, second = (scene for scene in truth["scenes"] if scene["conditions"] == "clear" and scene["tile"] == "36UXA")
    told = np.subtract(second["shift_px"], first["shift_px"])
    assert np.hypot(*told) > 0.2
    found, good = matches(grey(read(archive, first)), grey(read(archive, second)))
    close = np.hypot(*(found - told).T) < 2
    assert good > 0.08
    assert np.mean(close) > 0.8
    # A hundred positions of a third of a pixel each.
    np.testing.assert_allclose(np.median(found[close], axis=0), told, atol=0.15)


def matches(query: NDArray[np.uint8], train: NDArray[np.uint8]) -> tuple[NDArray[np.float64], float]:
    """Displacements of the matches that pass the ratio test, and their share of the query's keypoints."""
    detector = cv2.AKAZE_create()
    from_points, from_descriptors = detector.detectAndCompute(query, None)
    to_points, to_descriptors = detector.detectAndCompute(train, None)
    nearest = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(from_descriptors, to_descriptors, k=2)
    good = [one for one, two in nearest if one.distance < 0.8 * two.distance]
    moved = [np.subtract(to_points[m.trainIdx].pt, from_points[m.queryIdx].pt) for m in good]
    return np.array(moved), len(good) / len(from_points)


def test_names_and_georeferencing_are_the_ground_segments(archive: Path, truth: dict[str, Any]) -> None:
    assert truth["scenes"][1]["path"] == (
        "S2A_MSIL1C_20160830T083602_N0204_R021_T36UYA_20160830T084438.SAFE/GRANULE/L1C_T36UYA_A006210_20160830T084438/"
        "IMG_DATA/T36UYA_20160830T083602_TCI.jp2"
    )
    for scene in truth["scenes"]:
        with rasterio.open(archive / scene["path"]) as file:
            assert file.driver == "JP2OpenJPEG"
            assert (file.count, file.dtypes, file.shape) == (3, ("uint8",) * 3, (SIZE, SIZE))
            assert file.crs.to_epsg() == 32636
            assert list(file.transform)[:6] == scene["transform"]
            assert file.block_shapes == [(128, 128)] * 3
            assert file.tags(ns="IMAGE_STRUCTURE")["COMPRESSION_REVERSIBILITY"] == "LOSSY"


@pytest.mark.slow
def test_no_data_is_zero_in_all_bands_and_valid_pixels_never_are(truth: dict[str, Any]) -> None:
    scene = scenes()[5]
    image, classes = scene.render(0, 0, SIZE, SIZE)
    entry = truth["scenes"][5]
    assert 0.2 < entry["nodata_fraction"] < 0.8
    np.testing.assert_array_equal(image.max(axis=0) == 0, classes == 0)
    np.testing.assert_array_equal(image.min(axis=0) == 0, classes == 0)
    assert entry["nodata_fraction"] == pytest.approx(np.mean(classes == 0))


@pytest.mark.slow
def test_no_data_survives_the_compression(archive: Path, truth: dict[str, Any]) -> None:
    image = read(archive, truth["scenes"][5])
    # The wavelet rings over a few pixels beside the edge and nowhere else.
    assert np.mean((image == 0).all(axis=0)) == pytest.approx(truth["scenes"][5]["nodata_fraction"], abs=0.02)


@pytest.mark.slow
def test_clear_ground_has_as_many_keypoints_as_the_real_one(archive: Path, truth: dict[str, Any]) -> None:
    detector = cv2.AKAZE_create()
    for scene in truth["scenes"][:4]:
        per_megapixel = len(detector.detect(grey(read(archive, scene)))) / SIZE**2 * 1e6
        assert 800 <= per_megapixel <= 2500, scene["scene_id"]


@pytest.mark.slow
def test_regions_look_like_the_real_file(archive: Path) -> None:
    regions = geopandas.read_file(archive / "regions.geojson")
    assert list(regions.columns) == ["img_date", "tile", "geometry"]
    assert regions.crs.to_epsg() == 4326
    assert set(regions.tile) == {"36UXA", "36UYA"}
    assert regions.geometry.is_valid.all()
    assert {"Polygon", "MultiPolygon"} == set(regions.geometry.geom_type)
    parts = regions.geometry.explode()
    assert any(part.interiors for part in parts)
    footprint = geopandas.GeoSeries.from_wkt([f"POLYGON {box}" for box in _corners(archive)], crs=32636).to_crs(4326)
    for tile, ground in zip(["36UXA", "36UYA"], footprint, strict=True):
        inside = regions[regions.tile == tile].within(ground)
        assert inside.any()
        assert not inside.all()


def _corners(archive: Path) -> list[str]:
    boxes = []
    for tile in tiles_of(["36UXA", "36UYA"], SIZE):
        left, bottom, right, top = tile.bounds
        boxes.append(f"(({left} {bottom}, {right} {bottom}, {right} {top}, {left} {top}, {left} {bottom}))")
    return boxes


@pytest.mark.slow
def test_clearings_change_the_ground_when_the_truth_says(archive: Path, truth: dict[str, Any]) -> None:
    regions = geopandas.read_file(archive / "regions.geojson").to_crs(32636)
    regions = regions[regions.tile == "36UXA"]
    first, second = truth["scenes"][0], truth["scenes"][2]
    transform = rasterio.Affine(*first["transform"])
    change = grey(read(archive, second)).astype(int) - grey(read(archive, first))
    inside = {
        day: ~geometry_mask(rows.geometry, (SIZE, SIZE), transform)
        for day, rows in regions.groupby(regions.img_date.astype(str))
    }
    felled, standing = change[inside[second["date"]]], change[inside["2017-08-25"]]
    # Bare litter is far brighter than canopy; the stands felled later only follow the season.
    assert np.median(felled) - np.median(standing) > 12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 255}, "at least 256"),
        ({"dates": 0}, "dates is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"tiles": ("31UDQ",)}, "31UDQ"),
        ({"tiles": ("36UXA", "36UXA")}, "different tiles"),
        ({"tiles": ()}, "none"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        synth(tmp_path / "archive", **arguments)
    assert not (tmp_path / "archive").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(ConfigError, match="not an empty folder"):
        synth(tmp_path, size=256)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
