"""`akaze`: parity with OpenCV, the contract, and what must be refused."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from s2fast_kernels.akaze import BACKENDS, AkazeSettings, akaze, candidates, numba_cpu, scales
from s2fast_kernels.akaze.candidates import LevelList, survivors
from s2fast_kernels.akaze.cases import real_images, synthetic_image
from s2fast_kernels.akaze.parity import MIN_FOUND, MIN_IDENTICAL, Parity, parity
from s2fast_kernels.akaze.scales import Level, diffusion_steps
from s2fast_kernels.backends import BackendError, available
from s2fast_kernels.features import Features

OURS = [name for name in available(BACKENDS) if name != "opencv"]

pytestmark = pytest.mark.skipif("opencv" not in available(BACKENDS), reason="this cv2 has no AKAZE to compare with")

SETTINGS = {
    "default": AkazeSettings(),
    "upright": AkazeSettings(upright=True),
    "low_threshold": AkazeSettings(threshold=1e-4),
    "three_octaves": AkazeSettings(threshold=3e-4, octaves=3),
    "one_octave": AkazeSettings(octaves=1),
    "three_layers": AkazeSettings(layers=3),
    "short": AkazeSettings(descriptor_size=128),
    "short_upright": AkazeSettings(descriptor_size=256, upright=True),
}


def both(image: np.ndarray, settings: AkazeSettings, backend: str = "numba") -> Parity:
    return parity(akaze(image, settings=settings, backend="opencv"), akaze(image, settings=settings, backend=backend))


# Tensor operations on a small CPU are slow: fewer settings for them, and a smaller image.
MADE = [
    (backend, name)
    for backend in OURS
    for name, settings in SETTINGS.items()
    if backend == "numba" or (settings.layers, settings.octaves) == (4, 4)
]


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "name"), MADE)
def test_equals_opencv_on_made_images(backend: str, name: str) -> None:
    settings = SETTINGS[name]
    result = both(synthetic_image((400, 496) if backend == "numba" else (240, 272)), settings, backend)
    assert result.wanted > (150 if backend == "numba" else 30)
    assert result.holds, result


@pytest.mark.slow
@pytest.mark.shared
def test_equals_opencv_on_real_images(shared_data: Path) -> None:
    for name, image in real_images(shared_data):
        result = both(image, AkazeSettings())
        assert result.wanted > 100, name
        assert result.wanted == result.got, f"{name}: {result}"
        assert result.holds, f"{name}: {result}"


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    "settings",
    [AkazeSettings(upright=True), AkazeSettings(threshold=1e-4), AkazeSettings(threshold=3e-4, octaves=3)],
    ids=["upright", "1e-4", "3e-4, 3 octaves"],
)
def test_equals_opencv_with_other_settings(shared_data: Path, settings: AkazeSettings) -> None:
    pooled = Parity(0, 0, 0, 0, 0)
    for name, image in real_images(shared_data):
        # The larger images would take the oracle a minute; the benchmark compares them as well.
        if name.startswith(("ukraine", "paris")):
            result = both(image, settings)
            assert result.found >= MIN_FOUND, f"{name}: {result}"
            assert result.identical_rows >= MIN_IDENTICAL, f"{name}: {result}"
            pooled += result
    assert pooled.holds, pooled


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(401, 496), (400, 491), (403, 499)])
def test_odd_sizes_differ_from_opencv_only_by_its_stretch(shape: tuple[int, int]) -> None:
    """OpenCV floors an octave's size and stretches the image to it; ours continues the image by a row or column."""
    settings = AkazeSettings(threshold=1e-4)
    image = synthetic_image(shape)
    wanted, got = (akaze(image, settings=settings, backend=name) for name in ("opencv", "numba"))
    # Levels 0 to 2 see nothing of the second octave: they are equal, but for float32 at the border of the contrast.
    first = parity(wanted.take(wanted.level < 3), got.take(got.level < 3))
    assert first.found >= MIN_FOUND
    assert first.identical_rows >= 0.98
    octave = 1
    one, other = (features.take(features.level // 4 == octave) for features in (wanted, got))
    assert len(one) > 20
    # OpenCV reports positions in the stretched image. Bounded: W - 2^o floor(W / 2^o) < 2^o px at the far edge.
    sides = np.array([shape[1], shape[0]])
    floored = (sides >> octave) << octave
    assert np.all(sides - floored < 1 << octave)
    true = (one.xy + 0.5) * sides / floored - 0.5
    nearest = np.abs(true[:, None] - other.xy[None]).max(axis=2).min(axis=1)
    # Resampled pixels move a blob by a fraction of the octave's pixel, and a few across the threshold.
    assert np.mean(nearest < 0.25 * 2**octave) >= 0.9


def broken_steps(monkeypatch: pytest.MonkeyPatch) -> float | None:
    monkeypatch.setattr(scales, "diffusion_steps", lambda time: diffusion_steps(time)[:-1])
    return None


def broken_border(monkeypatch: pytest.MonkeyPatch) -> float | None:
    def wider(settings: AkazeSettings, shape: tuple[int, int]) -> list[list[Level]]:
        octaves = scales.levels(settings, shape)
        return [[replace(level, border=level.border + 2) for level in octave] for octave in octaves]

    monkeypatch.setattr("s2fast_kernels.akaze.windowed.levels", wider)
    return None


def broken_suppression(monkeypatch: pytest.MonkeyPatch) -> float | None:
    """Let levels meet the one below only: the order of visits within a level has its own test, beside the masks."""
    monkeypatch.setattr(LevelList, "surviving_above", lambda own, _above: own.alive)
    return None


def broken_sample_shift(monkeypatch: pytest.MonkeyPatch) -> float | None:
    monkeypatch.setattr(Level, "sample_shift", property(lambda _: 0.0))
    return None


def broken_contrast(monkeypatch: pytest.MonkeyPatch) -> float | None:
    from s2fast_kernels.akaze import contrast_factor

    image = synthetic_image((400, 496))
    return 1.01 * contrast_factor(lambda rows, columns: image[rows, columns], image.shape)


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    [broken_steps, broken_border, broken_suppression, broken_sample_shift, broken_contrast],
)
def test_parity_fails_for_a_broken_kernel(broken, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    image = synthetic_image((400, 496))
    settings = AkazeSettings(threshold=1e-4)
    wanted = akaze(image, settings=settings, backend="opencv")
    assert parity(wanted, akaze(image, settings=settings, backend="numba")).holds
    contrast = broken(monkeypatch)
    result = parity(wanted, akaze(image, settings=settings, contrast=contrast, backend="numba"))
    assert not result.holds, result


@pytest.mark.slow
@pytest.mark.parametrize("backend", OURS)
@pytest.mark.parametrize("shape", [(0, 0), (0, 100), (1, 1), (5, 300), (58, 58), (79, 79), (100, 59)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_small_and_constant_images_have_no_keypoints(shape: tuple[int, int], dtype: type, backend: str) -> None:
    for value in (0, 1):
        found = akaze(np.full(shape, value, dtype), backend=backend)
        assert len(found) == 0
        for field in fields(Features):
            assert getattr(found, field.name).dtype == getattr(Features.none(), field.name).dtype


@pytest.mark.parametrize("side", [64, 72, 79])
def test_images_under_80_px_have_one_octave(side: int) -> None:
    image = synthetic_image((side, side), seed=3)
    settings = AkazeSettings(threshold=1e-5)
    result = both(image, settings)
    assert result.wanted > 0
    assert result.found == 1


def test_float_and_bytes_agree() -> None:
    image = synthetic_image((160, 200))
    bytes_, floats = akaze(image), akaze((image * np.float32(1 / 255)).astype(np.float32))
    for field in fields(Features):
        np.testing.assert_array_equal(getattr(bytes_, field.name), getattr(floats, field.name))


@pytest.mark.parametrize("backend", available(BACKENDS))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.01, 1.01, 4000.0])
def test_out_of_range_floats_are_refused(bad: float, backend: str) -> None:
    image = np.full((100, 100), 0.5, np.float32)
    image[50, 50] = bad
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        akaze(image, backend=backend)


def test_wrong_operands_are_refused() -> None:
    image = np.zeros((100, 100), np.uint8)
    with pytest.raises(ValueError, match="stretch 16-bit"):
        akaze(image.astype(np.uint16))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="h, w"):
        akaze(image[None])
    with pytest.raises(ValueError, match="contrast"):
        akaze(image, contrast=0.0)
    with pytest.raises(ValueError, match="contrast"):
        akaze(image, contrast=float("nan"))
    with pytest.raises(ValueError, match="core"):
        akaze(image, core=(0, 101, 0, 100))
    with pytest.raises(ValueError, match="itself"):
        akaze(image, contrast=0.1, backend="opencv")
    with pytest.raises(BackendError, match="unknown"):
        akaze(image, backend="sift")
    for wrong in ({"threshold": -1.0}, {"octaves": 0}, {"layers": 0}, {"descriptor_size": 487}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            AkazeSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", available(BACKENDS))
def test_core_keeps_what_lies_in_it(backend: str) -> None:
    image = synthetic_image((200, 240))
    whole = akaze(image, backend=backend)
    core = (60, 150, 80, 200)
    x, y = np.floor(whole.xy.T + 0.5)
    inside = (y >= 60) & (y < 150) & (x >= 80) & (x < 200)
    assert 0 < inside.sum() < len(whole)
    wanted, got = whole.take(inside), akaze(image, core=core, backend=backend)
    for field in fields(Features):
        np.testing.assert_array_equal(getattr(got, field.name), getattr(wanted, field.name))


@pytest.mark.slow
@pytest.mark.parametrize("backend", OURS)
def test_order_and_padding(backend: str) -> None:
    found = akaze(synthetic_image((300, 320)), backend=backend)
    order = np.lexsort((found.xy[:, 0], found.xy[:, 1], found.level))
    np.testing.assert_array_equal(order, np.arange(len(found)))
    assert not np.any(found.descriptors[:, 7] >> np.uint64(486 - 448))
    assert found.angle.min() >= 0
    assert found.angle.max() <= 2 * np.pi + 1e-5
    assert not akaze(synthetic_image((200, 200)), settings=AkazeSettings(upright=True), backend=backend).angle.any()


@pytest.mark.slow
def test_noise_outgrows_the_first_buffers() -> None:
    image = np.random.default_rng(0).integers(0, 256, (800, 800), dtype=np.uint8)
    settings = AkazeSettings(threshold=0.0)
    result = both(image, settings)
    assert result.wanted > 2 * numba_cpu.FIRST_CAPACITY
    assert result.found >= MIN_FOUND, result


def test_survivors_of_no_candidates() -> None:
    octaves = scales.levels(AkazeSettings(), (512, 512))
    flat = [level for octave in octaves for level in octave]
    assert [len(alive) for alive in survivors(candidates.by_level([], flat), flat, 512)] == [0] * len(flat)
