"""ORB against OpenCV's own call, and a whole run with it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import s2fast
from s2fast.config import load_config
from s2fast.detectors import DetectorInput, orb
from s2fast.errors import ConfigError
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.results import Run
from s2fast_kernels.features import Features
from tests.archives import PIXEL_M, Archive, textured

IMAGE = textured(np.random.default_rng(3), (400, 480))


def found(image: np.ndarray, **settings: object) -> Features:
    overrides = {"features.detector": "orb"} | {f"features.{name}": value for name, value in settings.items()}
    scene = DetectorInput(lambda rows, columns: image[rows, columns], (image.shape[0], image.shape[1]))
    return orb.extract(scene, load_config(overrides=overrides).features, "opencv", 1)


@pytest.mark.parametrize(("octaves", "layers"), [(4, 4), (2, 3), (1, 1)])
def test_keypoints_and_descriptors_are_those_of_opencv(octaves: int, layers: int) -> None:
    # 62 px, twice the border, is the smallest side without a keypoint: 400 px shrink to it within 2.7 octaves.
    levels = min(octaves * layers, 1 + int(layers * np.log2(400 / 62)))
    most = int(0.03 * IMAGE.size)
    opencv = cv2.ORB_create(nfeatures=most, scaleFactor=2 ** (1 / layers), nlevels=levels)
    keypoints, descriptors = opencv.detectAndCompute(IMAGE, None)
    order = sorted(range(len(keypoints)), key=lambda row: (keypoints[row].octave, *keypoints[row].pt[::-1]))
    points = [keypoints[row] for row in order]
    features = found(IMAGE, octaves=octaves, layers=layers, upright=False)
    assert len(features) == len(points) > 800
    np.testing.assert_array_equal(features.xy, np.array([point.pt for point in points], np.float32))
    sizes = np.array([point.size for point in points], np.float32)
    np.testing.assert_array_equal(features.size, sizes * np.float32(3.7 / 31))
    np.testing.assert_array_equal(features.angle, np.deg2rad(np.array([point.angle for point in points], np.float32)))
    np.testing.assert_array_equal(features.response, np.array([point.response for point in points], np.float32))
    np.testing.assert_array_equal(features.level, [point.octave for point in points])
    np.testing.assert_array_equal(features.descriptors.view(np.uint8)[:, :32], descriptors[order])
    assert set(features.level) == set(range(levels))
    np.testing.assert_allclose(features.size, 3.7 * 2 ** (features.level / layers), rtol=1e-6)


def test_upright_descriptors_are_opencvs_at_angle_0() -> None:
    turned, upright = found(IMAGE, upright=False), found(IMAGE, upright=True)
    np.testing.assert_array_equal(upright.xy, turned.xy)
    assert not upright.angle.any()
    assert turned.angle.any()
    first = np.flatnonzero(upright.level == 0)[:50]
    points = [
        cv2.KeyPoint(float(x), float(y), 31.0, angle=0.0, octave=0, class_id=row)
        for row, (x, y) in enumerate(upright.xy[first])
    ]
    described, descriptors = cv2.ORB_create().compute(IMAGE, points)
    assert len(described) == len(first)
    for point, descriptor in zip(described, descriptors, strict=True):
        np.testing.assert_array_equal(upright.descriptors[first[point.class_id]].view(np.uint8)[:32], descriptor)
    assert (upright.descriptors != turned.descriptors).any()


def test_rows_are_sorted_whatever_the_number_of_threads() -> None:
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = found(IMAGE)
        cv2.setNumThreads(2)
        two = found(IMAGE)
    finally:
        cv2.setNumThreads(threads)
    for name in Features.__slots__:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    order = np.lexsort((one.xy[:, 0], one.xy[:, 1], one.level))
    np.testing.assert_array_equal(order, np.arange(len(one)))


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (5, 40), (62, 900), (63, 63), (64, 900)])
def test_small_and_flat_images_have_no_features(shape: tuple[int, int]) -> None:
    assert len(found(np.full(shape, 90, np.uint8))) == 0


SETTINGS = {"features.detector": "orb", "features.upsample": 1, "regions.mode": "none"}


@pytest.fixture(scope="module")
def finished(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return s2fast.run(
        scenes=archive.scenes,
        out=tmp_path_factory.mktemp("orb") / "out",
        overrides=SETTINGS,
    )


@pytest.mark.slow
def test_a_run_with_orb_verifies_the_pairs_of_the_archive(finished: Run) -> None:
    pairs = finished.pairs()
    assert len(pairs) == 6
    assert pairs["verified"].all()
    np.testing.assert_allclose(pairs[["dx_m", "dy_m"]], 0.0, atol=0.25 * PIXEL_M)
    for scene in finished.scene_ids:
        features = finished.features(scene)
        assert len(features) > 1000
        assert not features.descriptors[:, 4:].any()
    assert finished.record.history.stages["extract"].backend == "opencv"


@pytest.mark.slow
def test_a_second_run_keeps_the_features_and_another_detector_replaces_them(
    finished: Run, archive: Archive, tmp_path: Path
) -> None:
    orb_keys = {scene: finished.folder.features_key(scene) for scene in finished.scene_ids}
    again = s2fast.run(scenes=archive.scenes, out=finished.folder.address, overrides=SETTINGS)
    assert {scene: again.folder.features_key(scene) for scene in again.scene_ids} == orb_keys
    akaze = Job(load_config(overrides=SETTINGS | {"features.detector": "akaze"}), [archive.scenes], None, tmp_path)
    run_stages(akaze, stages=["ingest", "extract"])
    assert not set(orb_keys.values()) & {RunFolder(tmp_path).features_key(scene) for scene in orb_keys}


def test_a_run_refuses_settings_that_orb_does_not_know(archive: Archive, tmp_path: Path) -> None:
    settings = {"features.detector": "orb", "features.threshold": 0.001}
    with pytest.raises(ConfigError, match="features.threshold = 0.001 has no effect"):
        s2fast.run(scenes=archive.scenes, out=tmp_path / "out", overrides=settings)
    assert not (tmp_path / "out").exists()
