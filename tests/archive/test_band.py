"""A band of choice: `ingest.band`, in the layouts of products."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import s2fast
from s2fast.archive.find import find_scenes
from s2fast.archive.listing import Looking
from s2fast.archive.siblings import with_bands
from s2fast.config import Ingest, load_config
from s2fast.errors import ConfigError, InputError, SceneError
from s2fast.files.source import Source
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Window
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.raster.band_files import open_bands
from s2fast.raster.reader import open_raster
from s2fast.raster.stretch import auto_stretch
from s2fast.stages.keys import tile_key
from tests.archives import textured
from tests.masks.products import NORTH, SIDE, WEST, beside, write_classes, write_product


def add_band(image: Path, name: str, seed: int = 3) -> np.ndarray:
    """Write a band of 16 bits beside the image of a product of level 2A, or of level 1C; return its pixels."""
    metres = int(name.rpartition("_")[2].removesuffix("m.jp2")) if "m.jp2" in name else 10
    side = 10 * SIDE // metres
    pixels = textured(np.random.default_rng(seed), (side, side)).astype(np.uint16) * 17 + 1000
    path = beside(image, name) if "m.jp2" in name else image.with_name(image.name.replace("TCI.jp2", name))
    write_classes(path, pixels, metres)
    return pixels


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three products; one without the band 8."""
    folder = tmp_path_factory.mktemp("bands")
    for number, date in enumerate(("20190427", "20190606")):
        image = write_product(folder, "L2A", date)
        for name in ("B08_10m.jp2", "B8A_20m.jp2", "B04_10m.jp2", "B04_20m.jp2"):
            add_band(image, name, number)
        write_classes(beside(image, "SCL_20m.jp2"), np.full((SIDE // 2, SIDE // 2), 4, np.uint8), 20)
    add_band(write_product(folder, "L1C", "20190701"), "B8A.jp2")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("band", "names"),
    [
        ("B08", {"B08_10m", "B08_10m "}), ("B04", {"B04_10m", "B04_10m "}), ("B8A", {"B8A_20m", "B8A_20m ", "B8A"}),
        ("TCI", {"TCI_10m", "TCI_10m ", "TCI"}), ("", {"TCI_10m", "TCI_10m ", "TCI"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("zipped", [False, True])
def test_one_raster_of_each_product(
    products: Path, tmp_path: Path, band: str, names: set[str], *, zipped: bool
) -> None:
    place = shutil.make_archive(str(tmp_path / "in"), "zip", products) if zipped else str(products)
    listed = find_scenes([place], looking=Looking(band=band))
    scenes = listed.scenes
    found = [scene.source.posix.stem.split("_", 2)[2] for scene in scenes]
    assert sorted(found) == sorted(name.strip() for name in names)
    assert [scene.asset for scene in scenes] == [band or "TCI"] * len(scenes)
    dates = ("20190427", "20190606", "20190701")[: len(names)]
    assert [scene.scene_id for scene in scenes] == [f"S2A_{date}T083601_T36UXA" for date in dates]
    without = {} if len(names) == 3 else {"S2A_20190701T083601_T36UXA": f"no {band} in its product, which has B8A, TCI"}
    assert listed.left_out == without, "a product without the band is named"


def run(places: list[Path], out: Path, **settings: Any) -> RunRecord:
    overrides = {"features.upsample": 1, **{f"ingest.{name}": value for name, value in settings.items()}}
    return run_stages(Job(load_config(overrides=overrides), places, None, out))


@pytest.mark.slow
def test_a_band_is_stretched_without_further_settings(products: Path, tmp_path: Path) -> None:
    run([products], tmp_path / "out", band="b08")
    [first, second] = s2fast.open_run(tmp_path / "out").scenes().to_dict("records")
    assert first["source"].endswith("R10m/T36UXA_20190427T083601_B08_10m.jp2")
    assert {first["mask"], second["mask"]} == {"SCL"}
    pixels = textured(np.random.default_rng(0), (SIDE, SIDE)).astype(np.int64) * 17 + 1000
    wanted = auto_stretch(np.bincount(pixels.ravel(), minlength=1 << 16))
    assert RunFolder(tmp_path / "out").tile(first["scene_id"]).stretch == wanted
    assert first["n_keypoints"] > 50


@pytest.mark.slow
def test_a_file_given_by_its_path_gives_the_band_of_its_product(products: Path, tmp_path: Path) -> None:
    images = sorted(products.rglob("*_TCI*.jp2"))
    record = run(images, tmp_path / "out", band="B08")
    assert [item.scene.source.posix.stem[-7:] for item in record.usable] == ["B08_10m", "B08_10m"]
    [(name, problem)] = record.history.problems.items()
    assert name == "S2A_20190701T083601_T36UXA"
    assert "no B08 in the product of" in problem
    assert "it has B8A, TCI" in problem


def test_plain_files_are_used_as_they_are(tmp_path: Path) -> None:
    write_classes(tmp_path / "photo.tif", np.ones((8, 8), np.uint8), 10)
    [scene] = find_scenes([tmp_path], looking=Looking(band="B08")).scenes
    assert with_bands(scene, ["B08"]) is scene


def test_bad_bands_are_one_line(products: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='ingest.band = \'B99\': write "tci", a band such as "B08"'):
        load_config({"ingest": {"band": "B99"}})
    with pytest.raises(InputError, match=r"under .*: S2A_\w+: no B11 in its product, which has B8A, TCI"):
        run([products], tmp_path / "out", band="B11")
    assert (Ingest(band="B08").stretch, Ingest(band="tci").stretch, Ingest().stretch) == ("auto", "none", "none")
    assert Ingest(band="B08", stretch=(0, 4000)).stretch == (0, 4000)
    for settings, told in (
        ({"band": ["B08"]}, "write at least two different bands"),
        ({"band": ["B08", "B08"]}, "write at least two different bands"),
        ({"band": ["B08", "B04"], "band_weights": [1]}, "ingest.band_weights has 1 weights: give one for each"),
        ({"band": ["B08", "B04"], "band_weights": [0, 0]}, "ingest.band_weights must be 0 or more"),
    ):
        with pytest.raises(ConfigError, match=told):
            load_config({"ingest": settings})


@pytest.mark.slow
def test_a_list_of_bands_becomes_grey_by_weights(products: Path, tmp_path: Path) -> None:
    record = run([products], tmp_path / "out", band=["B08", "B04"], band_weights=[3, 1])
    folder = RunFolder(tmp_path / "out")
    assert len(record.usable) == 2
    for item in record.usable:
        parts = []
        for source in (item.scene.source, *item.scene.others):
            with open_raster(source, Ingest(band="B08")) as reader:
                parts.append(reader.read(Window(0, 0, SIDE, SIDE))[0].astype(float))
        assert len(parts) == 2
        wanted = np.maximum(np.rint(0.75 * parts[0] + 0.25 * parts[1]), 1)
        np.testing.assert_array_equal(folder.grey(item.scene.scene_id), wanted)
        other = load_config(overrides={"ingest.band": ["B08", "B04"], "ingest.band_weights": [1, 3]})
        assert tile_key(item, other, None) != folder.tile_key(item.scene.scene_id)
    again = run([products], tmp_path / "out", band=["B08", "B04"], band_weights=[3, 1])
    assert again.history.stages["ingest"].done == 2
    assert again.found.scenes == record.found.scenes


def test_bands_of_different_size_are_named(products: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"B8A_20m\.jp2: 120 x 120 px at 20, and .*_B08_10m\.jp2 has 240 x 240 px at 10"
    ):
        run(sorted(products.glob("*20190427T083601.SAFE")), tmp_path / "out", band=["B08", "B8A"])


@pytest.mark.parametrize(
    ("corner", "crs", "message"),
    [
        ((WEST + 10, NORTH), "EPSG:32636",
         r"B08\.jp2: 240 x 240 px at 10 from 600010, 5600040, and .*B04\.jp2 has 240 x 240 px at 10 from 600000, 56"),
        ((WEST, NORTH), "EPSG:32637", r"5600040 in EPSG:32637, and .*B04\.jp2 has .* 5600040 in EPSG:32636: bands of"),
    ],
)  # fmt: skip
def test_bands_of_another_place_or_crs_are_told_apart(
    tmp_path: Path, corner: tuple[float, float], crs: str, message: str
) -> None:
    paths = [tmp_path / "T_B04.jp2", tmp_path / "T_B08.jp2"]
    for path, place in zip(paths, (((WEST, NORTH), "EPSG:32636"), (corner, crs)), strict=True):
        write_classes(path, np.full((SIDE, SIDE), 700, np.uint16), 10, *place)
    settings = Ingest(band=["B04", "B08"])
    with pytest.raises(SceneError, match=message), open_bands([Source.local(path) for path in paths], settings):
        pass


@pytest.mark.parametrize("weights", [(1e308, 1e308), (1e-320, 1e-320), (5, 5)])
def test_weights_are_relative(tmp_path: Path, weights: tuple[float, float]) -> None:
    images = [write_classes(tmp_path / f"{value}.tif", np.full((8, 8), value, np.uint8), 10) for value in (40, 80)]
    settings = Ingest(band=["B04", "B08"], band_weights=weights)
    with open_bands([Source.local(path) for path in images], settings) as reader:
        assert (reader.read(Window(0, 0, 8, 8))[0] == 60).all()


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [False, True])
def test_a_product_with_bands_and_no_image_is_named(tmp_path: Path, zipped: bool) -> None:
    whole, bare = (write_product(tmp_path / "in", "L1C", date) for date in ("20190427", "20190606"))
    for image in (whole, bare):
        add_band(image, "B04.jp2")
        add_band(image, "B01.jp2")
        for name in ("MSK_DETFOO_B01.jp2", "MSK_QUALIT_B04.jp2", "MSK_CLASSI_B00.jp2"):
            write_classes(beside(image, name), np.zeros((4, 4), np.uint8), 600)
    bare.unlink()
    place = Path(shutil.make_archive(str(tmp_path / "all"), "zip", tmp_path / "in")) if zipped else tmp_path / "in"
    result = find_scenes([place])
    assert [scene.scene_id for scene in result.scenes] == ["S2A_20190427T083601_T36UXA"]
    assert len(result.left_out) == 1
    assert next(iter(result.left_out.values())).startswith(
        "no image (TCI) in its product, which has B01, B04: choose one with "
    )
    assert not find_scenes([place], looking=Looking(band="B04")).left_out


def test_bands_named_without_their_product_beside_its_image_lack_nothing(tmp_path: Path) -> None:
    for name in ("S2A_36SYC_20190805_0_L2A_TCI.jp2", "B04.jp2", "B08.jp2"):
        (tmp_path / "a" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "a" / name).touch()
    assert not find_scenes([tmp_path]).left_out
