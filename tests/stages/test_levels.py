"""Scenes of different resolutions: coarser levels of the finer ones, and pairs matched on them."""

import itertools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.warp import Resampling, calculate_default_transform, reproject

import s2fast
from s2fast.config import load_config
from s2fast.files.source import Source
from s2fast.folder.record import RunRecord, SceneInput
from s2fast.folder.run_folder import RunFolder
from s2fast.image.coarser import Coarser
from s2fast.model import Raster, Scene
from s2fast.planning import Job, plan
from s2fast.raster.reader import reduce_any, reduce_mean
from s2fast.retrieval.build import build
from s2fast.retrieval.index import Index
from s2fast.stages.extract import extract_scene
from s2fast.stages.forecast import Forecast, forecast
from s2fast.stages.levels import Level, levels_of
from s2fast.stages.memory import match_bytes
from s2fast.stages.pairs import Pair, plan_blocks
from s2fast_kernels.machine import MIB
from tests.archives import textured

SIDE_PX, COARSER = 1152, 6
CORNER = (500_000.0, 5_500_000.0)
AWAY_M = (31.0, -17.0)
"""How far the coarser scene's georeferencing is off, east and north: 0.52 and 0.28 of its pixels."""


def scene_of(
    name: str, pixel_m: float, *, shape: tuple[int, int] = (1000, 1000), epsg: int = 32636, east_m: float = 0.0
) -> SceneInput:
    """A scene of which only the header is known."""
    transform = (pixel_m, 0.0, CORNER[0] + east_m, 0.0, -pixel_m, CORNER[1])
    wkt = rasterio.crs.CRS.from_epsg(epsg).to_wkt()
    scene = Scene(name, source=Source.local(Path(f"/{name}.tif")))
    return SceneInput(scene=scene, raster=Raster(shape, shape, wkt, transform), identity="")


def write(path: Path, image: np.ndarray, transform: Affine, crs: str) -> Path:
    height, width = image.shape
    options = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", transform=transform, crs=crs, **options) as file:
        file.write(image, 1)
    return path


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One ground at 10 m, and at 60 m with other noise, once in the same zone and once in the next."""
    folder = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(8)
    # Smooth, as if interpolated, but without the lattice that interpolation leaves.
    ground = cv2.GaussianBlur(textured(rng, (SIDE_PX, SIDE_PX)), (0, 0), 1.5)
    noisy = [np.clip(ground + rng.normal(0, 3, ground.shape), 1, 255).astype(np.uint8) for _ in range(3)]
    fine = Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
    off = Affine.translation(*AWAY_M)
    write(folder / "fine.tif", noisy[0], fine, "EPSG:32636")
    small = reduce_mean(noisy[1], COARSER)
    write(folder / "coarse.tif", small, off @ fine @ Affine.scale(COARSER), "EPSG:32636")
    bounds = rasterio.transform.array_bounds(*ground.shape, fine)
    there, width, height = calculate_default_transform(
        "EPSG:32636", "EPSG:32635", SIDE_PX, SIDE_PX, *bounds, resolution=60
    )
    turned = np.zeros((height, width), np.uint8)
    reproject(
        noisy[2], turned, src_transform=fine, src_crs="EPSG:32636", dst_transform=there, dst_crs="EPSG:32635",
        resampling=Resampling.average,
    )  # fmt: skip
    write(folder / "other_zone.tif", turned, there, "EPSG:32635")
    return folder


@pytest.fixture(scope="module")
def both(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> s2fast.Run:
    """A run of the fine scene and the coarser one."""
    return s2fast.run(scenes=[scenes / "fine.tif", scenes / "coarse.tif"], out=tmp_path_factory.mktemp("both") / "both")


@pytest.mark.slow
def test_pairs_across_resolutions_are_matched_on_the_coarser_grid(scenes: Path, tmp_path: Path) -> None:
    run = s2fast.run(scenes=scenes, out=tmp_path / "run", overrides={"features.upright": False})
    pairs = run.pairs().set_index(["query", "train"])
    assert pairs["verified"].all()
    levels = run.folder.levels("fine")
    assert [round(grid_m) for grid_m, _ in levels] == [60]
    counts = {name: run.folder.keypoints(name) for name in ("fine", "coarse", "other_zone")}
    for other in ("coarse", "other_zone"):
        row = pairs.loc[tuple(sorted((other, "fine"), key=["coarse", "fine", "other_zone"].index))]
        assert (row["n_train"], row["n_query"]) in [(levels[0][1], counts[other]), (counts[other], levels[0][1])]
    # Train minus query of the same feature: the coarser scene lies too far east.
    shift = pairs.loc["coarse", "fine"][["dx_m", "dy_m"]].to_numpy(float)
    np.testing.assert_allclose(shift, [-AWAY_M[0], -AWAY_M[1]], atol=0.1 * 10 * COARSER)
    # Rows of matches count all features of a scene; those of the level are its last.
    matches = run.matches("coarse", "fine")
    assert matches["train_row"].min() >= counts["fine"] - levels[0][1]
    assert len(run.features("fine")) == counts["fine"]
    # An index holds each scene once: no features of levels.
    build(str(tmp_path / "index"), [tmp_path / "run"], counts["fine"])
    index = Index(tmp_path / "index")
    number = [entry.scene_id for entry in index.entries].index("fine")
    own = {tuple(xy) for xy in run.folder.own_features("fine").xy.tolist()}
    assert {tuple(xy) for xy in index.scene(number).xy.tolist()} <= own


@pytest.mark.slow
def test_a_run_predicts_the_memory_of_the_blocks_that_it_plans(scenes: Path, tmp_path: Path) -> None:
    config = load_config(overrides={"features.max_per_scene": 20_000, "features.coarser": False})
    record = plan(Job(config, [scenes], None, tmp_path / "out"))
    (item, *_), names = record.found.scenes, [f"scene_{number:02}" for number in range(48)]
    many = [item.model_copy(update={"scene": replace(item.scene, scene_id=name)}) for name in names]
    record = RunRecord(record.asked, record.found.model_copy(update={"scenes": many}), record.history)
    pairs = [Pair(query, train, f"{query} {train}") for query, train in itertools.combinations(names, 2)]
    blocks = plan_blocks(pairs, dict.fromkeys(names, 20_000), config.compute.budget_mb * MIB)
    side = max(len({pair.query for pair in block}) for block in blocks)
    predicted = forecast(record, RunFolder(tmp_path / "out"), ["match"], 1, 1).memory_mb
    assert predicted == match_bytes(20_000, side) // MIB


@pytest.mark.slow
def test_what_a_run_will_take_counts_levels(scenes: Path, tmp_path: Path) -> None:
    def wanted(*stages: str, coarser: bool) -> Forecast:
        config = load_config(overrides={"features.coarser": coarser})
        record = plan(Job(config, [scenes], None, tmp_path / "out"))
        return forecast(record, RunFolder(tmp_path / "out"), stages, 1, 1)

    with_levels, without = (wanted("extract", coarser=coarser) for coarser in (True, False))
    # The level of the finest scene is as large as each of the coarser ones, which are 1/36 of it.
    pixels = (SIDE_PX / 1000) ** 2 * 4
    assert with_levels.seconds - without.seconds == pytest.approx(pixels / 36 * 0.11 + 0.06, rel=0.01)
    assert with_levels.stored_mb == pytest.approx(without.stored_mb * 4 / 3, rel=0.2)
    assert wanted("match", coarser=True).memory_mb > wanted("match", coarser=False).memory_mb


@pytest.mark.slow
def test_levels_find_witnesses_that_the_own_grid_does_not(scenes: Path, both: s2fast.Run, tmp_path: Path) -> None:
    files = [scenes / "fine.tif", scenes / "coarse.tif"]
    own = s2fast.run({"features.coarser": False}, scenes=files, out=tmp_path / "own")
    assert own.folder.levels("fine") == ()
    assert both.pairs()["n_witnesses"][0] > 3 * own.pairs()["n_witnesses"][0]


@pytest.mark.slow
def test_a_scene_alone_has_the_features_it_has_beside_a_coarser_one(
    scenes: Path, both: s2fast.Run, tmp_path: Path
) -> None:
    alone = s2fast.run(scenes=[scenes / "coarse.tif", scenes / "other_zone.tif"], out=tmp_path / "alone")
    assert both.folder.features_key("coarse") == alone.folder.features_key("coarse")
    own = both.folder.keypoints("fine") - both.folder.levels("fine")[0][1]
    with rasterio.open(scenes / "fine.tif") as file:
        grey = file.read(1)
    config = load_config(overrides={"features.upright": True})
    found = extract_scene(grey, lambda rows, columns: np.ones(grey.shape, bool)[rows, columns], config, "numba")
    np.testing.assert_array_equal(both.features("fine").xy[:own], found.features.xy)
    np.testing.assert_array_equal(both.folder.own_features("fine").xy, found.features.xy)
    np.testing.assert_array_equal(both.features("fine").descriptors[:own], found.features.descriptors)


def test_levels_are_those_of_coarser_scenes_of_the_same_ground() -> None:
    config = load_config()
    fine, wide = scene_of("fine", 10.0), scene_of("wide", 60.0)
    assert levels_of([fine, wide], config) == {"fine": (Level(pytest.approx(60, rel=0.002), 6.0, 2),)}
    # The scene in the next zone has pixels of about this size; one level serves both.
    next_zone = scene_of("next", 60.0, shape=(9000, 9000), epsg=32637, east_m=-400_000)
    assert [level.factor for level in levels_of([fine, wide, next_zone], config)["fine"]] == [6.0]
    several = levels_of([fine, wide, scene_of("middle", 20.0), scene_of("near", 10.4)], config)
    assert [[round(level.grid_m) for level in several[name]] for name in ("fine", "middle", "near")] == [
        [20, 60], [60], [20, 60],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("others", "settings"),
    [
        ([scene_of("equal", 10.0), scene_of("nearly", 10.4)], {}),
        ([scene_of("far", 60.0, east_m=200_000)], {}),
        ([scene_of("other side", 60.0, epsg=32718)], {}),
        ([scene_of("huge", 1000.0)], {}),
        ([scene_of("wide", 60.0)], {"matching.mode": "exhaustive"}),
        ([scene_of("wide", 60.0)], {"features.coarser": False}),
    ],
)
def test_no_levels(others: list[SceneInput], settings: dict[str, object]) -> None:
    assert levels_of([scene_of("fine", 10.0), *others], load_config(overrides=settings)) == {}


@pytest.mark.parametrize(("shape", "factor"), [((120, 180), 6.0), ((121, 65), 3.0), ((100, 90), 1.5), ((33, 47), 2.7)])
def test_a_coarser_tile_covers_the_same_ground(shape: tuple[int, int], factor: float) -> None:
    rng = np.random.default_rng(1)
    grey = rng.integers(1, 256, shape, dtype=np.uint8)
    valid, missing = rng.random(shape) < 0.5, rng.random(shape) < 0.02
    found = Coarser.of(grey, lambda rows, columns: valid[rows, columns], missing, factor)
    rows, columns = found.grey.shape
    np.testing.assert_allclose(found.factor * (columns, rows), shape[::-1])
    if (rows * factor, columns * factor) == shape and factor == int(factor):
        np.testing.assert_array_equal(found.grey, reduce_mean(grey, int(factor)))
        np.testing.assert_array_equal(found.missing, reduce_any(missing, int(factor)))
    y, x = (
        np.rint((np.arange(count) + 0.5) * side - 0.5).astype(int)
        for count, side in zip((rows, columns), found.factor[::-1], strict=True)
    )
    np.testing.assert_array_equal(found.valid(slice(0, rows), slice(0, columns)), valid[np.ix_(y, x)])
    np.testing.assert_array_equal(found.valid(slice(2, 5), slice(3, 9)), valid[np.ix_(y[2:5], x[3:9])])
    assert found.valid(slice(2, 2), slice(3, 9)).shape == (0, 6)


def test_black_missing_pixels_stay_black() -> None:
    grey, missing = np.full((40, 40), 90, np.uint8), np.zeros((40, 40), bool)
    grey[:, :11], missing[:, :11] = 0, True
    missing[30:, 30:] = True  # a cloud
    found = Coarser.of(grey, lambda rows, columns: ~missing[rows, columns], missing, 4.0)
    np.testing.assert_array_equal(found.grey[0], [0, 0, 0, *[90] * 7])
    np.testing.assert_array_equal(found.grey[-1], [0, 0, 0, *[90] * 7])
    assert found.missing is not None
    np.testing.assert_array_equal(found.missing[[0, -1], [-1, -1]], [False, True])
