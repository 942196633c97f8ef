"""Morphology of masks as tensor operations: minima and maxima in rectangles, by doubling shifts.

A window of 17 pixels takes five passes that read two bytes and write one per pixel. Pixels outside the image do not
count, as in OpenCV. `kornia.morphology` needs one pass per position of the window, each over 16-bit planes:
``docs/gpu_preparation.md`` counts the bytes.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch.nn.functional import pad

Sides = tuple[int, int]
"""Rows and columns of a rectangle, both odd."""


def eroded(mask: torch.Tensor, sides: Sides) -> torch.Tensor:
    """Return where all pixels of a (rows, cols) bool mask in a centred rectangle are True."""
    for axis, side in enumerate(sides):
        mask = windowed(mask, side // 2, side // 2, axis, every=True)
    return mask


def dilated(mask: torch.Tensor, sides: Sides) -> torch.Tensor:
    """Return where any pixel of a (rows, cols) bool mask in a centred rectangle is True."""
    for axis, side in enumerate(sides):
        mask = windowed(mask, side // 2, side // 2, axis, every=False)
    return mask


def windowed(mask: torch.Tensor, before: int, after: int, axis: int, *, every: bool) -> torch.Tensor:
    """Return where every pixel, or any, from `before` pixels before a pixel to `after` pixels after it is True."""
    width, done = before + 1 + after, 1
    frame = (0, 0, before, after) if axis == 0 else (before, after, 0, 0)
    mask = pad(mask, frame, value=every)
    while done < width:
        step = min(done, width - done)
        left, right = mask.narrow(axis, 0, mask.shape[axis] - step), mask.narrow(axis, step, mask.shape[axis] - step)
        mask = left & right if every else left | right
        done += step
    return mask


def disc_dilated(mask: torch.Tensor, radius: int) -> torch.Tensor:
    """Dilate with OpenCV's disc, the union of centred rectangles."""
    side = 2 * radius + 1
    widths = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).sum(axis=1)
    found = torch.zeros_like(mask)
    for width in np.unique(widths):
        found |= dilated(mask, (int(np.count_nonzero(widths >= width)), int(width)))
    return found


def equal_in(grey: torch.Tensor, sides: Sides) -> torch.Tensor:
    """Return where all pixels of a (rows, cols) uint8 image in a centred rectangle, clipped to the image, are equal."""
    equal = torch.ones(grey.shape, dtype=torch.bool, device=grey.device)
    for axis, side in enumerate(sides):
        if side == 1:
            continue
        length = grey.shape[axis] - 1
        same = torch.ones_like(equal)
        same.narrow(axis, 0, length).copy_(grey.narrow(axis, 0, length) == grey.narrow(axis, 1, length))
        # A pair counts where both of its pixels are in the rectangle.
        same = windowed(same, side // 2, side // 2 - 1, axis, every=True)
        equal &= windowed(same, sides[1 - axis] // 2, sides[1 - axis] // 2, 1 - axis, every=True)
    return equal


def packed(mask: torch.Tensor) -> torch.Tensor:
    """Return rows of eight pixels per byte, as ``numpy.packbits(mask, axis=1)``."""
    weights = 1 << torch.arange(7, -1, -1, dtype=torch.uint8, device=mask.device)
    bits = pad(mask, (0, -mask.shape[1] % 8)).reshape(len(mask), -(-mask.shape[1] // 8), 8)
    return (bits * weights).sum(dim=2, dtype=torch.uint8)
