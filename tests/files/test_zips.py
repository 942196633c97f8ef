import zipfile
from pathlib import Path

import pytest

from s2fast.files.source import Source
from s2fast.files.zips import zip_names


def test_a_zips_members(tmp_path: Path) -> None:
    archive = Source.local(tmp_path / "a.zip")
    with zipfile.ZipFile(archive.name, "w") as opened:
        opened.writestr("b/", "")
        opened.writestr("b/2.tif", "")
        opened.writestr("1.tif", "")
    assert zip_names(archive) == ["1.tif", "b/2.tif"]


def test_member_names_have_slashes_in_any_zip(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner.zip", tmp_path / "outer.zip"
    with zipfile.ZipFile(inner, "w") as opened:
        opened.writestr("a\\b.tif", "")
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.write(inner, "in\\inner.zip")
    assert zip_names(Source.local(inner)) == ["a/b.tif"]
    assert zip_names(Source.local(outer).member("in/inner.zip")) == ["a/b.tif"]
    with pytest.raises(zipfile.BadZipFile):
        zip_names(Source.local(outer).member("gone.zip"))
