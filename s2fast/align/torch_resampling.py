"""Resample with torch, on a GPU or on the CPU, as GDAL does; also along a displacement field.

kornia samples bilinearly. Its cubic kernel is another one than GDAL's (a = -0.75 instead of -0.5), and it knows no
Lanczos, so these are here. Missing pixels get no weight.

References
----------
Keys: Cubic convolution interpolation for digital image processing. IEEE Transactions on Acoustics, Speech, and Signal
Processing 29, 1981.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import torch
from kornia.geometry.transform import remap
from rasterio.windows import Window
from torch import Tensor
from torch.nn.functional import pad

from s2fast.align.resampling import ALL_BANDS, Resampling, source_positions
from s2fast_kernels.device_memory import allowed_bytes

_SIDE_PX = 1024
"""Side of the parts in which the output is computed [px]: two blocks of it."""

_LEAST_SIDE_PX = 64
"""Side of the smallest parts, which are computed whatever they need [px]."""

_POSITION_BYTES = 130
"""Memory per pixel of the output for positions and numbers of its neighbours."""

_WEIGHTS, _WRITTEN, _READ = 12, 3, 4
"""Floats held at a time: weights per pixel of the output, copies per value of the output, and per value read."""

_LEAST_WEIGHT = 1e-4
"""Sum of the weights of present pixels below which a pixel is missing."""


def resample(
    source: rasterio.DatasetReader, written: rasterio.io.DatasetWriter, how: Resampling, *, device: str = "cpu"
) -> None:
    """Resample bands of a dataset onto the grid of another, in parts that fit the memory of the device.

    See `s2fast_kernels.device_memory.allowed_bytes`.
    """
    whole = Window(0, 0, written.shape[1], written.shape[0])
    for window in _quarters(whole, _SIDE_PX):
        _resample_part(source, written, how, window, device)


def _quarters(window: Window, side_px: int) -> Iterator[Window]:
    """Yield windows of at most a side that cover another, row by row."""
    for row in range(0, window.height, side_px):
        for col in range(0, window.width, side_px):
            size = min(side_px, window.width - col), min(side_px, window.height - row)
            yield Window(window.col_off + col, window.row_off + row, *size)


def part_bytes(window: Window, box: Window | None, bands: int, value_bytes: int) -> int:
    """Predict the memory of the device that a part takes.

    Parameters
    ----------
    window
        The part of the output.
    box
        The window of the source that it needs; None: it needs none.
    bands
        Number of bands.
    value_bytes
        4 or 8, see `_tensor`.
    """
    if box is None:
        return 0
    here, there = window.width * window.height, box.width * box.height
    floats = here * (_WEIGHTS + _WRITTEN * bands) + there * _READ * (bands + 1)
    return int(here * _POSITION_BYTES + floats * value_bytes)


def _resample_part(
    source: rasterio.DatasetReader, written: rasterio.io.DatasetWriter, how: Resampling, window: Window, device: str
) -> None:
    masks = list(how.bands) == [ALL_BANDS]
    coarse, step = source_positions(source, written, window, how.field)
    box = _box(coarse, source.shape)
    count = 1 if masks else len(how.bands)
    side = max(window.width, window.height)
    value_bytes = 4 if masks else _exact(source.dtypes[how.bands[0] - 1]).itemsize
    if side > _LEAST_SIDE_PX and part_bytes(window, box, count, value_bytes) > allowed_bytes(torch.device(device)):
        for part in _quarters(window, -(-side // 2)):
            _resample_part(source, written, how, part, device)
        return
    fill = 0 if masks or written.nodata is None or how.alpha else written.nodata
    shape = (count, int(window.height), int(window.width))
    out = np.full(shape, fill, np.uint8 if masks else written.dtypes[how.bands[0] - 1])
    if box is not None:
        pixels, present = _read(source, how, box, fill if not masks and written.nodata is not None else None)
        at = _dense(coarse - (box.col_off, box.row_off), step, shape[1:], device)
        values, found = sampled(_tensor(pixels, device), torch.from_numpy(present).to(device), at, how.kernel)
        spared = None if how.alpha or masks or how.kernel == "nearest" else written.nodata
        _store(values.cpu().numpy(), found.cpu().numpy(), out, spared)
    if masks:
        written.write_mask(out[0], window=window)
    else:
        written.write(out, list(how.bands), window=window)


def _box(at: npt.NDArray[np.float64], shape: tuple[int, int]) -> Window | None:
    """Return the window of the source that a part needs; None if it lies outside."""
    finite = at[np.isfinite(at).all(axis=-1)]
    if not len(finite):
        return None
    low = np.maximum(np.floor(finite.min(axis=0)).astype(int) - 3, 0)
    high = np.minimum(np.ceil(finite.max(axis=0)).astype(int) + 4, shape[::-1])
    return Window(*low.tolist(), *(high - low).tolist()) if (low < high).all() else None


def _read(
    source: rasterio.DatasetReader, how: Resampling, box: Window, nodata: float | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Read the pixels of a window, and which of them are present."""
    if list(how.bands) == [ALL_BANDS]:
        mask = source.dataset_mask(window=box)
        return mask[None], np.ones(mask.shape, np.bool_)
    pixels = source.read(list(how.bands), window=box)
    if how.alpha:
        return pixels, source.read(how.alpha, window=box) > 0
    if nodata is None:
        return pixels, source.dataset_mask(window=box) > 0
    missing = np.isnan(pixels) if np.isnan(nodata) else pixels == nodata
    # As UNIFIED_SRC_NODATA: a pixel is missing if all bands are.
    return pixels, ~missing.all(axis=0)


def _tensor(pixels: npt.NDArray[Any], device: str) -> Tensor:
    """Return pixels as floats that hold their values exactly."""
    return torch.from_numpy(pixels.astype(_exact(pixels.dtype))).to(device)


def _exact(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return the type of floats that holds the values of another type."""
    given = np.dtype(dtype)
    return np.dtype(np.float32 if given.itemsize <= 2 or given == np.float32 else np.float64)


def _dense(coarse: npt.NDArray[np.float64], step: int, shape: tuple[int, ...], device: str) -> Tensor:
    """Interpolate positions of every `step`-th pixel to all pixels: (rows, cols, 2) float32."""
    lattice = torch.from_numpy(np.nan_to_num(coarse, nan=-1e6, posinf=-1e6, neginf=-1e6)).to(device)
    for axis in (0, 1):
        size = lattice.shape[axis]
        place = torch.arange(shape[axis], device=device, dtype=torch.float64) / step
        low = place.floor().long().clamp(0, max(size - 2, 0))
        high = (low + 1).clamp(max=size - 1)
        part = (place - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        lattice = lattice.index_select(axis, low) * (1 - part) + lattice.index_select(axis, high) * part
    return lattice.float()


def sampled(pixels: Tensor, present: Tensor, at: Tensor, kernel: str) -> tuple[Tensor, Tensor]:
    """Sample an image at positions, using present pixels only.

    Parameters
    ----------
    pixels
        (bands, rows, cols) floats.
    present
        (rows, cols) bool, True: use the pixel.
    at
        (h, w, 2) positions, right and down, pixel corners at integers [px].
    kernel
        See `Resampling`.

    Returns
    -------
    values : (bands, h, w)
        Means of present pixels with the kernel's weights.
    found : (h, w) bool
        Whether the pixel at the position is present, and the weights suffice.
    """
    rows, cols = present.shape
    col, row = (at[..., axis].floor().long() for axis in (0, 1))
    inside = (col >= 0) & (col < cols) & (row >= 0) & (row < rows)
    nearest = row.clamp(0, rows - 1) * cols + col.clamp(0, cols - 1)
    found = inside & present.reshape(-1)[nearest]
    if kernel == "nearest":
        return pixels.reshape(len(pixels), -1)[:, nearest], found
    pixels = torch.where(present, pixels, 0)  # NaN times no weight is NaN
    if kernel == "bilinear":
        values, weight = _bilinear(pixels, present, at)
    else:
        values, weight, complete = _weighted(pixels.reshape(len(pixels), -1), present, at, _KERNELS[kernel])
    if kernel == "cubic":
        # GDAL's cubic kernel needs all of its pixels.
        plain, plain_weight = _bilinear(pixels, present, at)
        values, weight = torch.where(complete, values, plain), torch.where(complete, weight, plain_weight)
    return values, found & (weight > _LEAST_WEIGHT)


def _bilinear(pixels: Tensor, present: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return weighted means, and the sums of weights; missing pixels must be 0."""
    both = torch.cat([pixels, present[None].to(pixels.dtype)])
    # kornia divides by the distance of the first and last pixel.
    both = pad(both, (0, int(both.shape[2] == 1), 0, int(both.shape[1] == 1)))
    right, down = ((at[..., axis] - 0.5).to(pixels.dtype)[None] for axis in (0, 1))
    values = remap(both[None], right, down, align_corners=True)[0]
    weight = values[-1]
    return values[:-1] / torch.where(weight > _LEAST_WEIGHT, weight, 1.0), weight


def _weighted(
    flat: Tensor, present: Tensor, at: Tensor, kernel: Callable[[Tensor], list[Tensor]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return weighted means, the sums of weights, and whether all pixels under the kernel are present."""
    rows, cols = present.shape
    held = present.reshape(-1).to(flat.dtype)
    first, weights, taps = [], [], 0
    for axis in (0, 1):
        low = (at[..., axis] - 0.5).floor()
        of_axis = kernel((at[..., axis] - 0.5 - low).to(flat.dtype))
        taps = len(of_axis)
        first.append(low.long() - taps // 2 + 1)
        weights.append(of_axis)
    total = torch.zeros_like(weights[0][0])
    number = torch.zeros_like(total)
    values = torch.zeros((len(flat), *total.shape), dtype=flat.dtype, device=flat.device)
    for down in range(taps):
        row = first[1] + down
        for right in range(taps):
            col = first[0] + right
            place = row.clamp(0, rows - 1) * cols + col.clamp(0, cols - 1)
            there = held[place] * ((row >= 0) & (row < rows) & (col >= 0) & (col < cols))
            weight = weights[1][down] * weights[0][right] * there
            total += weight
            number += there
            values += weight * flat[:, place]
    return values / torch.where(total.abs() > _LEAST_WEIGHT, total, 1.0), total, number == taps**2


def _cubic(part: Tensor) -> list[Tensor]:
    """Return the weights of four pixels: Keys' kernel with a = -0.5."""
    far = [((-0.5 * x + 2.5) * x - 4) * x + 2 for x in (1 + part, 2 - part)]
    near = [(1.5 * x - 2.5) * x * x + 1 for x in (part, 1 - part)]
    return [far[0], near[0], near[1], far[1]]


def _lanczos(part: Tensor) -> list[Tensor]:
    return [torch.sinc(part - tap) * torch.sinc((part - tap) / 3) for tap in range(-2, 4)]


_KERNELS = {"cubic": _cubic, "lanczos": _lanczos}


def _store(values: npt.NDArray[Any], found: npt.NDArray[np.bool_], out: npt.NDArray[Any], nodata: float | None) -> None:
    """Round values into an output, where they were found; none becomes `nodata` by interpolation."""
    if out.dtype.kind in "iu":
        limits = np.iinfo(out.dtype)
        values = np.clip(np.floor(values + 0.5), limits.min, limits.max)
        if nodata is not None:
            values[values == nodata] = nodata + (1 if nodata < limits.max else -1)
    np.copyto(out, values.astype(out.dtype), where=found)
