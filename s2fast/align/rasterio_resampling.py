"""Resample with GDAL."""

from __future__ import annotations

import numpy as np
import rasterio
from rasterio.warp import reproject

from s2fast.align.resampling import ALL_BANDS, Resampling
from s2fast.raster.dataset import decoding_threads

_WARP_MB = 128
"""Memory in which GDAL resamples a part of a raster [MB]."""

_MOST_BEND_PX = 0.01
"""Tolerance of positions on a grid in another CRS [px]; within one CRS they are exact."""


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
    options = {"tolerance": _MOST_BEND_PX} if source.crs != written.crs else {}
    nodata = None if how.alpha else written.nodata
    bands = list(how.bands)
    reproject(
        rasterio.band(source, bands), rasterio.band(written, bands), resampling=kernel, src_alpha=how.alpha,
        src_nodata=nodata, dst_nodata=nodata, num_threads=decoding_threads(), warp_mem_limit=_WARP_MB,
        UNIFIED_SRC_NODATA="YES", OPTIMIZE_SIZE="YES", **options,
    )  # fmt: skip
