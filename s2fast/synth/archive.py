"""Write an archive: render every scene block by block, compress it, and record the ground truth in ``truth.json``."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.windows import Window

from s2fast.errors import ConfigError, option
from s2fast.files.places import exists, is_folder
from s2fast.files.suffixes import check_on_disk
from s2fast.files.writing import writing
from s2fast_kernels.machine import available_cores

from .atmosphere import CLOUD, NO_DATA, SHADOW, Sky, observe, threshold_for
from .clearings import Clearing, ClearingMap, clearings_in, on_tile, write_regions
from .ground import render_ground
from .noise import salt_of
from .plan import EPSG, PIXEL_M, Acquisition, Tile, acquisitions_of, tiles_of
from .season import palette

Progress = Callable[[int, int], None]
"""Called with the number of scenes written so far and the total number of scenes."""

_CLOUD_HEIGHT_M = 1300.0
_QUALITY = 33  # per cent of the raw size, as in the ground segment's true-colour images


@dataclass(frozen=True, slots=True)
class Scene:
    """One tile of one acquisition, which can be rendered window by window."""

    tile: Tile
    """The tile."""
    acquisition: Acquisition
    """The overpass."""
    sky: Sky
    """Clouds, haze and the edge of the swath."""
    cleared: ClearingMap
    """The clear-cuts visible on that day."""
    salt: int
    """Seed of the ground: `noise.salt_of` of the archive's seed."""

    def render(self, col: int, row: int, cols: int, rows: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Render a window, before compression.

        Returns
        -------
        tuple
            Image, shape (3, rows, cols), uint8, and sky class of each pixel, shape (rows, cols), uint8. A pixel's
            values do not depend on the window.
        """
        left, top = self.tile.left + PIXEL_M * (col + 0.5), self.tile.top - PIXEL_M * (row + 0.5)
        day = self.acquisition
        cover, growth = self.cleared.window(left - PIXEL_M, top + PIXEL_M, rows + 2, cols + 2)
        ground = render_ground(
            left - PIXEL_M,
            top + PIXEL_M,
            day.shift_x,
            day.shift_y,
            cover,
            growth,
            day.day.year,
            palette(day.day, day.snow),
            self.salt,
        )
        return observe(ground, left, top, self.sky)


def scenes_of(
    tiles: Sequence[Tile], acquisitions: Sequence[Acquisition], clearings: Sequence[Clearing], seed: int
) -> list[Scene]:
    """Return a scene for every acquisition and tile, ordered by date, then by tile."""
    salt = salt_of(seed)
    west = min(tile.left for tile in tiles)
    east = max(tile.bounds[2] for tile in tiles)
    middle = sum(tile.top + tile.bounds[1] for tile in tiles) / (2 * len(tiles))
    scenes: list[Scene] = []
    for day in acquisitions:
        cleared = ClearingMap(clearings, acquisitions, day)
        # Sun in the south-east at 40 degrees elevation, as at 10:30 local time: shadows fall to the north-west.
        sky = Sky(
            haze=day.haze,
            threshold=threshold_for(day.cloud),
            shadow_x=-0.45 * _CLOUD_HEIGHT_M,
            shadow_y=0.75 * _CLOUD_HEIGHT_M,
            swath_x=west + day.swath * (east - west),
            swath_y=middle,
            salt=salt + 7919 * (day.index + 1),
        )
        scenes.extend(Scene(tile, day, sky, cleared, salt) for tile in tiles)
    return scenes


def synth(
    folder: Path,
    *,
    size: int = 10980,
    tiles: Sequence[str] = ("36UXA", "36UYA"),
    dates: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Write a synthetic Sentinel-2 archive with known ground truth.

    It consists of a SAFE folder per scene with its true-colour JP2, ``regions.geojson`` with clear-cuts, and
    ``truth.json``. The output is deterministic: equal arguments give equal bytes.

    Parameters
    ----------
    folder
        Output folder; created if missing, must be empty.
    size
        Rows and columns of a tile [px], at 10 m; at least 256.
    tiles
        MGRS tiles of zone 36, band U. Neighbours overlap by 9 % of their width at every size.
    dates
        Number of acquisitions. The first two are clear; cloud, swath edge, snow and haze follow in turn.
    seed
        Seed of the ground, the weather and the shifts.
    progress
        Called with the numbers of scenes that are done and of all, once the arguments have been checked and after every
        scene.

    Returns
    -------
    Path
        Path of ``truth.json``.

    Raises
    ------
    ConfigError
        An argument is out of range, a tile is unknown, or the folder is not empty.
    """
    if seed < 0:
        raise ConfigError(f"synth: {option('seed')} is {seed}, must be 0 or more")
    layout = tiles_of(tiles, size)
    acquisitions = acquisitions_of(dates, seed)
    check_on_disk(folder)
    folder = Path(folder)
    try:
        if exists(folder) and (not is_folder(folder) or any(folder.iterdir())):
            raise ConfigError(f"synth: {folder} is not an empty folder: name a new one, or empty it first")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"synth: cannot use the folder {folder}: {error.strerror}: name another one") from error
    clearings = clearings_in(layout, dates, seed)
    scenes = scenes_of(layout, acquisitions, clearings, seed)
    if progress is not None:
        progress(0, len(scenes))
    with _removed_unless_whole(folder, scenes):
        entries = []
        for done, scene in enumerate(scenes, 1):
            with writing(folder):
                entries.append(_write_scene(folder, scene))
            if progress is not None:
                progress(done, len(scenes))
        truth = {
            "seed": seed,
            "crs": f"EPSG:{EPSG}",
            "size_px": size,
            "pixel_m": PIXEL_M,
            "convention": "ground at (E, N) is seen at (E + shift_m[0], N + shift_m[1]); shift_px is (right, down)",
            "scenes": entries,
            "clearings": [_clearing_entry(clearing, layout, acquisitions) for clearing in clearings],
        }
        path = folder / "truth.json"
        with writing(folder):
            write_regions(folder / "regions.geojson", layout, acquisitions, clearings)
            path.write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
        return path


@contextmanager
def _removed_unless_whole(folder: Path, scenes: Sequence[Scene]) -> Iterator[None]:
    """Remove an archive that is not written to the end, so that the same command can be given again."""
    try:
        yield
    except BaseException:
        products = {Path(scene.acquisition.image_path(scene.tile.name)).parts[0] for scene in scenes}
        for name in products:
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("regions.geojson", "truth.json"):
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        raise


def _write_scene(folder: Path, scene: Scene) -> dict[str, Any]:
    """Render and compress one scene; return its entry in ``truth.json``."""
    tile, day = scene.tile, scene.acquisition
    name = day.image_path(tile.name)
    path = folder / name
    path.parent.mkdir(parents=True)
    # The JP2 driver only copies whole files, so the pixels go through a temporary file instead of memory.
    with tempfile.TemporaryDirectory(prefix=".synth-", dir=folder) as scratch:
        plain = Path(scratch) / "plain.tif"
        counts = _write_plain(plain, scene)
        _compress(plain, path, tile.size)
    pixels = tile.size**2
    valid = pixels - int(counts[NO_DATA])
    return {
        "scene_id": day.scene_id(tile.name),
        "path": str(name),
        "tile": tile.name,
        "date": day.day.isoformat(),
        "conditions": day.label,
        "transform": list(tile.transform)[:6],
        "shift_m": [day.shift_x, day.shift_y],
        "shift_px": [day.shift_x / PIXEL_M, (0.0 - day.shift_y) / PIXEL_M],
        "haze": day.haze,
        "snow_cover": day.snow,
        "nodata_fraction": 1 - valid / pixels,
        "cloud_fraction": int(counts[CLOUD]) / max(1, valid),
        "shadow_fraction": int(counts[SHADOW]) / max(1, valid),
    }


def _write_plain(path: Path, scene: Scene) -> NDArray[np.int64]:
    """Render a scene to a tiled GeoTIFF, one row of blocks at a time; return the pixel count of each sky class."""
    size = scene.tile.size
    block = _block_px(size)
    counts = np.zeros(4, np.int64)
    profile = {
        "driver": "GTiff",
        "width": size,
        "height": size,
        "count": 3,
        "dtype": "uint8",
        "crs": f"EPSG:{EPSG}",
        "transform": scene.tile.transform,
        "tiled": True,
        "blockxsize": block,
        "blockysize": block,
        "photometric": "RGB",
    }
    with rasterio.open(path, "w", **profile) as file, ThreadPoolExecutor(available_cores()) as threads:
        for row in range(0, size, block):
            windows = [(col, row, min(block, size - col), min(block, size - row)) for col in range(0, size, block)]
            for window, (image, classes) in zip(windows, threads.map(lambda w: scene.render(*w), windows), strict=True):
                file.write(image, window=Window(*window))
                counts += np.bincount(classes.ravel(), minlength=4)
    return counts


def _block_px(size: int) -> int:
    """Return the block size: 1024 px as in real images, less for small images, so that they have several blocks."""
    return min(1024, max(128, 1 << math.ceil(math.log2(size / 4))))


def _compress(plain: Path, path: Path, size: int) -> None:
    """Compress like the ground segment: irreversible 9/7 wavelet, independent blocks, six resolutions."""
    block = _block_px(size)
    with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS", GDAL_PAM_ENABLED=False):
        rasterio.shutil.copy(
            plain,
            path,
            driver="JP2OpenJPEG",
            REVERSIBLE="NO",
            QUALITY=_QUALITY,
            BLOCKXSIZE=block,
            BLOCKYSIZE=block,
            RESOLUTIONS=6,
            YCBCR420="NO",
        )


def _clearing_entry(clearing: Clearing, tiles: Sequence[Tile], acquisitions: Sequence[Acquisition]) -> dict[str, Any]:
    shape = clearing.geometry
    parts = getattr(shape, "geoms", [shape])
    return {
        "id": clearing.name,
        "img_date": acquisitions[clearing.seen_from].day.isoformat(),
        "seen_from": clearing.seen_from,
        "tiles": [tile.name for tile in tiles if on_tile([clearing], tile)],
        "area_m2": round(shape.area, 1),
        "parts": len(parts),
        "holes": sum(len(part.interiors) for part in parts),
        "bounds_m": [round(edge, 2) for edge in shape.bounds],
    }
