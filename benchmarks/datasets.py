"""Data sets of the benchmarks: the real set beside the repository, synthetic archives, folders."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import rasterio
import rasterio.windows
import shapely
from pydantic import Field
from rasterio.warp import transform_geom

from benchmarks.meter import alone
from s2fast.errors import InputError
from s2fast.sweeps import data
from s2fast.sweeps.data import REGIONS, Dataset, dataset_of, in_folder
from s2fast.synth import synth

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "ukraine"
"""48 acquisitions of two neighbouring tiles; not part of the repository."""


class DataSpec(data.DataSpec):
    """Description of a data set in a sweep's file."""

    KINDS: ClassVar[tuple[str, ...]] = ("real", "synth", "folder", "none")

    kind: str = "real"
    """real: the real set, with known truth. synth: a synthetic archive. none: for operations without scenes."""
    pattern: list[str] = Field(["**/*TCI*.jp2"])
    size: int = Field(2048, ge=256)
    """Kind "synth": side of a tile [px]."""
    tiles: list[str] = Field(["36UXA", "36UYA"])
    """Kind "synth": MGRS tiles."""
    dates: int = Field(3, ge=1)
    """Kind "synth": number of acquisitions."""
    seed: int = Field(0, ge=0)
    """Kind "synth": seed of ground, weather and shifts."""


def open_dataset(spec: DataSpec, cache: Path) -> Dataset:
    """Return a data set; generate a synthetic one once, in the cache folder.

    Raises
    ------
    InputError
        The data set does not exist, or has no scenes.
    """
    if spec.kind == "none":
        return Dataset([])
    if spec.kind == "folder":
        return dataset_of(spec)
    folder = _synthetic(spec, cache) if spec.kind == "synth" else REAL
    if not folder.is_dir():
        raise InputError(f"no data set at {folder}: put one there, or set another in the sweep's [data]")
    found = in_folder(folder, spec)
    return found if spec.kind == "synth" else replace(found, truth=str(folder))


def ensure_archive(folder: Path, **recipe: Any) -> Path:
    """Generate a synthetic archive unless it exists, with the arguments of `s2fast.synth.synth`; return its folder.

    It is generated in a separate process, so that its memory does not affect measurements.
    """
    if not folder.exists():
        # The archive is generated beside its folder and moved, so that an existing folder is complete.
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        alone(synth, partial, **recipe)
        partial.rename(folder)
    return folder


def ensure_crops(folder: Path, *, side_px: int, **recipe: Any) -> Path:
    """Write the central squares of a synthetic archive's scenes unless they exist; return their folder.

    An archive has a least size, below which scenes have too few features to measure anything but fixed costs; parts of
    one are the smallest scenes that still have features.

    Parameters
    ----------
    folder
        Folder of the squares, lossless JPEG 2000 files named as the scenes, and of regions.geojson, a polygon that
        covers most of each.
    side_px
        Side of the squares [px].
    recipe
        Arguments of `s2fast.synth.synth`.
    """
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as whole:
            paths = sorted(ensure_archive(Path(whole) / "archive", **recipe).rglob("*_TCI.jp2"))
            polygons = [_crop(path, partial / path.name, side_px) for path in paths]
        features = [{"type": "Feature", "properties": {}, "geometry": polygon} for polygon in polygons]
        (partial / REGIONS[0]).write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
        partial.rename(folder)
    return folder


def _crop(source: Path, target: Path, side_px: int) -> dict[str, Any]:
    """Write the central square of a scene; return a polygon within it, in geographic coordinates."""
    with rasterio.open(source) as whole:
        window = rasterio.windows.Window((whole.width - side_px) // 2, (whole.height - side_px) // 2, side_px, side_px)
        profile = {
            "driver": "JP2OpenJPEG", "width": side_px, "height": side_px, "count": whole.count, "dtype": "uint8",
            "crs": whole.crs, "transform": whole.window_transform(window), "blockxsize": side_px, "blockysize": side_px,
        }  # fmt: skip
        lossless = {"quality": 100, "reversible": "yes", "ycbcr420": "no"}
        with rasterio.open(target, "w", **profile, **lossless) as part:
            part.write(whole.read(window=window))
            inset = shapely.box(*part.bounds).buffer(-0.025 * side_px * part.res[0], join_style="mitre")
        polygon: dict[str, Any] = transform_geom(whole.crs, "EPSG:4326", shapely.geometry.mapping(inset))
    return polygon


def _synthetic(spec: DataSpec, cache: Path) -> Path:
    recipe = {"size": spec.size, "tiles": spec.tiles, "dates": spec.dates, "seed": spec.seed}
    name = f"synth-{hashlib.blake2b(json.dumps(recipe).encode(), digest_size=6).hexdigest()}"
    return ensure_archive(cache / name, **recipe)
