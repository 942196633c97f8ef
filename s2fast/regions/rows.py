"""Read polygons row by row: repair or drop invalid rows, and record which and why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import shapely

from s2fast.config import Regions
from s2fast.errors import ConfigError, InputError, setting
from s2fast.files.crs_definitions import is_definition, is_horizontal
from s2fast.files.wkb import is_nested_deeply
from s2fast.regions.contents import DamagedError
from s2fast.regions.file import RegionFile
from s2fast.regions.formats import Layer, StoredRows, list_layers, read_rows

Shapes = npt.NDArray[np.object_]
"""(n,) geometries."""

_MOST_LATITUDE, _MOST_LONGITUDE = 100.0, 720.0
"""Rows that reach farther are mistakes; boxes of the whole world are often drawn with a margin [deg]."""

_MOST_METRES = 1e8
"""Greater coordinates are of no projection of the Earth."""

_NO_MAP = "is no CRS of a map, but a local, vertical or geocentric one"

NO_AREA, TOO_SMALL = "a point or line has no area", "too small or thin to contain the centre of a pixel"
"""Defects of rows that could be used if they were widened."""

_MOST_NAMES = 5
"""Rows of one defect that a message names."""

_CROSSING_DEG = 10.0
"""A row nearly 360 degrees wide crosses the 180th meridian if it is at most this wide when unwrapped there."""

_KEPT_VERTICES = 2_000_000
"""Rows with no more vertices are kept, 50 MB: a run checks them, places them on its scenes, and draws them."""


class PolygonsError(InputError):
    """The polygons cannot be used; `problem` is the message without a remedy, which masks have another of."""

    # What a worker raises is made again from `args`.
    def __init__(self, problem: str, remedy: str) -> None:
        self.problem, self._remedy = problem, remedy
        super().__init__(problem, remedy)

    def __str__(self) -> str:
        return f"{self.problem}: {self._remedy}"


class UnplacedError(PolygonsError):
    """They have no usable CRS."""


class TooManyError(PolygonsError):
    """They are more than are read."""


class NoRowsError(InputError):
    """The layers of a file have no rows: as regions they are a mistake, as clouds a clear sky."""


class UnusableError(InputError):
    """No row can be used.

    Parameters
    ----------
    file
        The file.
    dropped
        Reasons, by row name.
    """

    def __init__(self, file: RegionFile, dropped: Mapping[str, str]) -> None:
        self._file, self._dropped = file, dropped
        super().__init__(file, dropped)

    def __str__(self) -> str:
        return self.message("regions.buffer_m")

    def message(self, buffer: str) -> str:
        """Return the message; `buffer` is the setting that widens the polygons, which masks have another of."""
        return f"{self._file} holds no polygons that can be used: {summarize_rows(self._dropped, buffer)}"


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a polygon file, named by GDAL's feature id, and by their layer if the file has several."""

    shapes: geopandas.GeoSeries
    """Valid geometries of the usable rows, indexed by row name."""

    file_crs: pyproj.CRS | None
    """The CRS that the file declares, regardless of ``regions.crs``."""

    layers: dict[str, int]
    """Number of rows of each layer read."""

    mended: dict[str, str]
    """Defects of rows that were repaired, by row name."""

    dropped: dict[str, str]
    """Reasons why rows cannot be used, by row name."""


def load_regions(file: RegionFile, settings: Regions) -> Rows:
    """Read the polygons, in the CRS that the settings declare; the latest small ones are kept, so do not change them.

    Raises
    ------
    InputError
        The file is unreadable, damaged or empty, holds no polygons, or has no known CRS.
    ConfigError
        ``regions.crs``, ``regions.layer`` or ``regions.where`` is invalid.
    """
    if (file, settings) in _kept:
        return _kept[file, settings]
    rows, vertices = _load(file, settings)
    _kept.clear()
    if vertices <= _KEPT_VERTICES:
        _kept[file, settings] = rows
    return rows


_kept: dict[tuple[RegionFile, Regions], Rows] = {}
"""The latest rows that were loaded, if they are few."""


def _load(file: RegionFile, settings: Regions) -> tuple[Rows, int]:
    """Read the polygons; return them, and the number of their vertices."""
    declared = declared_crs(settings)
    layers = _read_layers(file, settings)
    stored = [(name, rows) for name, rows in layers if len(rows.ids)]
    if not stored:
        wanted = f" that meet regions.where = {settings.where!r}" if settings.where else ""
        raise (NoRowsError if layers else InputError)(f"{file} holds no polygons{wanted}")
    _check_number("polygons", sum(len(rows.ids) for _, rows in stored), settings.max_polygons, file)
    mended: dict[str, str] = {}
    dropped: dict[str, str] = {}
    usable = []
    vertices = 0
    for layer, rows in stored:
        crs = declared or rows.crs
        whose = f"layer {layer} of {file}" if len(stored) > 1 else f"{file}"
        if declared is None and (problem := _crs_problem(rows.crs)):
            raise UnplacedError(f"{whose} {problem}", _declare_crs())
        names = np.array([f"{layer} fid {fid}" if len(stored) > 1 else f"fid {fid}" for fid in rows.ids], object)
        shapes = _decode_wkb(rows.wkb, names, mended, dropped)
        vertices += int(shapely.get_num_coordinates(shapes).sum())
        _check_number("vertices", vertices, settings.max_vertices, file)
        try:
            series = geopandas.GeoSeries(shapes, names, crs)
        except pyproj.exceptions.CRSError as error:
            raise UnplacedError(f"the CRS of {file} is none", _declare_crs()) from error
        usable.append(_select_usable(series, settings, mended, dropped))
    series = pd.concat([one.to_crs(usable[0].crs) for one in usable])
    if series.empty:
        raise UnusableError(file, dropped)
    file_crs = next((pyproj.CRS(rows.crs) for _, rows in stored if not _crs_problem(rows.crs)), None)
    return Rows(series, file_crs, {name: len(rows.ids) for name, rows in stored}, mended, dropped), vertices


def _declare_crs() -> str:
    return f"declare it, for example with {setting('regions.crs', 'EPSG:4326')}"


def _check_number(what: str, number: int, limit: int, file: RegionFile) -> None:
    if number > limit:
        raise TooManyError(
            f"{file} holds {number} {what} or more, at most regions.max_{what} = {limit} are read",
            f"raise the limit with --set regions.max_{what}=NUMBER, or select rows with regions.where",
        )


def declared_crs(settings: Regions) -> pyproj.CRS | None:
    """Return the CRS that ``regions.crs`` declares; None: use the file's own."""
    if settings.crs == "file":
        return None
    try:
        declared = pyproj.CRS.from_user_input(settings.crs)
    except pyproj.exceptions.CRSError as error:
        raise ConfigError(f'regions.crs = {settings.crs!r} is no CRS: write "file" or one like "EPSG:4326"') from error
    if not is_horizontal(declared):
        raise ConfigError(f'regions.crs = {settings.crs!r} {_NO_MAP}: write "file" or one like "EPSG:4326"')
    return declared


def _crs_problem(crs: Any) -> str:
    """Return why the CRS that a file declares, or None, cannot be used, as a predicate; empty if it can."""
    if crs is None:
        return "has no CRS"
    if not is_definition(crs):
        return "has a CRS that is no definition of one, or names a file or a server"
    try:
        return "" if is_horizontal(pyproj.CRS.from_user_input(crs)) else f"has a CRS that {_NO_MAP}"
    except pyproj.exceptions.CRSError:
        return "has a CRS that PROJ does not know"


def summarize_rows(rows: Mapping[str, str], buffer: str = "regions.buffer_m") -> str:
    """Return one line that lists row names by their defect, with the setting that cures it.

    Examples
    --------
    >>> summarize_rows({"fid 3": "no geometry", "fid 5": "no geometry", "fid 8": "Self-intersection[35.2 33.1]"})
    'fid 3, fid 5: no geometry; fid 8: Self-intersection'
    >>> summarize_rows({"fid 3": NO_AREA})
    'fid 3: a point or line has no area: set regions.buffer_m to widen it'
    """
    names_by_defect: dict[str, list[str]] = {}
    for name, defect in rows.items():
        # GEOS appends the coordinates in brackets, which differ in every row.
        names_by_defect.setdefault(defect.partition("[")[0], []).append(name)
    groups = []
    for defect, names in names_by_defect.items():
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        cure = f": set {buffer} to widen it" if defect in (NO_AREA, TOO_SMALL) else ""
        groups.append(f"{', '.join(names[:_MOST_NAMES])}{more}: {defect}{cure}")
    return "; ".join(groups)


def make_valid(shapes: Shapes, *, keep_collapsed: bool = False) -> Shapes:
    """Repair invalid shapes, such as self-crossing rings; keep the whole area that a ring encloses."""
    invalid = ~shapely.is_valid(shapes)
    repaired: Shapes = shapes.copy()
    repaired[invalid] = shapely.make_valid(shapes[invalid], method="structure", keep_collapsed=keep_collapsed)
    return repaired


def extract_polygons(shapes: Shapes) -> tuple[Shapes, npt.NDArray[np.intp]]:
    """Return all polygons in shapes and nested collections, and for each the index of its shape."""
    shape = np.arange(len(shapes))
    while (shapely.get_type_id(shapes) > shapely.GeometryType.POLYGON).any():
        shapes, parent = shapely.get_parts(shapes, return_index=True)
        shape = shape[parent]
    polygons = shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON
    return shapes[polygons], shape[polygons]


def _read_layers(file: RegionFile, settings: Regions) -> list[tuple[str, StoredRows]]:
    """Read the selected layers and their names; number duplicate names."""
    stored, times = [], Counter[str]()
    with file.datasets() as paths:
        layers = []
        for path in paths:
            with _naming_file(f"{file}" if len(paths) == 1 else f"{path.name} in {file}", path):
                layers += list_layers(path)
        for layer in _select_layers(layers, file, settings):
            times[layer.name] += 1
            name = f"{layer.name} ({times[layer.name]})" if times[layer.name] > 1 else layer.name
            with _naming_file(f"{file}" if len(layers) == 1 else f"{name} in {file}", layer.path):
                stored.append((name, read_rows(layer, settings.where, settings.max_polygons + 1)))
    return stored


@contextmanager
def _naming_file(name: str, path: Path) -> Iterator[None]:
    """Convert DamagedError to an InputError that names the file; its path may be that of a temporary copy."""
    try:
        yield
    except DamagedError as error:
        told = str(error).replace(f"{path.parent}{os.sep}", "")
        raise InputError(f"cannot read polygons from {name}: {told}") from error


def _select_layers(layers: Sequence[Layer], file: RegionFile, settings: Regions) -> list[Layer]:
    """Return the layers named ``regions.layer``, or all layers that may have an area."""
    if settings.layer:
        selected = [layer for layer in layers if layer.name == settings.layer]
        if not selected:
            known = ", ".join(layer.name for layer in layers) or "none"
            raise ConfigError(f"regions.layer = {settings.layer!r}: {file} has no such layer; its layers are {known}")
        return selected
    return [layer for layer in layers if settings.buffer_m or layer.may_have_area] or list(layers)


def _decode_wkb(wkb: Shapes, names: Shapes, mended: dict[str, str], dropped: dict[str, str]) -> Shapes:
    """Decode geometries, None where that is impossible; add to `mended` and `dropped`."""
    wkb = wkb.copy()
    for row in np.flatnonzero([shape is not None and is_nested_deeply(shape) for shape in wkb]):
        wkb[row], dropped[names[row]] = None, "its geometry has collections in collections, too deeply to be decoded"
    with np.errstate(invalid="ignore"):
        shapes: Shapes = shapely.from_wkb(wkb, on_invalid="fix")
        for row in np.flatnonzero(shapely.is_missing(shapely.from_wkb(wkb, on_invalid="ignore"))):
            if wkb[row] is None:
                dropped.setdefault(names[row], "no geometry")
            elif shapes[row] is None:
                dropped[names[row]] = _decoding_error(wkb[row])
            else:
                mended[names[row]] = "a ring is not closed"
    polygons, parent = extract_polygons(shapes)
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    for row in np.unique(parent[polygon[shapely.is_empty(rings)]]):
        shapes[row] = _without_empty_holes(shapes[row])
        mended[names[row]] = "a hole without points"
    return shapes


def _without_empty_holes(shape: Any) -> Any:
    """Return a geometry without the holes that have no points: GEOS crashes where it asks what encloses them."""
    if isinstance(shape, shapely.Polygon):
        return shapely.Polygon(shape.exterior, [hole for hole in shape.interiors if not hole.is_empty])
    parts = getattr(shape, "geoms", None)
    return shape if parts is None else type(shape)([_without_empty_holes(part) for part in parts])


def _decoding_error(wkb: bytes) -> str:
    try:
        shapely.from_wkb(wkb)
    except (shapely.errors.ShapelyError, ValueError) as error:
        # GEOS's messages begin with the type of the exception.
        return f"its geometry cannot be decoded: {str(error).strip().rpartition('Exception: ')[2]}"
    return "no geometry"


def _select_usable(
    series: geopandas.GeoSeries, settings: Regions, mended: dict[str, str], dropped: dict[str, str]
) -> geopandas.GeoSeries:
    """Repair invalid geometries and drop those without area; add to `mended` and `dropped`."""

    def drop(unusable: npt.NDArray[np.bool_], reason: str) -> None:
        nonlocal series
        dropped.update(dict.fromkeys(series.index[unusable], reason))
        series = series[~unusable]

    series = series.dropna()
    drop(series.is_empty.to_numpy(), "empty geometry")
    points, row = shapely.get_coordinates(series.array, return_index=True)
    drop(np.isin(range(len(series)), row[~np.isfinite(points).all(axis=1)]), "coordinates that are not finite numbers")
    if series.crs.is_geographic:
        west, south, east, north = shapely.bounds(series.array).T
        away = np.maximum(-south, north) * _degrees_per_unit(series.crs) > _MOST_LATITUDE
        away |= np.maximum(-west, east) * _degrees_per_unit(series.crs) > _MOST_LONGITUDE
        if away.all():
            # They may be metres: `s2fast.regions.check` says that the CRS is wrong.
            away = np.maximum(np.maximum(-west, east), np.maximum(-south, north)) > _MOST_METRES
        drop(away, "coordinates that are no longitude and latitude")
    if not settings.buffer_m:
        drop(shapely.get_dimensions(series.array) < 2, NO_AREA)
    shapes = _unwrap_at_180(series.to_numpy()) if series.crs.is_geographic else series.to_numpy()
    if not settings.buffer_m:
        for row in np.flatnonzero(shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION):
            shapes[row] = shapely.multipolygons(extract_polygons(shapes[row : row + 1])[0])
    invalid = ~shapely.is_valid(shapes)
    mended.update(zip(series.index[invalid], shapely.is_valid_reason(shapes[invalid]), strict=True))
    series = geopandas.GeoSeries(make_valid(shapes, keep_collapsed=settings.buffer_m > 0), series.index, series.crs)
    drop(series.is_empty.to_numpy(), "a polygon without area")
    for name in dropped:
        mended.pop(name, None)
    return series


def _degrees_per_unit(crs: pyproj.CRS) -> float:
    return float(np.degrees(crs.axis_info[0].unit_conversion_factor))


def _unwrap_at_180(shapes: Shapes) -> Shapes:
    """Shift the western part of shapes that cross the 180th meridian to longitudes above 180 degrees."""
    shapes = shapes.copy()
    west, _, east, _ = shapely.bounds(shapes).T
    for row in np.flatnonzero(east - west > 360 - _CROSSING_DEG):
        turned = shapely.transform(shapes[row], lambda xy: np.column_stack([xy[:, 0] % 360, xy[:, 1]]))
        west, _, east, _ = shapely.bounds(turned)
        if 0 < east - west <= _CROSSING_DEG:
            # Merge halves that were split at the meridian.
            shapes[row] = shapely.union_all(turned) if shapely.is_valid(shapes[row]) else turned
    return shapes
