"""Which of GDAL's drivers may open a file of polygons."""

from __future__ import annotations

from pathlib import Path

import geopandas
import pyogrio
import pytest
import shapely

from s2fast.config import Regions
from s2fast.regions.drivers import only_drivers
from s2fast.regions.file import RegionFile
from s2fast.regions.formats import FORMATS, GEODATABASE
from s2fast.regions.rows import load_regions

FRAME = geopandas.GeoDataFrame({"a": [1]}, geometry=[shapely.box(33, 50, 34, 51)], crs="EPSG:4326")


def test_files_are_opened_by_named_drivers_alone(tmp_path: Path) -> None:
    every = list(pyogrio.list_drivers())
    for name in ("a.gpkg", "a.fgb"):
        FRAME.to_file(tmp_path / name)
    with only_drivers(["GPKG"]):
        assert list(pyogrio.list_drivers()) == ["GPKG"]
        assert len(pyogrio.read_dataframe(tmp_path / "a.gpkg")) == 1
        with pytest.raises(pyogrio.errors.DataSourceError):
            pyogrio.read_dataframe(tmp_path / "a.fgb")
    assert list(pyogrio.list_drivers()) == every
    assert pyogrio.get_gdal_config_option("GDAL_SKIP") is None
    assert len(pyogrio.read_dataframe(tmp_path / "a.fgb")) == 1


def test_all_drivers_come_back_after_an_error() -> None:
    every = list(pyogrio.list_drivers())
    with pytest.raises(KeyError), only_drivers(["GPKG"]):
        raise KeyError
    assert list(pyogrio.list_drivers()) == every


def test_drivers_are_known_to_gdal() -> None:
    named = {driver for kind in (*FORMATS, GEODATABASE) for driver in kind.drivers}
    assert named <= {*pyogrio.list_drivers()}


def test_a_database_with_tiles_is_read_as_polygons_by_its_content(tmp_path: Path) -> None:
    FRAME.to_file(tmp_path / "a.gpkg")
    (tmp_path / "a.gpkg").rename(tmp_path / "a.mbtiles")
    assert len(load_regions(RegionFile.at(tmp_path / "a.mbtiles"), Regions()).shapes) == 1


@pytest.mark.parametrize(
    "member", ['"url": "link"', '"a": {"type": "url"}', '"a": "\\u0041"', '"link": 1', '"url":  "x"']
)
def test_words_of_properties_are_no_crs(tmp_path: Path, member: str) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(FRAME.to_json().replace('"a": 1', member))
    assert len(load_regions(RegionFile.at(path), Regions()).shapes) == 1


def test_a_schema_may_include_what_lies_beside_it(tmp_path: Path) -> None:
    FRAME.to_file(tmp_path / "a.gml", driver="GML")
    schema = tmp_path / "a.xsd"
    assert "import" in schema.read_text()
    assert len(load_regions(RegionFile.at(tmp_path / "a.gml"), Regions()).shapes) == 1
    text = schema.read_text()
    (tmp_path / "types.xsd").write_text("<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'/>")
    schema.write_text(text.replace("<xs:import", "<xs:include schemaLocation='types.xsd'/><xs:import", 1))
    assert len(load_regions(RegionFile.at(tmp_path / "a.gml"), Regions()).shapes) == 1
