import zipfile
from pathlib import Path

import pytest

from s2fast.errors import InputError
from s2fast.files.source import absolute, gdal_address, gdal_name, source_path, zip_member, zip_names, zip_parts


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
        ("zip:///data/in {x} y/a.zip!c.jp2", "/vsizip/{/data/in {x} y/a.zip}/c.jp2"),
        ("zip:///data/a}{b/a.zip!c{.jp2", "/vsizip//data/a}{b/a.zip/c{.jp2"),
        ("zip:///data/a{b/a.zip!c.jp2", "/vsizip//data/a{b/a.zip/c.jp2"),
        ("/vsizip/{/vsizip/{/data/a.zip}/b.zip}/c.jp2", "/vsizip/{/vsizip/{/data/a.zip}/b.zip}/c.jp2"),
        ("/data/a?sig=1/b.tif", "/data/a?sig=1/b.tif"),
        ("HTTPS://example.org/c.tif", "/vsicurl/https://example.org/c.tif"),
    ],
)
def test_what_a_user_writes_and_what_gdal_reads(place: str, name: str) -> None:
    assert gdal_name(source_path(place)) == name
    # A path goes through run.json and back.
    assert gdal_name(source_path(Path(str(source_path(place))))) == name


@pytest.mark.parametrize(
    ("place", "opened", "shown"),
    [
        ("https://h/a.tif?sv=1&sig=x%2By", "/vsicurl/https://h/a.tif?sv=1&sig=x%2By", "/vsicurl/https://h/a.tif"),
        ("https://me:wo:rd@h:8/a.tif", "/vsicurl/https://me:wo:rd@h:8/a.tif", "/vsicurl/https://h:8/a.tif"),
        ("https://me:w?o#r@d@h/a.tif", "/vsicurl/https://me:w%3Fo%23r%40d@h/a.tif", "/vsicurl/https://h/a.tif"),
        ("https://h/a.tif#token=x", "/vsicurl/https://h/a.tif", "/vsicurl/https://h/a.tif"),
        ("https://h/a b.tif?sig=//x' {y}", "/vsicurl/https://h/a%20b.tif?sig=%2F%2Fx%27%20%7By%7D",
         "/vsicurl/https://h/a%20b.tif"),
        ("https://h/get?file=S2A/a.tif&token=x", "/vsicurl/https://h/get?file=S2A%2Fa.tif&token=x",
         "/vsicurl/https://h/get?file=S2A%2Fa.tif"),
        ("https://h/get?path=a.tif%3Fsig%3Dx", "/vsicurl/https://h/get?path=a.tif%3Fsig%3Dx", "/vsicurl/https://h/get"),
        ("/vsicurl?use_head=no&url=https%3A%2F%2Fme%3Ax%40h%2Fa.tif%3Fsig%3Dx", "/vsicurl/https://me:x@h/a.tif?sig=x",
         "/vsicurl/https://h/a.tif"),
        ("zip://https://h/a.zip?sig=x!y!/c.tif", "/vsizip/{/vsicurl/https://h/a.zip?sig=x!y}/c.tif",
         "/vsizip/{/vsicurl/https://h/a.zip}/c.tif"),
        ("/vsizip//vsicurl/https://h/a.zip?sig=x/c.tif", "/vsizip/{/vsicurl/https://h/a.zip?sig=x}/c.tif",
         "/vsizip/{/vsicurl/https://h/a.zip}/c.tif"),
    ],
)  # fmt: skip
def test_what_is_secret_opens_a_source_and_is_not_shown(place: str, opened: str, shown: str) -> None:
    path = source_path(place)
    assert (gdal_address(path), gdal_name(path), absolute(place)) == (opened, shown, shown)
    assert gdal_address(source_path(path)) == opened


@pytest.mark.parametrize("place", ["az://box/a.tif?sv=1&sig=Zq7k", "/vsis3/box/a.tif?X-Amz-Signature=Zq7k"])
def test_an_object_store_takes_no_signature(place: str) -> None:
    with pytest.raises(InputError, match="environment") as caught:
        source_path(place)
    assert "Zq7k" not in str(caught.value)


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


def test_members_have_slashes_whoever_wrote_the_zip(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner.zip", tmp_path / "outer.zip"
    with zipfile.ZipFile(inner, "w") as opened:
        opened.writestr("a\\b.tif", "")
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.write(inner, "in\\inner.zip")
    assert zip_names(inner) == ["a/b.tif"]
    assert zip_names(zip_member(outer, "in/inner.zip")) == ["a/b.tif"]
    with pytest.raises(zipfile.BadZipFile):
        zip_names(zip_member(outer, "gone.zip"))
