"""The rasters of products, as the ground segment and others name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2fast.align.product import product_rasters, selected
from s2fast.archive.names import naming
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.model import Scene


def scene(folder: Path, own: str, *others: str) -> Scene:
    """Make empty files of a product; return the scene of the first."""
    for name in (own, *others):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    source = Source.local(folder / own)
    return Scene.of(source, naming(source))


def found(of: Scene, folder: Path) -> dict[str, str]:
    return {name: str(Path(source.name).relative_to(folder)) for name, source in product_rasters(of).items()}


def test_level_1c(tmp_path: Path) -> None:
    stem = "T36UYA_20190427T083601"
    product = scene(
        tmp_path, f"IMG_DATA/{stem}_TCI.jp2", f"IMG_DATA/{stem}_B02.jp2", f"IMG_DATA/{stem}_B8A.jp2",
        "IMG_DATA/T36UXA_20190427T083601_B03.jp2", "QI_DATA/MSK_CLASSI_B00.jp2", "QI_DATA/MSK_CLOUDS_B00.gml",
    )  # fmt: skip
    assert found(product, tmp_path) == {
        "TCI": f"IMG_DATA/{stem}_TCI.jp2",
        "B02": f"IMG_DATA/{stem}_B02.jp2",
        "B8A": f"IMG_DATA/{stem}_B8A.jp2",
        "MSK_CLASSI_B00": "QI_DATA/MSK_CLASSI_B00.jp2",
    }


def test_level_2a_takes_the_finest_resolution(tmp_path: Path) -> None:
    stem = "T36UYA_20190427T083601"
    product = scene(
        tmp_path, f"IMG_DATA/R10m/{stem}_TCI_10m.jp2", f"IMG_DATA/R10m/{stem}_B02_10m.jp2",
        f"IMG_DATA/R20m/{stem}_B02_20m.jp2", f"IMG_DATA/R20m/{stem}_SCL_20m.jp2", f"IMG_DATA/R60m/{stem}_SCL_60m.jp2",
        f"IMG_DATA/R60m/{stem}_TCI_60m.jp2", "QI_DATA/MSK_CLDPRB_20m.jp2", "QI_DATA/MSK_CLDPRB_60m.jp2",
    )  # fmt: skip
    assert found(product, tmp_path) == {
        "TCI": f"IMG_DATA/R10m/{stem}_TCI_10m.jp2",
        "B02": f"IMG_DATA/R10m/{stem}_B02_10m.jp2",
        "SCL": f"IMG_DATA/R20m/{stem}_SCL_20m.jp2",
        "MSK_CLDPRB": "QI_DATA/MSK_CLDPRB_20m.jp2",
    }
    assert list(selected(product, [])) == ["TCI"]
    assert list(selected(product, ["SCL", "B02"])) == ["SCL", "B02"]
    assert set(selected(product, ["all"])) == set(found(product, tmp_path))
    with pytest.raises(SceneError, match="no B11 in the product of .*: it has B02, MSK_CLDPRB, SCL, TCI"):
        selected(product, ["B02", "B11"])


def test_other_names(tmp_path: Path) -> None:
    flat = scene(tmp_path, "S2A_20160830T083602_T36UYA_visual.tif", "S2A_20160830T083602_T36UYA_red.tif", "x_blue.tif")
    assert found(flat, tmp_path) == {
        "TCI": "S2A_20160830T083602_T36UYA_visual.tif", "RED": "S2A_20160830T083602_T36UYA_red.tif",
    }  # fmt: skip
    alone = scene(tmp_path, "clip.tif")
    assert found(alone, tmp_path) == {"": "clip.tif"}
    with pytest.raises(SceneError, match="it has no other raster that can be found"):
        selected(alone, ["B02"])
