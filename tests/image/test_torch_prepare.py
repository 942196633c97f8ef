"""Preparation on a device gives the host's results: masks and fill bit for bit, contrast and enlargement nearly so."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from s2fast.config import Ingest
from s2fast.image import painted
from s2fast.image import prepare as host
from s2fast_kernels.akaze.cases import real_images, synthetic_image

torch = pytest.importorskip("torch")

from s2fast.image import torch_clahe, torch_prepare  # noqa: E402

MOST_OFF = 1e-4
"""Share of pixels that may differ by one grey level: sums of four products round elsewhere on some devices."""


def scene(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Ground with clouds of several sizes, roofs, black edges, specks and a hole."""
    grey = np.clip(synthetic_image(shape, seed) // 3 + 20, 1, 120).astype(np.uint8)
    rng = np.random.default_rng(seed)
    for radius in (1, 2, 3, 4, 7, 12, 25):
        row, column = (int(rng.integers(0, side)) for side in shape)
        cv2.circle(grey, (column, row), radius, 230, -1)
        row, column = (int(rng.integers(0, side)) for side in shape)
        cv2.circle(grey, (column, row), radius, 0, -1)
    grey[: shape[0] // 5, : shape[1] // 3] = 0
    return grey


GROUND = np.maximum(synthetic_image((401, 300)), 1)


def on_host(prepared: torch_prepare.DevicePrepared) -> host.Prepared:
    return host.Prepared(prepared.image.cpu().numpy(), prepared.clear.cpu().numpy(), prepared.clouds_judged)


def assert_near(got: np.ndarray, wanted: np.ndarray) -> None:
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    apart = np.abs(got.astype(int) - wanted.astype(int))
    assert apart.max(initial=0) <= 1
    assert np.count_nonzero(apart) <= MOST_OFF * apart.size


def clahe(grey: np.ndarray, clip: float) -> np.ndarray:
    image = torch.from_numpy(grey)
    return torch_clahe.Clahe.of(image, clip).applied(image).numpy()


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 9), (2, 300), (7, 5), (8, 8), (9, 8), (16, 17), (63, 65), (64, 80), (257, 264), (300, 372)]
)
@pytest.mark.parametrize("clip", [0.001, 2.0, 8.0, 300.0])
def test_clahe_is_opencvs(shape: tuple[int, int], clip: float) -> None:
    grey = synthetic_image((384, 384), seed=3)[: shape[0], : shape[1]].copy()
    assert_near(clahe(grey, clip), cv2.createCLAHE(clip, (8, 8)).apply(grey))


@pytest.mark.parametrize("value", [0, 7, 255])
def test_clahe_of_one_value_is_opencvs(value: int) -> None:
    grey = np.full((100, 130), value, np.uint8)
    assert_near(clahe(grey, 8.0), cv2.createCLAHE(8.0, (8, 8)).apply(grey))


def test_clahe_of_noise_is_opencvs() -> None:
    grey = np.random.default_rng(4).integers(0, 256, (1021, 1030), np.uint8)
    assert_near(clahe(grey, 8.0), cv2.createCLAHE(8.0, (8, 8)).apply(grey))


@pytest.mark.slow
@pytest.mark.shared
def test_clahe_of_real_scenes_is_opencvs(shared_data: Path) -> None:
    for name, image in real_images(shared_data, multiple=1):
        grey = np.ascontiguousarray(image[-701:, -903:])
        wanted = cv2.createCLAHE(8.0, (8, 8)).apply(grey)
        apart = np.abs(clahe(grey, 8.0).astype(int) - wanted)
        assert apart.max() <= 1, name
        assert np.count_nonzero(apart) <= MOST_OFF * apart.size, name


@pytest.mark.parametrize("window", [(0, 300, 0, 372), (17, 18, 5, 371), (100, 290, 200, 201), (299, 300, 371, 372)])
def test_windows_have_the_contrast_of_the_whole_scene(window: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = window
    image = torch.from_numpy(synthetic_image((300, 372)))
    tables = torch_clahe.Clahe.of(image, 8.0)
    whole = tables.applied(image)
    part = tables.applied(image[top:bottom, left:right], top, left)
    np.testing.assert_array_equal(part, whole[top:bottom, left:right])
    # Not the contrast of the window's own tables.
    if part.numel() < whole.numel():
        assert (torch_clahe.Clahe.of(image[top:bottom, left:right], 8.0).applied(part) != part).any()


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1), (3, 300), (63, 65), (257, 131), (401, 300)])
@pytest.mark.parametrize("nodata_px", [0, 1, 8])
def test_masks_are_the_hosts(shape: tuple[int, int], nodata_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_prepare, "_STRIP_PX", 20 * shape[1])
    for seed in range(3):
        grey = scene((401, 300), seed)[: shape[0], : shape[1]].copy()
        image = torch.from_numpy(grey)
        wanted = host.without_data(grey, nodata_px)
        np.testing.assert_array_equal(torch_prepare.without_data(image, nodata_px), wanted)
        if not wanted.all():
            for known in (None, (0.01, 0.3), (0.0, 0.05), (0.2, 1.2)):
                found = torch_prepare.clouds(image, torch.from_numpy(~wanted), known)
                bright = host.clouds(grey, ~wanted, known)
                assert (found is None) == (bright is None)
                if bright is not None:
                    np.testing.assert_array_equal(found, bright)


def test_strips_need_their_whole_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    in_strips = torch_prepare._in_strips
    monkeypatch.setattr(torch_prepare, "_STRIP_PX", 20 * 300)
    grey = GROUND.copy()
    # Four black rows are a speck, but without row 31 they may be five; their surroundings reach row 19, of a strip.
    grey[27:31, 100:150] = 0
    np.testing.assert_array_equal(torch_prepare.without_data(torch.from_numpy(grey), 8), host.without_data(grey, 8))
    monkeypatch.setattr(torch_prepare, "_in_strips", lambda mask, reach, run: in_strips(mask, reach - 1, run))
    assert (torch_prepare.without_data(torch.from_numpy(grey), 8).numpy() != host.without_data(grey, 8)).any()


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 1), (2, 9), (401, 297)])
def test_equal_pixels_are_the_hosts(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_prepare, "_STRIP_PX", 20 * 300)
    grey = (scene((401, 300)) // 16)[: shape[0], : shape[1]].copy()
    found, wanted = torch_prepare.flat(torch.from_numpy(grey))(), painted.flat(grey)
    for rows in (slice(0, shape[0]), slice(17, 23)):
        np.testing.assert_array_equal(found(rows), wanted(rows))


@pytest.mark.slow
@pytest.mark.parametrize("painted", [False, True])
@pytest.mark.parametrize("has_missing", [False, True])
@pytest.mark.parametrize("clouds", [False, True])
@pytest.mark.parametrize("contrast", ["none", "clahe"])
def test_prepared_scenes_are_the_hosts(painted: bool, has_missing: bool, clouds: bool, contrast: str) -> None:
    grey = scene((401, 300), seed=5)
    missing = np.zeros(grey.shape, bool)
    missing[200:210, 100:140] = missing[390, 290] = True
    mask = missing if has_missing else None
    settings = Ingest.model_validate({"clouds": clouds, "contrast": contrast})
    known = (0.02, 0.5) if has_missing else None
    filled = grey.copy()
    wanted = host.prepare(filled, settings, 8, painted=painted, missing=mask, reflectance=known)
    frozen = grey.copy()
    frozen.flags.writeable = False
    prepared = torch_prepare.prepare(frozen, settings, 8, painted=painted, missing=mask, reflectance=known)
    got = on_host(prepared)
    np.testing.assert_array_equal(prepared.filled.numpy(), filled)
    np.testing.assert_array_equal(got.clear, wanted.clear)
    if contrast == "none":
        np.testing.assert_array_equal(got.image, wanted.image)
    assert_near(got.image, wanted.image)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (5, 300)])
def test_tiny_scenes_are_prepared(shape: tuple[int, int]) -> None:
    for value in (0, 9):
        grey = np.full(shape, value, np.uint8)
        wanted = host.prepare(grey.copy(), Ingest(), 8)
        got = on_host(torch_prepare.prepare(grey, Ingest(), 8))
        np.testing.assert_array_equal(got.clear, wanted.clear)
        np.testing.assert_array_equal(got.image, wanted.image)


@pytest.mark.parametrize("window", [(0, 600, 0, 744), (3, 8, 100, 331), (500, 600, 743, 744), (1, 2, 0, 1)])
def test_enlarged_windows_are_the_hosts(window: tuple[int, int, int, int]) -> None:
    rows, columns = slice(*window[:2]), slice(*window[2:])
    grey = np.random.default_rng(6).integers(0, 256, (300, 372), np.uint8)
    image = torch.from_numpy(grey)
    got = torch_prepare.upscaled(image, rows, columns)
    np.testing.assert_array_equal(got, torch_prepare.upscaled(image, slice(0, 600), slice(0, 744))[rows, columns])
    assert_near(got.numpy(), host.upscaled(grey, rows, columns))
    assert torch_prepare.upscaled(image[:0], slice(0, 0), slice(0, 0)).shape == (0, 0)
