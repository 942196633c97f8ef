"""A band of choice: `ingest.band`, in the layouts of products."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import s2fast
from s2fast.archive.find import find_scenes
from s2fast.archive.listed import Looking
from s2fast.archive.siblings import with_band
from s2fast.config import Ingest, load_config
from s2fast.errors import ConfigError, InputError
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import Job, run_stages
from s2fast.raster.stretch import auto_stretch
from tests.archives import textured
from tests.masks.products import SIDE, beside, write_classes, write_product


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
    scenes = find_scenes([place], looking=Looking(band=band)).scenes
    found = [scene.source.posix.stem.split("_", 2)[2] for scene in scenes]
    assert sorted(found) == sorted(name.strip() for name in names)
    assert [scene.asset for scene in scenes] == [band or "TCI"] * len(scenes)
    dates = ("20190427", "20190606", "20190701")[: len(names)]
    assert [scene.scene_id for scene in scenes] == [f"S2A_{date}T083601_T36UXA" for date in dates]


def run(places: list[Path], out: Path, **settings: Any) -> RunRecord:
    overrides = {"features.upsample": 1, **{f"ingest.{name}": value for name, value in settings.items()}}
    return run_stages(Job(load_config(overrides=overrides), places, None, out))


def test_a_band_is_stretched_without_further_settings(products: Path, tmp_path: Path) -> None:
    run([products], tmp_path / "out", band="b08")
    [first, second] = s2fast.open_run(tmp_path / "out").scenes().to_dict("records")
    assert first["source"].endswith("R10m/T36UXA_20190427T083601_B08_10m.jp2")
    assert {first["mask"], second["mask"]} == {"SCL"}
    pixels = textured(np.random.default_rng(0), (SIDE, SIDE)).astype(np.int64) * 17 + 1000
    wanted = auto_stretch(np.bincount(pixels.ravel(), minlength=1 << 16))
    assert RunFolder(tmp_path / "out").tile(first["scene_id"]).stretch == wanted
    assert first["n_keypoints"] > 50


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
    assert with_band(scene, "B08") is scene


def test_bad_bands_are_one_line(products: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ingest.band = 'B99': value error, write \"tci\", a band such as"):
        load_config({"ingest": {"band": "B99"}})
    with pytest.raises(InputError, match=r"no scenes found under .*: looked for B11, \*\.jp2"):
        run([products], tmp_path / "out", band="B11")
    assert (Ingest(band="B08").stretch, Ingest(band="tci").stretch, Ingest().stretch) == ("auto", "none", "none")
    assert Ingest(band="B08", stretch=(0, 4000)).stretch == (0, 4000)
