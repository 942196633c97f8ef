"""Nothing is written beside polygons, nor into them; what a small file is decoded to has limits."""

from __future__ import annotations

import os
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from s2fast.config import Regions
from s2fast.errors import InputError
from s2fast.files import parquet
from s2fast.files.wkb import is_nested_deeply
from s2fast.regions import contents, drivers
from s2fast.regions.file import RegionFile
from s2fast.regions.rows import load_regions

FRAME = geopandas.GeoDataFrame({"a": [1]}, geometry=[shapely.box(33, 50, 34, 51)], crs="EPSG:4326")
DRIVERS = {".tab": "MapInfo File", ".mif": "MapInfo File", ".gdb": "OpenFileGDB"}
GML = (
    "<FeatureCollection xmlns='http://www.opengis.net/gml'><featureMember><{0}><geometryProperty>"
    "<Polygon srsName='EPSG:4326'><outerBoundaryIs><LinearRing><coordinates>33,50 34,50 34,51 33,50</coordinates>"
    "</LinearRing></outerBoundaryIs></Polygon></geometryProperty></{0}></featureMember></FeatureCollection>"
)


def read(path: Path) -> int:
    return len(load_regions(RegionFile.at(path), Regions(crs="EPSG:4326")).shapes)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["a.geojson", "a.geojsonl", "a.fgb", "a.gpkg", "a.shp", "a.kml", "a.gml", "bare.gml", "bare.xml", "a.tab", "a.mif",
     "a.gdb", "a.parquet"],
)  # fmt: skip
def test_nothing_is_written_beside_polygons(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("bare"):
        path.write_text(GML.format("a"))
    elif path.suffix == ".parquet":
        FRAME.to_parquet(path)
    else:
        FRAME.astype({"a": float}).to_file(path, driver=DRIVERS.get(path.suffix))
    before = content(tmp_path)
    assert read(path) == 1
    assert content(tmp_path) == before


def test_all_layers_of_gml_are_listed(tmp_path: Path) -> None:
    one = GML.format("a")
    other = GML.format("b")
    inside = other[other.index("<featureMember>") : other.index("</FeatureCollection>")]
    (tmp_path / "a.gml").write_text(one.replace("</FeatureCollection>", f"{inside}</FeatureCollection>"))
    rows = load_regions(RegionFile.at(tmp_path / "a.gml"), Regions())
    assert rows.layers == {"a": 1, "b": 1}


WRITER = """
import os, sqlite3, sys
base = sqlite3.connect(sys.argv[1], isolation_level=None)
base.execute("PRAGMA journal_mode = " + sys.argv[2])
base.execute("PRAGMA wal_autocheckpoint = 0")
base.execute("PRAGMA cache_size = 1")
base.execute("BEGIN")
base.execute("UPDATE gpkg_contents SET description = 'changed'")
base.execute("CREATE TABLE more AS SELECT randomblob(100000)")
if sys.argv[2] == "wal":
    base.execute("COMMIT")
os._exit(0)
"""


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_database_that_its_writer_left_open_is_not_changed(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.gpkg"
    FRAME.to_file(path)
    subprocess.run([sys.executable, "-c", WRITER, str(path), mode], check=True)
    (tmp_path / "a.gpkg-shm").unlink(missing_ok=True)
    before = content(tmp_path)
    assert set(before) == {"a.gpkg", "a.gpkg-wal" if mode == "wal" else "a.gpkg-journal"}
    assert read(path) == 1
    assert content(tmp_path) == before


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows has other rights")
def test_a_database_is_read_from_a_folder_without_rights(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    FRAME.to_file(path)
    base = sqlite3.connect(path)
    base.execute("PRAGMA journal_mode = wal")
    base.close()
    before = content(tmp_path)
    tmp_path.chmod(0o555)
    try:
        assert read(path) == 1
        assert content(tmp_path) == before
    finally:
        tmp_path.chmod(0o755)


def test_drivers_are_registered_once_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    only = drivers.only_drivers
    monkeypatch.setattr("s2fast.regions.formats.only_drivers", lambda names: (opened.append(names), only(names))[1])
    FRAME.to_file(tmp_path / "a.fgb")
    for _ in range(3):
        assert read(tmp_path / "a.fgb") == 1
    assert len(opened) == 3  # its layers, its rows, and the number of them that it declares
    FRAME.to_file(tmp_path / "b.gpkg")
    assert read(tmp_path / "b.gpkg") == 1
    assert read(tmp_path / "a.fgb") == 1
    assert len(opened) == 8


def nested(depth: int, inner: bytes) -> bytes:
    return struct.pack("<BII", 1, 7, 1) * depth + inner


def test_collections_in_collections_do_not_crash(tmp_path: Path) -> None:
    shapes = [FRAME.geometry[0].wkb, nested(300_000, FRAME.geometry[0].wkb)]
    write_parquet(tmp_path / "a.parquet", pa.array(shapes, pa.binary()))
    rows = load_regions(RegionFile.at(tmp_path / "a.parquet"), Regions())
    assert len(rows.shapes) == 1
    assert rows.dropped == {"fid 1": "its geometry has collections in collections, too deeply to be decoded"}


def test_nesting_is_told_in_all_forms_of_wkb() -> None:
    shape = shapely.from_wkt(
        f"MULTIPOLYGON Z ({','.join(['((0 0 1, 9 0 1, 9 9 1, 0 0 1), (1 1 1, 2 1 1, 2 2 1, 1 1 1))'] * 90)})"
    )
    line = shapely.LineString(np.arange(600).reshape(-1, 2))
    both = shapely.GeometryCollection([shape, shapely.GeometryCollection([line, shapely.MultiPoint([(0, 0)] * 50)])])
    for options in ({}, {"byte_order": 0}, {"flavor": "iso"}, {"include_srid": True}):
        wkb = shapely.to_wkb(shapely.set_srid(both, 4326), **options)
        assert not is_nested_deeply(wkb)
        for depth, deep in ((90, False), (110, True)):
            outer = shapely.to_wkb(shapely.GeometryCollection([line, line, both]), **options)
            assert is_nested_deeply(nested(depth - 3, outer)) is deep
    assert not is_nested_deeply(shapely.to_wkb(both)[:-4])
    assert not is_nested_deeply(nested(1000, b"")[:899])


def write_parquet(path: Path, shapes: pa.Array, **more: pa.Array) -> None:
    FRAME.to_parquet(path)
    geo = pq.read_schema(path).metadata[b"geo"]
    table = pa.table({"geometry": shapes, **more})
    pq.write_table(table.replace_schema_metadata({b"geo": geo}), path)


def test_a_value_that_stands_in_many_rows_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = shapely.to_wkb(shapely.Point(33, 50).buffer(1, quad_segs=500))
    rows = 200
    write_parquet(tmp_path / "a.parquet", pa.array([shape] * rows, pa.binary()))
    assert (tmp_path / "a.parquet").stat().st_size < 2 * len(shape)
    monkeypatch.setattr(parquet, "_MAX_BYTES", rows * len(shape) // 2)
    with pytest.raises(InputError, match="it would take more than 3 MiB of memory"):
        read(tmp_path / "a.parquet")
    monkeypatch.setattr(parquet, "_MAX_BYTES", 2 * rows * len(shape))
    assert read(tmp_path / "a.parquet") == rows


@pytest.mark.parametrize(
    "geo",
    [
        "{}",
        '{"primary_column": "a"}',
        '{"primary_column": "a", "columns": {"a": {"encoding": "WKB"}}}',
        '{"primary_column": "geometry", "columns": {"geometry": {}}}',
        "[]",
        "7",
        '{"primary_column": "n", "columns": {"n": {"encoding": "WKB"}}}',
    ],
)
def test_parquet_that_says_nonsense_is_one_line(tmp_path: Path, geo: str) -> None:
    table = pa.table({"geometry": pa.array([FRAME.geometry[0].wkb], pa.binary()), "n": pa.array([{"x": 1}])})
    pq.write_table(table.replace_schema_metadata({b"geo": geo.encode()}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="without geometries|no column a|holds no WKB"):
        read(tmp_path / "a.parquet")


def test_a_crs_that_is_none_is_one_line(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    geo = table.schema.metadata[b"geo"].replace(b'"GeographicCRS"', b'"No"')
    pq.write_table(table.replace_schema_metadata({b"geo": geo}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="a CRS that PROJ does not know: declare it"):
        load_regions(RegionFile.at(tmp_path / "a.parquet"), Regions())


@pytest.mark.parametrize("table", ["v", "gpkg_spatial_ref_sys"])
def test_views_without_end_are_refused(tmp_path: Path, table: str) -> None:
    path = tmp_path / "a.gpkg"
    FRAME.to_file(path)
    base = sqlite3.connect(path)
    base.execute("PRAGMA legacy_alter_table = on")
    if table != "v":
        base.execute(f"ALTER TABLE {table} RENAME TO old")
    base.execute(f"CREATE VIEW {table} AS WITH c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c")
    base.commit()
    base.close()
    with pytest.raises(InputError, match="one of its views uses WITH"):
        read(path)


def test_files_beyond_all_sizes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "_MAX_TEXT_BYTES", 1 << 20)
    for size, told in ((2 << 20, "a text at most"), (1 << 40, "at most 17179869184")):
        path = tmp_path / "a.geojson"
        with path.open("wb") as opened:
            opened.write(b"{")
            opened.truncate(size)
        with pytest.raises(InputError, match=told):
            read(path)


@pytest.mark.parametrize(
    "made",
    [
        "CREATE VIRTUAL TABLE v USING VirtualText('{}', 'UTF-8', 1, COMMA, DOUBLEQUOTE, ',')",
        "create/**/virtual table v using\nVirtualShape('{}', 'UTF-8', 4326)",
        "CREATE VIRTUAL TABLE v /* USING rtree( */ USING csv(filename='{}')",
    ],
)
def test_virtual_tables_are_refused(tmp_path: Path, made: str) -> None:
    path = tmp_path / "a.gpkg"
    FRAME.to_file(path)  # it has an R-tree, which is one
    assert read(path) == 1
    base = sqlite3.connect(path)
    base.execute("PRAGMA writable_schema = on")
    base.execute("INSERT INTO sqlite_master VALUES ('table', 'v', 'v', 0, ?)", [made.format("/etc/passwd")])
    base.commit()
    base.close()
    with pytest.raises(InputError, match="virtual table"):
        read(path)
