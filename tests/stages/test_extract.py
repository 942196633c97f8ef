from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest

from s2fast.config import Config, load_config
from s2fast.folder.run_folder import RunFolder
from s2fast.image.fixed_pattern import FixedPattern
from s2fast.image.host_scene import windows
from s2fast.model import Features
from s2fast.stages.extract import (
    MaskSource,
    extract_scene,
    upsampling,
)
from s2fast.stages.grids import on_full_grid, upscaled_mask_source
from s2fast_kernels.akaze import AkazeSettings, akaze
from s2fast_kernels.akaze.contract import unpack
from s2fast_kernels.features import Budget, pack
from tests.archives import textured
from tests.folders import nothing_fixed

UNPREPARED = {"features.upsample": 1, "features.upright": True, "ingest.clouds": False, "ingest.contrast": "none"}
OPENCV_DEFAULTS = UNPREPARED | {"features.threshold": 0.001, "features.upright": False, "features.max_per_scene": 0}
IMAGE = textured(np.random.default_rng(3), (400, 480))


def features_of(grey: np.ndarray, valid: np.ndarray, config: Config, backend: str, threads: int = 0) -> Features:
    """Features of a tile that stays as it is."""
    return extract_scene(grey.copy(), everywhere(valid), config, backend, threads).features


def everywhere(mask: np.ndarray) -> MaskSource:
    return lambda rows, columns: mask[rows, columns]


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


@pytest.mark.parametrize("backend", ["numba", "opencv"])
@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (5, 40), (79, 79)])
def test_tiny_and_flat_images_have_no_features(shape: tuple[int, int], backend: str) -> None:
    config = load_config(overrides={"features.upright": True})
    grey = np.full(shape, 90, np.uint8)
    found = features_of(grey, np.ones(shape, bool), config, backend)
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
    found = features_of(IMAGE, valid, load_config(overrides=OPENCV_DEFAULTS), "opencv")
    whole = akaze(IMAGE, backend="opencv")
    x, y = np.rint(whole.xy).astype(int).T
    wanted = whole.take(valid[y, x])
    assert 0 < len(wanted) < len(whole)
    np.testing.assert_array_equal(found.xy, wanted.xy)
    np.testing.assert_array_equal(found.descriptors, wanted.descriptors)


def test_zero_mode_keeps_the_outlines() -> None:
    painted = IMAGE.copy()
    painted[:, :200] = 0
    found = features_of(
        painted,
        np.zeros(IMAGE.shape, bool),
        load_config(overrides={"regions.mode": "zero", **OPENCV_DEFAULTS}),
        "opencv",
    )
    assert len(found) == len(akaze(painted, backend="opencv")) > 300
    assert (found.xy[:, 0] < 200).any()


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0, 150])
@pytest.mark.parametrize("mode", ["keep", "none", "zero"])
def test_own_backend_does_not_depend_on_threads_and_is_sorted(mode: str, budget: int) -> None:
    valid = np.zeros(IMAGE.shape, bool)
    valid[40:300, 90:470] = True
    config = load_config(overrides={"regions.mode": mode, "features.max_per_scene": budget, "features.upright": True})
    one, two = (features_of(IMAGE, valid, config, "numba", threads) for threads in (1, 2))
    assert len(one) > 50
    assert not budget or len(one) == budget
    for name in Features.__slots__:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert (np.diff(one.level) >= 0).all()
    x, y = np.rint(one.xy).astype(int).T
    assert mode == "zero" or valid[y, x].all()


def test_own_backend_finds_what_opencv_finds() -> None:
    config = load_config(overrides={"regions.mode": "none", **OPENCV_DEFAULTS})
    everything = np.ones(IMAGE.shape, bool)
    ours, theirs = (features_of(IMAGE, everything, config, backend) for backend in ("numba", "opencv"))
    near = [np.hypot(*(theirs.xy - xy).T).min() < 0.05 for xy in ours.xy]
    assert abs(len(ours) - len(theirs)) <= 0.002 * len(theirs)
    assert np.mean(near) > 0.998


def test_opencv_budget_is_the_kernels() -> None:
    config = load_config(
        overrides=UNPREPARED | {"regions.mode": "none", "features.max_per_scene": 40, "features.cell_px": 64}
    )
    settings = AkazeSettings(threshold=config.features.threshold, upright=True)
    whole = akaze(IMAGE, settings=settings, backend="opencv")
    chosen = Budget(40, 64).select(whole.xy, whole.response, IMAGE.shape)
    found = features_of(IMAGE, np.ones(IMAGE.shape, bool), config, "opencv")
    np.testing.assert_array_equal(found.xy, whole.take(chosen).xy)


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


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numba", "opencv"])
def test_enlarged_scene_has_the_features_of_the_enlarged_image(backend: str) -> None:
    valid = np.zeros(IMAGE.shape, bool)
    valid[31:300, 77:470] = True
    config = load_config(overrides=UNPREPARED | {"features.upsample": 2, "features.max_per_scene": 0})
    found = features_of(IMAGE, valid, config, backend)
    large = cv2.resize(IMAGE, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    twice = valid.repeat(2, axis=0).repeat(2, axis=1)
    # The large one is interpolated, and would be searched on the means of its pixels too.
    whole = load_config(overrides=UNPREPARED | {"features.max_per_scene": 0, "features.coarser": False})
    wanted = features_of(large, twice, whole, backend)
    np.testing.assert_array_equal(found.descriptors, wanted.descriptors)
    # Pixel k of the image is made of pixels 2 k and 2 k + 1: its centre lies between theirs.
    np.testing.assert_allclose(found.xy, (wanted.xy - 0.5) / 2, atol=1e-4)
    np.testing.assert_array_equal(found.size, wanted.size / 2)


def some_windows(shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    return [
        (slice(0, shape[0]), slice(0, shape[1])),
        (slice(3, 8), slice(100, 331)),
        (slice(shape[0] - 101, shape[0]), slice(shape[1] - 1, shape[1])),
        (slice(1, 2), slice(0, 1)),
    ]


@pytest.mark.parametrize("factor", [1, 2])
def test_windows_of_the_enlarged_scene_are_cut_from_the_whole(factor: int) -> None:
    source = windows(IMAGE, factor)
    whole = cv2.resize(IMAGE, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC) if factor == 2 else IMAGE
    assert whole.shape == (factor * IMAGE.shape[0], factor * IMAGE.shape[1])
    for rows, columns in some_windows(whole.shape):
        np.testing.assert_array_equal(source(rows, columns), whole[rows, columns])


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_windows_of_the_enlarged_mask_are_cut_from_the_whole(factor: int) -> None:
    valid = np.random.default_rng(2).random(IMAGE.shape) < 0.5
    clear = np.random.default_rng(3).random(IMAGE.shape) < 0.5
    mask = upscaled_mask_source(everywhere(valid), clear, factor)
    whole = (valid & clear).repeat(factor, axis=0).repeat(factor, axis=1)
    for rows, columns in some_windows(whole.shape):
        np.testing.assert_array_equal(mask(rows, columns), whole[rows, columns])


def test_only_small_scenes_are_enlarged_by_default() -> None:
    assert [upsampling(shape, Config()) for shape in ((4096, 30), (30, 4097))] == [2, 1]
    assert upsampling((9, 9), load_config(overrides={"features.upsample": 1})) == 1
    assert upsampling((10980, 10980), load_config(overrides={"features.upsample": 2})) == 2


def test_store_returns_the_same_features(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    for key, features in (("some", akaze(IMAGE, settings=AkazeSettings(threshold=0.002))), ("none", Features.none())):
        fixed = nothing_fixed(len(features))
        folder.write_features("scene", features, np.full((3, 4), 7, np.uint8), fixed, key, "opencv")
        again = folder.features("scene")
        for name in Features.__slots__:
            kept, wanted = getattr(again, name), getattr(features, name)
            assert kept.dtype == wanted.dtype
            np.testing.assert_array_equal(kept, wanted)
        for field in fields(FixedPattern):
            np.testing.assert_array_equal(
                getattr(folder.fixed_pattern("scene"), field.name), getattr(fixed, field.name)
            )
        np.testing.assert_array_equal(folder.clear("scene"), np.full((3, 4), 7, np.uint8))
        attributes = folder.groups.finished("store.zarr/scenes/scene/features")
        assert attributes.pop("files")["xy/zarr.json"]
        assert attributes == {"backend": "opencv", "count": len(features), "key": key, "clouds_judged": False}
