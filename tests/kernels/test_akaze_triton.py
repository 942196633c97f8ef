"""The fused Triton passes give the torch backend's bits: on a CUDA device, and always under the interpreter."""

from dataclasses import fields, replace

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
from tests.kernels.interpreter import INTERPRETED, assert_passes_interpreted, not_interpreted, on_a_device

DEVICE = "cpu" if INTERPRETED else "cuda"
CONTRAST = np.float32(0.02)
SHAPES = [(1, 33, 47), (2, 64, 64), (2, 61, 90)]
"""Planes, rows and columns: less than a tile, whole tiles, parts of tiles."""

OCTAVES = levels(AkazeSettings(), (1024, 1024))

interpreted = pytest.mark.skipif(not INTERPRETED, reason="needs the interpreter; test_under_the_interpreter runs it")


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SMOOTH_TILE", "DIFFUSE_TILE", "DERIVE_TILE"):
        monkeypatch.setattr(triton_gpu, name, Tile(32, 32, 4))


def planes(shape: tuple[int, int, int], seed: int = 0) -> torch.Tensor:
    """Ground-like texture in [0, 1], with a black edge in the last plane."""
    image = np.stack([synthetic_image(shape[1:], seed + i) for i in range(shape[0])])
    image[-1, :, : shape[2] // 5] = 0
    return torch.from_numpy(image).float() / 255


def both(method: str, *operands: object) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Results of a pass of the torch backend on the CPU, and of the Triton backend."""
    found = []
    for engine in (TorchEngine(device="cpu"), TritonEngine(device=DEVICE)):
        moved = [part.to(engine.device) if isinstance(part, torch.Tensor) else part for part in operands]
        result = getattr(engine, method)(*moved)
        parts = result if isinstance(result, tuple) else (result,)
        found.append([part.cpu() for part in parts if isinstance(part, torch.Tensor)])
    return found[0], found[1]


def assert_equal(method: str, *operands: object) -> None:
    wanted, got = both(method, *operands)
    for one, other in zip(wanted, got, strict=True):
        np.testing.assert_array_equal(other.numpy(), one.numpy())


@pytest.mark.slow
@not_interpreted
def test_under_the_interpreter() -> None:
    assert_passes_interpreted(__file__, skipped=2)


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
@pytest.mark.parametrize(("shape", "radius"), [(SHAPES[0], 4), (SHAPES[1], 3), (SHAPES[2], 2), (SHAPES[2], 4)])
def test_derivatives_and_maxima(shape: tuple[int, int, int], radius: int) -> None:
    smoothed = planes(shape)
    edge = 2 * radius
    level = replace(OCTAVES[0][0], radius=radius)
    inner = Rect(edge + 1, shape[1] - edge - 1, edge + 1, shape[2] - edge - 1)
    areas = [inner, Rect(0, 0, 0, 0)] if shape[0] == 2 else [inner]
    assert_equal("derive", smoothed, level, areas, 1e-4)
    assert_maxima_equal(smoothed, level, areas)
    assert_equal("derive", smoothed, level, None, 1e-4)


def assert_maxima_equal(smoothed: torch.Tensor, level: object, areas: list[Rect]) -> None:
    edge = 2 * level.radius  # type: ignore[attr-defined]
    engines = TorchEngine(device="cpu"), TritonEngine(device=DEVICE)
    wanted, got = (e.derive(smoothed.to(e.device), level, areas, 1e-4)[2] for e in engines)  # type: ignore[arg-type]
    assert wanted is not None
    assert got is not None
    determinants = (part[0].cpu()[:, edge:-edge, edge:-edge].numpy() for part in (got, wanted))
    np.testing.assert_array_equal(*determinants)
    np.testing.assert_array_equal(got[1].cpu().numpy() != 0, wanted[1].numpy())
    assert wanted[1][0].any()
    assert not wanted[1][1:].any()


@on_a_device
@pytest.mark.gpu
def test_features_are_those_of_the_torch_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    if INTERPRETED:
        # The interpreter's time goes with the number of programs; a GPU's compiler takes minutes for such tiles.
        for name in ("SMOOTH_TILE", "DIFFUSE_TILE", "DERIVE_TILE"):
            monkeypatch.setattr(triton_gpu, name, Tile(128, 128, 8))
    image = synthetic_image((150, 190), seed=2)
    settings = AkazeSettings(threshold=3e-4, octaves=2)

    def source(rows: slice, columns: slice) -> np.ndarray:
        return image[rows, columns]

    def run(engine: TorchEngine) -> Features:
        engine.batch = 2
        return akaze_windowed(source, image.shape, engine, settings, core_px=100)

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
        check((2, 61, 90))  # type: ignore[operator]


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
