"""Clouds as polygons: the GML files of level 1C before 2022, and a user's own files."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from xml.etree import ElementTree as ET

import geopandas
import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from s2fast.config import Regions
from s2fast.errors import InputError, SceneError
from s2fast.files.limited import read_bytes
from s2fast.files.source import Source
from s2fast.files.zips import zip_member
from s2fast.geometry.antimeridian import footprint, joined
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.model import Raster
from s2fast.regions.file import RegionFile
from s2fast.regions.mask import PlacedRegions, place_regions
from s2fast.regions.rows import (
    NoRowsError,
    TooManyError,
    UnplacedError,
    UnusableError,
    extract_polygons,
    load_regions,
    make_valid,
)

_MAX_BYTES = 64 << 20
"""Largest GML file that is read; those of a tile full of small clouds have 2 MB."""

_GML = "{*}"
"""Any namespace: the GML masks of different baselines use different versions of GML."""


def shapes_on(source: Source, raster: Raster, buffer_m: float) -> tuple[PlacedRegions, str]:
    """Return the polygons of a user's file, widened, on a raster's grid, and where they lie if that is elsewhere.

    Raises
    ------
    SceneError
        The file cannot be read, none of its rows can be used, or the scene has no CRS.
    """
    _check_placed(source, raster)
    try:
        file, settings = RegionFile.at(source.name), Regions(buffer_m=buffer_m)
        return place_regions(file, settings, raster), elsewhere(load_regions(file, settings).shapes, raster)
    except NoRowsError:
        return PlacedRegions(np.empty(0, object), raster), ""
    except UnplacedError as error:
        raise SceneError(f"the mask {error.problem}: assign it, for example with ogr2ogr -a_srs EPSG:32636") from error
    except TooManyError as error:
        raise SceneError(f"the mask {error.problem}: simplify it, for example with ogr2ogr -simplify 10") from error
    except UnusableError as error:
        raise SceneError(f"the mask {error.message('ingest.mask_buffer_m')}") from error
    except InputError as error:
        raise SceneError(f"the mask {error}") from error


def elsewhere(shapes: geopandas.GeoSeries, raster: Raster) -> str:
    """Return where shapes and a scene lie if their bounding boxes in degrees share no ground; else an empty text."""
    scene = joined(footprint(PixelGrid.of_raster(raster)))
    around = shapes.to_crs(4326).total_bounds
    if not np.isfinite(around).all():
        at = " ".join(f"{value:.6g}" for value in shapes.total_bounds)
        return f"they lie at {at}, no places in {shapes.crs.to_string()}, it lies at {_degrees(scene.bounds)}"
    turned = [shapely.affinity.translate(scene, turn) for turn in (-360, 0, 360)]
    if shapely.intersects(shapely.box(*around), turned).any():
        return ""
    return f"they lie at {_degrees(around)}, it lies at {_degrees(scene.bounds)}"


def _degrees(bounds: Iterable[float]) -> str:
    west, south, east, north = bounds
    return f"longitude {west:.3f} to {east:.3f}, latitude {south:.3f} to {north:.3f}"


def clouds_on(source: Source, raster: Raster, buffer_m: float) -> tuple[PlacedRegions, str]:
    """Return the polygons of a GML mask of level 1C, widened, on a raster's grid; see `shapes_on`.

    Raises
    ------
    SceneError
        The file cannot be read, or is no such mask.
    """
    _check_placed(source, raster)
    polygons, crs = parsed(_content(source), str(source))
    shapes = make_valid(np.asarray(polygons, object))
    shapes, _ = extract_polygons(shapes)
    if len(shapes) and (crs is None or not pyproj.CRS(crs).is_projected):
        raise SceneError(f"{source}: its polygons have no projected CRS: get the product again")
    away = ""
    if len(shapes):
        shapes = shapely.buffer(shapes, buffer_m, quad_segs=16) if buffer_m else shapes
        placed = geopandas.GeoSeries(shapes, crs=crs)
        shapes, away = placed.to_crs(raster.crs_wkt).to_numpy(), elsewhere(placed, raster)
    return PlacedRegions(np.asarray(shapes, object), raster), away


def _check_placed(source: Source, raster: Raster) -> None:
    if not raster.crs_wkt:
        raise SceneError(
            f'{source}: its scene has no CRS, so the polygons cannot be placed: set ingest.mask = "bright"'
        )


def parsed(text: bytes, name: str) -> tuple[list[shapely.Polygon], str | None]:
    """Return the polygons of a GML mask, and their CRS; both may be absent from a mask of a clear scene.

    Raises
    ------
    SceneError
        The text is no XML, declares entities, or holds a polygon without a valid ring.
    """
    if b"\0" in text:
        raise SceneError(f"{name}: it is no XML in UTF-8: get the product again")
    if re.search(rb"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise SceneError(f"{name}: its XML declares entities, which no mask of a product does: get the product again")
    try:
        root = ET.fromstring(text)  # noqa: S314  entities are refused above
        polygons = [_polygon(element) for element in root.iter() if element.tag.rpartition("}")[2] == "Polygon"]
    except (ET.ParseError, ValueError, AttributeError, shapely.errors.GEOSException) as error:
        raise SceneError(f"{name}: cannot be read as a mask of clouds ({error}): get the product again") from error
    named = (element.get("srsName", "") for element in root.iter())
    code = next((found[1] for text in named if (found := re.search(r"EPSG.*?[:/](\d{4,6})$", text))), None)
    return polygons, None if code is None else f"EPSG:{code}"


def _polygon(element: ET.Element) -> shapely.Polygon:
    """Return a polygon with its holes."""
    shells, holes = (
        [_ring(ring) for ring in element.findall(f"{_GML}{part}/{_GML}LinearRing")] for part in ("exterior", "interior")
    )
    if len(shells) != 1:
        raise ValueError("a polygon has no outline")
    return shapely.Polygon(shells[0], [hole for hole in holes if len(hole)])  # GEOS crashes with empty ones


def _ring(element: ET.Element) -> npt.NDArray[np.float64]:
    """Return the points of a ring, (n, 2): x and y."""
    listed = element.find(f"{_GML}posList")
    if listed is None:
        raise ValueError("a ring has no posList")
    values = np.array((listed.text or "").split(), np.float64)
    points = values.reshape(-1, int(listed.get("srsDimension", "2")))[:, :2]
    if not np.isfinite(points).all():
        raise ValueError("a point is not finite")
    return points


def _content(source: Source) -> bytes:
    zipped = source.zip_parts
    try:
        if zipped:
            return zip_member(zipped[0], zipped[1], _MAX_BYTES)
        return read_bytes(source.name, _MAX_BYTES)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SceneError(f"{source}: cannot be read ({error}): get the product again") from error
