"""Synthetic imagery with the layout and the facts of ``../shared/data``, for clones that lack the real one.

    python -m tests.standin DIR

The names of acquisitions are those of real ones; every pixel is our own (`s2fast.synth`).

- ``ukraine/``: 48 acquisitions of tiles 36UXA (10) and 36UYA (38), grey in three equal bands, lossless, 256 px blocks.
  Scenes of a tile share one grid and have no displacement; the tiles share a strip. Some dates have snow, heavy cloud,
  or no data in most of the scene. Polygons in ``deforestation_labels.geojson``.
- ``arosics/``: two 10 m scenes of one place, one band uint16, different origins, a nodata edge; the target shows the
  ground 0.62 px farther east and 1.83 px farther north.
- ``paris/``: a true-colour crop of other ground, lossy; ``lebanon/``: another, lossless.
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace
from datetime import date
from functools import lru_cache
from pathlib import Path

import cv2
import geopandas
import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from s2fast.synth.archive import scenes_of
from s2fast.synth.atmosphere import observe
from s2fast.synth.ground import render_ground
from s2fast.synth.plan import PIXEL_M as GROUND_M
from s2fast.synth.plan import Acquisition, Tile
from s2fast.synth.season import palette

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""The real imagery, if there is any."""

SIZE_PX = 640
PIXEL_M = 107.2265625
ORIGIN = (499_980.0, 5_600_040.0)
STRIP_PX = 50
"""Columns that the two tiles share."""

SEEN = {
    "36UXA": """
        S2A_20180810T083601 S2A_20180820T083601 S2A_20180830T083601 S2A_20180919T083621 S2A_20190427T083601
        S2A_20190606T083601 S2B_20180805T083559 S2B_20180815T084009 S2B_20180825T083549 S2B_20180904T083549
    """,
    "36UYA": """
        S2A_20160212T084052 S2A_20160330T082542 S2A_20160405T085012 S2A_20160502T083602 S2A_20160509T082612
        S2A_20160618T082602 S2A_20160621T084012 S2A_20160830T083602 S2A_20161026T083032 S2A_20161121T085252
        S2A_20161205T083332 S2A_20190318T083701 S2A_20190328T084011 S2A_20190407T083601 S2A_20190417T083601
        S2A_20190427T083601 S2A_20190517T083601 S2A_20190606T083601 S2A_20190616T083601 S2A_20190626T083601
        S2A_20190706T083611 S2A_20190726T083611 S2A_20190805T083601 S2A_20190815T083601 S2A_20190825T083601
        S2A_20190904T083601 S2B_20190313T083739 S2B_20190402T083559 S2B_20190412T083609 S2B_20190422T083609
        S2B_20190601T083609 S2B_20190611T083609 S2B_20190621T083609 S2B_20190701T083609 S2B_20190721T083609
        S2B_20190810T083609 S2B_20190830T083609 S2B_20190909T083559
    """,
}
SNOW = {"20160212", "20161205"}
CLOUD = {"20190706": 0.6, "20190726": 0.5, "20190805": 0.7}
SWATH = {"20160330": 0.45, "20160405": 0.2, "20160509": 0.4, "20160618": 0.3, "20161026": 0.35, "20161121": 0.25}
"""Share of the tile's width that is inside the swath."""


def standin(folder: Path) -> Path:
    """Return the folder, made by the first process that asks for it; others wait."""
    partial = folder.with_name(f"{folder.name}.partial")
    while not folder.is_dir():
        try:
            partial.mkdir(parents=True)
        except FileExistsError:
            time.sleep(0.2)
            continue
        try:
            write(partial)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def write(folder: Path) -> None:
    """Write all imagery and the polygons."""
    lefts = {"36UXA": 0, "36UYA": SIZE_PX - STRIP_PX}
    for tile, names in SEEN.items():
        left = ORIGIN[0] + lefts[tile] * PIXEL_M
        for name in names.split():
            grey = cv2.cvtColor(np.moveaxis(render(name, lefts[tile]), 0, 2), cv2.COLOR_RGB2GRAY)
            write_image(image_path(folder / "ukraine", name, tile), np.stack([grey] * 3), left, PIXEL_M)
    write_polygons(folder / "ukraine" / "deforestation_labels.geojson", lefts)

    day = Acquisition(0, date(2016, 6, 8), "clear", 0.0, 0.0, 0.0, 0.0, 0.0, 9.0)
    reference = reflectances(render_day(day, 900, 800, seed=3))
    target = replace(day, index=1, day=date(2016, 5, 29), shift_x=6.2, shift_y=18.3, cloud=0.05)
    moved = reflectances(render_day(target, 900, 800, seed=3))
    moved[:, :, :40] = 0
    sites = folder / "arosics"
    write_image(sites / "ref_S2A_20160608T153121_T33UUU_sub.jp2", reference, ORIGIN[0], 10.0)
    # 60 columns and 30 rows of the target are cut off: its origin is another.
    path = sites / "tgt_S2A_20160529T153631_T33UUU_sub.jp2"
    write_image(path, moved[:, 30:, :-60], ORIGIN[0], 10.0, top=ORIGIN[1] - 300.0)

    colour = replace(day, day=date(2018, 7, 5))
    paris = folder / "paris" / "T31UDQ_20240105T105339_TCI_10m.jp2"
    write_image(paris, render_day(colour, 720, 640, seed=4), ORIGIN[0], 10.0, lossy=True, block=0)
    hills = render_day(replace(day, day=date(2019, 9, 1)), 768, 768, seed=5)
    write_image(folder / "lebanon" / "T36SYC_TCI_60m.jp2", hills, ORIGIN[0], 60.0)


def image_path(folder: Path, name: str, tile: str) -> Path:
    """Name the TCI of a product as in the real data set."""
    platform, sensed = name.split("_")
    product = f"{platform}_MSIL1C_{sensed}_N0207_R021_T{tile}_{sensed}"
    granule = f"L1C_T{tile}_A020081_{sensed}"
    return folder / product / f"{product}.SAFE" / "GRANULE" / granule / "IMG_DATA" / f"T{tile}_{sensed}_TCI.jp2"


def render(name: str, left_px: int) -> npt.NDArray[np.uint8]:
    """Render an acquisition of one tile: (3, rows, cols)."""
    sensed = name.split("_")[1]
    day = sensed[:8]
    acquisition = Acquisition(
        index=int(day),
        day=date(int(day[:4]), int(day[4:6]), int(day[6:])),
        label="",
        shift_x=0.0,
        shift_y=0.0,
        haze=0.02,
        cloud=CLOUD.get(day, 0.0),
        snow=0.8 if day in SNOW else 0.0,
        swath=SWATH.get(day, 9.0),
    )
    return render_day(acquisition, SIZE_PX, SIZE_PX, seed=2, left_px=left_px)


def render_day(day: Acquisition, cols: int, rows: int, seed: int, left_px: int = 0) -> npt.NDArray[np.uint8]:
    """Render part of a square tile: (3, rows, cols)."""
    tile = Tile("36UXA", 600_000 + 10 * left_px, 5_600_040, max(cols, rows))
    (scene,) = scenes_of([tile], [day], [], seed)
    left, top = tile.left + 0.5 * GROUND_M, tile.top - 0.5 * GROUND_M
    shown = materials(left - day.shift_x, top - day.shift_y, cols + 2, rows + 2, day.day.year, scene.salt)
    return observe(shown @ palette(day.day, day.snow).astype(np.float32), left, top, scene.sky)[0]


@lru_cache(maxsize=2)
def materials(left: float, top: float, cols: int, rows: int, year: int, salt: int) -> npt.NDArray[np.float32]:
    """Share of each material in a pixel, times its brightness: (rows, cols, 17).

    Reflectance is their product with a day's palette, so the ground of all dates of a year is computed once.
    `left` and `top` are the position of the first pixel inside the margin of one pixel [m].
    """
    bare = np.zeros((rows, cols), np.float32)
    kinds = len(palette(date(2019, 6, 1), 0.0))
    corner = left - GROUND_M, top + GROUND_M
    # The palette chooses three materials at a time, one for each band.
    shares = [
        render_ground(*corner, 0.0, 0.0, bare, bare, year, np.eye(kinds, 3, -first), salt)
        for first in range(0, kinds, 3)
    ]
    return np.concatenate(shares, axis=2)[:, :, :kinds]


def reflectances(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """Return one band as uint16 reflectances: (1, rows, cols)."""
    grey = cv2.cvtColor(np.moveaxis(colours, 0, 2), cv2.COLOR_RGB2GRAY)[None]
    return np.where(grey == 0, 0, grey.astype(np.uint16) * 13 + 100).astype(np.uint16)


def write_image(
    path: Path,
    pixels: npt.NDArray[np.generic],
    left: float,
    pixel_m: float,
    *,
    top: float = ORIGIN[1],
    lossy: bool = False,
    block: int = 256,
) -> None:
    """Write (bands, rows, cols) as JPEG 2000."""
    path.parent.mkdir(parents=True, exist_ok=True)
    quality = {"QUALITY": "33", "REVERSIBLE": "NO"} if lossy else {"QUALITY": "100", "REVERSIBLE": "YES"}
    tiles = {"blockxsize": block, "blockysize": block} if block else {}
    with rasterio.open(
        path, "w", driver="JP2OpenJPEG", width=pixels.shape[2], height=pixels.shape[1], count=len(pixels),
        dtype=pixels.dtype, crs="EPSG:32636", transform=from_origin(left, top, pixel_m, pixel_m), **quality, **tiles,
    ) as dataset:  # fmt: skip
        if len(pixels) == 3:
            dataset.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        dataset.write(pixels)


def write_polygons(path: Path, lefts: dict[str, int]) -> None:
    """Write some hundred polygons per tile, a few of them in several parts or with a hole."""
    rng = np.random.default_rng(6)
    rows = []
    for tile, left in lefts.items():
        for number in range(150):
            col, row = rng.uniform(left, left + SIZE_PX), rng.uniform(0, SIZE_PX)
            middle = shapely.Point(ORIGIN[0] + col * PIXEL_M, ORIGIN[1] - row * PIXEL_M)
            shape = middle.buffer(rng.uniform(150, 900), quad_segs=2)
            if number % 4 == 0:
                shape = shape.union(shapely.affinity.translate(shape, 2500, 400))
            if number % 50 == 1:
                shape = shape.difference(middle.buffer(60))
            rows.append({"img_date": "2019-06-06", "tile": tile, "geometry": shape})
    frame = geopandas.GeoDataFrame(rows, crs="EPSG:32636").to_crs("EPSG:4326")
    frame.to_file(path, driver="GeoJSON", engine="pyogrio")


if __name__ == "__main__":
    standin(Path(sys.argv[1]))
