"""The fused Triton passes give the torch backend's bits: on a CUDA device, and always under the interpreter."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from s2fast_kernels.akaze import BACKENDS, ENGINES, AkazeSettings, akaze, triton_gpu
from s2fast_kernels.akaze.cases import synthetic_image
from s2fast_kernels.akaze.jobs import Rect
from s2fast_kernels.akaze.parity import parity
from s2fast_kernels.akaze.scales import levels
from s2fast_kernels.akaze.torch_any import TorchEngine
from s2fast_kernels.akaze.triton_gpu import Tile, TritonEngine, passes
from s2fast_kernels.akaze.windowed import akaze_windowed
from s2fast_kernels.backends import BackendError, resolve
from s2fast_kernels.features import Features
from tests.kernels.interpreter import INTERPRETED, on_a_device

DEVICE = "cpu" if INTERPRETED else "cuda"
CONTRAST = np.float32(0.02)
SHAPES = [(1, 29, 47), (2, 60, 62), (2, 45, 75)]
"""Planes, rows and columns: less than a tile, for derivatives whole tiles, parts of tiles."""

RADII = [(SHAPES[0], 2), (SHAPES[1], 3), (SHAPES[2], 4)]
"""Shapes and the radius of their derivatives; the largest reaches farthest into tiles beside."""

OCTAVES = levels(AkazeSettings(), (1024, 1024))

interpreted = pytest.mark.skipif(not INTERPRETED, reason="needs the interpreter; test_under_the_interpreter.py runs it")


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SMOOTH_TILE", "DIFFUSE_TILE", "DERIVE_TILE"):
        monkeypatch.setattr(triton_gpu, name, Tile(32, 64, 8))


def planes(shape: tuple[int, int, int], seed: int = 0) -> torch.Tensor:
    """Ground-like texture in [0, 1], with a black edge in the last plane."""
    image = np.stack([synthetic_image(shape[1:], seed + i) for i in range(shape[0])])
    image[-1, :, : shape[2] // 5] = 0
    return torch.from_numpy(image).float() / 255


def both(method: str, *operands: object) -> tuple[Any, Any]:
    """Results of a pass of the torch backend on the CPU, and of the Triton backend."""
    found = []
    for engine in (TorchEngine(device="cpu"), TritonEngine(device=DEVICE)):
        moved = [part.to(engine.device) if isinstance(part, torch.Tensor) else part for part in operands]
        found.append(getattr(engine, method)(*moved))
    return found[0], found[1]


def assert_equal(method: str, *operands: object) -> None:
    wanted, got = both(method, *operands)
    if isinstance(wanted, torch.Tensor):
        wanted, got = (wanted,), (got,)
    for one, other in zip(wanted, got, strict=True):
        assert_same(other, one)


def assert_same(got: torch.Tensor, wanted: torch.Tensor) -> None:
    np.testing.assert_array_equal(got.cpu().numpy(), wanted.numpy())


@on_a_device
@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES)
def test_base_blur(shape: tuple[int, int, int]) -> None:
    assert_equal("base", planes(shape))


@on_a_device
@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES)
def test_blur_and_conductivity(shape: tuple[int, int, int]) -> None:
    assert_equal("smooth", planes(shape), CONTRAST)


@on_a_device
@pytest.mark.gpu
@pytest.mark.parametrize(
    ("shape", "steps"),
    [(shape, OCTAVES[0][1].steps) for shape in SHAPES]
    + [(SHAPES[2], OCTAVES[1][1].steps), (SHAPES[0], OCTAVES[2][1].steps)],
    ids=lambda value: f"{len(value)}-{value[0]}",
)
def test_diffusion(shape: tuple[int, int, int], steps: tuple[np.float32, ...]) -> None:
    image = planes(shape)
    before = image.clone()
    flow = TorchEngine(device="cpu").smooth(image, CONTRAST)[1]
    assert_equal("diffuse", image, flow, steps)
    np.testing.assert_array_equal(image, before)


@on_a_device
@pytest.mark.gpu
@pytest.mark.parametrize(("shape", "radius"), RADII)
def test_derivatives_and_maxima(shape: tuple[int, int, int], radius: int) -> None:
    edge = 2 * radius
    inner = Rect(edge + 1, shape[1] - edge - 1, edge + 1, shape[2] - edge - 1)
    areas = [inner, Rect(0, 0, 0, 0)][: shape[0]]
    wanted, got = both("derive", planes(shape), replace(OCTAVES[0][0], radius=radius), areas, 1e-4)
    for one, other in zip(wanted[:2], got[:2], strict=True):
        assert_same(other, one)
    (determinant, peaks), (own_determinant, own_peaks) = wanted[2], got[2]
    assert_same(own_determinant[:, edge:-edge, edge:-edge], determinant[:, edge:-edge, edge:-edge])
    assert_same(own_peaks != 0, peaks)
    assert peaks[0].any()
    assert not peaks[1:].any()


@on_a_device
@pytest.mark.gpu
@pytest.mark.parametrize(("shape", "radius"), RADII)
def test_derivatives_alone(shape: tuple[int, int, int], radius: int) -> None:
    level = replace(OCTAVES[0][0], radius=radius)
    wanted, got = both("derive", planes(shape), level, None, 1e-4)
    assert wanted[2] is got[2] is None
    for one, other in zip(wanted[:2], got[:2], strict=True):
        assert_same(other, one)


@on_a_device
@pytest.mark.gpu
def test_features_are_those_of_the_torch_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    if INTERPRETED:
        # The interpreter's time goes with the number of programs; a GPU's compiler takes minutes for such tiles.
        for name in ("SMOOTH_TILE", "DIFFUSE_TILE", "DERIVE_TILE"):
            monkeypatch.setattr(triton_gpu, name, Tile(128, 256, 8))
    image = synthetic_image((120, 180), seed=2)
    settings = AkazeSettings(threshold=3e-4, octaves=2)

    def source(rows: slice, columns: slice) -> np.ndarray:
        return image[rows, columns]

    def run(engine: TorchEngine) -> Features:
        engine.batch = 2
        return akaze_windowed(source, image.shape, engine, settings, core_px=90)

    wanted, got = run(TorchEngine(device="cpu")), run(TritonEngine(device=DEVICE))
    assert len(wanted) > 20
    assert parity(akaze(image, settings=settings, backend="numba"), got).mean_bits <= 0.012
    for field in fields(Features):
        one, other = getattr(wanted, field.name), getattr(got, field.name)
        if INTERPRETED or field.name in ("xy", "response", "level", "size"):
            np.testing.assert_array_equal(other, one, err_msg=field.name)


@interpreted
@pytest.mark.parametrize(
    ("halo", "check"),
    [("FLOW_HALO", test_blur_and_conductivity), ("STEP_HALO", lambda shape: test_diffusion(shape, OCTAVES[0][1].steps)),
     ("PEAK_HALO", lambda shape: test_derivatives_and_maxima(shape, 2))],
)  # fmt: skip
def test_a_wrong_halo_is_found(halo: str, check: object, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = getattr(triton_gpu, halo).value - 1
    monkeypatch.setattr(triton_gpu, halo, triton_gpu.tl.constexpr(wrong))
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        check(SHAPES[2])  # type: ignore[operator]


def test_a_window_of_too_many_pixels_is_refused() -> None:
    assert triton_gpu.grid((3, 28, 100), Tile(32, 64, 8), 2, 1) == (2, 1, 3)
    with pytest.raises(ValueError, match=r"fewer than 2 \*\* 31 pixels, got 50000 x 50000: reduce core_px"):
        triton_gpu.grid((1, 50_000, 50_000), Tile(32, 64, 8), 2, 1)


@pytest.mark.skipif(INTERPRETED or torch.cuda.is_available(), reason="asks what happens without a device")
def test_without_a_device_the_backend_gives_the_reason() -> None:
    for table in (BACKENDS, ENGINES):
        with pytest.raises(
            BackendError, match=r"backend 'triton' cannot run here: (no GPU driver|torch .* finds no GPU)"
        ):
            resolve(table, "triton")


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 14, 29])
def test_passes_do_all_steps(steps: int) -> None:
    assert sum(passes(steps)) == steps
    assert max(passes(steps)) <= triton_gpu.MOST_STEPS
