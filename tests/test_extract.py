from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from s2fast.config import load_config
from s2fast.extract import allowed, extract_scene, key, on_full_grid, within_budget
from s2fast.model import Features
from s2fast.store import RunFolder
from s2fast_kernels.akaze import AkazeSettings, akaze
from s2fast_kernels.akaze.contract import pack, unpack
from tests.archives import textured

OPENCV_DEFAULTS = {"features.threshold": 0.001, "features.upright": False, "features.max_per_scene": 0}
IMAGE = textured(np.random.default_rng(3), (400, 480))


def test_opencv_backend_is_opencv() -> None:
    found = akaze(IMAGE, backend="opencv")
    keypoints, descriptors = cv2.AKAZE.create().detectAndCompute(IMAGE, None)
    assert len(found) == len(keypoints) > 300
    np.testing.assert_array_equal(found.xy, np.array([point.pt for point in keypoints], np.float32))
    np.testing.assert_array_equal(found.level, [point.class_id for point in keypoints])
    # Degrees to radians and back costs a float32 rounding each.
    np.testing.assert_allclose(np.rad2deg(found.angle), [point.angle for point in keypoints], rtol=3e-7)
    np.testing.assert_array_equal(unpack(found.descriptors), descriptors)


def test_packing_keeps_distances() -> None:
    raw = np.random.default_rng(0).integers(0, 256, (20, 61), dtype=np.uint8)
    raw[:, -1] &= 0x3F
    packed = pack(raw)
    assert packed.shape == (20, 8)
    assert (packed[:, 7] >> np.uint64(38) == 0).all()
    np.testing.assert_array_equal(unpack(packed), raw)
    for i in range(20):
        assert np.bitwise_count(packed[0] ^ packed[i]).sum() == cv2.norm(raw[0], raw[i], cv2.NORM_HAMMING)


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (5, 40), (79, 79)])
def test_tiny_and_flat_images_have_no_features(shape: tuple[int, int]) -> None:
    config = load_config(overrides={"features.backend": "opencv"})
    grey = np.full(shape, 90, np.uint8)
    found = extract_scene(grey, np.ones(shape, bool), config, "opencv")
    assert len(found) == 0
    assert found.descriptors.shape == (0, 8)


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9), np.uint16), np.zeros((3, 9, 9), np.uint8), np.full((9, 9), np.nan, np.float32),
              np.full((9, 9), 2.0, np.float32)]
)  # fmt: skip
def test_wrong_images_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="image must"):
        akaze(image)


def test_keep_mode_is_the_unmasked_scene_restricted() -> None:
    valid = np.zeros(IMAGE.shape, bool)
    valid[100:260, 50:400] = True
    found = extract_scene(IMAGE, valid, load_config(overrides=OPENCV_DEFAULTS), "opencv")
    whole = akaze(IMAGE, backend="opencv")
    x, y = np.rint(whole.xy).astype(int).T
    wanted = whole.take(valid[y, x])
    assert 0 < len(wanted) < len(whole)
    np.testing.assert_array_equal(found.xy, wanted.xy)
    np.testing.assert_array_equal(found.descriptors, wanted.descriptors)


def test_zero_mode_keeps_the_outlines() -> None:
    painted = IMAGE.copy()
    painted[:, :200] = 0
    found = extract_scene(
        painted,
        np.ones(IMAGE.shape, bool),
        load_config(overrides={"regions.mode": "zero", **OPENCV_DEFAULTS}),
        "opencv",
    )
    assert len(found) == len(akaze(painted, backend="opencv")) > 300
    assert (found.xy[:, 0] < 200).any()


def test_keypoints_near_no_data_are_dropped() -> None:
    grey = IMAGE.copy()
    grey[:, 300:] = 0
    grey[50, 50] = 0
    xy = np.array([[280, 100], [291, 100], [292, 100], [299, 100], [52, 50], [400, 100]], np.float32)
    kept = allowed(xy, grey, np.ones(grey.shape, bool), 8)
    # Within 8 px of column 300 goes; a lone black pixel is no edge of the data.
    assert kept.tolist() == [True, True, False, False, True, False]
    assert allowed(xy, grey, np.ones(grey.shape, bool), 0).all()


def brute_force_budget(xy: np.ndarray, response: np.ndarray, budget: int, cell_px: int) -> list[int]:
    """Take the strongest left in each cell in turn, strongest first within a round."""
    cells: dict[tuple[int, ...], list[int]] = {}
    for row in sorted(range(len(xy)), key=lambda row: (-response[row], row)):
        cell = tuple(xy[row].astype(int) // cell_px) if cell_px else ()
        cells.setdefault(cell, []).append(row)
    chosen: list[int] = []
    while any(cells.values()):
        firsts = [rows.pop(0) for rows in cells.values() if rows]
        chosen += sorted(firsts, key=lambda row: (-response[row], row))
    return sorted(chosen[:budget])


@given(
    npst.arrays(np.float32, st.tuples(st.integers(0, 30), st.just(2)), elements=st.integers(0, 99)),
    st.integers(1, 35),
    st.sampled_from([0, 10, 64]),
    st.data(),
)
def test_budget_equals_brute_force(xy: np.ndarray, budget: int, cell_px: int, data: st.DataObject) -> None:
    response = data.draw(npst.arrays(np.float32, len(xy), elements=st.integers(0, 5)))
    assert within_budget(xy, response, budget, cell_px).tolist() == brute_force_budget(xy, response, budget, cell_px)


@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_full_grid_puts_pixel_centres_at_integers(reduction: int) -> None:
    features = Features.none()
    corners = np.array([[0, 0], [10, 3]], np.float32)
    moved = on_full_grid(
        Features(corners, *(getattr(features, name) for name in ("size", "angle", "response", "level", "descriptors"))),
        reduction,
        (reduction - 1) / 2,
    )
    # The reduced pixel k covers full pixels reduction * k to reduction * k + reduction - 1: their middle is its centre.
    covered = [[np.mean([reduction * k + i for i in range(reduction)]) for k in row] for row in corners]
    np.testing.assert_array_equal(moved.xy, covered)


def test_a_wavelets_level_has_its_pixels_on_full_pixels() -> None:
    features = Features.none()
    xy = np.array([[0, 0], [10.25, 3]], np.float32)
    rest = (getattr(features, name) for name in ("size", "angle", "response", "level", "descriptors"))
    np.testing.assert_array_equal(on_full_grid(Features(xy, *rest), 4, 0.0).xy, 4 * xy)


def test_key_depends_on_settings_tile_and_backend() -> None:
    settings = load_config().features
    base = key("tile", settings, "opencv")
    assert key("other", settings, "opencv") != base
    assert key("tile", settings, "numba") != base
    assert key("tile", settings.model_copy(update={"threshold": 0.002}), "opencv") != base
    assert key("tile", settings.model_copy(update={"backend": "opencv"}), "opencv") == base


def test_store_returns_the_same_features(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    for features in (akaze(IMAGE, settings=AkazeSettings(threshold=0.002)), Features.none()):
        folder.write_features("scene", features, "key", "opencv")
        again = folder.features("scene")
        for name in Features.__slots__:
            kept, wanted = getattr(again, name), getattr(features, name)
            assert kept.dtype == wanted.dtype
            np.testing.assert_array_equal(kept, wanted)
        assert folder.feature_attributes("scene") == {"backend": "opencv", "count": len(features), "key": "key"}
