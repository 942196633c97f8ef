import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio.shutil

from s2fast.archive.identity import identity
from s2fast.errors import SceneError
from s2fast.files.source import Source
from tests.archives import write_scene


def vrt_of(source: Path) -> Path:
    rasterio.shutil.copy(source, source.with_suffix(".vrt"), driver="VRT")
    return source.with_suffix(".vrt")


def test_identity_changes_with_any_file_a_scene_is_made_of(tmp_path: Path) -> None:
    pixels = np.full((64, 64), 9, np.uint8)
    source = write_scene(tmp_path / "a.tif", pixels, block=16)
    vrt = vrt_of(source)
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.write(source, "in/a.tif")
    scenes = [Source.local(source), Source.local(vrt), Source.local(archive).member("in/a.tif")]

    def identities() -> list[str]:
        return [identity(scene) for scene in scenes]

    before = identities()
    assert before[0] == f"a.tif {source.stat().st_size} {source.stat().st_mtime_ns}"
    assert identities() == before
    write_scene(source, np.tile(pixels, (1, 2)), block=16)
    assert [old == new for old, new in zip(before, identities(), strict=True)] == [False, False, True]
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("more.txt", "")
    assert identities()[2] != before[2]


def test_identity_of_what_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"a\.tif: cannot read its size"):
        identity(Source.local(tmp_path / "a.tif"))
    with pytest.raises(SceneError, match="cannot determine its version"):
        identity(Source.of("/vsimem/a.tif"))
