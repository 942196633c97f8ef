"""The torch backend: the compiled backend's keypoints, from batches of windows on any device."""

from dataclasses import fields, replace

import numpy as np
import pytest

from s2fast_kernels.akaze import AkazeSettings, akaze, akaze_windowed
from s2fast_kernels.akaze.cases import synthetic_image
from s2fast_kernels.akaze.contract import check_image
from s2fast_kernels.akaze.parity import parity
from s2fast_kernels.akaze.windowed import akaze_windowed as run
from s2fast_kernels.features import Budget, Features

torch = pytest.importorskip("torch")

LOW = AkazeSettings(threshold=3e-4)


def on(device: str, batch: int):  # type: ignore[no-untyped-def]
    from s2fast_kernels.akaze.torch_any import TorchEngine

    engine = TorchEngine(device=device)
    engine.batch = batch
    return engine


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return synthetic_image((300, 372), seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("upright", [False, True])
def test_equals_the_compiled_backend(image: np.ndarray, upright: bool) -> None:
    settings = replace(LOW, upright=upright)
    wanted, got = (akaze(image, settings=settings, backend=name) for name in ("numba", "torch"))
    result = parity(wanted, got)
    assert result.wanted > 100
    assert result.found == 1
    assert result.mean_bits <= 0.012
    # The same operations in the same order: not only near, the same numbers.
    for name in ("xy", "response", "level", "size"):
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))


@pytest.mark.slow
def test_batches_of_windows_equal_the_whole_image(image: np.ndarray) -> None:
    def source(rows: slice, columns: slice) -> np.ndarray:
        return image[rows, columns]

    whole = run(source, image.shape, on("cpu", 1), LOW, core_px=1 << 20)
    batched = run(source, image.shape, on("cpu", 3), LOW, core_px=200)
    for field in fields(Features):
        np.testing.assert_array_equal(getattr(batched, field.name), getattr(whole, field.name))


@pytest.mark.slow
def test_budget_and_mask(image: np.ndarray) -> None:
    def source(rows: slice, columns: slice) -> np.ndarray:
        return image[rows, columns]

    valid = np.zeros(image.shape, bool)
    valid[60:200, 80:300] = True
    options = {"settings": LOW, "contrast": 0.3, "valid": valid, "budget": Budget(40, 50), "core_px": 128}
    wanted, got = (
        akaze_windowed(source, image.shape, backend=name, **options)  # type: ignore[arg-type]
        for name in ("numba", "torch")
    )
    assert len(wanted) == 40
    np.testing.assert_array_equal(got.xy, wanted.xy)
    assert parity(wanted, got).mean_bits <= 0.012


def test_keypoints_at_the_border() -> None:
    """Lattices that leave the image count fewer points, in both backends."""
    image = synthetic_image((96, 96), seed=5)
    settings = AkazeSettings(threshold=1e-6)
    wanted, got = (akaze(image, settings=settings, backend=name) for name in ("numba", "torch"))
    assert len(wanted) > 5
    assert parity(wanted, got).holds


@pytest.mark.gpu
def test_on_a_gpu(image: np.ndarray) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")

    check_image(image)
    wanted = akaze(image, settings=LOW, backend="numba")
    got = run(lambda rows, columns: image[rows, columns], image.shape, on("cuda", 4), LOW, core_px=128)
    assert parity(wanted, got).holds
