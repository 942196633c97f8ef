"""`prepare` as tensor operations: fill, contrast and enlargement of a scene on any torch device.

The results are those of `s2fast.image.prepare`: masks and filled pixels are bit-equal, CLAHE and the enlargement are
within one grey level in at most 0.01 % of the pixels. Morphology is kornia's, in strips of rows, whose overlap is
its exact reach. The host waits for a scene's histograms and for two counts of pixels, which decide what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from kornia.morphology import dilation, erosion
from torch.nn.functional import interpolate

from s2fast.config import Ingest
from s2fast.image.prepare import CLOUD_PX, MOST_CLOUD, SPECK_PX, Prepared, halved, least_bright, quantile
from s2fast.image.torch_clahe import Clahe

_STRIP_PX = 1 << 23
"""Pixels whose mask is processed at once: about 100 MB of 16-bit planes within kornia."""


@dataclass(frozen=True, slots=True)
class DevicePrepared:
    """A masked tile, prepared for the detector, on a device."""

    image: torch.Tensor
    """(rows, cols) uint8, on the tile's own grid."""

    clear: torch.Tensor
    """(rows, cols) bool, True where the ground is visible: there is data and no cloud."""

    filled: torch.Tensor
    """(rows, cols) uint8, pixels before the change of contrast; the host's version leaves them in `grey`."""

    def on_host(self) -> Prepared:
        """Copy image and mask to the host."""
        return Prepared(self.image.cpu().numpy(), self.clear.cpu().numpy())


@torch.inference_mode()
def prepare(
    grey: npt.NDArray[np.uint8] | torch.Tensor,
    settings: Ingest,
    nodata_px: int,
    *,
    painted: bool = False,
    missing: npt.NDArray[np.bool_] | torch.Tensor | None = None,
    device: torch.device | None = None,
) -> DevicePrepared:
    """Prepare a masked tile for the detector; see `s2fast.image.prepare.prepare`. The tile is not modified.

    Parameters
    ----------
    grey, settings, nodata_px, painted, missing
        As for the host; arrays or tensors.
    device
        Where to compute; None: where `grey` is.
    """
    grey = _on(grey, device)
    if not grey.numel():
        return DevicePrepared(grey, torch.ones(grey.shape, dtype=torch.bool, device=grey.device), grey)
    outside = grey == 0 if painted else None
    clear = ~without_data(grey, 0 if painted else nodata_px)
    if missing is not None:
        missing = _on(missing, grey.device)
        clear &= ~(missing | without_data((~missing).byte(), nodata_px))
        if outside is not None:
            outside &= ~missing
    if outside is None and settings.clouds and bool(clear.any()):
        clear &= ~clouds(grey, clear)
    if missing is not None or (outside is None and settings.clouds):
        grey = _filled(grey, clear, outside)
    image = Clahe.of(grey, settings.clahe_clip).applied(grey) if settings.contrast == "clahe" else grey
    if outside is not None:
        image = image.masked_fill(outside, 0)
    return DevicePrepared(image, clear, grey if settings.contrast == "clahe" else image)


def prepare_in_place(
    grey: npt.NDArray[np.uint8],
    settings: Ingest,
    nodata_px: int,
    *,
    painted: bool = False,
    missing: npt.NDArray[np.bool_] | None = None,
    device: torch.device | None = None,
) -> Prepared:
    """Do what `s2fast.image.prepare.prepare` does, including its changes of `grey`, on a device."""
    found = prepare(grey, settings, nodata_px, painted=painted, missing=missing, device=device)
    grey[:] = found.filled.cpu().numpy()
    return found.on_host()


def _on(values: npt.NDArray[Any] | torch.Tensor, device: torch.device | None) -> torch.Tensor:
    """Return a tensor on a device; a tensor of an array that cannot be written would warn."""
    if isinstance(values, np.ndarray):
        values = torch.from_numpy(np.require(values, requirements="W"))
    return values.to(device)


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
    return _in_strips(
        grey == 0, SPECK_PX - 1 + nodata_px, lambda black: _rectangle(dilation, _opened(black), (width, width))
    )


@torch.inference_mode()
def clouds(grey: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return a mask of bright clouds and their rims; see `s2fast.image.prepare.clouds`."""
    # A grey value exceeds the bound if it exceeds its integer part.
    least = int(least_bright(quantile(_counts(grey, valid), 0.25)))
    found = _in_strips(
        (grey > least) & valid, SPECK_PX - 1 + CLOUD_PX, lambda bright: _disc_dilated(_opened(bright), CLOUD_PX)
    )
    most = MOST_CLOUD * int(torch.count_nonzero(valid))
    return torch.zeros_like(found) if int(torch.count_nonzero(found)) > most else found


@torch.inference_mode()
def upscaled(image: torch.Tensor, rows: slice, columns: slice) -> torch.Tensor:
    """Return a window of the image upscaled by 2 with cubic interpolation; see `s2fast.image.prepare.upscaled`."""
    if not image.numel():
        return image.new_zeros((0, 0))
    near = [halved(part, length) for part, length in zip((rows, columns), image.shape, strict=True)]
    small = image[near[0], near[1]].float()
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


def _in_strips(mask: torch.Tensor, reach: int, operation: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Apply an operation on (1, 1, rows, cols) planes of 0 and 1, in which pixels reach `reach` rows, to a mask."""
    # 16-bit planes halve the traffic on an accelerator; on a CPU their arithmetic is slow.
    dtype = torch.float32 if mask.device.type == "cpu" else torch.float16
    result = torch.empty_like(mask)
    rows = max(1, _STRIP_PX // mask.shape[1])
    for start in range(0, len(mask), rows):
        first = max(0, start - reach)
        strip = operation(mask[first : start + rows + reach].to(dtype)[None, None])[0, 0] > 0
        result[start : start + rows] = strip[start - first : start - first + rows]
    return result


def _rectangle(operation: Callable[..., torch.Tensor], plane: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Apply an erosion or a dilation with a rectangle, as one with a column and one with a row."""
    for side in ((shape[0], 1), (1, shape[1])):
        plane = operation(plane, torch.ones(side, dtype=plane.dtype, device=plane.device), engine="shift")
    return plane


def _opened(plane: torch.Tensor) -> torch.Tensor:
    square = SPECK_PX, SPECK_PX
    return _rectangle(dilation, _rectangle(erosion, plane, square), square)


def _disc_dilated(plane: torch.Tensor, radius: int) -> torch.Tensor:
    """Dilate with OpenCV's disc, the union of centred rectangles: 60 instead of 121 positions for a radius of 5."""
    side = 2 * radius + 1
    widths = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).sum(axis=1)
    parts = [(int(np.count_nonzero(widths >= width)), int(width)) for width in np.unique(widths)]
    return torch.stack([_rectangle(dilation, plane, part) for part in parts]).amax(dim=0)
