"""The table of detectors: each row is valid, and which settings can be combined."""

import inspect

import numpy as np
import pytest

from s2fast.config import Config, FeatureSettings, load_config
from s2fast.detectors import (
    COMMON_SETTINGS,
    DETECTORS,
    Detector,
    DetectorInput,
    Implementation,
    check,
    effective_settings,
)
from s2fast.errors import ConfigError
from s2fast.folder.content_key import content_key
from s2fast.stages.keys import FEATURES, features_key
from s2fast_kernels.akaze import akaze
from s2fast_kernels.backends import available
from s2fast_kernels.features import Budget, Features
from tests.archives import textured

IMAGE = textured(np.random.default_rng(5), (300, 360))


def settings_of(**values: object) -> FeatureSettings:
    return load_config(overrides={f"features.{name}": value for name, value in values.items()}).features


def found(row: Detector, **options: object) -> Features:
    scene = DetectorInput(lambda rows, columns: IMAGE[rows, columns], IMAGE.shape, **options)  # type: ignore[arg-type]
    backend = available(row.backends)[0]
    return row.load().extract(scene, settings_of(detector=row.name, upright=False), backend, 1)


def test_every_setting_acts_on_some_detector() -> None:
    named = [row.settings for row in DETECTORS]
    assert COMMON_SETTINGS.union(*named) == set(FeatureSettings.model_fields)
    assert not COMMON_SETTINGS & set().union(*named)
    assert DETECTORS[0].name == FeatureSettings().detector


@pytest.mark.slow
@pytest.mark.parametrize("row", DETECTORS, ids=lambda row: row.name)
def test_a_detector_keeps_its_promise(row: Detector) -> None:
    for name in ("extract", "extract_bytes"):
        wanted = list(inspect.signature(getattr(Implementation, name)).parameters)[1:]
        assert list(inspect.signature(getattr(row.load(), name)).parameters) == wanted
    features = found(row)
    assert len(features) > 100
    for name in Features.__slots__:
        column, empty = getattr(features, name), getattr(Features.none(), name)
        assert column.dtype == empty.dtype
        assert column.shape == (len(features), *empty.shape[1:])
        np.testing.assert_array_equal(getattr(found(row), name), column)
    bits = np.unpackbits(features.descriptors.view(np.uint8), axis=1, bitorder="little")
    assert bits[:, : row.descriptor_bits].any(axis=0).all()
    assert not bits[:, row.descriptor_bits :].any()
    sides = (300, 1000, 3000)
    predicted = [
        row.load().extract_bytes((side, side), 1, backend=name.name, upsample=1, masked=False)
        for name in row.backends
        for side in sides
    ]
    assert all(np.diff(predicted).reshape(-1)[start : start + 2].min() > 0 for start in range(0, len(predicted), 3))


@pytest.mark.parametrize("row", DETECTORS, ids=lambda row: row.name)
def test_mask_and_budget_choose_among_all_keypoints(row: Detector) -> None:
    whole = found(row)
    mask = np.zeros(IMAGE.shape, bool)
    mask[60:250, 90:300] = True
    x, y = np.rint(whole.xy).astype(int).T
    inside = whole.take(mask[y, x])
    budget = Budget(40, 64)
    some = inside.take(budget.select(inside.xy, inside.response, IMAGE.shape))
    assert 40 == len(some) < len(inside) < len(whole)
    for wanted, got in (
        (inside, found(row, valid=lambda rows, columns: mask[rows, columns])),
        (some, found(row, valid=lambda rows, columns: mask[rows, columns], budget=budget)),
    ):
        # AKAZE takes its contrast from the valid pixels, so only detectors without such a factor give equal keypoints.
        if row.name != "akaze":
            for name in Features.__slots__:
                np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))
        x, y = np.rint(got.xy).astype(int).T
        assert mask[y, x].all()
    assert len(found(row, budget=Budget(0))) == 0
    assert len(found(row, valid=lambda rows, columns: np.zeros_like(mask)[rows, columns])) == 0


def test_akaze_is_the_kernel_with_the_settings_of_the_run() -> None:
    wanted = akaze(IMAGE, settings=None, backend="opencv")
    scene = DetectorInput(lambda rows, columns: IMAGE[rows, columns], IMAGE.shape)
    got = DETECTORS[0].load().extract(scene, settings_of(threshold=0.001, upright=False), "opencv", 1)
    for name in Features.__slots__:
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))


def test_the_default_detector_does_not_change_content_keys() -> None:
    config = load_config(overrides={"features.upright": True})
    written = {
        "threshold": 0.0003, "octaves": 4, "layers": 4, "upright": True, "upsample": "auto", "nodata_px": 8,
        "max_per_scene": 20_000, "cell_px": 64,
    }  # fmt: skip
    preparation = {"clouds": True, "contrast": "clahe", "clahe_clip": 8.0}
    assert effective_settings(config.features) == written
    assert features_key("tile", config, "numba") == content_key(FEATURES, "tile", written, preparation, "numba")


def test_a_content_key_names_what_acts() -> None:
    orb = settings_of(detector="orb")
    assert set(effective_settings(orb)) == {
        "detector", "octaves", "layers", "upright", "upsample", "nodata_px", "max_per_scene", "cell_px"
    }  # fmt: skip
    assert effective_settings(settings_of(detector="orb", backend="opencv")) == effective_settings(orb)
    assert effective_settings(settings_of(detector="orb", layers=3)) != effective_settings(orb)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"detector": "sift"}, "features.detector = 'sift' is unknown; known: akaze, orb"),
        (
            {"detector": "orb", "backend": "numba"},
            "features.backend = 'numba' is not a backend of features.detector = 'orb'; known: auto, opencv",
        ),
        (
            {"backend": "abacus"},
            "features.backend = 'abacus' is not a backend of features.detector = 'akaze'; "
            "known: auto, numba, triton, torch, opencv",
        ),
        (
            {"detector": "orb", "threshold": 0.001},
            "features.threshold = 0.001 has no effect with features.detector = 'orb', only with 'akaze': remove it, "
            "or choose another detector",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check(Config(features=settings_of(**values)))
    assert str(refused.value) == told


def test_a_file_of_all_defaults_serves_every_detector() -> None:
    for row in DETECTORS:
        check(load_config("configs/default.toml", {"features.detector": row.name}))
        check(load_config("configs/fast.toml", {"features.detector": row.name}))
