"""One corrected raster: masks, missing pixels, other resolutions and coordinate systems."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.transform import Affine, from_origin

from s2fast.align import output
from s2fast.align.output import Form, Kernel, Target, corrected_transform, grid_of, scaled_grid, write
from s2fast.config import load_config
from s2fast.errors import ConfigError, SceneError
from s2fast.files.source import Source
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.raster.dataset import gdal_settings
from s2fast.raster.whole import check_whole
from s2fast_kernels import machine
from s2fast_kernels.device_memory import allowed_bytes
from s2fast_kernels.machine import Gpus
from tests.archives import write_scene

SHAPE = (90, 70)
GRID = PixelGrid("EPSG:32636", (10.0, 0.0, 600000.0, 0.0, -10.0, 5600000.0), SHAPE)


def written(path: Path, pixels: np.ndarray, **profile: object) -> Source:  # type: ignore[type-arg]
    bands = pixels if pixels.ndim == 3 else pixels[None]
    with rasterio.open(
        path, "w", driver="GTiff", count=len(bands), height=bands.shape[1], width=bands.shape[2], dtype=bands.dtype,
        **{"crs": GRID.crs_wkt, "transform": Affine(*GRID.transform), **profile},
    ) as dataset:  # fmt: skip
        dataset.write(bands)
    return Source.local(path)


def resampled(source: Source, path: Path, offset: tuple[float, float], *, is_mask: bool = False, kernel: str = "cubic",
              grid: PixelGrid = GRID) -> rasterio.DatasetReader:  # fmt: skip
    with gdal_settings():
        write(source, offset, Target(Form.RESAMPLED, Kernel(kernel), grid, is_mask, {"A": "b"}), path)
    assert not path.with_name(f"{path.name}.vrt").exists()
    return rasterio.open(path)


def edge(dtype: str = "uint8") -> np.ndarray:  # type: ignore[type-arg]
    """Return an image whose left half has no data."""
    pixels = np.full((3, *SHAPE), 200, dtype)
    pixels[..., :35] = 0
    return pixels


@pytest.mark.slow
@pytest.mark.parametrize("kernel", list(Kernel))
@pytest.mark.parametrize("nodata", [None, 0, 7])
def test_missing_pixels_do_not_bleed(tmp_path: Path, kernel: str, nodata: int | None) -> None:
    pixels = edge()
    pixels[pixels == 0] = nodata or 0
    source = written(tmp_path / "in.tif", pixels, nodata=nodata)
    with resampled(source, tmp_path / "out.tif", (5.0, 5.0), kernel=kernel) as found:
        assert found.nodata == (nodata or 0)
        assert found.tags()["A"] == "b"
        assert set(np.unique(found.read())) == {nodata or 0, 200}
        # Half a pixel to the west and south: the data begin half a pixel further west.
        assert (found.read(1)[:, 36:69] == 200)[1:].all()


def test_alpha_and_masks_are_carried_along_and_not_interpolated(tmp_path: Path) -> None:
    pixels = np.concatenate([edge(), np.where(edge()[:1] > 0, 255, 0).astype(np.uint8)])
    pixels[:3, :, :35] = 90  # hidden under the mask
    source = written(tmp_path / "alpha.tif", pixels, photometric="RGB", alpha="YES")
    with resampled(source, tmp_path / "alpha_out.tif", (5.0, 0.0)) as found:
        assert found.colorinterp[3] == ColorInterp.alpha
        assert set(np.unique(found.read(4))) == {0, 255}
        assert set(np.unique(found.read(1)[found.read(4) == 255])) == {200}
    source = written(tmp_path / "mask.tif", pixels[:3])
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "mask.tif", "r+") as dataset:
        dataset.write_mask(pixels[3])
    with resampled(source, tmp_path / "mask_out.tif", (5.0, 0.0)) as found:
        assert set(np.unique(found.dataset_mask())) == {0, 255}
        assert (found.dataset_mask() == 255).sum() == pytest.approx((pixels[3] == 255).sum(), abs=2 * SHAPE[0])
        assert set(np.unique(found.read(1)[found.dataset_mask() == 255])) == {200}


def test_classes_keep_their_values(tmp_path: Path) -> None:
    classes = np.random.default_rng(0).choice(np.array([0, 4, 8, 11], np.uint8), (45, 35))
    source = written(tmp_path / "SCL.tif", classes, transform=from_origin(600000, 5600000, 20, 20))
    own = grid_of(source)
    grid = scaled_grid(GRID, own.shape, SHAPE)
    assert (grid.transform, grid.shape) == (own.transform, own.shape)
    # A shift of 1.4 pixels of 20 m: each pixel is the nearest one, to the west.
    with resampled(source, tmp_path / "out.tif", (28.0, 0.0), is_mask=True, grid=grid) as found:
        np.testing.assert_array_equal(found.read(1)[:, :-1], classes[:, 1:])
    with resampled(source, tmp_path / "blurred.tif", (28.0, 0.0), grid=grid) as blurred:
        assert len(np.unique(blurred.read(1))) > 4


@pytest.mark.parametrize("kernel", list(Kernel))
def test_resampling_is_one_interpolation_of_the_source(tmp_path: Path, kernel: str) -> None:
    """Bilinear and cubic kernels reproduce a plane: the tolerance is half a grey value of rounding. Lanczos does so
    within 2 % of a pixel, here another grey value; the wrong sign would give 36."""
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    plane = (100 + 20 * cols + 30 * rows).astype(np.uint16)
    source = written(tmp_path / "in.tif", plane)
    with resampled(source, tmp_path / "out.tif", (3.0, -4.0), kernel=kernel) as found:
        # Features are 0.3 px too far right and 0.4 px too far down: read there.
        expected = 100 + 20 * (cols + 0.3) + 30 * (rows + 0.4)
        np.testing.assert_allclose(
            found.read(1)[6:-6, 6:-6], expected[6:-6, 6:-6], atol=1.51 if kernel == "lanczos" else 0.51
        )


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_an_offset_in_metres_is_converted_to_other_coordinates(crs: str) -> None:
    size = 1e-4 if crs == "EPSG:4326" else 15.0
    corner = (34.0, 50.0) if crs == "EPSG:4326" else (3_785_000.0, 6_447_000.0)
    grid = PixelGrid(crs, (size, 0.0, corner[0], 0.0, -size, corner[1]), (64, 64))
    moved = PixelGrid(crs, tuple(corrected_transform(grid, (30.0, -12.0)))[:6], grid.shape)
    np.testing.assert_allclose(
        moved.on_map(grid.middle, grid.metric) - grid.on_map(grid.middle), [[-30, 12]], atol=1e-3
    )


def test_a_file_that_a_full_disk_cut_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_scene(tmp_path / "a.tif", np.full((64, 64), 7, np.uint8))
    check_whole(path)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(SceneError, match="No space left on device: free disk space there"):
            check_whole(path)
    with rasterio.open(path) as written:
        last = (written.height - 1) // written.block_shapes[0][0]
        start = int(written.get_tag_item(f"BLOCK_OFFSET_0_{last}", "TIFF", bidx=written.count))
    path.write_bytes(path.read_bytes()[: start + 1])
    with pytest.raises((SceneError, RasterioError)):
        check_whole(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("device", "used"), [("cpu", "cpu"), ("auto", "cuda:0"), ("cuda:1", "cuda:1"), ("cuda:7", "cuda:0")]
)
def test_the_runs_device_and_its_memory_are_used(
    device: str, used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a device that this machine lacks is replaced: a run may come from another one."""
    asked = []

    def no_memory(field: object, device: str) -> None:
        asked.append((device, allowed_bytes(torch.device(device))))
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 1.21 GiB")

    monkeypatch.setattr(machine, "gpus", lambda: Gpus(((9, 0), (9, 0))))
    monkeypatch.setattr(machine, "PLACE", machine.Place())  # an earlier test may have been a worker in this process
    monkeypatch.setattr(output, "selected_resampler", no_memory)
    config = load_config(overrides={"compute.device": device, "compute.device_budget_mb": 300})
    source = written(tmp_path / "a.tif", edge())
    target = Target(Form.RESAMPLED, Kernel.CUBIC, GRID, False, {}, None, config)
    with pytest.raises(
        ConfigError, match=r"a\.tif: the GPU is out of memory with compute\.device_budget_mb = 300 MiB"
    ) as one:
        write(source, (0.0, 0.0), target, tmp_path / "b.tif")
    assert "\n" not in str(one.value)
    assert asked == [(used, 300 << 20)]
