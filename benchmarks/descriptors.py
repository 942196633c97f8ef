"""Descriptors to measure with: AKAZE's of real images where these are at hand, random ones elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from s2fast_kernels.akaze import akaze
from s2fast_kernels.hamming_top2.cases import random_descriptors

if TYPE_CHECKING:
    import numpy.typing as npt

IMAGES = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Sentinel-2 images beside the repository; they are no part of it."""


def akaze_descriptors(rows: int) -> npt.NDArray[np.uint64] | None:
    """Describe real images until there are so many rows, shuffled; None where there are no images, or too few."""
    found: list[npt.NDArray[np.uint64]] = []
    for path in sorted(IMAGES.rglob("*TCI*.jp2")):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is not None:
            found.append(akaze(np.asarray(image, np.uint8), backend="opencv").descriptors)
        if sum(map(len, found)) >= rows:
            # Rows of one image go to both sides, as do those of two dates of one place.
            return np.random.default_rng(0).permutation(np.concatenate(found))[:rows]
    return None


def pools(rows: int) -> dict[str, npt.NDArray[np.uint64]]:
    """Give the descriptors to measure with, by kind."""
    real = akaze_descriptors(rows)
    drawn = {"random": random_descriptors(np.random.default_rng(0), rows)}
    return drawn if real is None else {"akaze": real} | drawn
