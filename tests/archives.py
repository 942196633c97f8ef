"""Scenes and polygons made for the tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import geopandas
import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

UTM36 = "EPSG:32636"
PIXEL_M = 10.0
ORIGINS = {"36UXA": (600000.0, 5600040.0), "36UYA": (603840.0, 5600040.0)}
"""Upper left corner of the two small tiles [m]; they share 128 columns."""

SIDE_PX = 512


def textured(rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Draw a grey image full of blobs of many sizes: AKAZE finds hundreds of keypoints."""
    image = np.zeros(shape, np.float32)
    for sigma in (1.5, 3.0, 6.0, 12.0):
        noise = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), sigma)
        image += noise / noise.std()
    return np.clip(image * 25 + 120, 1, 255).astype(np.uint8)


def write_scene(
    path: Path,
    pixels: npt.NDArray[np.generic],
    origin: tuple[float, float] = ORIGINS["36UXA"],
    crs: str | None = UTM36,
    block: int = 256,
) -> Path:
    """Write (rows, cols) or (3, rows, cols) pixels as a lossless JP2 or a tiled GeoTIFF, by the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = pixels if pixels.ndim == 3 else pixels[None]
    jp2 = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
    tiff = {"driver": "GTiff", "tiled": True}
    with rasterio.open(
        path,
        "w",
        width=bands.shape[2],
        height=bands.shape[1],
        count=bands.shape[0],
        dtype=bands.dtype,
        crs=crs,
        transform=from_origin(*origin, PIXEL_M, PIXEL_M),
        blockxsize=block,
        blockysize=block,
        **(jp2 if path.suffix == ".jp2" else tiff),
    ) as dataset:
        if len(bands) == 3:
            # Without it a JP2's bands are three greys, and OpenCV reads only the first.
            dataset.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        dataset.write(bands)
    return path


def open_ended(jp2: bytes) -> bytes:
    """Return a JP2 file whose last box, the codestream, reaches to the end of the file, wherever that is."""
    at = jp2.index(b"jp2c") - 4
    return jp2[:at] + bytes(4) + jp2[at + 4 :]


def safe_path(folder: Path, tile: str, time: str, platform: str = "S2A", baseline: str = "0207") -> Path:
    """Name the TCI of a product as the ground segment does."""
    product = f"{platform}_MSIL1C_{time}_N{baseline}_R021_T{tile}_{time}.SAFE"
    return folder / product / "GRANULE" / f"L1C_T{tile}_A020081_{time}" / "IMG_DATA" / f"T{tile}_{time}_TCI.jp2"


def write_regions(path: Path, polygons: list[shapely.Geometry], crs: str | None = UTM36) -> Path:
    """Write polygons given in the scenes' UTM zone, as EPSG:4326 GeoJSON unless told otherwise."""
    frame = geopandas.GeoDataFrame({"id": range(len(polygons))}, geometry=polygons, crs=crs)
    if path.suffix == ".geojson":
        frame = frame.to_crs("EPSG:4326")
    frame.to_file(path)
    return path


@dataclass(frozen=True, slots=True)
class Archive:
    """A small archive on disk."""

    scenes: Path
    regions: Path


def write_archive(folder: Path) -> Archive:
    """Write two overlapping tiles on two dates each, and polygons."""
    rng = np.random.default_rng(7)
    ground = textured(rng, (SIDE_PX, 2 * SIDE_PX))
    for number, time in enumerate(("20190427T083601", "20190606T083601")):
        for tile, (west, north) in ORIGINS.items():
            start = round((west - ORIGINS["36UXA"][0]) / PIXEL_M)
            seen = ground[:, start : start + SIDE_PX].astype(np.float32)
            seen = seen * (1.0 - 0.2 * number) + rng.normal(0, 2.0, seen.shape)
            grey = np.clip(seen, 1, 255).astype(np.uint8)
            parts = np.stack([grey, np.roll(grey, 1, 0), np.roll(grey, 1, 0), np.roll(grey, 1, 1)])
            blurred = (parts.sum(axis=0, dtype=np.uint16) // 4).astype(np.uint8)
            # Colours, yet decoded in half the time that bands of unlike noise take.
            bands = np.stack([blurred, np.minimum(blurred, 250) + 5, np.maximum(blurred, 11) - 10])
            write_scene(safe_path(folder / "scenes", tile, time), bands, (west, north))
    west, north = ORIGINS["36UXA"]
    blob = shapely.Point(west + 3300, north - 1700).buffer(600)
    ring = shapely.Point(west + 4600, north - 3800).buffer(700) - shapely.Point(west + 4600, north - 3800).buffer(300)
    both = shapely.MultiPolygon([shapely.box(west + 500, north - 1200, west + 1500, north - 300), ring])
    return Archive(folder / "scenes", write_regions(folder / "regions.geojson", [blob, both]))
