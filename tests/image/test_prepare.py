"""Preparation of scenes for the detector."""

import cv2
import numpy as np
import pytest

from s2fast.config import Ingest
from s2fast.image.prepare import TCI_WHITE, clear_cells, clouds, prepare, upscaled, without_data
from tests.archives import textured

GROUND = np.clip(textured(np.random.default_rng(3), (400, 480)) // 4 + 40, 1, 110).astype(np.uint8)
AS_IS = Ingest(clouds=False, contrast="none")


def with_clouds(spots: list[tuple[int, int, int]]) -> np.ndarray:
    """The ground with bright discs: row, column, radius."""
    grey = GROUND.copy()
    for row, column, radius in spots:
        cv2.circle(grey, (column, row), radius, 230, -1)
    return grey


def test_pixels_near_no_data_are_not_clear() -> None:
    grey = GROUND.copy()
    grey[:, 300:] = 0
    grey[50, 50] = 0
    # Within 8 px of column 300 goes; a lone black pixel is no edge of the data.
    wanted = np.ones(grey.shape, bool)
    wanted[:, 292:] = False
    np.testing.assert_array_equal(prepare(grey.copy(), AS_IS, 8).clear, wanted)
    assert prepare(grey.copy(), AS_IS, 0).clear.all()
    np.testing.assert_array_equal(without_data(grey, 8), ~wanted)


def test_what_is_left_alone_stays_as_it_is() -> None:
    grey = with_clouds([(100, 100, 30)])
    np.testing.assert_array_equal(prepare(grey.copy(), AS_IS, 8).image, grey)


def test_clouds_and_their_rims_are_filled_with_the_clear_median() -> None:
    grey = with_clouds([(100, 100, 30), (300, 400, 12)])
    prepared = prepare(grey.copy(), Ingest(contrast="none"), 8)
    truth = grey == 230
    near = cv2.dilate(truth.view(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (17, 17))) > 0
    assert not prepared.clear[truth].any()
    assert prepared.clear[~near].all()
    assert np.unique(prepared.image[~prepared.clear]) == int(np.sort(grey[prepared.clear])[prepared.clear.sum() // 2])
    np.testing.assert_array_equal(prepared.image[prepared.clear], grey[prepared.clear])


def test_small_bright_roofs_are_no_clouds() -> None:
    grey = GROUND.copy()
    grey[100:104, 100:104] = 250
    assert prepare(grey, Ingest(), 8).clear.all()


def test_a_scene_bright_throughout_is_snow() -> None:
    valid = np.ones(GROUND.shape, bool)
    grey = GROUND.copy()
    grey[:200] = 230
    assert clouds(grey, valid)[:200].all()
    grey[:300] = 230
    # Three quarters bright: the darker quarter is ground still, but so much cloud is none.
    assert clouds(grey, valid) is None
    assert clouds(np.full_like(GROUND, 240), valid) is None


def test_clouds_are_those_of_a_tci_whatever_the_stretch() -> None:
    tci = with_clouds([(100, 100, 30), (300, 400, 12)])
    valid = np.ones(tci.shape, bool)
    wanted = clouds(tci, valid)
    assert wanted is not None
    assert 0 < wanted.mean() < 0.1
    # The values of 1 and 255, of a TCI's [DN]: from a little below the ground to above the clouds, or among the ground.
    for black, white in ((20, 274), (1, 255), (30, 157)):
        stretched = np.clip(1 + (tci.astype(int) - black) * 254 / (white - black), 1, 255).round().astype(np.uint8)
        reflectance = (TCI_WHITE * (black - 1) / 254, TCI_WHITE * (white - 1) / 254)
        np.testing.assert_array_equal(clouds(stretched, valid, reflectance), wanted)
    by_percentiles = np.clip((GROUND.astype(int) - 42) * 5, 1, 255).astype(np.uint8)
    assert clouds(by_percentiles, valid) is None or clouds(by_percentiles, valid).mean() > 0.3, "as if it were a TCI"
    narrow = (TCI_WHITE * 41 / 254, TCI_WHITE * 92 / 254)
    assert not clouds(by_percentiles, valid, narrow).any(), "the brightest ground is darker than any cloud"


def test_contrast_is_opencvs_clahe_of_the_filled_scene() -> None:
    grey = with_clouds([(100, 100, 30)])
    filled = prepare(grey.copy(), Ingest(contrast="none"), 8)
    wanted = cv2.createCLAHE(5.0, (8, 8)).apply(filled.image)
    np.testing.assert_array_equal(prepare(grey.copy(), Ingest(clahe_clip=5.0), 8).image, wanted)


def test_painted_scenes_stay_black_outside_and_lose_nothing() -> None:
    grey = with_clouds([(100, 100, 30)])
    grey[:, 300:] = 0
    prepared = prepare(grey.copy(), Ingest(), 8, painted=True)
    assert prepared.clear.all()
    assert (prepared.image[:, 300:] == 0).all()
    assert (prepared.image[:, :300] != grey[:, :300]).any()


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (5, 300)])
def test_tiny_scenes_are_prepared(shape: tuple[int, int]) -> None:
    prepared = prepare(np.zeros(shape, np.uint8), Ingest(), 8)
    assert prepared.image.shape == prepared.clear.shape == shape


def test_map_of_clear_ground_holds_shares() -> None:
    clear = np.zeros((300, 130), bool)
    clear[:150, 1:] = True
    cells = clear_cells(clear)
    # Cells of 3 px: the last column has a single column of pixels.
    assert cells.shape == (100, 44)
    assert (cells[:50, 0] == 66).all()
    assert (cells[:50, 1:43] == 100).all()
    assert (cells[:50, 43] == 33).all()
    assert not cells[50:].any()


@pytest.mark.parametrize("window", [(0, 800, 0, 960), (3, 8, 100, 331), (700, 800, 959, 960), (1, 2, 0, 1)])
def test_enlarged_windows_are_opencvs(window: tuple[int, int, int, int]) -> None:
    rows, columns = slice(*window[:2]), slice(*window[2:])
    whole = cv2.resize(GROUND, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(upscaled(GROUND, rows, columns), whole[rows, columns])
