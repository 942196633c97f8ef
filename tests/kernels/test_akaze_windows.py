"""Windows, masks, budgets and threads change what is computed, never what comes out."""

import subprocess
import sys
import textwrap
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s2fast_kernels.akaze import AkazeSettings, akaze, akaze_windowed, contrast_factor, octaves
from s2fast_kernels.akaze.cases import Image, real_images, synthetic_image
from s2fast_kernels.akaze.contrast import BINS, bin_edges, bin_of_fine, quantile_bin
from s2fast_kernels.features import Budget, Features

LOW = AkazeSettings(threshold=1e-4)
"""Many keypoints on a small image."""

WHOLE = 1 << 20
"""A core larger than any image."""


def reader(image: Image):  # type: ignore[no-untyped-def]
    return lambda rows, columns: image[rows, columns]


def run(image: Image, **options) -> Features:  # type: ignore[no-untyped-def]
    options = {"settings": LOW, **options}
    return akaze_windowed(reader(image), image.shape, **options)


def assert_same(got: Features, wanted: Features) -> None:
    assert len(got) == len(wanted)
    for field in fields(Features):
        np.testing.assert_array_equal(getattr(got, field.name), getattr(wanted, field.name), err_msg=field.name)


def inside(features: Features, valid: np.ndarray) -> Features:
    x, y = np.floor(features.xy.T + 0.5).astype(int)
    return features.take(valid[y, x])


@pytest.fixture(scope="module")
def image() -> Image:
    return synthetic_image((520, 680), seed=1)


@pytest.fixture(scope="module")
def whole(image: Image) -> Features:
    found = run(image, core_px=WHOLE, threads=1)
    assert len(found) > 3000
    assert set(found.level // 4) >= {0, 1, 2}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("core_px", [64, 100, 129, 256, 512])
def test_windows_equal_the_whole_image(image: Image, whole: Features, core_px: int, threads: int) -> None:
    assert_same(run(image, core_px=core_px, threads=threads), whole)


def test_the_operation_equals_its_windows(image: Image, whole: Features) -> None:
    assert_same(akaze(image, settings=LOW), whole)


@pytest.mark.slow
@pytest.mark.shared
def test_windows_equal_the_whole_real_image(shared_data: Path) -> None:
    image = next(image for name, image in real_images(shared_data) if name.startswith("arosics/ref"))
    wanted = run(image, settings=AkazeSettings(), core_px=WHOLE, threads=1)
    assert set(wanted.level // 4) == {0, 1, 2, 3}
    for core_px, threads in ((512, 2), (1024, 1), (1024, 2), (2048, 2)):
        assert_same(run(image, settings=AkazeSettings(), core_px=core_px, threads=threads), wanted)


def test_a_halo_too_small_is_seen(image: Image, whole: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    """The invariance test can fail: a halo of 60 % of the true reach changes keypoints."""
    true_halo = octaves.halo
    monkeypatch.setattr(octaves, "halo", lambda octave, margin: true_halo(octave, margin) * 3 // 10 * 2)
    got = run(image, core_px=128)
    assert len(got) != len(whole) or np.any(got.descriptors != whole.descriptors)


@pytest.fixture(scope="module")
def painted(image: Image) -> Image:
    """Little of the image on black, some of it at its edges."""
    seen = np.zeros(image.shape, bool)
    for rows, columns in (
        ((40, 77), (301, 380)),
        ((260, 300), (0, 21)),
        ((500, 520), (640, 680)),
        ((301, 302), (402, 403)),
    ):
        seen[slice(*rows), slice(*columns)] = True
    return np.where(seen, image, 0).astype(image.dtype)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("upright", [False, True])
def test_black_may_be_left_out(painted: Image, backend: str, upright: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    every = AkazeSettings(threshold=1e-6, upright=upright)
    # Windows are cut in the same way for all backends.
    cores = (96, 128, 256, WHOLE) if backend == "numba" else (128, WHOLE)
    got = [run(painted, settings=every, core_px=core_px, backend=backend) for core_px in cores]
    monkeypatch.setattr(octaves, "nonzero_rectangle", lambda block: octaves.Rect(0, block.shape[0], 0, block.shape[1]))
    wanted = run(painted, settings=every, core_px=WHOLE, backend=backend)
    assert len(wanted) > 50
    for features in got:
        assert_same(features, wanted)


def test_black_that_is_looked_at_is_seen(painted: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: cut close to what is not black, keypoints change."""
    every = AkazeSettings(threshold=1e-6)
    wanted = run(painted, settings=every, core_px=WHOLE)
    monkeypatch.setattr(octaves, "response_reach", lambda _: 0)
    got = run(painted, settings=every, core_px=128)
    assert len(got) != len(wanted) or np.any(got.descriptors != wanted.descriptors)


def test_an_image_all_black_has_no_keypoints() -> None:
    assert len(run(np.zeros((300, 400), np.uint8))) == 0


def test_order_of_windows_does_not_matter(image: Image, whole: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = octaves.split_evenly
    monkeypatch.setattr(octaves, "split_evenly", lambda length, core_px: forward(length, core_px)[::-1])
    assert_same(run(image, core_px=128), whole)


@pytest.mark.slow
def test_dense_lattice_suppression_reaches_across_windows() -> None:
    """Equal dots side by side: every decision hangs on the one before, from one end of the image to the other."""
    image = np.full((400, 400), 128, np.uint8)
    image[::6, ::6] = 255
    image[3::6, 3::6] = 0
    wanted = run(image, core_px=WHOLE)
    assert len(wanted) > 500
    for core_px in (64, 128):
        assert_same(run(image, core_px=core_px), wanted)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(rows=st.integers(60, 300), columns=st.integers(60, 300), core_px=st.integers(40, 200), seed=st.integers(0, 1000))
def test_any_size_any_core(rows: int, columns: int, core_px: int, seed: int) -> None:
    image = synthetic_image((rows, columns), seed)
    assert_same(run(image, core_px=core_px), run(image, core_px=WHOLE))


MASKS = {
    "all": lambda mask: mask.__setitem__(slice(None), True),
    "none": lambda _: None,
    "one_pixel_wide": lambda mask: mask.__setitem__((slice(None), 300), True),
    "one_row": lambda mask: mask.__setitem__(217, True),
    "polygons": lambda mask: (
        mask.__setitem__(np.s_[100:180, 90:260], True),
        mask.__setitem__(np.s_[400:430, 500:], True),
    ),
    "checkers": lambda mask: mask.__setitem__(np.s_[::2, ::2], True),
}


@pytest.mark.slow
@pytest.mark.parametrize("core_px", [100, 256])
@pytest.mark.parametrize("name", MASKS)
def test_validity(image: Image, whole: Features, name: str, core_px: int) -> None:
    valid = np.zeros(image.shape, bool)
    MASKS[name](valid)
    contrast = contrast_factor(reader(image), image.shape)
    got = run(image, contrast=contrast, valid=valid, core_px=core_px)
    assert_same(got, inside(whole, valid))
    streamed = run(image, contrast=contrast, valid=lambda rows, columns: valid[rows, columns], core_px=core_px)
    assert_same(streamed, got)


def test_only_needed_windows_are_read(image: Image) -> None:
    valid = np.zeros(image.shape, bool)
    valid[60:70, 60:70] = True
    read = np.zeros(image.shape, bool)

    def source(rows: slice, columns: slice) -> Image:
        read[rows, columns] = True
        return image[rows, columns]

    one_octave = AkazeSettings(octaves=1)
    akaze_windowed(source, image.shape, settings=one_octave, contrast=0.1, valid=valid, core_px=64)
    assert 0 < read.mean() < 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    "budget", [Budget(0), Budget(1), Budget(500), Budget(500, 64), Budget(2000, 37), Budget(10**6)]
)
def test_budget_is_the_best_of_all(image: Image, whole: Features, budget: Budget) -> None:
    wanted = whole.take(np.sort(budget.select(whole.xy, whole.response, image.shape)))
    assert len(wanted) == min(budget.keypoints, len(whole))
    for core_px in (100, WHOLE):
        assert_same(run(image, budget=budget, core_px=core_px), wanted)


@pytest.mark.slow
def test_budget_saves_descriptions(image: Image, whole: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few are described in passing, and hardly any afterwards."""
    from s2fast_kernels.akaze import numba_cpu

    described = []
    real = numba_cpu.describe

    def counted(*operands):  # type: ignore[no-untyped-def]
        described.append(len(operands[5]))
        real(*operands)

    monkeypatch.setattr(numba_cpu, "describe", counted)
    run(image, budget=Budget(300), core_px=100)
    assert sum(described) < 0.5 * len(whole)


def test_a_wrong_forecast_is_made_good(image: Image, whole: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were nothing described in passing, the descriptors made afterwards would be the same bits."""
    monkeypatch.setattr(octaves.Forecast, "admit", lambda _self, xy, *_: np.zeros(len(xy), bool))
    assert_same(run(image, budget=Budget(10**6), core_px=200), whole)


def test_rounds_spread_over_the_ground() -> None:
    rng = np.random.default_rng(0)
    xy = np.concatenate([rng.uniform(0, 49, (900, 2)), rng.uniform(50, 99, (100, 2))]).astype(np.float32)
    response = np.concatenate([rng.uniform(1, 2, 900), rng.uniform(0, 1, 100)]).astype(np.float32)
    budget = Budget(100, cell_px=50)
    counts = np.bincount(budget.cells(xy[budget.select(xy, response, (100, 100))], (100, 100)), minlength=4)
    assert counts.tolist() == [50, 0, 0, 50]


@pytest.mark.parametrize("cell_px", [None, 7, 64])
@pytest.mark.parametrize("most", [0, 1, 100, 256])
def test_selection_goes_round_the_cells_by_response_then_row(cell_px: int | None, most: int) -> None:
    rng = np.random.default_rng(0)
    xy = rng.uniform(-0.5, 60, (257, 2)).astype(np.float32)
    response = rng.choice(np.array([-2.5, -0.0, 0.0, 1e-30, 0.5, 3.0, np.inf], np.float32), len(xy))
    budget, seen, turns = Budget(most, cell_px), Counter[int](), []
    cells = budget.cells(xy, (60, 60)).tolist()
    for row in sorted(range(len(xy)), key=lambda row: (-response[row], row)):
        turns.append((seen[cells[row]], -response[row], row))
        seen[cells[row]] += 1
    assert budget.select(xy, response, (60, 60)).tolist() == sorted(row for *_, row in sorted(turns)[:most])


@pytest.mark.parametrize("wrong", [{"keypoints": -1}, {"keypoints": 5, "cell_px": 0}])
def test_wrong_budgets_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="budget"):
        Budget(**wrong)


def whole_contrast(image: Image, valid: np.ndarray | None = None, rounding: float = 0.0) -> float:
    """Compute the contrast factor as OpenCV does, on planes, with gradients that are larger by a relative rounding."""
    import cv2

    smooth = cv2.GaussianBlur(image * np.float32(1 / 255), (5, 5), 1, sigmaY=1, borderType=cv2.BORDER_REPLICATE)
    gx, gy = cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
    length = np.sqrt(gx * gx + gy * gy)[1:-1, 1:-1]
    length = length.ravel() if valid is None else length[valid[1:-1, 1:-1]]
    largest = length.max()
    bins = np.minimum(length * (np.float32(BINS - 1) / largest) * np.float32(1 + rounding), BINS - 1)
    counts = np.bincount(bins.astype(int), minlength=BINS)
    k = quantile_bin(counts.cumsum(), int(counts[0]))
    return float(largest * np.float32(k) / np.float32(BINS))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@example(rows=222, columns=369, seed=476, masked=True)
@example(rows=3, columns=3, seed=4000, masked=False)
@example(rows=198, columns=3, seed=0, masked=False)
@given(rows=st.integers(3, 600), columns=st.integers(3, 600), seed=st.integers(0, 2**16), masked=st.booleans())
def test_contrast_equals_the_whole_image(rows: int, columns: int, seed: int, masked: bool) -> None:
    image = synthetic_image((rows, columns), seed)
    valid = np.random.default_rng(seed).random(image.shape) < 0.3 if masked else None
    if valid is not None and not valid[1:-1, 1:-1].any():
        return
    # OpenCV's blur may round gradients otherwise in the last bits, and so move them over an edge of a bin.
    least, wanted, most = (whole_contrast(image, valid, rounding) for rounding in (-1e-6, 0.0, 1e-6))
    found = contrast_factor(reader(image), image.shape, valid=valid)
    # Blurred values up to 1 are rounded to 6e-8, and the weights of an unnormalised Scharr gradient add up to 32.
    assert found == pytest.approx(wanted, rel=1e-6, abs=32 * 6e-8) or least * (1 - 1e-6) <= found <= most * (1 + 1e-6)


def test_contrast_of_flat_images() -> None:
    for value in (0, 200):
        flat = np.full((100, 90), value, np.uint8)
        assert contrast_factor(reader(flat), flat.shape) == 0.03
    assert contrast_factor(reader(np.zeros((2, 50), np.uint8)), (2, 50)) == 0.03


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(0.01, 3))
def test_one_pass_names_the_bin_of_two(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    squares = np.exp(spread * rng.standard_normal(3000) - 4).astype(np.float32)
    edges = bin_edges(squares.max())
    factor = np.float32(BINS - 1) / np.sqrt(squares.max())
    bins = (np.sqrt(squares) * factor).astype(int)
    np.testing.assert_array_equal(np.searchsorted(edges, squares, side="right"), bins)
    counts = np.bincount(bins, minlength=BINS)
    wanted = quantile_bin(counts.cumsum(), int(counts[0]))
    fine = np.bincount(squares.view(np.int32) >> 14, minlength=int(np.float32(1024).view(np.int32)) >> 14)
    assert bin_of_fine(fine, edges) in (wanted, None)


def test_the_second_pass_decides_as_opencv(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    from s2fast_kernels.akaze import contrast

    once = contrast_factor(reader(image), image.shape)
    monkeypatch.setattr(contrast, "bin_of_fine", lambda *_: None)
    assert contrast_factor(reader(image), image.shape) == once


def test_sources_that_lie_are_refused(image: Image) -> None:
    with pytest.raises(ValueError, match="returned"):
        akaze_windowed(lambda *_: image[:50, :50], image.shape, contrast=0.1)
    with pytest.raises(ValueError, match="uint8"):
        akaze_windowed(lambda rows, columns: image[rows, columns].astype(np.uint16), image.shape)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="NaN"):
        akaze_windowed(lambda rows, columns: np.full(image.shape, np.nan, np.float32)[rows, columns], image.shape)
    with pytest.raises(ValueError, match="valid must be bool"):
        run(image, valid=np.ones(image.shape, np.uint8))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="core_px"):
        run(image, core_px=1)
    with pytest.raises(ValueError, match="contrast"):
        run(image, contrast=-1.0)


def test_import_loads_no_backend() -> None:
    code = """
        import sys
        import s2fast_kernels.akaze
        heavy = {"numba", "torch", "cv2", "kornia", "llvmlite"} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, env=_environment())


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
