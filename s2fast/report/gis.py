"""Write the GIS layers of a run: run.gpkg, with styles for QGIS, and the same layers as GeoParquet."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import shapely

from s2fast.files.geoparquet import geoparquet
from s2fast.files.legible import legible
from s2fast.files.temporary import temporary_folder
from s2fast.report.layers import displacements, map_crs, misregistration, pair_links
from s2fast.report.page import asset
from s2fast.report.rounding import with_texts
from s2fast.report.shown_matches import ShownMatches
from s2fast.report.tables import without_metres

GEOPACKAGE = "run.gpkg"

GEOPARQUET = {"pairs": "links.parquet", "displacements": "displacements.parquet", "misregistration": "offsets.parquet"}
"""GeoParquet files of layers, in addition to the GeoPackage; scenes.parquet is written separately."""

NAMES = (*GEOPARQUET.values(), GEOPACKAGE)

_DATE = "2000-01-01T00:00:00.000Z"
"""Fixed timestamp of the layers: equal results give equal bytes."""

_STYLES = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT, f_table_catalog TEXT, f_table_schema TEXT, f_table_name TEXT,
    f_geometry_column TEXT, styleName TEXT, styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT,
    owner TEXT, ui TEXT, update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
"""
"""SQL that creates the table from which QGIS reads the styles of layers."""


def layer_files(
    pairs: pd.DataFrame,
    scenes: geopandas.GeoDataFrame,
    matches: ShownMatches,
    ground: Mapping[str, geopandas.GeoDataFrame],
    *,
    in_pixels: bool = False,
) -> dict[str, bytes]:
    """Return the content of the GeoParquet files and the GeoPackage, by name.

    Parameters
    ----------
    pairs, scenes
        The run's tables.
    matches
        The matches to draw.
    ground
        More layers of the GeoPackage, see `s2fast.report.ground.ground_layers`.
    in_pixels
        Whether the scenes have no CRS: the layers have none either, and their columns of metres are empty.
    """
    crs = map_crs(matches.positions.grids)
    layers = {
        "scenes": scenes,
        "pairs": pair_links(pairs, scenes),
        "displacements": displacements(matches, pairs, crs),
        "misregistration": misregistration(scenes, crs),
    }
    layers = {name: without_metres(layer, in_pixels=in_pixels) for name, layer in layers.items()}
    files = {file: geoparquet(layers[name]) for name, file in GEOPARQUET.items()}
    return files | {GEOPACKAGE: geopackage({**layers, **ground})}


def geopackage(layers: Mapping[str, geopandas.GeoDataFrame]) -> bytes:
    """Return a GeoPackage of the layers, each with the style from ``<name>.qml``."""
    with temporary_folder() as temporary:
        path = temporary / GEOPACKAGE
        with _gdal_options(), warnings.catch_warnings():
            # The layers of scenes without a CRS have none.
            warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
            for name, layer in layers.items():
                kind = _geometry_type(layer)
                with_texts(layer, legible).to_file(
                    path, layer=name, driver="GPKG", engine="pyogrio", geometry_type=kind,
                    promote_to_multi=kind.startswith("Multi"), VERSION="1.2", use_arrow=True,
                )  # fmt: skip
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA synchronous = OFF")
        with connection:
            connection.execute(_STYLES)
            connection.executemany(
                "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName,"
                " styleQML, styleSLD, useAsDefault, description, owner, update_time)"
                " VALUES ('', '', ?, 'geom', ?, ?, '', 1, '', '', ?)",
                [(name, name, asset(f"{name}.qml"), _DATE) for name in layers],
            )
            connection.execute(
                "INSERT INTO gpkg_contents (table_name, data_type, identifier, last_change)"
                " VALUES ('layer_styles', 'attributes', 'layer_styles', ?)",
                (_DATE,),
            )
        connection.close()
        return path.read_bytes()


def _geometry_type(layer: geopandas.GeoDataFrame) -> str:
    """Return the geometry type of a layer, which GDAL cannot infer from no rows.

    It is a Multi type if any shape was cut at the 180th meridian.
    """
    # The names of a hundred thousand shapes take longer than their numbers.
    _, first = np.unique(shapely.get_type_id(layer.geometry.to_numpy()), return_index=True)
    kinds = sorted(layer.geometry.iloc[first].geom_type, key=len)
    return kinds[-1] if kinds else "LineString"


@contextmanager
def _gdal_options() -> Iterator[None]:
    """Fix the layers' timestamp, and leave out what guards a file that lasts: this one is read back at once."""
    options = {
        "OGR_CURRENT_DATE": _DATE,
        "OGR_SQLITE_SYNCHRONOUS": "OFF",
        "OGR_SQLITE_JOURNAL": "MEMORY",
        "OGR_SQLITE_PRAGMA": "locking_mode=EXCLUSIVE",
    }
    pyogrio.set_gdal_config_options(options)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(dict.fromkeys(options))
