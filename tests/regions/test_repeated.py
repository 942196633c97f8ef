"""What a file of polygons says once and means many times is counted before GDAL reads it."""

from __future__ import annotations

import json
import sqlite3
import struct
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

from s2fast.config import Regions
from s2fast.errors import InputError
from s2fast.regions import repeated
from s2fast.regions.file import RegionFile
from s2fast.regions.rows import load_regions

SHAPES = [shapely.box(33 + east, 50, 34 + east, 51).segmentize(0.01) for east in range(20)]
FRAME = geopandas.GeoDataFrame({"a": range(20)}, geometry=SHAPES, crs="EPSG:4326")
ROWS = 5000


def read(path: Path, **settings: object) -> int:
    return len(load_regions(RegionFile.at(path), Regions(**{"crs": "EPSG:4326", **settings})).shapes)  # type: ignore[arg-type]


def test_a_shapefile_whose_index_names_one_row_many_times(tmp_path: Path) -> None:
    path = tmp_path / "a.shp"
    FRAME.to_file(path)
    assert read(path) == len(FRAME)
    index = path.with_suffix(".shx").read_bytes()
    size = struct.pack(">I", (100 + 8 * ROWS) // 2)
    path.with_suffix(".shx").write_bytes(index[:24] + size + index[28:100] + index[100:108] * ROWS)
    with pytest.raises(InputError, match="its index takes the same part of it for several rows"):
        read(path)
    short = index[100:104] + bytes(4)  # the index may give other sizes than the rows themselves
    path.with_suffix(".shx").write_bytes(index[:24] + size + index[28:100] + short * ROWS)
    with pytest.raises(InputError, match="its index takes the same part"):
        read(path)
    path.with_suffix(".shx").write_bytes(index + short * ROWS)  # what follows its declared end is no row
    assert read(path) == len(FRAME)


def test_a_geodatabase_whose_index_names_one_row_many_times(tmp_path: Path) -> None:
    path = tmp_path / "a.gdb"
    FRAME.astype({"a": float}).to_file(path, driver="OpenFileGDB")
    assert read(path) == len(FRAME)
    index = max(path.glob("*.gdbtablx"), key=lambda file: file.with_suffix(".gdbtable").stat().st_size)
    data = np.frombuffer(index.read_bytes(), np.uint8).copy()
    width = int(data[12])
    rows = data[16 : 16 + 1024 * width].reshape(-1, width)
    rows[:] = rows[0]
    index.write_bytes(data.tobytes())
    with pytest.raises(InputError, match="its index takes the same part of it for several rows"):
        read(path)


def test_a_topology_whose_shapes_share_an_arc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.topojson"
    steps = [[1, 0]] * 100 + [[0, 1]] * 100 + [[-1, 0]] * 100 + [[0, -1]] * 100
    transform = {"scale": [0.01, 0.01], "translate": [33, 50]}
    shapes = [{"type": "Polygon", "arcs": [[0]]}, {"type": "MultiPolygon", "arcs": [[[~0]], [[0]]]}] * 10
    layer = {"type": "GeometryCollection", "geometries": shapes}
    topology = {"type": "Topology", "transform": transform, "arcs": [[[0, 0], *steps]], "objects": {"a": layer}}
    path.write_text(json.dumps(topology))
    monkeypatch.setattr(repeated, "_MOST_VERTICES", 30 * 401)
    assert read(path) == len(shapes)
    path.write_text(json.dumps(topology) + "\n")  # rows of equal files are kept
    monkeypatch.setattr(repeated, "_MOST_VERTICES", 30 * 401 - 1)
    with pytest.raises(InputError, match="its shapes have more than 12029 vertices"):
        read(path)


def changed(path: Path, *statements: str) -> Path:
    FRAME.to_file(path, layer="t")
    base = sqlite3.connect(path)
    for statement in statements:
        base.execute(statement)
    base.commit()
    base.close()
    return path


def view(select: str) -> tuple[str, ...]:
    return (
        f"CREATE VIEW v AS {select}",
        "INSERT INTO gpkg_contents (table_name, data_type, srs_id) VALUES ('v', 'features', 4326)",
        "INSERT INTO gpkg_geometry_columns VALUES ('v', 'geom', 'POLYGON', 4326, 0, 0)",
    )


LARGE = {
    "long texts": view("SELECT fid, geom, hex(zeroblob(90000)) AS x FROM t"),
    "a value beyond all sizes": view("SELECT fid, geom, hex(zeroblob(900000)) AS x FROM t"),
    "geometries made of nothing": view("SELECT fid, CAST(geom || zeroblob(90000) AS BLOB) AS geom FROM t"),
    "many rows": view("SELECT t.fid, t.geom FROM t, t AS a, t AS b, t AS c"),
    "computed columns": ("ALTER TABLE t ADD COLUMN x TEXT AS (hex(zeroblob(90000)))",),
    "columns that rows lack": (f"ALTER TABLE t ADD COLUMN x TEXT DEFAULT '{'x' * 180_000}'",),
}


@pytest.mark.parametrize("name", LARGE)
def test_databases_that_compute_what_they_hold(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = changed(tmp_path / "a.gpkg", *LARGE[name])
    monkeypatch.setattr(repeated, "_MOST_VALUE_BYTES", 1 << 20)
    monkeypatch.setattr(repeated, "_MOST_BYTES", 1 << 20)
    monkeypatch.setattr(repeated, "_MOST_ROWS", 20_000)
    with pytest.raises(InputError, match="has more than 20000 rows or 1 MiB|cannot be counted .*too big"):
        read(path, where="fid >= 0")


def test_plain_views_and_defaults_are_read(tmp_path: Path) -> None:
    path = changed(
        tmp_path / "a.gpkg",
        *view(
            "SELECT t.fid AS fid, t.geom AS geom, b.a || 'x' AS name FROM t JOIN t AS b ON t.fid = b.fid WHERE t.a < 7"
        ),
        "ALTER TABLE t ADD COLUMN kind TEXT DEFAULT 'wood'",
        "ALTER TABLE t ADD COLUMN half REAL AS (a / 2.0)",
    )
    assert read(path, layer="v") == 7
    assert read(path, layer="t", where="kind = 'wood' AND half < 2") == 4
    assert read(path) == 27


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".shp", ".geojson"])
def test_no_more_rows_are_read_than_are_allowed(tmp_path: Path, suffix: str) -> None:
    FRAME.to_file(tmp_path / f"a{suffix}")
    assert read(tmp_path / f"a{suffix}", max_polygons=20) == 20
    with pytest.raises(InputError, match="holds 5 polygons or more, at most regions.max_polygons = 4 are read"):
        read(tmp_path / f"a{suffix}", max_polygons=4)
