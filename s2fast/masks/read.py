"""Read a scene's mask window by window, on the scene's grid: nearest values, never interpolated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from rasterio import Affine
from rasterio._err import CPLE_BaseError
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterioWindow

from s2fast.config import Ingest
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.masks.kinds import BY_NAME, SHAPES, Kind
from s2fast.masks.lookup import FoundMask
from s2fast.masks.polygons import clouds_on, shapes_on
from s2fast.model import Raster, Window
from s2fast.raster.dataset import gdal_settings, open_dataset
from s2fast.raster.reader import reduce_any
from s2fast.raster.windows import with_halo
from s2fast.regions.mask import PlacedRegions

_LOOKED_PX, _LEAST_ALIKE, _LAST_CLASS = 1024, 0.5, 11
"""Side of the part of a scene classification that is looked at [px], share of its neighbouring pixels that must be of
one class, and the last class."""

_FEW, _LEAST_CORRELATION = 0.01, 0.25
"""Share of flagged pixels below which their places do not matter, and least correlation of neighbours of others."""

_MOST_REASON = 120
"""Characters of PROJ's and GDAL's messages that are shown: some contain whole definitions."""

_EDGE = 1e-6
"""Part of a pixel of the mask that a centre may lie beyond its edge by rounding."""


class SceneMask(Protocol):
    """Pixels of a scene that show no ground."""

    elsewhere: str
    """Where it and the scene lie, if it lies elsewhere and masks nothing; else empty."""

    def part(self, window: Window) -> npt.NDArray[np.bool_]:
        """Return a window of the full-resolution grid, reduced: True where any of a pixel shows no ground.

        Pixels that a raster does not cover show none, since nothing says that they do.
        """


class PolygonMask:
    """Polygons, already widened."""

    def __init__(self, placed: PlacedRegions, reduction: int, elsewhere: str) -> None:
        self._placed, self._reduction, self.elsewhere = placed, reduction, elsewhere

    def part(self, window: Window) -> npt.NDArray[np.bool_]:
        """See `SceneMask`."""
        return reduce_any(self._placed.mask(window), self._reduction)


class RasterMask:
    """A raster of any resolution and CRS.

    Parameters
    ----------
    dataset
        The raster.
    source
        Where it lies, for errors.
    kind
        Name of its `s2fast.masks.kinds.Kind`.
    raster
        The scene's header.
    settings
        The settings of masks, and the reduction.
    """

    elsewhere = ""

    def __init__(
        self, dataset: rasterio.DatasetReader, source: Source, kind: str, raster: Raster, settings: Ingest
    ) -> None:
        self._dataset, self._source, self._kind = dataset, source, BY_NAME[kind]
        self._bands = _bands(self._kind, dataset)
        # A nodata value of 0 is a value: of a mask drawn by gdal_rasterize or QGIS, it is the clear ground.
        self._unknown = [dataset.nodatavals[band - 1] or None for band in self._bands]
        masked_by = set(dataset.mask_flag_enums[self._bands[0] - 1])
        self._has_mask = MaskFlags.per_dataset in masked_by and MaskFlags.alpha not in masked_by
        self._raster, self._settings = raster, settings
        px_m = np.linalg.norm(PixelGrid.of_raster(raster).px_m, axis=0)
        # Without a CRS, how large a pixel is on the ground is unknown.
        self._reach_px = settings.mask_buffer_m / float(px_m.min()) if raster.crs_wkt else 0.0
        crs = dataset.crs
        if crs is not None and not (crs.is_projected or crs.is_geographic):
            crs = None  # GDAL gives a JP2 without a CRS an unnamed local one
        if crs is not None and not raster.crs_wkt:
            if dataset.shape != raster.shape:
                raise SceneError(
                    f"the mask {source} has a CRS and its scene has none: make it {_size(raster.shape)} px"
                )
            crs = None
        if crs is None and dataset.shape != raster.shape:
            raise SceneError(
                f"the mask {source} has no CRS, and {_size(dataset.shape)} px where the scene has "
                f"{_size(raster.shape)}: assign its CRS and place, for example with gdal_edit.py -a_srs and -a_ullr"
            )
        self._of_scene = Affine(*raster.transform)
        own = self._of_scene if crs is None else dataset.transform
        same = crs is None or pyproj.CRS(crs.to_wkt()) == pyproj.CRS(raster.crs_wkt)
        straight = not (own.b or own.d or self._of_scene.b or self._of_scene.d)
        self._to_own = ~own @ self._of_scene if same and straight else None

    def part(self, window: Window) -> npt.NDArray[np.bool_]:
        """See `SceneMask`."""
        halo = int(np.ceil(self._reach_px / self._settings.reduction)) * self._settings.reduction
        around = with_halo(window, halo, self._raster.shape)
        try:
            flags = self._warped(around) if self._to_own is None else self._shifted(around, self._to_own)
        except RasterioError as error:
            reason = self._source.redacted(error)
            raise SceneError(f"the mask {self._source} cannot be read ({reason}): get it again") from error
        flags = widened(reduce_any(flags, self._settings.reduction), self._reach_px / self._settings.reduction)
        step = self._settings.reduction
        top, left = (window.row - around.row) // step, (window.col - around.col) // step
        return flags[top : top + window.height // step, left : left + window.width // step]

    def covers(self) -> bool:
        """Return whether its bounds meet those of the scene, in the scene's CRS."""
        if self._to_own is None:
            bounds = rasterio.warp.transform_bounds(
                self._dataset.crs, self._raster.crs_wkt, *self._dataset.bounds, densify_pts=21
            )
        else:
            a = self._of_scene @ ~self._to_own
            corners = [a @ (x, y) for x in (0, self._dataset.width) for y in (0, self._dataset.height)]
            bounds = (*np.min(corners, axis=0), *np.max(corners, axis=0))
        x, y = np.array(self._raster.outline()).T
        return bool(bounds[0] < x.max() and bounds[2] > x.min() and bounds[1] < y.max() and bounds[3] > y.min())

    def _shifted(self, window: Window, to: Affine) -> npt.NDArray[np.bool_]:
        """Look up a window by rows and columns of the mask, which has the axes of the scene."""
        cols, cols_in = _nearest(to.a, to.c, window.col, window.width, self._dataset.width)
        rows, rows_in = _nearest(to.e, to.f, window.row, window.height, self._dataset.height)
        flags = np.ones((window.height, window.width), np.bool_)
        if cols_in.any() and rows_in.any():
            left, top = int(cols[cols_in].min()), int(rows[rows_in].min())
            region = RasterioWindow(left, top, int(cols[cols_in].max()) - left + 1, int(rows[rows_in].max()) - top + 1)
            own = self._flags(self._dataset.read(self._bands, window=region))
            if self._has_mask:
                own |= self._dataset.read_masks(self._bands[0], window=region) == 0
            flags[np.ix_(rows_in, cols_in)] = own[np.ix_(rows[rows_in] - top, cols[cols_in] - left)]
        return flags

    def _warped(self, window: Window) -> npt.NDArray[np.bool_]:
        """Look up a window through the mask's CRS, with GDAL."""
        with WarpedVRT(
            self._dataset, crs=self._raster.crs_wkt, resampling=Resampling.nearest, add_alpha=True, src_nodata=None,
            transform=self._of_scene @ Affine.translation(window.col, window.row),
            height=window.height, width=window.width,
        ) as warped:  # fmt: skip
            values = warped.read([*self._bands, warped.count])
        return np.asarray(self._flags(values[:-1]) | (values[-1] == 0))

    def _flags(self, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        if self._kind.flags is None:
            raise TypeError(f"{self._kind.name} holds polygons")
        flags = self._kind.flags(values, self._settings)
        if values.dtype.kind == "f":
            flags |= np.isnan(values).any(axis=0)
        for band, unknown in zip(values, self._unknown, strict=True):
            if unknown is not None:
                flags |= band == unknown
        return flags


def _bands(kind: Kind, dataset: rasterio.DatasetReader) -> list[int]:
    """Return the bands of a raster that a kind needs, at least the first."""
    return [band for band in kind.bands if band <= dataset.count] or [1]


def _nearest(
    step: float, start: float, first: int, count: int, length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the mask's pixels that hold the centres of a scene's pixels along one axis, and which exist."""
    at = step * (first + np.arange(count) + 0.5) + start
    return np.floor(at + _EDGE).astype(np.int64), (at > -_EDGE) & (at < length - _EDGE)


def widened(flags: npt.NDArray[np.bool_], reach_px: float) -> npt.NDArray[np.bool_]:
    """Return True on all pixels whose centre is within `reach_px` of that of a flagged one."""
    if not reach_px or not flags.any() or flags.all():
        return flags
    away = cv2.distanceTransform((~flags).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away <= np.float32(reach_px * (1 + 1e-6)))


def is_classification(found: FoundMask, settings: Ingest) -> bool:
    """Return whether a raster found as a mask is one: what it masks lies in areas, and so do an SCL's classes.

    A file of such a name may hold anything; "auto" must not mask a scene by it. Only the middle is looked at.
    """
    kind = BY_NAME[found.kind]
    if kind.flags is None:
        return True
    with suppress(RasterioError), gdal_settings(), open_dataset(Source.of(found.source)) as dataset:
        first = [max(0, (side - _LOOKED_PX) // 2) for side in dataset.shape]
        values = dataset.read(_bands(kind, dataset), window=RasterioWindow(first[1], first[0], _LOOKED_PX, _LOOKED_PX))
        if kind.name == "scl":
            alike = values[0, :, 1:] == values[0, :, :-1]
            return not alike.size or bool(values[0].max() <= _LAST_CLASS and alike.mean() >= _LEAST_ALIKE)
        return in_areas(kind.flags(values, settings))
    return True


def in_areas(flags: npt.NDArray[np.bool_]) -> bool:
    """Return whether flagged pixels lie together: neighbours in a row differ less often than if dealt out at random.

    Few flagged pixels, or all but few, do so whatever they are: they change little.

    Examples
    --------
    >>> dealt_out = np.random.default_rng(0).random((200, 200)) < 0.3
    >>> [in_areas(flags) for flags in (dealt_out, np.arange(200) < np.full((200, 1), 60), np.zeros((9, 9), bool))]
    [False, True, True]
    """
    share = float(flags.mean()) if flags.size else 0.0
    if not _FEW < share < 1 - _FEW:
        return True
    differ = float((flags[:, 1:] != flags[:, :-1]).mean())
    return differ <= (1 - _LEAST_CORRELATION) * 2 * share * (1 - share)


@contextmanager
def open_mask(found: FoundMask, raster: Raster, settings: Ingest) -> Iterator[SceneMask]:
    """Open the mask of a scene.

    Raises
    ------
    SceneError
        It cannot be opened, has no CRS and another size, or lies on other ground.
    """
    source = Source.of(found.source)
    kind = BY_NAME[found.kind]
    if kind.flags is None:
        place = shapes_on if kind.name == SHAPES else clouds_on
        with _placing(source):
            placed, elsewhere = place(source, raster, settings.mask_buffer_m)
        yield PolygonMask(placed, settings.reduction, elsewhere)
        return
    with gdal_settings(), _opened(source) as dataset:
        with _placing(source):
            mask = RasterMask(dataset, source, found.kind, raster, settings)
            covers = mask.covers()
        if not covers:
            raise SceneError(f"the mask {source} lies on other ground than its scene: name the right file")
        yield mask


def _opened(source: Source) -> rasterio.DatasetReader:
    try:
        return open_dataset(source)
    except SceneError as error:
        raise SceneError(f"the mask {error}: get it again, or write it again") from error


@contextmanager
def _placing(source: Source) -> Iterator[None]:
    """Convert errors of a CRS that is local, unknown, or of another planet, to a SceneError."""
    try:
        yield
    except (pyproj.exceptions.ProjError, CRSError, CPLE_BaseError) as error:
        reason = " ".join(str(error).split())[:_MOST_REASON]
        raise SceneError(
            f"the mask {source} cannot be placed on its scene ({reason}): assign its CRS, for example with "
            "gdal_edit.py -a_srs, or ogr2ogr -a_srs for polygons"
        ) from error


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
