"""Where an array with spatial coordinates lies: what CF, GeoZarr, GDAL, EOPF and Python libraries say of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from s2fast.errors import SceneError
from s2fast.files.crs_definitions import is_definition
from s2fast.files.legible import legible

X_NAMES = ("x", "easting", "lon", "longitude")
Y_NAMES = ("y", "northing", "lat", "latitude")
"""Names of the dimensions of columns and rows, in small letters."""

TIME_NAMES = ("time", "t", "date")
"""Names of a dimension of dates, in small letters."""

_IRREGULAR = 0.01
"""Largest deviation of a coordinate from its place on a regular grid [px]."""

_SHOWN = 80
"""Characters of a wrong transform that are shown."""


def find_crs(described: Sequence[Mapping[str, Any]]) -> CRS | None:
    """Return the first CRS that attributes declare; None if none does.

    Parameters
    ----------
    described
        Attributes of the array, its grid mapping, and its groups, in the order in which they count.
    """
    for attributes in described:
        for text in filter(is_definition, _said(attributes)):
            with suppress(CRSError, TypeError, ValueError):
                crs = CRS.from_user_input(text)
                if crs.is_projected or crs.is_geographic:
                    return crs
    return None


def _said(attributes: Mapping[str, Any]) -> Iterator[Any]:
    """Yield all that attributes may say of a CRS."""
    for name in ("crs_wkt", "spatial_ref", "proj:code", "proj:wkt2", "proj:projjson", "wkt"):
        yield attributes.get(name)
    yield f"EPSG:{attributes['proj:epsg']}" if isinstance(attributes.get("proj:epsg"), int) else None
    own = attributes.get("crs")
    yield own.upper() if isinstance(own, str) and re.fullmatch(r"epsg:\d+", own, re.IGNORECASE) else own
    other = attributes.get("other_metadata")
    if isinstance(other, Mapping):
        yield other.get("horizontal_CRS_code")
    found = attributes.get("stac_discovery")
    if isinstance(found, Mapping) and isinstance(found.get("properties"), Mapping):
        yield from _said({name: found["properties"].get(name) for name in ("proj:code", "proj:epsg", "proj:wkt2")})
    gdal = attributes.get("_CRS")
    if isinstance(gdal, Mapping):
        url = re.search(r"/EPSG/[^/]+/(\d+)$", str(gdal.get("url", "")))
        yield gdal.get("wkt")
        yield f"EPSG:{url[1]}" if url else None


def find_transform(
    x: npt.NDArray[Any] | None,
    y: npt.NDArray[Any] | None,
    described: Sequence[Mapping[str, Any]],
    y_up: str,
    westward: str,
) -> Affine:
    """Return the transform of pixel corners, from the coordinates of pixel centres or else from attributes.

    Parameters
    ----------
    x, y
        Coordinates of the columns' and rows' centres [CRS units]; None: there are none.
    described
        See `find_crs`.
    y_up
        What to do if rows run from south to north.
    westward
        What to do if columns run from east to west.

    Raises
    ------
    SceneError
        There is neither, the coordinates are no regular grid, rows run from south to north, or columns from east to
        west.
    """
    if x is not None and y is not None and len(x) > 1 and len(y) > 1:
        (left, across), (top, down) = (_regular(values, name) for values, name in ((x, "x"), (y, "y")))
        transform = Affine(across, 0, left - across / 2, 0, down, top - down / 2)
    else:
        declared = next(filter(None, map(_declared, described)), None)
        if declared is None:
            if x is not None and y is not None:
                raise SceneError(f"it is {len(y)} x {len(x)} pixels, and has no transform: too few for a scene")
            raise SceneError("it has no coordinates x and y of its columns and rows, and no transform")
        transform = declared
    if transform.e > 0:
        raise SceneError(f"its rows run from south to north (y up): {y_up}")
    if transform.a < 0:
        raise SceneError(f"its columns run from east to west (x descending): {westward}")
    return transform


def _regular(values: npt.NDArray[Any], name: str) -> tuple[float, float]:
    """Return first value and step of regular coordinates."""
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.number):
        raise SceneError(
            f"its coordinates {name} are {values.dtype}, {values.ndim}-D; they must be numbers, one a pixel"
        )
    places = values.astype(np.float64)
    step = (places[-1] - places[0]) / (len(places) - 1)
    deviation = np.abs(places - (places[0] + step * np.arange(len(places)))).max()
    if not np.isfinite(places).all() or step == 0 or deviation > abs(step) * _IRREGULAR:
        raise SceneError(f"its coordinates {name} are not evenly spaced: resample it onto a regular grid")
    return float(places[0]), float(step)


def _declared(attributes: Mapping[str, Any]) -> Affine | None:
    """Return the transform that attributes declare.

    Raises
    ------
    SceneError
        It has parts that are no numbers.
    """
    for name in ("spatial:transform", "proj:transform"):
        values = attributes.get(name)
        if isinstance(values, list | tuple) and len(values) in (6, 9):
            return Affine(*_numbers(name, values)[:6])
    gdal = attributes.get("GeoTransform")
    values = gdal.split() if isinstance(gdal, str) else gdal
    if isinstance(values, list | tuple) and len(values) == 6:
        return Affine.from_gdal(*_numbers("GeoTransform", values))
    return None


def _numbers(name: str, values: Sequence[Any]) -> list[float]:
    try:
        return [float(value) for value in values]
    except (OverflowError, TypeError, ValueError) as error:
        raise SceneError(f"its {name} is {legible(str(values))[:_SHOWN]}, which are no numbers: correct it") from error
