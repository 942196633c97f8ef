"""Read polygons row by row: a row that is wrong is mended or dropped, by name, and the rest goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import shapely

from s2fast.config import Regions
from s2fast.errors import ConfigError, InputError
from s2fast.regions.file import RegionFile
from s2fast.regions.formats import DamagedError, Layer, StoredRows, list_layers, read_rows

Shapes = npt.NDArray[np.object_]
"""(n,) geometries."""

_CROSSING_DEG = 10.0
"""A row at most this wide across the 180th meridian, and almost 360 degrees wide otherwise, lies across it."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a file of polygons, each named by GDAL's feature id, and by its layer if there are several."""

    shapes: geopandas.GeoSeries
    """Those that can be used: valid geometries, by name."""

    file_crs: pyproj.CRS | None
    """What the file says its CRS is, whatever ``regions.crs`` declares."""

    layers: dict[str, int]
    """Rows of each layer that was read."""

    mended: dict[str, str]
    """What was wrong with rows that were mended, by name."""

    dropped: dict[str, str]
    """What is wrong with rows that cannot be used, by name."""


def load_regions(file: RegionFile, settings: Regions) -> Rows:
    """Read the polygons, in the CRS the settings declare.

    Raises
    ------
    InputError
        The file is unreadable, damaged or empty, holds no polygons, or no CRS is known.
    ConfigError
        ``regions.crs``, ``regions.layer`` or ``regions.where`` is not understood.
    """
    declared = declared_crs(settings)
    stored = [(name, rows) for name, rows in _stored(file, settings) if len(rows.ids)]
    if not stored:
        wanted = f" that meet regions.where = {settings.where!r}" if settings.where else ""
        raise InputError(f"{file} holds no polygons{wanted}")
    mended: dict[str, str] = {}
    dropped: dict[str, str] = {}
    usable = []
    for layer, rows in stored:
        crs = declared or rows.crs
        if crs is None:
            of = f"layer {layer} of " if len(stored) > 1 else ""
            raise InputError(f"{of}{file} has no CRS; say which it is with --set regions.crs=EPSG:4326")
        names = np.array([f"{layer} fid {fid}" if len(stored) > 1 else f"fid {fid}" for fid in rows.ids], object)
        shapes = _built(rows.wkb, names, mended, dropped)
        usable.append(_usable(geopandas.GeoSeries(shapes, names, crs), settings, mended, dropped))
    series = pd.concat([one.to_crs(usable[0].crs) for one in usable])
    if series.empty:
        raise InputError(f"{file} holds no polygons that can be used: {listed(dropped)}")
    said = next((pyproj.CRS(rows.crs) for _, rows in stored if rows.crs is not None), None)
    return Rows(series, said, {name: len(rows.ids) for name, rows in stored}, mended, dropped)


def declared_crs(settings: Regions) -> pyproj.CRS | None:
    """Read ``regions.crs``; None where the file's own counts."""
    if settings.crs == "file":
        return None
    try:
        return pyproj.CRS.from_user_input(settings.crs)
    except pyproj.exceptions.CRSError as error:
        raise ConfigError(f'regions.crs = {settings.crs!r} is no CRS; write "file" or one like "EPSG:4326"') from error


def listed(rows: Mapping[str, str], most: int = 5) -> str:
    """Name rows in one line, with what is wrong with them.

    Examples
    --------
    >>> listed({"fid 3": "no geometry", "fid 5": "no geometry", "fid 8": "Self-intersection[35.2 33.1]"})
    'fid 3, fid 5: no geometry; fid 8: Self-intersection'
    """
    named: dict[str, list[str]] = {}
    for name, why in rows.items():
        # GEOS says where; no two rows are alike in that.
        named.setdefault(why.partition("[")[0], []).append(name)
    told = []
    for why, names in named.items():
        more = f" and {len(names) - most} more" if len(names) > most else ""
        told.append(f"{', '.join(names[:most])}{more}: {why}")
    return "; ".join(told)


def valid(shapes: Shapes, *, keep_collapsed: bool = False) -> Shapes:
    """Mend what is invalid, such as rings that cross themselves; all that a ring surrounds stays."""
    wrong = ~shapely.is_valid(shapes)
    mended: Shapes = shapes.copy()
    mended[wrong] = shapely.make_valid(shapes[wrong], method="structure", keep_collapsed=keep_collapsed)
    return mended


def areas(shapes: Shapes) -> tuple[Shapes, npt.NDArray[np.intp]]:
    """Take collections apart, however nested, into the polygons in them; also the position of the shape each is of."""
    shape = np.arange(len(shapes))
    while (shapely.get_type_id(shapes) > shapely.GeometryType.POLYGON).any():
        shapes, of = shapely.get_parts(shapes, return_index=True)
        shape = shape[of]
    polygons = shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON
    return shapes[polygons], shape[polygons]


def _stored(file: RegionFile, settings: Regions) -> list[tuple[str, StoredRows]]:
    """Read the wanted layers, by name; further ones of the same name are numbered."""
    stored, times = [], Counter[str]()
    with file.datasets() as paths:
        layers = []
        for path in paths:
            with _explained(f"{file}" if len(paths) == 1 else f"{path.name} in {file}"):
                layers += list_layers(path)
        for layer in _wanted(layers, file, settings):
            times[layer.name] += 1
            name = f"{layer.name} ({times[layer.name]})" if times[layer.name] > 1 else layer.name
            with _explained(f"{file}" if len(layers) == 1 else f"{name} in {file}"):
                stored.append((name, read_rows(layer, settings.where)))
    return stored


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Say which file is damaged."""
    try:
        yield
    except DamagedError as error:
        raise InputError(f"cannot read polygons from {name}: {error}") from error


def _wanted(layers: Sequence[Layer], file: RegionFile, settings: Regions) -> list[Layer]:
    """Choose the layer that was asked for, or all that may have an area."""
    if settings.layer:
        chosen = [layer for layer in layers if layer.name == settings.layer]
        if not chosen:
            known = ", ".join(layer.name for layer in layers) or "none"
            raise ConfigError(f"regions.layer = {settings.layer!r}: {file} has no such layer, but {known}")
        return chosen
    return [layer for layer in layers if settings.buffer_m or layer.may_have_area] or list(layers)


def _built(wkb: Shapes, names: Shapes, mended: dict[str, str], dropped: dict[str, str]) -> Shapes:
    """Build geometries; None for those that cannot be."""
    with np.errstate(invalid="ignore"):
        shapes: Shapes = shapely.from_wkb(wkb, on_invalid="fix")
        for row in np.flatnonzero(shapely.is_missing(shapely.from_wkb(wkb, on_invalid="ignore"))):
            if wkb[row] is None:
                dropped[names[row]] = "no geometry"
            elif shapes[row] is None:
                dropped[names[row]] = _why_not(wkb[row])
            else:
                mended[names[row]] = "a ring is not closed"
    return shapes


def _why_not(wkb: bytes) -> str:
    try:
        shapely.from_wkb(wkb)
    except (shapely.errors.ShapelyError, ValueError) as error:
        # GEOS puts the type of its error first.
        return f"no geometry can be made of it: {str(error).strip().rpartition('Exception: ')[2]}"
    return "no geometry"


def _usable(
    series: geopandas.GeoSeries, settings: Regions, mended: dict[str, str], dropped: dict[str, str]
) -> geopandas.GeoSeries:
    """Mend what is invalid, drop what has no area and gets none."""

    def drop(wrong: npt.NDArray[np.bool_], why: str) -> None:
        nonlocal series
        dropped.update(dict.fromkeys(series.index[wrong], why))
        series = series[~wrong]

    series = series.dropna()
    drop(series.is_empty.to_numpy(), "empty geometry")
    points, row = shapely.get_coordinates(series.array, return_index=True)
    drop(np.isin(range(len(series)), row[~np.isfinite(points).all(axis=1)]), "coordinates that are no numbers")
    if not settings.buffer_m:
        drop(shapely.get_dimensions(series.array) < 2, "a point or line has no area: set regions.buffer_m to widen it")
    shapes = _across_180(series.to_numpy()) if series.crs.is_geographic else series.to_numpy()
    if not settings.buffer_m:
        for row in np.flatnonzero(shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION):
            shapes[row] = shapely.multipolygons(areas(shapes[row : row + 1])[0])
    wrong = ~shapely.is_valid(shapes)
    mended.update(zip(series.index[wrong], shapely.is_valid_reason(shapes[wrong]), strict=True))
    series = geopandas.GeoSeries(valid(shapes, keep_collapsed=settings.buffer_m > 0), series.index, series.crs)
    drop(series.is_empty.to_numpy(), "a polygon without area")
    for name in dropped:
        mended.pop(name, None)
    return series


def _across_180(shapes: Shapes) -> Shapes:
    """Bring what lies across the 180th meridian together, beyond 180 degrees east."""
    shapes = shapes.copy()
    west, _, east, _ = shapely.bounds(shapes).T
    for row in np.flatnonzero(east - west > 360 - _CROSSING_DEG):
        turned = shapely.transform(shapes[row], lambda xy: np.column_stack([xy[:, 0] % 360, xy[:, 1]]))
        west, _, east, _ = shapely.bounds(turned)
        if 0 < east - west <= _CROSSING_DEG:
            # Halves that were cut apart at the meridian meet there.
            shapes[row] = shapely.union_all(turned) if shapely.is_valid(shapes[row]) else turned
    return shapes
