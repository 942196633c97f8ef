"""Write one corrected raster: as a VRT, as a Cloud-Optimised GeoTIFF, or resampled onto another grid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.transform import Affine

from s2fast.align.field_model import Field
from s2fast.align.resampling import ALL_BANDS, Resampling, corrected_by_field, selected_resampler
from s2fast.config import Config
from s2fast.errors import BackendError, SceneError, option
from s2fast.files.source import Source
from s2fast.files.web import downloaded
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.raster.array_dataset import ArrayDataset, write_geotiff
from s2fast.raster.dataset import decoding_threads, open_dataset
from s2fast.raster.whole import check_whole
from s2fast.stages.device_budget import within_device_budget
from s2fast.work.device_memory import named_device_memory
from s2fast_kernels.backends import find_device

_CACHE_BYTES = 192 << 20
"""GDAL's block cache while resampling: it keeps a row of a full tile's blocks, and the output that is not complete yet.
With less, blocks at the borders of parts are decoded twice."""

_NOT_IN_XML = re.compile(r"[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters of a name that XML cannot hold, or reads as others."""


_DEFAULTS = Config()


class Form(StrEnum):
    """Forms of corrected rasters."""

    VRT = "vrt"
    COG = "cog"
    RESAMPLED = "resampled"

    @property
    def suffix(self) -> str:
        """Suffix of the files."""
        return ".vrt" if self is Form.VRT else ".tif"


class Kernel(StrEnum):
    """Interpolation of images; masks always take the nearest pixel."""

    BILINEAR = "bilinear"
    CUBIC = "cubic"
    LANCZOS = "lanczos"


@dataclass(frozen=True, slots=True)
class Target:
    """The raster to write."""

    form: Form
    """Its form."""
    kernel: Kernel
    """Interpolation, if it is resampled."""
    grid: PixelGrid
    """Grid onto which it is resampled."""
    is_mask: bool
    """Whether it must not be interpolated."""
    tags: Mapping[str, str]
    """Metadata to add."""
    field: Field | None = None
    """Local displacements, which then replace the offset; None: the scene is moved as a whole."""
    config: Config = _DEFAULTS
    """Settings of the run, which name the device on which it is resampled and how much of its memory may be used."""


def corrected_transform(grid: PixelGrid, offset_m: tuple[float, float], field: Field | None = None) -> Affine:
    """Return the transform of a raster that shows the ground `offset_m` away from where it should [m].

    Parameters
    ----------
    grid
        The raster's grid. If its CRS is not metric, the offset is converted at its centre.
    offset_m
        East and north [m].
    field
        See `Target`. That of a grid cannot be held by a transform, which then stays as it is.

    Examples
    --------
    >>> grid = PixelGrid("EPSG:32636", (10, 0, 500000, 0, -10, 900000), (512, 256))
    >>> corrected_transform(grid, (2.5, -1.0))[2:6:3]
    (499997.5, 900001.0)
    """
    a, b, c, d, e, f = grid.transform
    if field is not None:
        return corrected_by_field(grid, field) if field.model.is_affine else Affine(a, b, c, d, e, f)
    if grid.metric == grid.crs_wkt:
        return Affine(a, b, c - offset_m[0], d, e, f - offset_m[1])
    right, down = np.linalg.solve(grid.px_m, offset_m)
    return Affine(*grid.transform) @ Affine.translation(-right, -down)


def grid_of(source: Source) -> PixelGrid:
    """Return the grid of a raster; raise SceneError if it has no georeferencing."""
    with open_dataset(source) as dataset:
        if dataset.crs is None:
            raise SceneError(f"{source}: it has no CRS, so it cannot be corrected")
        return PixelGrid(dataset.crs.to_wkt(), tuple(dataset.transform)[:6], dataset.shape)


def scaled_grid(grid: PixelGrid, shape: tuple[int, int], matched: tuple[int, int]) -> PixelGrid:
    """Return the grid for a raster whose pixels are larger or smaller than those of the matched raster.

    Parameters
    ----------
    grid
        The grid for the matched raster.
    shape, matched
        Rows and columns of the raster and of the matched raster, which cover the same ground.
    """
    if shape == matched:
        return grid
    scale = Affine.scale(matched[1] / shape[1], matched[0] / shape[0])
    rows, cols = (round(side * ours / theirs) for side, ours, theirs in zip(grid.shape, shape, matched, strict=True))
    return PixelGrid(grid.crs_wkt, tuple(Affine(*grid.transform) @ scale)[:6], (rows, cols))


def write(source: Source, offset_m: tuple[float, float], target: Target, path: Path) -> None:
    """Write a corrected raster; an error leaves an incomplete file.

    Parameters
    ----------
    source
        The raster as it is; it is only read.
    offset_m
        See `corrected_transform`.
    target
        What to write.
    path
        The file, which must not exist.
    """
    with open_dataset(source) as dataset:
        array = dataset if isinstance(dataset, ArrayDataset) else None
    if target.form is Form.VRT:
        if array is not None:
            remedy = f"use {option('form', 'as')} cog"
            raise SceneError(f"{source}: a VRT cannot refer to an array: {remedy}")
        if source.secret or downloaded(source):
            remedy = f"use {option('form', 'as')} cog"
            raise SceneError(f"{source}: a VRT cannot refer to it without its secret address: {remedy}")
    moved, copied = (path.with_name(f"{path.name}.{suffix}") for suffix in ("vrt", "pixels.tif"))
    try:
        if target.form is Form.VRT:
            _write_vrt(source, offset_m, target, path)
            return
        if array is not None:
            write_geotiff(array, copied)
            source = Source.local(copied)
        _write_vrt(source, offset_m, target, moved)
        if target.form is Form.COG:
            _write_cog(moved, target, path)
        else:
            work = named_device_memory(f"resampling {source}", target.config.compute)
            with within_device_budget(target.config), work:
                _resample(moved, target, path)
        check_whole(path)
    except CPLE_BaseError as error:  # GDAL writes the end of a file when it is closed
        raise SceneError(f"{path.parent}: a file could not be written ({error}): free disk space there") from error
    finally:
        moved.unlink(missing_ok=True)
        copied.unlink(missing_ok=True)


def _write_vrt(source: Source, offset_m: tuple[float, float], target: Target, path: Path) -> None:
    """Write a VRT of the source's pixels with the corrected transform."""
    transform = corrected_transform(grid_of(source), offset_m, target.field)
    if _NOT_IN_XML.search(source.absolute().name):
        raise SceneError(f"{source}: its path has control characters, which no VRT can hold: rename it")
    with open_dataset(source.absolute()) as dataset:
        rasterio.shutil.copy(dataset, path, driver="VRT")
    with rasterio.open(path, "r+") as vrt:
        vrt.transform = transform
        vrt.update_tags(**target.tags)


def _write_cog(moved: Path, target: Target, path: Path) -> None:
    with rasterio.open(moved) as source:
        rasterio.shutil.copy(
            source, path, driver="COG", bigtiff="IF_SAFER", num_threads=decoding_threads(),
            overview_resampling="NEAREST" if target.is_mask or _has_colormap(source) else "AVERAGE",
            **_compression(source.dtypes[0]),
        )  # fmt: skip


def _resample(moved: Path, target: Target, path: Path) -> None:
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_CACHEMAX=_CACHE_BYTES),
        rasterio.open(moved) as source,
        rasterio.open(
            path, "w", driver="GTiff", tiled=True, blockxsize=512, blockysize=512, bigtiff="IF_SAFER",
            num_threads=decoding_threads(), count=source.count, dtype=source.dtypes[0], crs=target.grid.crs_wkt,
            transform=Affine(*target.grid.transform), height=target.grid.shape[0], width=target.grid.shape[1],
            nodata=_nodata(source, target), **_compression(source.dtypes[0]),
        ) as written,
    ):  # fmt: skip
        written.colorinterp = source.colorinterp
        written.descriptions = source.descriptions
        written.update_tags(**source.tags())
        if _has_colormap(source):
            written.write_colormap(1, source.colormap(1))
        plain = target.is_mask or _has_colormap(source)
        bent = None if target.field is None or target.field.model.is_affine else target.field
        resample = selected_resampler(bent, _device(target)).load()
        alpha = [band for band in source.indexes if source.colorinterp[band - 1] == ColorInterp.alpha]
        images = [band for band in source.indexes if band not in alpha]
        kernel = "nearest" if plain else target.kernel.value
        resample(source, written, Resampling(images, kernel, alpha[0] if alpha else 0, bent))
        if alpha:
            resample(source, written, Resampling(alpha, "nearest", 0, bent))
        elif _has_mask(source):
            resample(source, written, Resampling([ALL_BANDS], "nearest", 0, bent))


def _device(target: Target) -> str:
    """Return the device of the run if this machine has it; a run may have been made on another one."""
    try:
        return find_device(target.config.compute.device)
    except BackendError:
        return find_device()


def _nodata(source: rasterio.DatasetReader, target: Target) -> float | None:
    """Return the value of pixels without data: the declared one, else 0 for an image without a mask."""
    if source.nodata is not None:
        return float(source.nodata)
    undeclared = target.is_mask or _has_mask(source) or ColorInterp.alpha in source.colorinterp
    return None if undeclared or _has_colormap(source) else 0


def _has_mask(source: rasterio.DatasetReader) -> bool:
    return any(flags == [MaskFlags.per_dataset] for flags in source.mask_flag_enums)


def _has_colormap(source: rasterio.DatasetReader) -> bool:
    return bool(source.colorinterp[0] == ColorInterp.palette)


def _compression(dtype: str) -> dict[str, str | int]:
    """Return options that compress without loss."""
    return {"compress": "DEFLATE", "predictor": 3 if dtype.startswith("float") else 2}
