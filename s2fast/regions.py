"""Polygons of interest: load and check them, place them on a scene's grid, say what a window's mask is."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import geopandas
import numpy as np
import numpy.typing as npt
import pyogrio
import pyproj
import shapely
from rasterio import Affine
from rasterio.features import rasterize

from s2fast.config import Regions
from s2fast.errors import ConfigError, InputError
from s2fast.model import Raster, Window
from s2fast.windows import with_halo

log = logging.getLogger(__name__)

_SHAPEFILE_PARTS = (".shx", ".dbf", ".prj", ".cpg")


@dataclass(frozen=True, slots=True)
class RegionFile:
    """A file of polygons, known by its content."""

    path: Path
    """Anything geopandas reads."""

    content: str
    """Hash of the bytes of the file and of those that belong to it."""

    @classmethod
    def at(cls, path: Path | str) -> RegionFile:
        """Identify a file; raise InputError if there is none."""
        path = Path(path)
        digest = hashlib.blake2b(digest_size=16)
        beside = [path.with_suffix(suffix) for suffix in _SHAPEFILE_PARTS] if path.suffix.lower() == ".shp" else []
        beside.append(path.with_name(f"{path.name}-wal"))  # what an open GeoPackage has not merged yet
        try:
            for part in [path, *(part for part in beside if part.exists())]:
                digest.update(part.read_bytes())
        except OSError as error:
            raise InputError(f"cannot read the regions file {path}: {error.strerror}") from error
        return cls(path.resolve(), digest.hexdigest())


def load_regions(path: Path, settings: Regions) -> geopandas.GeoSeries:
    """Read the polygons, in the CRS the settings declare.

    Raises
    ------
    InputError
        The file is unreadable or empty, holds no polygons, or no CRS is known.
    ConfigError
        ``regions.crs`` or ``regions.where`` is not understood.
    """
    declared = declared_crs(settings)
    try:
        frame = geopandas.read_file(path, where=settings.where or None)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise InputError(f"cannot read polygons from {path}: {error}") from error
    except ValueError as error:
        raise ConfigError(f"regions.where = {settings.where!r} does not work on {path}: {error}") from error
    if not isinstance(frame, geopandas.GeoDataFrame) or frame.empty:
        wanted = f" that meet regions.where = {settings.where!r}" if settings.where else ""
        raise InputError(f"{path} holds no polygons{wanted}")
    series = frame.geometry[~(frame.geometry.isna() | frame.geometry.is_empty)]
    if series.empty or (settings.buffer_m == 0 and not (shapely.get_dimensions(series.array) == 2).any()):
        raise InputError(f"{path} holds no polygons; set regions.buffer_m to widen points or lines")
    if declared is not None:
        return series.set_crs(declared, allow_override=True)
    if series.crs is None:
        raise InputError(f"{path} has no CRS; say which it is with --set regions.crs=EPSG:4326")
    return series


def declared_crs(settings: Regions) -> pyproj.CRS | None:
    """Read ``regions.crs``; None where the file's own counts."""
    if settings.crs == "file":
        return None
    try:
        return pyproj.CRS.from_user_input(settings.crs)
    except pyproj.exceptions.CRSError as error:
        raise ConfigError(f'regions.crs = {settings.crs!r} is no CRS; write "file" or one like "EPSG:4326"') from error


def check_regions(file: RegionFile, settings: Regions, rasters: Sequence[Raster]) -> None:
    """Refuse polygons that meet no scene; warn of a declared CRS that moves them.

    Raises
    ------
    InputError
        No polygon meets any scene, or the polygons cannot be used.
    ConfigError
        A buffer in metres is asked for on scenes that are not in metres, or a CRS cannot be brought into another.
    """
    series = load_regions(file.path, settings)
    for raster in rasters:
        units = {axis.unit_name for axis in pyproj.CRS(raster.crs_wkt).axis_info}
        if settings.buffer_m and units != {"metre"}:
            raise ConfigError(f"regions.buffer_m needs scenes in metres; one is in {', '.join(sorted(units))}")
    try:
        if settings.crs != "file":
            _warn_of_shift(series, geopandas.read_file(file.path, rows=1).crs, settings.crs, rasters[0].crs_wkt)
        met = [
            bool(_placed_series(file, settings, raster.crs_wkt).intersects(shapely.Polygon(raster.outline())).any())
            for raster in sorted(rasters, key=lambda raster: raster.crs_wkt)
        ]
    except pyproj.exceptions.ProjError as error:
        raise ConfigError(f"the polygons' CRS {series.crs.to_string()} cannot be brought into the scenes'") from error
    if not any(met):
        raise InputError(f"no polygon of {file.path} meets a scene: {_where_instead(series, rasters)}")
    if not all(met):
        log.warning("%d of %d scenes meet no polygon: they will have no keypoints", met.count(False), len(met))


def _where_instead(series: geopandas.GeoSeries, rasters: Sequence[Raster]) -> str:
    """Say where polygons lie that meet no scene."""
    scene = shapely.Polygon(rasters[0].outline())
    turned = series.transform(lambda xy: xy[:, ::-1])
    if turned.to_crs(rasters[0].crs_wkt).intersects(scene).any():
        return "longitude and latitude are swapped in it"
    away = series.to_crs(rasters[0].crs_wkt).distance(scene).min()
    west, south, east, north = series.total_bounds
    far = f"they lie {away / 1000:.0f} km from the first scene, " if np.isfinite(away) else ""
    bounds = f"{west:.3f} {south:.3f} {east:.3f} {north:.3f}"
    return f"{far}at {bounds} in {series.crs.to_string()}; wrong file, or wrong regions.crs?"


def _warn_of_shift(series: geopandas.GeoSeries, file_crs: pyproj.CRS | None, declared: str, scene_wkt: str) -> None:
    if file_crs is None or pyproj.CRS(file_crs) == pyproj.CRS(series.crs):
        return
    east_m, north_m = crs_shift_m(series, file_crs, scene_wkt)
    log.warning(
        "regions.crs declares %s, the file says %s: the polygons land %.0f m %s and %.0f m %s of where the file puts "
        'them; set regions.crs = "file" unless that is meant',
        declared,
        pyproj.CRS(file_crs).to_string(),
        abs(east_m),
        "east" if east_m > 0 else "west",
        abs(north_m),
        "north" if north_m > 0 else "south",
    )


def crs_shift_m(series: geopandas.GeoSeries, file_crs: pyproj.CRS, scene_wkt: str) -> tuple[float, float]:
    """Say how far a declared CRS moves the polygons from where the file's own CRS puts them.

    Returns
    -------
    tuple[float, float]
        East and north [CRS units of the scene, metres for UTM], at the centre of the polygons' bounds.
    """
    west, south, east, north = series.total_bounds
    centre = (west + east) / 2, (south + north) / 2
    declared, own = (
        pyproj.Transformer.from_crs(crs, scene_wkt, always_xy=True).transform(*centre) for crs in (series.crs, file_crs)
    )
    return declared[0] - own[0], declared[1] - own[1]


class PlacedRegions:
    """Polygons on the pixel grid of one raster."""

    def __init__(self, polygons: npt.NDArray[np.object_], raster: Raster) -> None:
        self._polygons = polygons
        self._tree = shapely.STRtree(polygons)
        self._raster = raster
        self._masks: dict[Window, npt.NDArray[np.uint8]] = {}

    def meets(self, window: Window, halo_px: int = 0) -> bool:
        """Whether a polygon meets the window or the halo around it."""
        return bool(len(self._near(with_halo(window, halo_px, self._raster.shape))))

    def mask(self, window: Window) -> npt.NDArray[np.bool_]:
        """Rasterise the polygons: (height, width) bool, True where a pixel's centre lies in one.

        Scenes of one tile share their grid, so masks are kept, one bit a pixel.
        """
        packed = self._masks.get(window)
        if packed is None:
            packed = self._masks[window] = np.packbits(self._rasterised(window))
        count = window.height * window.width
        return np.unpackbits(packed, count=count).view(np.bool_).reshape(window.height, window.width)

    def _near(self, window: Window) -> npt.NDArray[np.intp]:
        box = shapely.Polygon(self._raster.outline(window))
        near: npt.NDArray[np.intp] = self._tree.query(box, predicate="intersects")
        return near

    def _rasterised(self, window: Window) -> npt.NDArray[np.uint8]:
        near = self._polygons[self._near(window)]
        if not len(near):
            return np.zeros((window.height, window.width), np.uint8)
        a, b, _, d, e, _ = self._raster.transform
        x, y = self._raster.at(window.col, window.row)
        burnt: npt.NDArray[np.uint8] = rasterize(
            near,
            out_shape=(window.height, window.width),
            transform=Affine(a, b, x, d, e, y),
            default_value=1,
            dtype=np.uint8,
        )
        return burnt


@lru_cache(maxsize=4)
def place_regions(file: RegionFile, settings: Regions, raster: Raster) -> PlacedRegions:
    """Put the polygons on a raster's grid; kept for the next scene of the same tile."""
    series = _placed_series(file, settings, raster.crs_wkt)
    outline = shapely.Polygon(raster.outline())
    parts = shapely.get_parts(series[series.intersects(outline)].array)
    polygons = parts[shapely.get_dimensions(parts) == 2]
    if not settings.holes:
        polygons = shapely.polygons(shapely.get_exterior_ring(polygons))
    return PlacedRegions(np.asarray(polygons, object), raster)


@lru_cache(maxsize=4)
def _placed_series(file: RegionFile, settings: Regions, crs_wkt: str) -> geopandas.GeoSeries:
    """Bring the polygons into a scene's CRS and widen them row by row."""
    series = load_regions(file.path, settings).to_crs(crs_wkt)
    return series.buffer(settings.buffer_m) if settings.buffer_m else series
