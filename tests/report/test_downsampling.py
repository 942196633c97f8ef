"""Pictures of large images: means over areas, as OpenCV's and as their definition."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2fast.report import downsampling
from s2fast.report.downsampling import area_means, share

_FLOAT32 = 1e-3
"""Sums of a few hundred bytes in float32, divided by their number."""


def _weights(side: int, picture: int) -> npt.NDArray[np.float64]:
    """Return by how much each pixel of a side lies in each of the picture's: (picture, side); rows add up to 1."""
    edges = np.linspace(0, side, picture + 1)[:, np.newaxis]
    before = np.clip(edges - np.arange(side), 0, 1)
    return np.asarray(np.diff(before, axis=0) * picture / side)


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 150),
    cols=st.integers(1, 150),
    shrink=st.floats(1, 30),
    lit=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
)
def test_means_of_large_images(seed: int, rows: int, cols: int, shrink: float, lit: float) -> None:
    rng = np.random.default_rng(seed)
    whole = np.where(rng.random((rows + 2, cols + 3)) < lit, rng.integers(1, 256, (rows + 2, cols + 3)), 0)
    image = whole.astype(np.uint8)[1:-1, 2:-1]
    shape = max(1, round(rows / shrink)), max(1, round(cols / shrink))
    covered = (image > 0).astype(np.uint8) * np.uint8(255)
    by_opencv = [cv2.resize(part, shape[::-1], interpolation=cv2.INTER_AREA) for part in (image, covered)]
    for found, expected in zip((area_means(image, shape), share(image, shape)), by_opencv, strict=True):
        np.testing.assert_array_equal(found, expected)  # small images are OpenCV's
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downsampling, "_LARGE_PX", 0)
        large = area_means(image, shape), share(image, shape)
    down, across = _weights(rows, shape[0]), _weights(cols, shape[1])
    for found, part in zip(large, (image, covered), strict=True):
        assert (found.shape, found.dtype) == (shape, np.uint8)
        assert np.abs(found - down @ part.astype(np.float64) @ across.T).max() <= 0.5 + _FLOAT32


def test_a_large_picture_is_that_of_opencv() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (2745, 2230)).astype(np.uint8)
    grey[700:1300, 400:2000] = 0
    assert grey.size > downsampling._LARGE_PX
    shape = (512, 416)
    covered = (grey > 0).view(np.uint8) * np.uint8(255)
    for found, part in ((area_means(grey, shape), grey), (share(grey, shape), covered)):
        differs = np.abs(found - cv2.resize(part, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.int16))
        # Halves are rounded by the order in which float32 is summed.
        assert differs.max() <= 1
        assert np.count_nonzero(differs) <= 1e-4 * differs.size
