"""Downsample large images to pictures by means over areas."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

_LARGE_PX = 1 << 22
"""Images of more pixels are summed by rows first: sides that are no multiple of the picture's take OpenCV several times
as long. For smaller ones, its single call costs less than those for every row of the picture."""

_BAND = 32
"""Rows of the picture that are summed at once, so that sums stay in the cache."""


def area_means(image: npt.NDArray[np.uint8], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return means of an image over the areas of a picture's pixels, weighted by overlap, rounded.

    Parameters
    ----------
    image
        (rows, cols) uint8
    shape
        Rows and columns of the picture, each at most those of the image.
    """
    return _means(image, shape, is_share=False)


def share(image: npt.NDArray[np.uint8], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return by how much pixels above 0 cover each pixel of a picture: 255 is the whole; see `area_means`."""
    return _means(image, shape, is_share=True)


def _means(image: npt.NDArray[np.uint8], shape: tuple[int, int], *, is_share: bool) -> npt.NDArray[np.uint8]:
    def part(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return (rows > 0).view(np.uint8) if is_share else rows

    scale = 255 if is_share else 1
    if image.size <= _LARGE_PX:
        small: npt.NDArray[np.uint8] = cv2.resize(
            part(image) * np.uint8(scale), shape[::-1], interpolation=cv2.INTER_AREA
        )
        return small
    edges = np.linspace(0, len(image), shape[0] + 1)
    first = edges.astype(np.intp)
    beyond = (edges - first).astype(np.float32)[:, np.newaxis]
    means = np.empty(shape, np.float32)
    for row in range(0, shape[0], _BAND):
        ends = slice(row, row + _BAND + 1)
        # Sums of the image's rows from each picture row's first to the one before the next row's first ...
        bounds = pairwise(first[ends].tolist())
        sums = np.concatenate([cv2.reduce(part(image[a:b]), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32F) for a, b in bounds])
        # ... of which the first partly belongs to the row before.
        shared = part(image[np.minimum(first[ends], len(image) - 1)]) * beyond[ends]
        sums += shared[1:] - shared[:-1]
        means[row : row + _BAND] = cv2.resize(sums, (shape[1], len(sums)), interpolation=cv2.INTER_AREA)
    return np.asarray(np.rint(means * (scale * shape[0] / len(image))).astype(np.uint8))
