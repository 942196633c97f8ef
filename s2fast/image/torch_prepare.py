"""`prepare` as tensor operations: fill, contrast and enlargement of a scene on any torch device.

The results are those of `s2fast.image.prepare`: masks and filled pixels are bit-equal, CLAHE and the enlargement are
within one grey level in at most 0.01 % of the pixels. Masks are processed in strips of rows, whose overlap is the
exact reach of their morphology. The host waits for a scene's histograms and for two counts of pixels, which decide what
to do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from s2fast.config import Ingest
from s2fast.image.painted import FLAT_PX, RowSource, rows_of
from s2fast.image.prepare import (
    CLOUD_PX,
    MOST_CLOUD,
    SPECK_PX,
    by_brightness,
    halved,
    least_bright,
    quantile,
)
from s2fast.image.torch_clahe import Clahe
from s2fast.image.torch_masks import dilated, disc_dilated, equal_in, eroded, packed
from s2fast_kernels.transfers import Download, upload

Windows = Callable[[slice, slice], torch.Tensor]
"""(rows, columns) -> that part of an image."""

_STRIP_PX = 1 << 22
"""Pixels processed at once: 60 MB at most, while their grey values are counted."""


@dataclass(frozen=True, slots=True)
class DevicePrepared:
    """A masked tile, prepared for the detector, on a device."""

    image: torch.Tensor
    """(rows, cols) uint8, on the tile's own grid."""

    clear: torch.Tensor
    """(rows, cols) bool, True where the ground is visible: there is data and no cloud."""

    filled: torch.Tensor
    """(rows, cols) uint8, pixels before the change of contrast; the host's version leaves them in `grey`."""

    clouds_judged: bool = False
    """See `s2fast.image.prepare.Prepared`."""


@torch.inference_mode()
def prepare(
    grey: npt.NDArray[np.uint8] | torch.Tensor,
    settings: Ingest,
    nodata_px: int,
    *,
    painted: bool = False,
    missing: npt.NDArray[np.bool_] | torch.Tensor | None = None,
    reflectance: tuple[float, float] | None = None,
    device: torch.device | None = None,
) -> DevicePrepared:
    """Prepare a masked tile for the detector; see `s2fast.image.prepare.prepare`. The tile is not modified.

    Parameters
    ----------
    grey, settings, nodata_px, painted, missing, reflectance
        As for the host; arrays or tensors.
    device
        Where to compute; None: where `grey` is.
    """
    grey = on_device(grey, device)
    if not grey.numel():
        return DevicePrepared(grey, torch.ones(grey.shape, dtype=torch.bool, device=grey.device), grey)
    outside = grey == 0 if painted else None
    clear = ~without_data(grey, 0 if painted else nodata_px)
    if missing is not None:
        missing = on_device(missing, grey.device)
        clear &= ~(missing | without_data((~(missing & (grey == 0))).byte(), nodata_px))
        if outside is not None:
            outside &= ~missing
    judged = outside is None and by_brightness(settings)
    if judged and bool(clear.any()):
        found = clouds(grey, clear, reflectance)
        judged = found is not None
        if found is not None:
            clear &= ~found
    if missing is not None or (outside is None and settings.clouds):
        grey = _filled(grey, clear, outside)
    image = Clahe.of(grey, settings.clahe_clip).applied(grey) if settings.contrast == "clahe" else grey
    if outside is not None:
        image = image.masked_fill(outside, 0)
    return DevicePrepared(image, clear, grey if settings.contrast == "clahe" else image, judged)


def on_device(values: npt.NDArray[Any] | torch.Tensor, device: torch.device | None) -> torch.Tensor:
    """Return a tensor on a device."""
    return upload(values, device or torch.device("cpu")) if isinstance(values, np.ndarray) else values.to(device)


def _filled(grey: torch.Tensor, clear: torch.Tensor, outside: torch.Tensor | None) -> torch.Tensor:
    """Return the pixels with those that are not clear replaced by the median of the clear, unpainted ones."""
    counts = _counts(grey, clear if outside is None else clear & ~outside)
    return grey.masked_fill(~clear, quantile(counts, 0.5)) if counts.any() else grey


@torch.inference_mode()
def without_data(grey: torch.Tensor, nodata_px: int) -> torch.Tensor:
    """Return a mask of areas without data and their surroundings; see `s2fast.image.prepare.without_data`."""
    if nodata_px == 0:
        return torch.zeros(grey.shape, dtype=torch.bool, device=grey.device)
    width = 2 * nodata_px + 1
    return _in_strips(grey == 0, SPECK_PX - 1 + nodata_px, lambda black: dilated(_opened(black), (width, width)))


@torch.inference_mode()
def clouds(
    grey: torch.Tensor, valid: torch.Tensor, reflectance: tuple[float, float] | None = None
) -> torch.Tensor | None:
    """Return a mask of bright clouds and their rims; see `s2fast.image.prepare.clouds`."""
    # A grey value exceeds the bound if it exceeds its integer part. Torch wraps numbers that uint8 cannot hold.
    least = math.floor(least_bright(quantile(_counts(grey, valid), 0.25), reflectance)) + 1
    found = _in_strips(
        (grey >= max(least, 0)) & valid if least < 256 else torch.zeros_like(valid),
        SPECK_PX - 1 + CLOUD_PX,
        lambda bright: disc_dilated(_opened(bright), CLOUD_PX),
    )
    most = MOST_CLOUD * int(torch.count_nonzero(valid))
    return None if int(torch.count_nonzero(found)) > most else found


@torch.inference_mode()
def upscaled(
    image: npt.NDArray[np.uint8] | torch.Tensor, rows: slice, columns: slice, device: torch.device | None = None
) -> torch.Tensor:
    """Return a window of the image upscaled by 2 with cubic interpolation; see `s2fast.image.prepare.upscaled`."""
    if 0 in image.shape:
        return torch.zeros((0, 0), dtype=torch.uint8, device=device)
    near = [halved(part, length) for part, length in zip((rows, columns), image.shape, strict=True)]
    small = on_device(image[near[0], near[1]], device).float()
    large = interpolate(small[None, None], scale_factor=2, mode="bicubic", align_corners=False)[0, 0]
    inner = [
        slice(part.start - 2 * n.start, part.stop - 2 * n.start) for part, n in zip((rows, columns), near, strict=True)
    ]
    return large[inner[0], inner[1]].round().clamp_(0, 255).byte()


def _counts(grey: torch.Tensor, mask: torch.Tensor) -> npt.NDArray[np.int64]:
    """Return the histogram of the masked pixels, (256,), on the host."""
    counts = torch.zeros(512, dtype=torch.int64, device=grey.device)
    rows = max(1, _STRIP_PX // grey.shape[1])
    for start in range(0, len(grey), rows):
        part = slice(start, start + rows)
        counts += torch.bincount((grey[part] + mask[part].int() * 256).reshape(-1), minlength=512)
    return np.asarray(counts[256:].cpu().numpy())


def _in_strips(image: torch.Tensor, reach: int, operation: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Apply an operation that returns a mask, in which pixels reach `reach` rows, to an image."""
    result = torch.empty(image.shape, dtype=torch.bool, device=image.device)
    rows = max(1, _STRIP_PX // image.shape[1])
    for start in range(0, len(image), rows):
        first = max(0, start - reach)
        strip = operation(image[first : start + rows + reach])
        result[start : start + rows] = strip[start - first : start - first + rows]
    return result


def _opened(mask: torch.Tensor) -> torch.Tensor:
    return dilated(eroded(mask, (SPECK_PX, SPECK_PX)), (SPECK_PX, SPECK_PX))


@torch.inference_mode()
def flat(grey: torch.Tensor) -> Callable[[], RowSource]:
    """Find areas and lines of equal pixels, see `s2fast.image.painted.flat`; the result waits for the device."""
    if not grey.numel():
        return lambda: rows_of(np.zeros((len(grey), 0), np.uint8), grey.shape[1])

    def found(strip: torch.Tensor) -> torch.Tensor:
        areas = torch.zeros(strip.shape, dtype=torch.bool, device=strip.device)
        for sides in FLAT_PX:
            areas |= dilated(equal_in(strip, sides), sides)
        return areas

    download = Download([packed(_in_strips(grey, max(side[0] for side in FLAT_PX), found))])
    return lambda: rows_of(download.arrays()[0], grey.shape[1])
