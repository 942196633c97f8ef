"""Images interpolated from larger pixels are told by their lattice, and no others are."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from s2fast.image.interpolated import FACTORS, LEAST_DEPTH, _depths, interpolated_px
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


def seen(side: int = SIDE_PX) -> npt.NDArray[np.uint8]:
    """Draw ground whose pixels differ by distance as those of real scenes do: in proportion to its power of 0.4."""
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    strength = np.hypot(rows, columns).clip(1 / side) ** -1.4
    field = np.fft.irfft2(np.fft.rfft2(np.random.default_rng(side).normal(size=(side, side))) * strength, (side, side))
    return np.clip(120 + 40 * field / field.std(), 1, 255).astype(np.uint8)


def resampled(image: npt.NDArray[np.uint8], factor: float, method: int) -> npt.NDArray[np.uint8]:
    return np.maximum(cv2.resize(image, None, fx=factor, fy=factor, interpolation=method), 1).astype(np.uint8)


def jpeg(image: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.maximum(np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8), 1)


def has_lattice(image: npt.NDArray[np.uint8], side: int) -> bool:
    return min(_depths(image)[side], _depths(image.T)[side]) > LEAST_DEPTH


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_blocks_of_jpeg_are_no_larger_pixels(quality: int) -> None:
    assert interpolated_px(jpeg(ground(), quality)) == 1
    for kernel in ("nearest", "linear") if quality > 30 else ():
        assert interpolated_px(jpeg(enlarged(ground(side=240), 3, kernel), quality)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("quality", [20, 50])
def test_blocks_of_jpeg_that_were_averaged_are_no_larger_pixels(quality: int) -> None:
    halved = resampled(jpeg(seen(1440), quality), 0.5, cv2.INTER_AREA)
    assert has_lattice(halved, 4)
    assert interpolated_px(halved) == 1


@pytest.mark.parametrize(("factor", "side"), [(1.2, 6), (1.25, 5)])
def test_images_resampled_by_less_than_two_have_no_larger_pixels(factor: float, side: int) -> None:
    image = resampled(seen(), factor, cv2.INTER_LINEAR)
    assert has_lattice(image, side)
    assert interpolated_px(image) == 1


def test_furrows_are_no_larger_pixels() -> None:
    field = seen()
    field[:, ::6] -= field[:, ::6] // 16
    field[::6] -= field[::6] // 16
    assert has_lattice(field, 6)
    assert interpolated_px(field) == 1


def test_noise_beside_the_lattice_does_not_hide_it() -> None:
    large = enlarged(seen(SIDE_PX // 4), 4, "cubic") + np.random.default_rng(1).normal(0, 1, (SIDE_PX,) * 2)
    assert interpolated_px(np.clip(np.rint(large), 1, 255).astype(np.uint8)) == 4


def test_only_what_has_data_counts() -> None:
    large = enlarged(ground(side=240), 3, "linear")
    large[:, :400] = 0
    assert interpolated_px(large) == 3
    assert interpolated_px(np.zeros((300, 300), np.uint8)) == 1
    assert interpolated_px(np.full((300, 300), 255, np.uint8)) == 1
    for side in (1, 2, 63, 119):
        assert interpolated_px(large[:side, -side:]) == 1, "too small to tell"
    assert interpolated_px(np.zeros((0, 0), np.uint8)) == 1
