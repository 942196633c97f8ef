"""Preparation in strips against the same steps on whole images."""

from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2fast.config import Ingest
from s2fast.image import prepare, strips
from s2fast.image.painted import FLAT_PX, flat
from s2fast_kernels.threads import at_most_threads

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def opened(mask: Mask) -> Grey:
    square = np.ones((prepare.SPECK_PX, prepare.SPECK_PX), np.uint8)
    return np.asarray(cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_OPEN, square))


def whole_without_data(grey: Grey, nodata_px: int) -> Mask:
    if nodata_px == 0:
        return np.zeros(grey.shape, np.bool_)
    square = np.ones((2 * nodata_px + 1, 2 * nodata_px + 1), np.uint8)
    return np.asarray(cv2.dilate(opened(grey == 0), square).view(np.bool_))


def whole_quantile(grey: Grey, mask: Mask, share: float) -> int:
    return prepare.quantile(np.bincount(grey[mask], minlength=256), share)


def whole_clouds(grey: Grey, valid: Mask) -> Mask | None:
    bright = opened((grey > prepare.least_bright(whole_quantile(grey, valid, 0.25))) & valid)
    side = 2 * prepare.CLOUD_PX + 1
    found = cv2.dilate(bright, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))).view(np.bool_)
    return None if np.count_nonzero(found) > prepare.MOST_CLOUD * np.count_nonzero(valid) else np.asarray(found)


def whole_prepared(grey: Grey, settings: Ingest, nodata_px: int, painted: bool, missing: Mask | None) -> Any:
    outside = (grey == 0) if painted else np.zeros(grey.shape, np.bool_)
    clear = ~whole_without_data(grey, 0 if painted else nodata_px)
    if missing is not None:
        clear &= ~(missing | whole_without_data((~(missing & (grey == 0))).view(np.uint8), nodata_px))
        outside &= ~missing
    judged = not painted and settings.clouds
    if judged and clear.any():
        found = whole_clouds(grey, clear)
        judged = found is not None
        clear &= ~found if found is not None else clear
    filled = grey.copy()
    if (missing is not None or (settings.clouds and not painted)) and (clear & ~outside).any():
        filled[~clear] = whole_quantile(grey, clear & ~outside, 0.5)
    tiles = (prepare.CLAHE_TILES, prepare.CLAHE_TILES)
    image = cv2.createCLAHE(settings.clahe_clip, tiles).apply(filled) if settings.contrast == "clahe" else filled
    image = np.where(outside, 0, image)
    return image, clear, judged, np.where(outside, 0, filled) if settings.contrast == "none" else filled


def whole_flat(grey: Grey) -> Mask:
    found = np.zeros(grey.shape, np.uint8)
    for side in FLAT_PX:
        kernel = np.ones(side, np.uint8)
        equal = cv2.dilate(grey, kernel) == cv2.erode(grey, kernel)
        found |= cv2.dilate(equal.view(np.uint8), kernel)
    return found.view(np.bool_)


@st.composite
def scenes(draw: st.DrawFn) -> Grey:
    """Ground with rectangles of black, of cloud and of other equal pixels, and with specks."""
    shape = draw(st.tuples(st.integers(1, 90), st.integers(1, 70)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    grey = rng.integers(1, draw(st.sampled_from([3, 60, 255])), shape).astype(np.uint8)
    for value in draw(st.lists(st.sampled_from([0, 0, 7, 230, 255]), max_size=6)):
        row, column = (draw(st.integers(0, side - 1)) for side in shape)
        rows, columns = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
        grey[row : row + rows, column : column + columns] = value
    grey[rng.uniform(size=shape) < 0.01] = 0
    return grey


@given(
    scenes(),
    st.booleans(),
    st.sampled_from([None, 0.0, 0.001, 0.3, 1.0]),
    st.sampled_from([0, 1, 8, 40]),
    st.booleans(),
    st.sampled_from(["clahe", "none"]),
    st.sampled_from([1, 5, 32]),
)
@settings(max_examples=300, deadline=None)
def test_strips_are_those_of_the_whole(
    grey: Grey,
    painted: bool,
    missing_share: float | None,
    nodata_px: int,
    clouds: bool,
    contrast: str,
    least_rows: int,
) -> None:
    missing = None
    if missing_share is not None:
        missing = np.random.default_rng(5).uniform(size=grey.shape) < missing_share
    chosen = Ingest.model_validate({"clouds": clouds, "contrast": contrast})
    image, clear, judged, filled = whole_prepared(grey, chosen, nodata_px, painted, missing)
    threads = at_most_threads(1 + least_rows % 2)
    with patch.object(strips, "_STRIP_PX", 1), patch.object(strips, "_LEAST_ROWS", least_rows), threads:
        here = grey.copy()
        found = prepare.prepare(here, chosen, nodata_px, painted=painted, missing=missing)
        np.testing.assert_array_equal(flat(grey)(slice(None)), whole_flat(grey))
    np.testing.assert_array_equal(found.clear, clear)
    np.testing.assert_array_equal(here, filled)
    np.testing.assert_array_equal(found.image, image)
    assert found.clouds_judged == judged


@pytest.mark.parametrize("value", [0, 230])
@pytest.mark.parametrize("rows", [2, 4, 5, 7])
def test_bands_at_the_edge_of_a_strip_are_as_wide_as_they_are(value: int, rows: int) -> None:
    """Bands of all positions: a row less around the strips would widen one that is cut."""
    as_is, ground = Ingest(contrast="none"), np.random.default_rng(rows).integers(20, 60, (70, 30)).astype(np.uint8)
    for top in range(70):
        grey = ground.copy()
        grey[top : top + rows] = value
        _, clear, *_ = whole_prepared(grey, as_is, 2, False, None)
        with patch.object(strips, "_STRIP_PX", 1), patch.object(strips, "_LEAST_ROWS", 1), at_most_threads(1):
            np.testing.assert_array_equal(prepare.prepare(grey, as_is, 2).clear, clear)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_shares_of_clear_cells_are_those_of_the_padded_map(rows: int, columns: int, seed: int) -> None:
    clear = np.random.default_rng(seed).uniform(size=(rows, columns)) < 0.5 + seed / 10
    side = prepare.cell_px(clear.shape)
    padded = np.pad(clear, ((0, -rows % side), (0, -columns % side)))
    share = padded.reshape(-(-rows // side), side, -(-columns // side), side).sum(axis=(1, 3))
    np.testing.assert_array_equal(prepare.clear_cells(clear), 100 * share // side**2)


@pytest.mark.parametrize("shape", [(0, 0), (0, 7), (7, 0)])
def test_an_image_without_pixels_has_no_strips(shape: tuple[int, int]) -> None:
    assert not strips.strips(shape, 3)


def test_strips_hold_each_row_once_and_reach_around() -> None:
    found = strips.strips((10_980, 10_980), 9)
    rows = [row for strip in found for row in range(strip.rows.start, strip.rows.stop)]
    assert rows == list(range(10_980))
    assert found[1].around == slice(found[1].rows.start - 9, found[1].rows.stop + 9)
    assert found[-1].around.stop == 10_980
    # A margin as wide as that of a nodata_px of 500 is not read ten times.
    assert max(strip.around.stop - strip.around.start for strip in strips.strips((10_980, 10_980), 500)) == 2000
