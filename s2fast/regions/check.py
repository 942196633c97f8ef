"""Check the regions file: classify each row as used, outside or dropped; explain a file that meets no scene."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import geopandas
import numpy as np
import pyproj
import shapely

from s2fast.config import Regions
from s2fast.errors import ConfigError, InputError
from s2fast.geometry.antimeridian import footprint, joined
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.model import Raster
from s2fast.regions.file import RegionFile, RegionRows
from s2fast.regions.mask import covers, fits, meets, polygons_on
from s2fast.regions.rows import TOO_SMALL, load_regions, summarize_rows

log = logging.getLogger(__name__)


def check_regions(file: RegionFile, settings: Regions, rasters: Sequence[Raster]) -> RegionRows:
    """Classify every row, and warn if the declared CRS moves the polygons.

    Raises
    ------
    InputError
        No polygon meets any scene, or no polygon can be used.
    ConfigError
        The polygons cannot be transformed to the CRS of a scene.
    """
    try:
        return _classify_rows(file, settings, rasters)
    except pyproj.exceptions.ProjError as error:
        raise ConfigError(f"the polygons of {file} cannot be transformed to the CRS of the scenes: {error}") from error


def _classify_rows(file: RegionFile, settings: Regions, rasters: Sequence[Raster]) -> RegionRows:
    rows = load_regions(file, settings)
    names = rows.shapes.index.to_numpy()
    covering, inside = (np.zeros(len(names), np.bool_) for _ in range(2))
    met: dict[Raster, bool] = {}
    if settings.crs != "file":
        _warn_of_shift(rows.shapes, rows.file_crs, settings.crs, PixelGrid.of_raster(rasters[0]).metric)
    for raster in sorted(set(rasters), key=lambda raster: raster.crs_wkt):
        polygons, row = polygons_on(file, settings, raster)
        near = meets(polygons, raster)
        met[raster] = bool(near.any())
        undecided = near & ~covering[row]
        covering[row[undecided][covers(polygons[undecided], raster)]] = True
        # Only a row within a scene is dropped as too small: one that crosses the edge may merely lie outside.
        inside[row[shapely.within(polygons, shapely.Polygon(raster.outline()))]] = True
    if not any(met.values()):
        raise InputError(f"no polygon of {file} meets a scene: {_explain_miss(rows.shapes, rasters)}")
    dropped = rows.dropped | dict.fromkeys(names[inside & ~covering], TOO_SMALL)
    if not covering.any():
        reasons = summarize_rows(dropped) or "they only touch the edges of scenes"
        raise InputError(f"{file} holds no polygons that can be used: {reasons}")
    found = RegionRows(
        layers=rows.layers,
        used=int(covering.sum()),
        mended={name: defect for name, defect in rows.mended.items() if name not in dropped},
        outside=list(names[~(inside | covering)]),
        dropped=dropped,
    )
    _log_rows(file, found)
    scenes = [met[raster] for raster in rasters]
    if not all(scenes):
        log.warning("%d of %d scenes meet no polygon: they will have no keypoints", scenes.count(False), len(scenes))
    return found


def _log_rows(file: RegionFile, rows: RegionRows) -> None:
    """Log the layers that were read, and the rows that were repaired or dropped."""
    total = sum(rows.layers.values())
    if len(rows.layers) > 1:
        read = ", ".join(f"{name} ({count} rows)" for name, count in rows.layers.items())
        log.warning("%s: polygons of %d layers are used: %s; regions.layer chooses one", file, len(rows.layers), read)
    if rows.mended:
        log.warning("%s: %d of %d rows repaired: %s", file, len(rows.mended), total, summarize_rows(rows.mended))
    if rows.dropped:
        log.warning("%s: %d of %d rows left out: %s", file, len(rows.dropped), total, summarize_rows(rows.dropped))
    log.info("%s: %d of %d rows used, %d meet no scene", file, rows.used, total, len(rows.outside))


def _explain_miss(series: geopandas.GeoSeries, rasters: Sequence[Raster]) -> str:
    """Return the position of polygons that meet no scene, and the likely cause."""
    west, south, east, north = series.total_bounds
    at = f"at {west:.3f} {south:.3f} {east:.3f} {north:.3f} in {series.crs.to_string()}"
    crs_wkt = rasters[0].crs_wkt
    scene = geopandas.GeoSeries([shapely.Polygon(rasters[0].outline())], crs=crs_wkt)
    outline = joined(footprint(PixelGrid.of_raster(rasters[0])))
    # The shortest line may cross the 180th meridian.
    around = shapely.multipolygons([shapely.affinity.translate(outline, turn) for turn in (-360, 0, 360)])
    lines = shapely.shortest_line(series.to_crs(4326).array, around)
    lines = lines[np.isfinite(shapely.length(lines))]
    nearest_deg = shapely.length(lines).min(initial=np.inf)
    turned = series.transform(lambda xy: xy[:, ::-1])
    turned = turned[fits(turned, crs_wkt)]
    # Polygons wider than their distance from the scene are not taken for swapped.
    if max(east - west, north - south) < nearest_deg and turned.to_crs(crs_wkt).intersects(scene.iloc[0]).any():
        return "longitude and latitude are swapped in it"
    if series.crs.is_geographic and (max(-south, north) > 90 or max(-west, east) > 360):
        return f"they lie {at}, which are not degrees; set regions.crs to the CRS of these coordinates"
    if not len(lines):
        return f"they lie {at}; wrong file, or wrong regions.crs?"
    far_m = pyproj.Geod(ellps="WGS84").geometry_length(lines[shapely.length(lines).argmin()])
    where = f"lie {distance_text(far_m)} from" if far_m >= 1 else "only touch"
    return f"they {where} the first scene, {at}; wrong file, or wrong regions.crs?"


def distance_text(distance_m: float) -> str:
    """Format a distance.

    Examples
    --------
    >>> distance_text(312.4), distance_text(4321), distance_text(254_300)
    ('312 m', '4.3 km', '254 km')
    """
    if distance_m < 1000:
        return f"{distance_m:.0f} m"
    return f"{distance_m / 1000:.{1 if distance_m < 10_000 else 0}f} km"


def _warn_of_shift(series: geopandas.GeoSeries, file_crs: pyproj.CRS | None, declared: str, metric: str) -> None:
    if file_crs is None or pyproj.CRS(file_crs) == pyproj.CRS(series.crs):
        return
    east_m, north_m = crs_shift_m(series, file_crs, metric)
    log.warning(
        "regions.crs declares %s, the file declares %s: this moves the polygons %.0f m %s and %.0f m %s; "
        'set regions.crs = "file" unless that is intended',
        declared,
        pyproj.CRS(file_crs).to_string(),
        abs(east_m),
        "east" if east_m > 0 else "west",
        abs(north_m),
        "north" if north_m > 0 else "south",
    )


def crs_shift_m(series: geopandas.GeoSeries, file_crs: pyproj.CRS, metric: str) -> tuple[float, float]:
    """Compute how far the declared CRS moves the polygons, relative to the file's own CRS.

    Returns
    -------
    tuple[float, float]
        Shift east and north in a scene's metric CRS [m], at the centre of the polygons' bounds.
    """
    west, south, east, north = series.total_bounds
    centre = (west + east) / 2, (south + north) / 2
    declared, own = (
        pyproj.Transformer.from_crs(crs, metric, always_xy=True).transform(*centre) for crs in (series.crs, file_crs)
    )
    return declared[0] - own[0], declared[1] - own[1]
