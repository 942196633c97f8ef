import zipfile
from pathlib import Path

import pytest

from s2fast.errors import InputError
from s2fast.sources import absolute, gdal_name, source_path, zip_member, zip_names, zip_parts


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("/data/a.tif", "/data/a.tif"),
        ("s3://bucket/a b/c.jp2", "/vsis3/bucket/a b/c.jp2"),
        ("/vsis3/bucket/c.jp2", "/vsis3/bucket/c.jp2"),
        ("gs://bucket/c.tif", "/vsigs/bucket/c.tif"),
        ("az://container/c.tif", "/vsiaz/container/c.tif"),
        ("https://example.org:8080/x/c.tif", "/vsicurl/https://example.org:8080/x/c.tif"),
        ("/vsicurl/http://example.org/c.tif", "/vsicurl/http://example.org/c.tif"),
        ("zip:///data/a.zip!/in/c.jp2", "/vsizip/{/data/a.zip}/in/c.jp2"),
        ("zip:///data/a.zip!in/c.jp2", "/vsizip/{/data/a.zip}/in/c.jp2"),
        ("zip:///data/a.zip", "/vsizip/{/data/a.zip}"),
        ("/vsizip//data/A.ZIP/in/c.jp2", "/vsizip/{/data/A.ZIP}/in/c.jp2"),
        ("/vsizip/{/data/a.zip}/in/c.jp2", "/vsizip/{/data/a.zip}/in/c.jp2"),
        ("/vsizip//vsis3/bucket/a.zip/c.jp2", "/vsizip/{/vsis3/bucket/a.zip}/c.jp2"),
    ],
)
def test_what_a_user_writes_and_what_gdal_reads(place: str, name: str) -> None:
    assert gdal_name(source_path(place)) == name
    # A path goes through run.json and back.
    assert gdal_name(source_path(Path(str(source_path(place))))) == name


def test_unknown_scheme_is_told() -> None:
    with pytest.raises(InputError, match=r"ftp://host/a\.tif.*s3://.*not ftp://"):
        source_path("ftp://host/a.tif")


def test_relative_places_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("scenes") == str(tmp_path / "scenes")
    assert absolute("zip://a.zip!c.jp2") == f"/vsizip/{{{tmp_path}/a.zip}}/c.jp2"
    assert absolute("s3://bucket/c.jp2") == "/vsis3/bucket/c.jp2"


def test_a_zips_members(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("b/", "")
        opened.writestr("b/2.tif", "")
        opened.writestr("1.tif", "")
    assert zip_names(archive) == ["1.tif", "b/2.tif"]
    assert zip_parts(zip_member(archive, "b/2.tif")) == (archive, "b/2.tif")
    assert zip_parts(zip_member(archive, "")) == (archive, "")
    assert zip_parts(archive) is None
