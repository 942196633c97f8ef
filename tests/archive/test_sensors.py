"""Products of Landsat, HLS and PlanetScope: their names, images, bands and masks."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from s2fast.archive.find import find_scenes
from s2fast.archive.listing import Looking
from s2fast.archive.names import naming
from s2fast.archive.siblings import with_bands
from s2fast.config import Ingest
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.masks.lookup import find_mask
from tests.masks.products import write_classes

LANDSAT_1 = "LC08_L1TP_177025_20190611_20190619_01_T1"
LANDSAT_2 = "LC09_L2SP_177025_20220611_20220613_02_T1"
PLANET = "20190611_083601_1008_3B"
DOVE = "20220101_081530_45_2444_3B"
LIGHT = "HLS.L30.T36UYA.2019162T083602.v2.0"
SENTINEL = "HLS.S30.T36UYA.2019157T083601.v2.0"

PRODUCTS = {
    LANDSAT_1: ("B4.TIF", "B8.TIF", "B10.TIF", "BQA.TIF"),
    LANDSAT_2: ("SR_B4.TIF", "SR_B5.TIF", "ST_B10.TIF", "ST_QA.TIF", "QA_PIXEL.TIF", "SR_QA_AEROSOL.TIF", "VAA.TIF"),
    PLANET: ("AnalyticMS.tif", "Visual.tif", "AnalyticMS_DN_udm.tif", "udm2.tif"),
    DOVE: ("AnalyticMS_SR_8b_harmonized_clip.tif", "udm2_clip.tif"),
    LIGHT: ("B04.tif", "B05.tif", "Fmask.tif"),
    SENTINEL: ("B04.tif", "B8A.tif", "Fmask.tif"),
}


def joined(product: str, name: str) -> str:
    return f"{product}{'.' if product.startswith('HLS') else '_'}{name}"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sensors")
    for number, (product, names) in enumerate(PRODUCTS.items()):
        for name in names:
            write_classes(folder / f"{number}" / joined(product, name), np.zeros((4, 4), np.uint8), 30)
    return folder


@pytest.mark.parametrize(
    ("name", "scene_id", "platform", "tile", "level", "asset", "time"),
    [
        (f"{LANDSAT_1}_B8.TIF", "LC08_20190611_T177025", "LC08", "177025", "L1TP", "B8", datetime(2019, 6, 11)),
        (f"{LANDSAT_2}/SR_B4.tif", "LC09_20220611_T177025", "LC09", "177025", "L2SP", "", datetime(2022, 6, 11)),
        (f"{LANDSAT_2}_SR_B4.TIF", "LC09_20220611_T177025", "LC09", "177025", "L2SP", "SR_B4", datetime(2022, 6, 11)),
        ("LE07_L2SP_177025_20120611_02_T1/x.tif", "LE07_20120611_T177025", "LE07", "177025", "L2SP", "",
         datetime(2012, 6, 11)),
        (f"{PLANET}_Visual.tif", "PS1008_20190611T083601", "PS1008", "", "", "TCI", datetime(2019, 6, 11, 8, 36, 1)),
        (f"{DOVE}_AnalyticMS_SR_8b_clip.tif", "PS2444_20220101T081530", "PS2444", "", "", "ANALYTICMS_SR_8B_CLIP",
         datetime(2022, 1, 1, 8, 15, 30)),
        (f"{LIGHT}.B05.tif", "HLS.L30_20190611T083602_T36UYA", "HLS.L30", "36UYA", "", "B05",
         datetime(2019, 6, 11, 8, 36, 2)),
        ("mosaic_B4.tif", "mosaic_B4", "", "", "", "", None),
        ("LC08_L1TP_177025_20191311_20190619_01_T1_B8.TIF", "LC08_L1TP_177025_20191311_20190619_01_T1_B8", "", "", "",
         "B8", None),
    ],
)  # fmt: skip
def test_names(
    name: str, scene_id: str, platform: str, tile: str, level: str, asset: str, time: datetime | None
) -> None:
    named = naming(Source.of(name))
    assert (named.scene_id, named.platform, named.tile) == (scene_id, platform, tile)
    assert (named.level, named.asset) == (level, asset)
    assert named.sensing_time == (time and time.replace(tzinfo=UTC))
    again = naming(Source.of(f"ALIGNED/{scene_id}_aligned.tif"))
    if time:
        assert (again.scene_id, again.platform, again.tile) == (scene_id, platform, tile)
        assert again.sensing_time == named.sensing_time


@pytest.mark.parametrize(
    ("band", "names"),
    [
        ("", {joined(product, name) for product, names in PRODUCTS.items() for name in names
              if not any(word in name for word in ("QA", "udm", "Fmask", "VAA"))} - {f"{PLANET}_AnalyticMS.tif"}),
        ("RED", {f"{LANDSAT_1}_B4.TIF", f"{LANDSAT_2}_SR_B4.TIF", f"{LIGHT}.B04.tif", f"{SENTINEL}.B04.tif"}),
        ("B04", {f"{LANDSAT_1}_B4.TIF", f"{LANDSAT_2}_SR_B4.TIF", f"{LIGHT}.B04.tif", f"{SENTINEL}.B04.tif"}),
        ("NIR08", {f"{LANDSAT_2}_SR_B5.TIF", f"{LIGHT}.B05.tif", f"{SENTINEL}.B8A.tif"}),
        ("PAN", {f"{LANDSAT_1}_B8.TIF"}),
        ("TCI", {f"{PLANET}_Visual.tif"}),
    ],
)  # fmt: skip
def test_one_raster_of_each_product(archive: Path, band: str, names: set[str]) -> None:
    found = find_scenes([archive], lambda _: None, Looking(band=band))
    assert {scene.source.posix.name for scene in found.scenes} == names


def test_a_band_by_its_colour(archive: Path) -> None:
    def red(name: str) -> str:
        scene = find_scenes([next(archive.rglob(name))], lambda _: None).scenes[0]
        return with_bands(scene, ["RED"]).source.posix.name

    assert red(f"{LANDSAT_1}_B8.TIF") == f"{LANDSAT_1}_B4.TIF"
    assert red(f"{LANDSAT_2}_SR_B5.TIF") == f"{LANDSAT_2}_SR_B4.TIF"
    assert red(f"{LIGHT}.B05.tif") == f"{LIGHT}.B04.tif"
    scene = find_scenes([next(archive.rglob(f"{LIGHT}.B05.tif"))], lambda _: None).scenes[0]
    with pytest.raises(SceneError, match=r"^no PAN in the product of .*B05\.tif: it has B04, B05, FMASK$"):
        with_bands(scene, ["PAN"])


@pytest.mark.parametrize(
    ("image", "mask", "kind"),
    [
        (f"{LANDSAT_2}_SR_B4.TIF", f"{LANDSAT_2}_QA_PIXEL.TIF", "qa_pixel"),
        (f"{PLANET}_Visual.tif", f"{PLANET}_udm2.tif", "udm2"),
        (f"{DOVE}_AnalyticMS_SR_8b_harmonized_clip.tif", f"{DOVE}_udm2_clip.tif", "udm2"),
        (f"{LIGHT}.B05.tif", f"{LIGHT}.Fmask.tif", "fmask"),
    ],
)
@pytest.mark.parametrize("asked", ["auto", "clouds"])
def test_each_product_has_its_mask(archive: Path, image: str, mask: str, kind: str, asked: str) -> None:
    scene = find_scenes([next(archive.rglob(image))], lambda _: None).scenes[0]
    found = find_mask(scene, Ingest.model_validate({"mask": asked}))
    assert found is not None
    assert (found.kind, found.source.posix.name) == (kind, mask)


def test_a_product_without_its_mask_is_judged_by_brightness(tmp_path: Path) -> None:
    path = write_classes(tmp_path / f"{PLANET}_Visual.tif", np.ones((8, 8), np.uint8), 3)
    scene = find_scenes([path]).scenes[0]
    assert find_mask(scene, Ingest()) is None
    with pytest.raises(SceneError, match=r"its product has no Fmask, QA_PIXEL, udm2, udm2_clip, MSK_CLASSI_B00"):
        find_mask(scene, Ingest(mask="clouds"))
