"""torch's resampling against GDAL's, on the CPU and, where there is one, on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
import torch
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader, MemoryFile
from rasterio.transform import Affine, from_origin
from rasterio.warp import calculate_default_transform

from s2fast.align import rasterio_resampling, torch_resampling
from s2fast.align.field_model import Cells, Field, Model, fit
from s2fast.align.resampling import ALL_BANDS, Resampling, corrected_by_field
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast_kernels.device_memory import at_most_bytes
from tests.archives import UTM36, textured
from tests.kernels.test_device_memory import DEVICES, peak_on

HEIGHT, WIDTH = 131, 257
GRID = from_origin(600000, 5600040, 10, 10)


@contextmanager
def dataset(pixels: npt.NDArray[Any], transform: Affine, **options: Any) -> Iterator[DatasetReader]:
    count, height, width = pixels.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype}
    mask, alpha = options.pop("mask", None), options.pop("alpha", False)
    with MemoryFile() as memory:
        with memory.open(**profile, transform=transform, **{"crs": UTM36, **options}) as written:
            if alpha:
                written.colorinterp = [*[ColorInterp.gray] * (count - 1), ColorInterp.alpha]
            written.write(pixels)
            if mask is not None:
                written.write_mask(mask)
        with memory.open() as source:
            yield source


def resampled(
    function: Any, source: DatasetReader, how: Resampling, crs: str = UTM36, grid: Affine = GRID, **options: Any
) -> npt.NDArray[Any]:
    with MemoryFile() as memory:
        profile = {
            "driver": "GTiff", "count": source.count, "height": HEIGHT, "width": WIDTH, "dtype": source.dtypes[0],
            "crs": crs, "transform": grid, "nodata": source.nodata,
        }  # fmt: skip
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), memory.open(**profile) as written:
            function(source, written, how, **options)
        with memory.open() as read:
            return np.asarray(read.dataset_mask()[None] if how.bands == [ALL_BANDS] else read.read(list(how.bands)))


def image(dtype: Any, holes: bool) -> npt.NDArray[Any]:
    rng = np.random.default_rng(3)
    pixels = np.stack([textured(rng, (HEIGHT, WIDTH)) for _ in range(3)]).astype(dtype)
    pixels = pixels if pixels.dtype == np.uint8 else pixels * pixels.dtype.type(13)
    if holes:
        pixels[:, 40:60, 70:90] = 0
        pixels[:, ::17, ::23] = 0
        pixels[0, 100, 100] = 0  # not missing: the other bands hold data
    return pixels


MOVED = {
    "shift": (Affine.translation(0.37, -1.81), UTM36),
    "affine": (Affine.translation(-3.3, 2.6) @ Affine.rotation(0.4) @ Affine.scale(1.0003), UTM36),
    "other zone": (Affine.identity(), "EPSG:32635"),
}


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "cubic", "lanczos"])
@pytest.mark.parametrize(
    ("dtype", "name"),
    [(np.uint8, "shift"), (np.uint16, "affine"), (np.float32, "affine"), (np.uint8, "other zone")],
)
def test_torch_equals_gdal(device: str, kernel: str, dtype: Any, name: str) -> None:
    (moved, crs), how = MOVED[name], Resampling([1, 2, 3], kernel)
    with dataset(image(dtype, holes=True), GRID @ moved, nodata=0) as source:
        grid = GRID
        if crs != UTM36:
            grid = calculate_default_transform(source.crs, crs, WIDTH, HEIGHT, *source.bounds)[0]
        expected = resampled(rasterio_resampling.resample, source, how, crs, grid)
        found = resampled(torch_resampling.resample, source, how, crs, grid, device=device)
    assert (expected > 0).mean() > 0.5
    missing, differs = expected == 0, (expected == 0) != (found == 0)
    # GDAL's Lanczos leaves out some pixels beside missing ones.
    assert not differs.any() if kernel != "lanczos" else differs.mean() < 5e-4
    apart = np.abs(found.astype(np.float64) - expected)[~differs & ~missing]
    if crs != UTM36 and kernel == "nearest":
        # GDAL's positions are exact to 0.01 px in another CRS, so that some fall into the neighbouring pixel.
        assert (apart > 0).mean() < 1e-3
    else:
        # Rounding; floats of up to 3315 are summed with 24 bits.
        assert apart.max() <= (1 if dtype != np.float32 else 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "cubic", "lanczos"])
def test_nan_is_missing(device: str, kernel: str) -> None:
    pixels, how = image(np.float32, holes=True), Resampling([1, 2, 3], kernel)
    pixels[:, pixels.any(axis=0) == 0] = np.nan
    with dataset(pixels, GRID @ Affine.translation(0.37, -1.81), nodata=np.nan) as source:
        expected = resampled(rasterio_resampling.resample, source, how)
        found = resampled(torch_resampling.resample, source, how, device=device)
    # GDAL's Lanczos leaves out some pixels beside missing ones.
    differs = np.isnan(expected) != np.isnan(found)
    assert differs.mean() <= (5e-4 if kernel == "lanczos" else 0)
    assert 0.5 < np.isfinite(found).mean() < 1
    np.testing.assert_allclose(found[~differs], expected[~differs], atol=0.05)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_line_of_pixels_is_interpolated(device: str, axis: int) -> None:
    # GDAL is no oracle here: it treats a single column in another way.
    line = np.random.default_rng(6).integers(1, 255, 40)
    pixels = np.expand_dims(line, 1 - axis)[None].astype(np.float32)
    places = np.arange(40) + 0.3
    at = np.full((*pixels.shape[1:], 2), 0.2, np.float32)
    at[..., 1 - axis] = np.expand_dims(places, 1 - axis)
    sides = [torch.from_numpy(one).to(device) for one in (pixels, pixels[0] > 0, at)]
    values, found = torch_resampling.sampled(*sides, "bilinear")
    assert found.all()
    expected = np.interp(places - 0.5, np.arange(40), line)
    np.testing.assert_allclose(values.cpu().numpy().ravel(), expected, atol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("marked", ["alpha", "mask", "nothing"])
def test_what_marks_missing_pixels(device: str, marked: str) -> None:
    pixels, options = image(np.uint8, holes=False), {}
    here = np.full(pixels.shape[1:], 255, np.uint8)
    here[30:70, 50:] = 0
    if marked == "alpha":
        pixels, options = np.concatenate([pixels, here[None]]), {"alpha": True}
    elif marked == "mask":
        options = {"mask": here}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        dataset(pixels, GRID @ Affine.translation(2.3, 1.2), **options) as source,
    ):
        hows = [Resampling([1, 2, 3], "bilinear", 4 if marked == "alpha" else 0)]
        hows += [Resampling([4], "nearest")] * (marked == "alpha") + [Resampling([ALL_BANDS], "nearest")] * (
            marked == "mask"
        )
        for how in hows:
            expected = resampled(rasterio_resampling.resample, source, how)
            found = resampled(torch_resampling.resample, source, how, device=device)
            assert len(np.unique(expected)) > 1
            np.testing.assert_allclose(found, expected, atol=1 if how.kernel == "bilinear" else 0)


@pytest.mark.parametrize("device", DEVICES)
def test_a_field_that_is_affine_moves_pixels_as_the_transform_does(device: str) -> None:
    rng = np.random.default_rng(4)
    sides = np.diag([WIDTH * 10.0, -HEIGHT * 10.0])
    share = rng.uniform(size=(400, 2))
    moved = np.array([13.0, -8.0]) + (share - 0.5) @ np.array([[9.0, 4.0], [-5.0, 7.0]])
    cells = Cells(share, moved, np.full(400, 50.0), sides, 10.0)
    affine, spline = fit(Model.AFFINE, cells), fit(Model.GRID, cells)
    pixels, how = image(np.uint8, holes=False), Resampling([1, 2, 3], "cubic")
    grid = PixelGrid(UTM36, tuple(GRID)[:6], (HEIGHT, WIDTH))
    with dataset(pixels, corrected_by_field(grid, affine)) as source:
        expected = resampled(rasterio_resampling.resample, source, how)
    with dataset(pixels, GRID) as source:
        found = resampled(torch_resampling.resample, source, Resampling([1, 2, 3], "cubic", 0, spline), device=device)
    inner = (slice(None), slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(found[inner], expected[inner], atol=2)


def test_a_field_is_followed() -> None:
    # The scene shows a feature at x where it should be at x - d(x): the output at x shows the scene at x + d.
    rng = np.random.default_rng(5)
    side = 400
    share = rng.uniform(size=(3000, 2))
    bent = 20 * np.column_stack([np.sin(2 * np.pi * share[:, 1]), np.cos(2 * np.pi * share[:, 0])])
    field: Field = fit(Model.GRID, Cells(share, bent, np.full(3000, 1e6), np.diag([side * 10.0, -side * 10.0]), 10.0))
    right, down = np.meshgrid(*[np.arange(side) + 0.5] * 2)
    ramps = np.stack([right, down]).astype(np.float32)
    with dataset(ramps, GRID) as source, MemoryFile() as memory:
        profile = {"driver": "GTiff", "count": 2, "height": side, "width": side, "dtype": "float32"}
        with memory.open(**profile, crs=UTM36, transform=GRID) as written:
            torch_resampling.resample(source, written, Resampling([1, 2], "bilinear", 0, field))
        with memory.open() as read:
            came = read.read().astype(np.float64)
    inner = slice(10, -10)
    at = came[:, inner, inner].reshape(2, -1).T
    back = at - field.at(at / side) / [10, -10]
    here = np.stack([right, down])[:, inner, inner].reshape(2, -1).T
    assert np.abs(at - here).max() > 1.8
    # Positions are interpolated between every third pixel.
    assert np.abs(back - here).max() < 0.005


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("finer", [1, 3])
@pytest.mark.parametrize(("dtype", "bands"), [(np.uint8, 1), (np.float64, 5)])
@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "lanczos"])
def test_a_small_device_gets_small_parts_and_the_same_pixels(
    kernel: str, dtype: Any, bands: int, finer: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part takes no more of a device than predicted, and not much less; positions in it are rounded to 24 bits."""
    predicted = []
    part_bytes = torch_resampling.part_bytes

    def noted(*operands: Any) -> int:
        predicted.append(part_bytes(*operands))
        return predicted[-1]

    monkeypatch.setattr(torch_resampling, "part_bytes", noted)
    pixels, how = np.concatenate([image(dtype, holes=True)] * 2)[:bands], Resampling(range(1, bands + 1), kernel)
    moved = GRID @ MOVED["affine"][0] @ Affine.scale(1 / finer)
    with dataset(pixels.repeat(finer, axis=1).repeat(finer, axis=2), moved, nodata=0) as source:
        with peak_on(device) as live:
            wanted = resampled(torch_resampling.resample, source, how, device=device)
        [whole] = predicted
        assert 0.15 * whole < live.peak <= whole
        limit = whole // 3
        with peak_on(device) as live, at_most_bytes(limit):
            found = resampled(torch_resampling.resample, source, how, device=device)
    apart = np.abs(found.astype(np.float64) - wanted)
    assert (apart > 0.05).mean() < 1e-3 if kernel == "nearest" else apart.max() <= (1 if dtype == np.uint8 else 0.05)
    assert live.peak <= limit


@pytest.mark.slow
@pytest.mark.parametrize("function", [rasterio_resampling.resample, torch_resampling.resample])
def test_positions_in_another_crs_are_exact_along_a_whole_tile(function: Any) -> None:
    # GDAL's own tolerance bends lines of this length by an eighth of a pixel, all to one side.
    width, crs = 4000, "EPSG:32635"
    at = np.stack(np.meshgrid(np.arange(width), np.arange(HEIGHT))).astype(np.float32) + 1
    with dataset(at, GRID, nodata=0) as source:
        grid = calculate_default_transform(source.crs, crs, width, HEIGHT, *source.bounds)[0]
        with MemoryFile() as memory:
            profile = {"driver": "GTiff", "count": 2, "height": HEIGHT, "width": width, "dtype": "float32"}
            with memory.open(**profile, crs=crs, transform=grid, nodata=0) as written:
                function(source, written, Resampling([1, 2], "bilinear"))
            with memory.open() as read:
                found = read.read()
    centres = grid @ (np.arange(width) + 0.5, np.arange(HEIGHT)[:, None] + 0.5)
    points = pyproj.Transformer.from_crs(crs, UTM36, always_xy=True).transform(*np.broadcast_arrays(*centres))
    expected = np.stack(~GRID @ points) + 0.5
    inside = (found > 0).all(axis=0) & ((expected > 3) & (expected < np.array([[[width]], [[HEIGHT]]]) - 2)).all(axis=0)
    assert inside.sum() > 50_000
    off = (found - expected)[:, inside]
    assert np.abs(off.mean(axis=1)).max() < 0.002
    assert np.abs(off).max() < 0.01
