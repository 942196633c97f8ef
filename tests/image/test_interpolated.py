"""Images interpolated from larger pixels are told by their lattice, and no others are."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from s2fast.image.interpolated import FACTORS, interpolated_px
from tests.archives import textured

KERNELS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
SIDE_PX = 720


def ground(seed: int = 0, side: int = SIDE_PX) -> npt.NDArray[np.uint8]:
    """Draw ground as sharp as its pixels."""
    random = np.random.default_rng(seed)
    return np.clip(textured(random, (side, side)) + random.normal(0, 12, (side, side)), 1, 255).astype(np.uint8)


def enlarged(image: npt.NDArray[np.uint8], side: int, kernel: str) -> npt.NDArray[np.uint8]:
    return np.maximum(cv2.resize(image, None, fx=side, fy=side, interpolation=KERNELS[kernel]), 1)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("side", FACTORS)
def test_every_kernel_and_side_is_told_at_any_phase(side: int, kernel: str) -> None:
    large = enlarged(ground(side)[: SIDE_PX // side, : SIDE_PX // side], side, kernel)
    assert interpolated_px(large) == side
    assert interpolated_px(large[5:, 7:]) == side


def test_the_deepest_lattice_decides() -> None:
    """Furrows or streets may repeat at another distance, more faintly than the pixels do."""
    large = enlarged(ground(side=240), 3, "linear")
    large[:, ::6] -= large[:, ::6] > 1
    large[::6] -= large[::6] > 1
    assert interpolated_px(large) == 3


def test_an_image_that_was_not_interpolated_is_none() -> None:
    image = ground()
    assert interpolated_px(image) == 1
    smooth = textured(np.random.default_rng(3), image.shape)
    assert interpolated_px(smooth) == 1, "out of focus, but without a lattice"
    assert interpolated_px(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_LINEAR)) == 1


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_blocks_of_jpeg_are_no_larger_pixels(quality: int) -> None:
    def compressed(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.maximum(np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8), 1)

    assert interpolated_px(compressed(ground())) == 1
    assert interpolated_px(compressed(enlarged(ground(side=240), 3, "nearest"))) == 3


def test_only_what_has_data_counts() -> None:
    large = enlarged(ground(side=240), 3, "linear")
    large[:, :400] = 0
    assert interpolated_px(large) == 3
    assert interpolated_px(np.zeros((300, 300), np.uint8)) == 1
    assert interpolated_px(np.full((300, 300), 255, np.uint8)) == 1
    for side in (1, 2, 63, 119):
        assert interpolated_px(large[:side, -side:]) == 1, "too small to tell"
    assert interpolated_px(np.zeros((0, 0), np.uint8)) == 1
