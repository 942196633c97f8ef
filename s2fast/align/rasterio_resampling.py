"""Resample with GDAL."""

from __future__ import annotations

import numpy as np
import rasterio
from rasterio.vrt import WarpedVRT
from rasterio.warp import reproject

from s2fast.align.resampling import ALL_BANDS, Resampling
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.raster.dataset import decoding_threads

_WARP_MB = 128
"""Memory in which GDAL resamples a part of a raster [MB]."""

_MOST_BEND_PX = 0.001
"""Tolerance of positions on a grid in another CRS [px]; within one CRS they are exact. GDAL's own is an eighth: its
lines bend to one side, so that whole scenes would move by some hundredths. `rasterio.warp.reproject` takes no tolerance
before version 1.5 and ignores one without a word; its virtual datasets do."""


def resample(source: rasterio.DatasetReader, written: rasterio.io.DatasetWriter, how: Resampling) -> None:
    """Resample bands of a dataset onto the grid of another, in parts that fit the memory."""
    kernel = rasterio.enums.Resampling[how.kernel]
    if list(how.bands) == [ALL_BANDS]:
        mask = np.zeros(written.shape, np.uint8)
        reproject(
            source.dataset_mask(), mask, src_transform=source.transform, src_crs=source.crs,
            dst_transform=written.transform, dst_crs=written.crs, resampling=kernel,
        )  # fmt: skip
        written.write_mask(mask)
        return
    nodata = None if how.alpha else written.nodata
    bands = list(how.bands)
    if source.crs != written.crs:
        across, down = _scale(source, written)
        with WarpedVRT(
            source, crs=written.crs, transform=written.transform, height=written.height, width=written.width,
            resampling=kernel, tolerance=_MOST_BEND_PX, src_alpha=how.alpha, src_nodata=nodata, nodata=nodata,
            warp_mem_limit=_WARP_MB, UNIFIED_SRC_NODATA="YES", NUM_THREADS=str(decoding_threads()),
            XSCALE=f"{across:.6f}", YSCALE=f"{down:.6f}",
        ) as warped:  # fmt: skip
            for _, window in written.block_windows():
                written.write(warped.read(bands, window=window), bands, window=window)
        return
    reproject(
        rasterio.band(source, bands), rasterio.band(written, bands), resampling=kernel, src_alpha=how.alpha,
        src_nodata=nodata, dst_nodata=nodata, num_threads=decoding_threads(), warp_mem_limit=_WARP_MB,
        UNIFIED_SRC_NODATA="YES", OPTIMIZE_SIZE="YES",
    )  # fmt: skip


def _scale(source: rasterio.DatasetReader, written: rasterio.DatasetBase) -> tuple[float, float]:
    """Return how many pixels of the output there are per pixel of the source, in x and y.

    GDAL would take them from the bounds of each part, which are wider where one grid is turned against the other, and
    blur as if it made pixels larger.
    """
    sides = [
        np.linalg.norm(PixelGrid(raster.crs.to_wkt(), tuple(raster.transform)[:6], raster.shape).px_m, axis=0)
        for raster in (source, written)
    ]
    across, down = sides[0] / sides[1]
    return float(across), float(down)
