"""Files of polygons in all their formats."""

import errno
import http.server
import os
import pickle
import shutil
import sqlite3
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import geopandas
import numpy as np
import pytest
from pydantic import TypeAdapter

from s2fast.config import Regions
from s2fast.errors import ConfigError, InputError
from s2fast.regions.file import RegionFile
from s2fast.regions.mask import place_regions
from tests.archives import UTM36, write_regions
from tests.regions.polygons import (
    FIELDS,
    FORMATS,
    RASTER,
    WHOLE,
    as_zip,
    by_ogr,
    checked,
    features,
    frame,
    loaded,
    mask,
)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str, tmp_path: Path, expected: np.ndarray) -> None:
    path = FORMATS[name](frame(FIELDS), tmp_path)
    settings = Regions(crs={"WKT": UTM36, "TopoJSON": "EPSG:4326"}.get(name, "file"))
    before = sorted(tmp_path.rglob("*"))
    # Formats in degrees round the coordinates.
    assert (mask(path, settings) != expected).sum() <= 2
    assert checked(path, settings).used == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_a_zips_member_by_name(tmp_path: Path) -> None:
    path = as_zip(frame(FIELDS), tmp_path)
    assert checked(f"zip://{path}!/fields/1/field.shp").layers == {"field": 1}
    with pytest.raises(InputError, match=r"packed\.zip.*no such file in the zip"):
        mask(f"zip://{path}!/fields/3/field.shp")


VRT = "<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{file}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"
REFERRING = {
    "VRT": VRT,
    "VRT in a comment": f"<kml><!-- {VRT} --></kml>",
    "VRT in CSV": f'"{VRT}"',
    "WFS": "<OGRWFSDataSource><URL>{url}</URL></OGRWFSDataSource>",
    "WFS capabilities": '<WFS_Capabilities version="1.0.0"><x href="{url}"/></WFS_Capabilities>',
    "other XML": "<html>{url}</html>",
    "pipeline": '{{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline ! read {file} ! write x.json"}}',
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERRING)
@pytest.mark.parametrize("suffix", [".geojson", ".csv", ".vrt", ".gml"])
def test_what_refers_to_other_files_and_servers_is_refused(name: str, suffix: str, tmp_path: Path) -> None:
    secret = write_regions(tmp_path / "secret.geojson", FIELDS)
    path = tmp_path / f"fields{suffix}"
    path.write_text(REFERRING[name].format(file=secret, url="http://127.0.0.1:9/"))
    with pytest.raises(InputError, match=r"fields.*(other files|root element|none of shapefile)|no geometry"):
        loaded(path, Regions(crs=UTM36))


@pytest.mark.parametrize("name", ["fields.geojson", "fields.gpkg", "fields.parquet"])
def test_an_empty_file_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=rf"{name}: it is empty: get it again"):
        loaded(tmp_path / name)


def test_an_sqlite_file_that_is_no_geopackage_is_refused(tmp_path: Path) -> None:
    path = by_ogr("sqlite", driver="SQLite")(frame(FIELDS), tmp_path)
    with pytest.raises(InputError, match="not a plain GeoPackage"):
        loaded(path)
    virtual = by_ogr("gpkg")(frame(FIELDS), tmp_path)
    with closing(sqlite3.connect(virtual)) as base:
        base.execute("PRAGMA writable_schema = on")
        table = "CREATE VIRTUAL TABLE other USING VirtualOGR('/vsicurl/http://127.0.0.1:9/a.geojson')"
        base.execute("INSERT INTO sqlite_master VALUES ('table', 'other', 'other', 0, ?)", [table])
        base.commit()
    with pytest.raises(InputError, match="it has a virtual table, which may read other files"):
        loaded(virtual)


CUT = ["shapefile", "FlatGeobuf", "GML", "MIF", "GeoJSON lines", "KML", "GeoParquet", "WKT", "TopoJSON", "zip"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_what_is_cut_off_is_refused(name: str, share: float, tmp_path: Path) -> None:
    path = FORMATS[name](frame([shape.segmentize(40) for shape in FIELDS]), tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=rf"{path.name}"):
        loaded(path, Regions(crs=UTM36))


@pytest.mark.parametrize(("name", "cut"), [("MIF", "last object"), ("FlatGeobuf", "index")])
def test_what_is_cut_off_between_rows_is_refused(name: str, cut: str, tmp_path: Path) -> None:
    path = FORMATS[name](frame(FIELDS * 20), tmp_path)
    data = path.read_bytes()
    for size in [data.rindex(b"Region")] if cut == "last object" else [900, len(data) // 3]:
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match=rf"{path.name}: it is truncated( within|: it has \d+ (objects|rows))"):
            loaded(path, Regions(crs=UTM36))


def two_layers(folder: Path) -> Path:
    path = folder / "fields.gpkg"
    for shape, layer in zip(FIELDS, ("spring", "autumn"), strict=True):
        frame([shape]).to_file(path, layer=layer)
    frame([FIELDS[0].centroid]).to_file(path, layer="labels")
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE layer_styles (id INTEGER PRIMARY KEY, styleQML TEXT)")
        base.execute("INSERT INTO gpkg_contents (table_name, data_type) VALUES ('layer_styles', 'attributes')")
        base.commit()
    return path


def test_all_layers_with_polygons_are_used_and_named(
    tmp_path: Path, expected: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path = two_layers(tmp_path)
    np.testing.assert_array_equal(mask(path), expected)
    assert checked(path).layers == {"spring": 1, "autumn": 1}
    assert "polygons of 2 layers are used: spring (1 rows), autumn (1 rows); regions.layer chooses one" in caplog.text
    assert checked(path, Regions(buffer_m=5)).layers == {"spring": 1, "autumn": 1, "labels": 1}


def test_one_layer_by_name(tmp_path: Path, expected: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    path = two_layers(tmp_path)
    autumn = expected & (np.arange(200)[:, None] >= 90)
    np.testing.assert_array_equal(mask(path, Regions(layer="autumn")), autumn)
    assert checked(path, Regions(layer="autumn")).layers == {"autumn": 1}
    assert caplog.messages == []
    with pytest.raises(ConfigError, match="no such layer; its layers are spring, autumn, labels"):
        loaded(path, Regions(layer="winter"))
    with pytest.raises(InputError, match="a point or line has no area"):
        loaded(path, Regions(layer="labels"))


def test_layers_in_several_crs(tmp_path: Path, expected: np.ndarray) -> None:
    path = tmp_path / "fields.gpkg"
    frame(FIELDS[:1]).to_file(path, layer="a")
    frame(FIELDS[1:]).to_crs(3857).to_file(path, layer="b")
    np.testing.assert_array_equal(mask(path), expected)


@pytest.mark.parametrize("name", ["GeoParquet", "shapefile"])
def test_conditions(name: str, tmp_path: Path) -> None:
    path = FORMATS[name](frame(FIELDS), tmp_path)
    rows = loaded(path, Regions(where="owner = 'owner 1'"))
    assert list(rows.shapes.index) == ["fid 1"]
    with pytest.raises(ConfigError, match=r"regions\.where = 'height > 3' does not work on"):
        loaded(path, Regions(where="height > 3"))
    with pytest.raises(InputError, match=r"no polygons that meet regions\.where"):
        loaded(path, Regions(where="owner = 'nobody'"))


def test_attributes_in_another_encoding_than_said(tmp_path: Path, expected: np.ndarray) -> None:
    table = frame(FIELDS).assign(owner=["M\xfcller", "Andr\xe9"])
    table.to_file(tmp_path / "fields.shp", encoding="ISO-8859-1")
    (tmp_path / "fields.cpg").write_text("UTF-8")
    np.testing.assert_array_equal(mask(tmp_path / "fields.shp"), expected)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder to those who know the secret, without byte ranges."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET() if "sig=Zq7k1x" in self.path else self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}", asked
        serving.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["old GeoJSON", "GeoParquet", "zip"])
def test_addresses(name: str, tmp_path: Path, expected: np.ndarray, server: tuple[str, list[str]]) -> None:
    url, asked = server
    path = FORMATS[name](frame(FIELDS), tmp_path)
    file = RegionFile.at(f"{url}/{path.name}?sig=Zq7k1x")
    assert asked == [f"/{path.name}?sig=Zq7k1x"]
    worker = pickle.loads(pickle.dumps(file))
    np.testing.assert_array_equal(place_regions(worker, Regions(), RASTER).mask(WHOLE), expected)
    assert len(asked) == 1
    assert str(file) == f"{url}/{path.name}"
    assert "Zq7k1x" not in repr(file)
    written = TypeAdapter(RegionFile).dump_python(file, mode="json", by_alias=True)
    assert written == {"path": file.source.name, "content": file.content}
    with pytest.raises(InputError, match=rf"{path.name}: .*HTTP 403") as told:
        RegionFile.at(f"{url}/{path.name}?sig=wrong")
    assert "wrong" not in str(told.value)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = features(tmp_path / "fields.geojson", FIELDS[0])
    path = path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/ch\xe8ne.geojson"))
    with pytest.raises(InputError, match="is not UTF-8: rename it"):
        RegionFile.at(path)


def test_folders_without_polygons(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match=r"holds no polygons: looked for \.shp, .*\.csv at any depth"):
        RegionFile.at(tmp_path)


@pytest.mark.parametrize(("limit", "found"), [("max_polygons", "2 polygons"), ("max_vertices", "10 vertices")])
def test_more_than_the_limits_is_refused_in_one_line(limit: str, found: str, tmp_path: Path) -> None:
    path = features(tmp_path / "fields.geojson", *FIELDS)
    with pytest.raises(
        InputError, match=rf"holds {found} or more, at most regions\.{limit} = 1 are read: raise the limit"
    ):
        loaded(path, Regions(**{limit: 1}))
    assert len(loaded(path, Regions(**{limit: int(found.split()[0])})).shapes) == 2


@pytest.mark.parametrize("act", ["extractall", "copyfile"])
def test_a_full_disk_is_named(act: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if act == "extractall":
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
            packed.write(features(tmp_path / "fields.geojson", *FIELDS), "fields.geojson")
        monkeypatch.setattr(zipfile.ZipFile, act, full)
    else:
        geopandas.read_file(features(tmp_path / "fields.geojson", *FIELDS)).to_file(tmp_path / "a.gpkg")
        (tmp_path / "a.gpkg-journal").write_bytes(b"x")
        monkeypatch.setattr(shutil, act, full)
    path = next(path for path in tmp_path.iterdir() if path.suffix in (".zip", ".gpkg"))
    with pytest.raises(
        InputError, match="cannot write to .*s2fast-tmp-.*: No space left on device; free disk space there"
    ):
        loaded(path)


@pytest.mark.slow
def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.geojson", b" " * (20 << 20))
    with pytest.raises(
        InputError, match=r"bomb\.zip unpacks from \d+ to 20971520 bytes, at most .* unpack it yourself"
    ):
        loaded(path)
    with zipfile.ZipFile(path, "w") as packed:
        for number in range(10_001):
            packed.writestr(f"{number}.geojson", b"")
    with pytest.raises(InputError, match=r"bomb\.zip has 10001 members, at most 10000"):
        loaded(path)


@pytest.mark.parametrize("name", ["a.shp", "a.prj"])
def test_pipes_are_not_waited_for(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.shp").touch()
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} is a pipe or a device"):
        RegionFile.at(tmp_path / "a.shp")


def test_a_crs_that_names_a_file_is_refused(tmp_path: Path) -> None:
    path = by_ogr("shp")(frame(FIELDS), tmp_path)
    crs = path.with_suffix(".prj").read_text()
    path.with_suffix(".prj").write_text(
        f'BOUNDCRS[SOURCECRS[{crs}],PARAMETERFILE["Latitude difference file","/a/b.gsb"]]'
    )
    with pytest.raises(InputError, match="the CRS in fields.prj names a file"):
        checked(path)
    path.with_suffix(".prj").write_text(crs)
    assert checked(path).used == 2
