"""Run folders made by hand, for tests of stages that read what others wrote."""

import zlib
from typing import Any

import numpy as np

from s2fast.folder.run_folder import RunFolder
from s2fast.image.fixed_pattern import FixedPattern
from s2fast.image.prepare import clear_cells
from s2fast.model import Features, TileInfo
from s2fast_kernels.hamming_top2.cases import random_descriptors


def put_scene(
    folder: RunFolder,
    scene: str,
    features: Features,
    *,
    shape: tuple[int, int] = (200, 200),
    corner: tuple[float, float] = (300_000.0, 5_500_000.0),
    pixel_m: float = 10.0,
    crs: str = "EPSG:32636",
    clear: np.ndarray | None = None,
) -> None:
    """Write what ingest and extract leave of a north-up scene."""
    transform = (pixel_m, 0.0, corner[0], 0.0, -pixel_m, corner[1])
    folder.tile_writer(scene, f"tile of {scene}", shape, shape, valid_outside=True).finish(
        tile_info(crs=crs, transform=transform, full_shape=shape)
    )
    cells = clear_cells(np.ones(shape, bool) if clear is None else clear)
    fixed = nothing_fixed(len(features), zlib.crc32(scene.encode()))
    folder.write_features(scene, features, cells, fixed, f"key of {scene}", "opencv")


def tile_info(**fields: Any) -> TileInfo:
    """What describes a tile of no file in particular, with some fields as given."""
    whole: dict[str, Any] = {
        "source": "scene.tif", "platform": "", "sensing_time": None, "tile": "", "crs": "EPSG:32636",
        "transform": (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), "full_shape": (200, 200), "reduction": 1, "decode": "full",
        "centre_px": 0.0, "stretch": None, "windows_read": 1,
    }  # fmt: skip
    return TileInfo(**(whole | fields))


def nothing_fixed(count: int, seed: int = 0) -> FixedPattern:
    """Keypoints of ground whose pixels are like no other scene's."""
    rng = np.random.default_rng(seed)
    pixels, blocks = (rng.integers(0, 256, shape).astype(np.uint8) for shape in ((count, 25), (64, 64, 64)))
    corners = np.stack(np.divmod(np.arange(64), 8), axis=1).astype(np.int32)
    return FixedPattern(np.zeros(count, np.uint64), pixels, blocks, 64 * corners)


def some_features(xy: np.ndarray, descriptors: np.ndarray, size: float = 4.8) -> Features:
    """Keypoints of one size."""
    count = len(xy)
    return Features(
        xy.astype(np.float32),
        np.full(count, size, np.float32),
        np.zeros(count, np.float32),
        np.ones(count, np.float32),
        np.zeros(count, np.int16),
        descriptors,
    )


def random_features(rng: np.random.Generator, count: int, shape: tuple[int, int] = (200, 200)) -> Features:
    """Keypoints anywhere, with descriptors that are like no other's."""
    xy = rng.uniform(0, 1, (count, 2)) * (shape[1] - 1, shape[0] - 1)
    return some_features(xy, random_descriptors(rng, count))
