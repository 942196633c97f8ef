"""Which mask a scene has, by the layout of its product."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from s2fast.archive.names import naming
from s2fast.config import Ingest, load_config
from s2fast.errors import ConfigError, SceneError
from s2fast.files.source import Source
from s2fast.masks.lookup import FoundMask, find_mask
from s2fast.model import Scene
from tests.masks.products import beside, gml, write_classes, write_product

CLASSES = np.zeros((4, 4), np.uint8)


def scene(path: Path | str) -> Scene:
    source = Source.of(path)
    return Scene.of(source, naming(source))


def add(image: Path, *names: str) -> None:
    for name in names:
        path = beside(image, name)
        if name.endswith(".gml"):
            path.write_text(gml())
        else:
            bands = 3 if "CLASSI" in name else 1
            write_classes(path, np.repeat(CLASSES[None], bands, axis=0), 20)


OLD = "S2A_OPER_MSK_CLOUDS_EPAE_20160830T083600_A006199_T36UXA_B00_MSIL1C.gml"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "present", "mask", "kind", "name"),
    [
        ("L2A", ("SCL_20m.jp2", "SCL_60m.jp2", "MSK_CLDPRB_20m.jp2", "MSK_CLASSI_B00.jp2"), "auto", "scl", "SCL_20m"),
        ("L2A", ("SCL_60m.jp2",), "scl", "scl", "SCL_60m"),
        ("L2A", ("SCL_20m.jp2", "MSK_CLDPRB_20m.jp2", "MSK_CLDPRB_60m.jp2"), "probability", "probability",
         "MSK_CLDPRB_20m"),
        ("L2A", ("SCL_20m.jp2", "MSK_CLASSI_B00.jp2"), "clouds", "classes", "MSK_CLASSI_B00"),
        ("L1C", ("MSK_CLASSI_B00.jp2",), "auto", "classes", "MSK_CLASSI_B00"),
        ("L1C", ("MSK_CLOUDS_B00.gml", "MSK_NODATA_B04.gml"), "auto", "polygons", "MSK_CLOUDS_B00"),
        ("L1C", (OLD,), "auto", "polygons", OLD.removesuffix(".gml")),
        ("L1C", ("MSK_CLOUDS_B00.gml",), "bright", None, ""),
        ("L1C", ("MSK_CLOUDS_B00.gml",), "none", None, ""),
        ("L1C", (), "auto", None, ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("zipped", [False, True])
def test_the_mask_of_a_product(
    tmp_path: Path, level: str, present: tuple[str, ...], mask: str, kind: str | None, name: str, *, zipped: bool
) -> None:
    image = write_product(tmp_path / "in", level)
    add(image, *present)
    place = str(image)
    if zipped:
        archive = shutil.make_archive(str(tmp_path / "product"), "zip", tmp_path / "in")
        place = f"zip://{archive}!/{image.relative_to(tmp_path / 'in')}"
    found = find_mask(scene(place), Ingest.model_validate({"mask": mask}))
    assert (found and found.kind) == kind
    assert Path(found.source.name).stem.endswith(name) if found else not name


def test_a_mask_asked_for_and_absent_is_named(tmp_path: Path) -> None:
    image = write_product(tmp_path, "L1C")
    for mask, names in (("scl", "SCL"), ("clouds", "Fmask, QA_PIXEL, udm2, udm2_clip, MSK_CLASSI_B00, MSK_CLOUDS_B00")):
        with pytest.raises(SceneError, match=rf"TCI\.jp2: its product has no {names}, and ingest\.mask is '{mask}'"):
            find_mask(scene(image), Ingest.model_validate({"mask": mask}))


def test_hls_has_its_fmask_and_loose_files_that_of_their_name(tmp_path: Path) -> None:
    for name in ("HLS.S30.T36UYA.2016243T083602.v2.0.B04.tif", "T36UXA_20190427T083601_TCI_10m.jp2"):
        write_classes(tmp_path / name, CLASSES, 10)
    write_classes(tmp_path / "HLS.S30.T36UYA.2016243T083602.v2.0.Fmask.tif", CLASSES, 30)
    write_classes(tmp_path / "T36UXA_20190427T083601_SCL_20m.jp2", CLASSES, 20)
    write_classes(tmp_path / "T36UXA_20190606T083601_SCL_20m.jp2", CLASSES, 20)
    hls = find_mask(scene(tmp_path / "HLS.S30.T36UYA.2016243T083602.v2.0.B04.tif"), Ingest())
    loose = find_mask(scene(tmp_path / "T36UXA_20190427T083601_TCI_10m.jp2"), Ingest())
    assert hls is not None
    assert loose is not None
    assert (hls.kind, loose.kind, loose.source.posix.name) == ("fmask", "scl", "T36UXA_20190427T083601_SCL_20m.jp2")


def test_own_files_by_pattern(tmp_path: Path) -> None:
    image = write_product(tmp_path, "L1C")
    write_classes(tmp_path / "m" / f"36UXA_20190427_{image.stem}.tif", CLASSES, 20)
    pattern = f"{tmp_path}/m/{{tile}}_{{date}}_{{stem}}.tif"
    found = find_mask(scene(image), Ingest(mask="file", mask_file=pattern))
    assert isinstance(found, FoundMask)
    assert found.kind == "file"
    (image.parent / f"{image.stem}.gpkg").write_bytes(b"")
    shapes = find_mask(scene(image), Ingest(mask="file", mask_file="{folder}/{stem}.gpkg"))
    assert shapes is not None
    assert shapes.kind == "shapes"
    with pytest.raises(SceneError, match=r"its mask .*S2A_20190427T083601_T36UXA\.tif does not exist: make it"):
        find_mask(scene(image), Ingest(mask="file", mask_file="{folder}/{id}.tif"))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"mask": "cloud"}, "ingest.mask = 'cloud': input should be 'auto', 'none', 'bright'"),
        ({"mask": "file"}, 'ingest.mask = "file" needs ingest.mask_file'),
        ({"mask_file": "{stem}.tif"}, "ingest.mask_file needs ingest.mask ="),
        ({"mask": "file", "mask_file": "{scene}.tif"}, "words in braces are id, stem, folder, tile and date"),
        ({"mask": "file", "mask_file": "{.tif"}, "words in braces are id, stem, folder, tile and date"),
        ({"mask": "scl", "clouds": False}, "ingest.clouds = false looks for no clouds, and ingest.mask is 'scl'"),
        ({"mask": "probability", "mask_probability": 0}, "ingest.mask_probability = 0"),
    ],
)
def test_contradictory_settings_are_one_line(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config({"ingest": settings})
    assert told in str(error.value)
    assert "\n" not in str(error.value)
