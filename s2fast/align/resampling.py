"""Resample rasters onto another grid: the implementations, one row each, and where pixels of the grid come from.

Importing this module imports no implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

from s2fast.align.field_model import SPANS, Field
from s2fast.geometry.pixel_grid import PixelGrid, reprojected
from s2fast_kernels.backends import Backend, Selected, needs_package, resolve

RESAMPLERS = (
    Backend("rasterio", "s2fast.align.rasterio_resampling", "resample", "cpu", needs_package("rasterio")),
    Backend("torch", "s2fast.align.torch_resampling", "resample", "any", needs_package("kornia")),
)
"""GDAL's resampling, and the same on a GPU; only the latter, on either device, follows a displacement field. Values
differ by at most 1 where both have data; see `tests/align/test_resampling.py`."""

_ROUNDS = 4
"""Iterations that invert a displacement field; each divides the error by a thousand, its slope."""

_STEPS_PER_SPAN = 16
"""Positions are computed at this many points per span of a field's spline, and interpolated: of a wave as long as a
scene they miss 0.03 %."""

_MOST_STEP_PX = 64
"""Largest distance of these points [px]."""

ALL_BANDS = 0
"""Number that stands for the mask of a dataset."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """What to resample, and how."""

    bands: Sequence[int]
    """Bands, or `ALL_BANDS` alone: the mask of the dataset."""
    kernel: str
    """``nearest``, ``bilinear``, ``cubic`` or ``lanczos``."""
    alpha: int = 0
    """Band that marks missing pixels; 0: there is none."""
    field: Field | None = None
    """Displacements of the source, beside those that its geotransform holds already."""


def selected_resampler(field: Field | None, device: str) -> Selected:
    """Return the implementation to use: torch's on a GPU or for a displacement field."""
    return resolve(RESAMPLERS, "auto" if field is None else "torch", device)


def source_positions(
    source: rasterio.DatasetReader, written: rasterio.DatasetReader, window: Window, field: Field | None
) -> tuple[npt.NDArray[np.float64], int]:
    """Return where pixels of a window of the output come from.

    Parameters
    ----------
    source, written
        The dataset to read, and the output.
    window
        Window of the output.
    field
        See `Resampling`.

    Returns
    -------
    positions : (rows, cols, 2) float64
        Positions in the source, right and down, pixel corners at integers [px], of every `step`-th pixel centre of the
        window from its first; the last row and column are at or beyond the window's end.
    step : int
        Distance between the pixels [px].
    """
    step = int(np.clip(min(source.shape) // (SPANS * _STEPS_PER_SPAN), 1, _MOST_STEP_PX))
    cols, rows = (
        start + 0.5 + step * np.arange(-(-(size - 1) // step) + 1)
        for start, size in ((window.col_off, window.width), (window.row_off, window.height))
    )
    x, y = written.transform @ tuple(axis.ravel() for axis in np.meshgrid(cols, rows))
    ground = reprojected(np.column_stack([x, y]), written.crs.to_wkt(), source.crs.to_wkt())
    at = np.column_stack(~source.transform @ tuple(ground.T))
    if field is not None:
        grid = PixelGrid(source.crs.to_wkt(), tuple(source.transform)[:6], source.shape)
        to_px, size = np.linalg.inv(grid.px_m).T, np.array(source.shape[::-1])
        there = at
        for _ in range(_ROUNDS):
            there = at + field.at(np.clip(there / size, 0, 1)) @ to_px
        at = there
    return at.reshape(len(rows), len(cols), 2), step


def corrected_by_field(grid: PixelGrid, field: Field) -> Affine:
    """Return the transform of a raster whose displacements are affine.

    Parameters
    ----------
    grid
        The raster's grid. If its CRS is not metric, displacements are converted at its centre.
    field
        The displacements.
    """
    ends = field.at(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])) @ np.linalg.inv(grid.px_m).T
    (a, d), (b, e) = (ends[1] - ends[0]) / grid.shape[1], (ends[2] - ends[0]) / grid.shape[0]
    return Affine(*grid.transform) @ Affine(1 - a, -b, -ends[0, 0], -d, 1 - e, -ends[0, 1])
