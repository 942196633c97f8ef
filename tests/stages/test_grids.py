"""Scenes whose pixels are oblong on the ground, or lie in another CRS, beside others of the same ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling, calculate_default_transform
from rasterio.windows import Window

import s2fast
from s2fast.config import load_config
from s2fast.files.source import Source
from s2fast.folder.record import SceneInput
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.geometry.placement import Placement
from s2fast.image.fixed_pattern import FixedPattern
from s2fast.image.prepare import clear_cells
from s2fast.model import Raster, Scene
from s2fast.stages.keys import features_key, resolved
from s2fast.stages.matched_pair import MatchedPair
from s2fast.stages.matched_scene import MatchedScene
from s2fast.stages.pairs import Pair
from s2fast_kernels.hamming_top2.cases import random_descriptors
from tests.archives import PIXEL_M, UTM36, textured

SIDE = 480
CORNER = (600_000.0, 5_600_040.0)
OFF_M = (6.0, -9.0)
"""How far the georeferencing of the warped scenes is off, east and north."""

GRIDS: dict[str, tuple[str, tuple[float, float] | None]] = {
    "degrees": ("EPSG:4326", None),
    "wide": ("EPSG:4326", (9e-5, 9e-5)),
    "oblong": (UTM36, (10.0, 15.0)),
    "long": (UTM36, (10.0, 40.0)),
    "mercator": ("EPSG:3857", None),
    "nearly": (UTM36, (10.05, 10.05)),
}
"""CRS and pixels of the warped scenes, by their names."""


def warp(source: rasterio.DatasetReader, crs: str, pixel: tuple[float, float] | None, path: Path) -> None:
    """Write a scene on another grid, with exact positions."""
    size = {} if pixel is None else {"resolution": pixel}
    there, width, height = calculate_default_transform(
        source.crs, crs, source.width, source.height, *source.bounds, **size
    )
    with WarpedVRT(
        source, crs=crs, transform=there, width=width, height=height, resampling=Resampling.bilinear, tolerance=0.001
    ) as warped:
        options = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": source.dtypes[0]}
        with rasterio.open(path, "w", crs=crs, transform=there, **options) as file:
            file.write(warped.read())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> s2fast.Run:
    """One ground with three noises: as two scenes at 10 m, and as one warped onto every grid, all beside the first."""
    folder = tmp_path_factory.mktemp("grids")
    rng = np.random.default_rng(3)
    ground = textured(rng, (SIDE, SIDE))
    noisy = [np.clip(ground + rng.normal(0, 3, ground.shape), 1, 255).astype(np.uint8) for _ in range(3)]
    options = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 1, "dtype": "uint8", "crs": UTM36}
    (folder / "scenes").mkdir()
    for name, pixels, off in (("a", noisy[0], (0, 0)), ("b", noisy[1], (0, 0)), ("source", noisy[2], OFF_M)):
        path = folder / ("scenes" if name != "source" else "") / f"{name}.tif"
        at = Affine(PIXEL_M, 0, CORNER[0] + off[0], 0, -PIXEL_M, CORNER[1] + off[1])
        with rasterio.open(path, "w", transform=at, **options) as file:
            file.write(pixels, 1)
    with rasterio.open(folder / "source.tif") as source:
        for name, (crs, pixel) in GRIDS.items():
            warp(source, crs, pixel, folder / "scenes" / f"{name}.tif")
    names = ["b", *GRIDS]
    (folder / "pairs.csv").write_text("\n".join(["query,train", *(f"a,{name}" for name in names)]))
    pairs = {"matching.pairs": "file", "matching.pairs_file": str(folder / "pairs.csv"), "verification.nulls": 0}
    return s2fast.run(scenes=folder / "scenes", out=folder / "run", overrides=pairs)


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIDS)
def test_a_scene_on_another_grid_matches_as_on_its_own(run: s2fast.Run, name: str) -> None:
    pairs = run.pairs().set_index("train")
    found = pairs.loc[name]
    assert found["verified"]
    error_m = found["shift_error_m"]
    np.testing.assert_allclose(found[["dx_m", "dy_m"]].to_numpy(float), OFF_M, atol=2 * error_m)
    assert error_m < 0.05 * max(1.5 * PIXEL_M, run.folder.placement(name).grid_m)
    # On pixels of another size there are fewer, on larger ones by their area.
    share = min(1.0, (PIXEL_M / run.folder.placement(name).grid_m) ** 2)
    assert found["n_inliers"] > 0.6 * share * pairs.loc["b", "n_inliers"]


LINEAR = {
    "turned by 30": Affine.rotation(30) @ Affine.scale(PIXEL_M, -PIXEL_M),
    "turned by 90": Affine.rotation(90) @ Affine.scale(PIXEL_M, -PIXEL_M),
    "turned by 180": Affine.rotation(180) @ Affine.scale(PIXEL_M, -PIXEL_M),
    "sheared by 20": Affine.shear(20) @ Affine.scale(PIXEL_M, -PIXEL_M),
    "sheared by -20, oblong": Affine.shear(-20) @ Affine.scale(PIXEL_M, -1.5 * PIXEL_M),
    "sheared by 45": Affine.shear(45) @ Affine.scale(PIXEL_M, -PIXEL_M),
}
"""Turned and sheared grids, without their origins."""


@pytest.mark.slow
def test_a_scene_on_a_turned_or_sheared_grid_has_the_right_shift(run: s2fast.Run, tmp_path: Path) -> None:
    given = Path(run.folder.address).parent
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes/a.tif").symlink_to(given / "scenes/a.tif")
    with rasterio.open(given / "source.tif") as source:
        corners = [source.transform @ corner for corner in ((0, 0), (SIDE, 0), (SIDE, SIDE), (0, SIDE))]
        for name, linear in LINEAR.items():
            on_grid = np.array([~linear @ corner for corner in corners])
            low, (width, height) = on_grid.min(axis=0), np.ceil(np.ptp(on_grid, axis=0)).astype(int).tolist()
            there = linear @ Affine.translation(*low)
            with WarpedVRT(
                source, crs=UTM36, transform=there, width=width, height=height, resampling=Resampling.cubic,
                tolerance=0.001,
            ) as warped:  # fmt: skip
                options = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": "uint8"}
                path = tmp_path / "scenes" / f"{name}.tif"
                with rasterio.open(path, "w", crs=UTM36, transform=there, **options) as file:
                    file.write(warped.read())
    (tmp_path / "pairs.csv").write_text("\n".join(["query,train", *(f'a,"{name}"' for name in LINEAR)]))
    pairs = {"matching.pairs": "file", "matching.pairs_file": str(tmp_path / "pairs.csv"), "verification.nulls": 0}
    turned = s2fast.run(scenes=tmp_path / "scenes", out=tmp_path / "run", overrides=pairs)
    found = turned.pairs().set_index("train").loc[list(LINEAR)]
    assert found["verified"].all()
    off = np.abs(found[["dx_m", "dy_m"]].to_numpy(float) - OFF_M).max(axis=1) / found["shift_error_m"]
    assert (off < 2).all(), off
    (warning,) = turned.record.history.warnings
    assert warning.startswith("1 scene on a sheared grid, rows and columns over 25 degrees from a right angle: ")


@pytest.mark.slow
def test_keypoints_of_oblong_pixels_lie_on_them_and_their_clear_ground_too(run: s2fast.Run) -> None:
    placement = run.folder.placement("oblong")
    assert placement.square_px == pytest.approx((1.22, 0.82))
    xy = run.features("oblong").xy
    rows, columns = placement.shape
    assert (xy.max(axis=0) > (0.9 * columns, 0.9 * rows)).all()
    assert (xy.max(axis=0) < (columns, rows)).all()
    assert placement.clear.shape == run.folder.clear("oblong").shape
    assert placement.clear_m2 == pytest.approx(run.folder.placement("a").clear_m2, rel=0.05)
    assert not run.record.history.warnings


def placed(a: float, e: float, crs: str = UTM36, corner: tuple[float, float] = CORNER, side: int = 256) -> Placement:
    cells = clear_cells(np.ones((side, side), bool))
    return Placement(pyproj.CRS(crs).to_wkt(), (a, 0, corner[0], 0, -e, corner[1]), (side, side), 1, cells)


@pytest.mark.parametrize(
    ("placement", "square_px", "square_m"),
    [
        (placed(10, 10), (1, 1), 10),
        (placed(10, 10.9), (1, 1), 10.44),
        (placed(10, 15), (1.22, 0.82), 12.25),
        (placed(15, 10), (0.82, 1.22), 12.25),
        (placed(10, 60), (4.8, 0.8), 48),
        (placed(1e-4, 1e-4, "EPSG:4326", (34.4, 50.5)), (1.25, 0.8), 8.9),
    ],
)
def test_squares_have_the_area_of_a_pixel(
    placement: Placement, square_px: tuple[float, float], square_m: float
) -> None:
    assert placement.square_px == pytest.approx(square_px)
    assert placement.square_m == pytest.approx(square_m, rel=0.01)
    assert placement.grid_m == placement.square_m


def test_oblong_scenes_have_keys_of_their_own() -> None:
    keys = [features_key("tile", load_config(), "numba", (), square) for square in ((1.0, 1.0), (1.25, 0.8))]
    assert keys[0] == features_key("tile", load_config(), "numba")
    assert len(set(keys)) == 2


def header(name: str, crs: str, corner: tuple[float, float], pixel: float = 10.0) -> SceneInput:
    wkt = pyproj.CRS(crs).to_wkt()
    raster = Raster((500, 500), (256, 256), wkt, (pixel, 0.0, corner[0], 0.0, -pixel, corner[1]))
    return SceneInput(scene=Scene(name, source=Source.local(Path(f"/{name}.tif"))), raster=raster, identity="")


def test_orientations_are_found_where_grids_are_turned_against_each_other() -> None:
    config = load_config()
    utm, zone = header("utm", UTM36, CORNER), header("zone", "EPSG:32635", (1_020_000, 5_600_000))
    degrees = header("degrees", "EPSG:4326", (34.4, 50.5), 1e-4)
    # At 34 degrees east, the north of this map of the Arctic is turned by 79 degrees.
    polar = header("polar", "EPSG:3413", (4_560_000, -870_000))
    assert abs(PixelGrid.of_raster(polar.raster).turn_deg) == pytest.approx(79, abs=2)
    upright = [
        resolved(config, scenes).features.upright for scenes in ([utm, zone, degrees], [polar, polar], [utm, polar])
    ]
    assert upright == [True, True, False]


def scene(placement: Placement, xy: npt.NDArray[np.float32], size: float) -> MatchedScene:
    descriptors = random_descriptors(np.random.default_rng(1), len(xy))
    none = np.zeros((0, 0, 0), np.uint8)
    pattern = FixedPattern(np.zeros(len(xy), np.uint64), none, none, np.zeros((0, 2), np.int32))
    return MatchedScene(descriptors, xy, np.full(len(xy), size, np.float32), pattern, placement)


def test_what_rests_on_oblong_pixels_is_measured_in_squares() -> None:
    here = np.array([[10, 10], [40, 80]], np.float32)
    one, other = (scene(placed(10, 15), here + away, 3.0) for away in (np.float32(0), np.float32([2, 1])))
    none = MatchedPair.unmatched(Pair("a", "b", ""), one, other, 50.0)
    rows = np.arange(2, dtype=np.int32)
    moved = MatchedPair(none.pair, one, other, rows, rows, np.zeros(2, np.uint16), 50.0).moved_px()
    np.testing.assert_allclose(moved, [[2 / 1.22, 1 / 0.82]] * 2, rtol=1e-5)
    square = scene(placed(12.247, 12.247), here, 3.0)
    assert MatchedPair(none.pair, one, square, rows, rows, np.zeros(2, np.uint16), 50.0).moved_px() is None


def test_levels_of_nearly_equal_pixels_share_bins_whatever_they_measure() -> None:
    here = np.array([[10, 10]], np.float32)
    for size in (2.4, 2.854, 3.394, 3.485, 4.036, 4.145):
        for side in (9.99, 10.01, 10.05, 10.4):
            query, train = scene(placed(10, 10), here, size), scene(placed(side, side), here, size)
            assert train.scale_beside(query) == query.scale
    # Twice as large pixels without a level: the same size on the ground is four bins apart in pixels.
    coarse = scene(placed(20, 20), here, 2.4)
    assert coarse.scale_beside(scene(placed(10, 10), here, 4.8)) == scene(placed(10, 10), here, 4.8).scale


@pytest.mark.slow
@pytest.mark.shared
def test_a_real_scene_in_degrees_matches_as_on_its_own_grid(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    paths = sorted((shared_data / "arosics").glob("*.jp2"))
    bounds = []
    for path in paths:
        with rasterio.open(path) as source:
            bounds.append(source.bounds)
    (west, south), (east, north) = np.max(bounds, axis=0)[:2], np.min(bounds, axis=0)[2:]
    side = min(900, int((east - west) // PIXEL_M), int((north - south) // PIXEL_M))
    left, top = (west + east - side * PIXEL_M) / 2, (south + north + side * PIXEL_M) / 2
    for name, path in zip("ab", paths, strict=True):
        with rasterio.open(path) as source:
            column, row = ~source.transform @ (left, top)
            part = Window(round(column), round(row), side, side)
            options = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": source.dtypes[0]}
            at = source.window_transform(part)
            with rasterio.open(tmp_path / f"scenes/{name}.tif", "w", crs=source.crs, transform=at, **options) as file:
                file.write(source.read(1, window=part), 1)
    with rasterio.open(tmp_path / "scenes/b.tif") as source:
        warp(source, "EPSG:4326", None, tmp_path / "scenes/degrees.tif")
    settings = {"ingest.stretch": "auto", "verification.nulls": 0}
    run = s2fast.run(scenes=tmp_path / "scenes", out=tmp_path / "run", overrides=settings)
    pairs = run.pairs().set_index(["query", "train"])
    plain, found = pairs.loc["a", "b"], pairs.loc["a", "degrees"]
    assert found["verified"]
    away = found[["dx_m", "dy_m"]].to_numpy(float) - plain[["dx_m", "dy_m"]].to_numpy(float)
    assert np.abs(away).max() < 2 * found["shift_error_m"]
    assert found["n_inliers"] > 0.6 * plain["n_inliers"]
    # Both show one image: only resampling is between them.
    assert np.abs(pairs.loc[("b", "degrees"), ["dx_m", "dy_m"]].to_numpy(float)).max() < 0.05 * PIXEL_M


@pytest.mark.slow
def test_copies_stay_verified_beside_scenes_on_other_grids(tmp_path: Path) -> None:
    """Keypoints on the grids of other pairs outnumber those that the copies are compared by."""
    grey = textured(np.random.default_rng(11), (300, 300))
    there = Affine(PIXEL_M, 0, CORNER[0], 0, -PIXEL_M, CORNER[1])
    options = {"driver": "GTiff", "height": 300, "width": 300, "count": 1, "dtype": "uint8", "crs": UTM36}
    (tmp_path / "scenes").mkdir()
    for name in ("copy", "one"):
        with rasterio.open(tmp_path / f"scenes/{name}.tif", "w", transform=there, **options) as file:
            file.write(grey, 1)
    for pixel_m in (12.0, 15.0):
        with rasterio.open(tmp_path / "scenes/one.tif") as source:
            warp(source, UTM36, (pixel_m, pixel_m), tmp_path / f"scenes/wider_{pixel_m:.0f}.tif")
    run = s2fast.run(scenes=tmp_path / "scenes", out=tmp_path / "run")
    row = run.pairs().set_index(["query", "train"]).loc["copy", "one"]
    assert 2 * row["n_good"] < run.folder.keypoints("one")
    assert row["verdict"] == "verified"
    assert row["n_inliers"] == row["n_good"]
