"""Products with masks, as the ground segment lays them out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.transform import from_origin

from tests.archives import ORIGINS, textured, write_scene

SIDE = 240
"""Pixels of 10 m along a side of a scene."""

WEST, NORTH = ORIGINS["36UXA"]

GML = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0" xmlns:gml="http://www.opengis.net/gml/3.2"
 gml:id="S2A_OPER_MSK_CLOUDS_EPAE_20160830T083600_A006199_T36UXA_B00_MSIL1C">
  <gml:boundedBy><gml:Envelope srsName="urn:ogc:def:crs:EPSG:8.7:32636">
    <gml:lowerCorner>{west} {south}</gml:lowerCorner><gml:upperCorner>{east} {north}</gml:upperCorner>
  </gml:Envelope></gml:boundedBy>
  <eop:maskMembers>{members}</eop:maskMembers>
</eop:Mask>
"""

MEMBER = """<eop:MaskFeature gml:id="OPAQUE.0"><eop:maskType codeSpace="urn:gs2:S2PDGS:maskType">OPAQUE</eop:maskType>
<eop:extentOf><gml:Polygon gml:id="OPAQUE.0_Polygon">{rings}</gml:Polygon></eop:extentOf></eop:MaskFeature>"""

RING = (
    """<gml:{part}><gml:LinearRing><gml:posList srsDimension="2">{points}</gml:posList></gml:LinearRing></gml:{part}>"""
)


def box(left: int, top: int, right: int, bottom: int) -> str:
    """List the corners of a rectangle, given in pixels of 10 m."""
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return " ".join(f"{WEST + 10 * x:.0f} {NORTH - 10 * y:.0f}" for x, y in corners)


def gml(*rings: tuple[str, str]) -> str:
    """Write the mask of one polygon; without rings, that of a clear scene."""
    members = MEMBER.format(rings="".join(RING.format(part=part, points=points) for part, points in rings))
    bounds = {"west": WEST, "east": WEST + 10 * SIDE, "south": NORTH - 10 * SIDE, "north": NORTH}
    return GML.format(members=members if rings else "", **bounds)


def write_classes(
    path: Path, classes: npt.NDArray[np.generic], pixel_m: float, corner: tuple[float, float] = (WEST, NORTH),
    crs: str | None = "EPSG:32636",
) -> Path:  # fmt: skip
    """Write a raster of classes, (rows, cols) or (bands, rows, cols)."""
    bands = classes if classes.ndim == 3 else classes[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"} if path.suffix == ".jp2" else {}
    shape = {"height": bands.shape[1], "width": bands.shape[2], "count": len(bands), "dtype": bands.dtype}
    with rasterio.open(path, "w", crs=crs, transform=from_origin(*corner, pixel_m, pixel_m), **shape, **options) as to:
        to.write(bands)
    return path


def write_product(folder: Path, level: str, date: str = "20190427", seed: int = 5) -> Path:
    """Write the TCI of a product in its SAFE folder; return its path. A product of level 2A has R10m folders."""
    time = f"{date}T083601"
    safe = f"S2A_MSI{level}_{time}_N0207_R021_T36UXA_{time}.SAFE"
    granule = folder / safe / "GRANULE" / f"{level}_T36UXA_A020081_{time}"
    image = granule / "IMG_DATA"
    path = image / "R10m" / f"T36UXA_{time}_TCI_10m.jp2" if level == "L2A" else image / f"T36UXA_{time}_TCI.jp2"
    grey = textured(np.random.default_rng(seed), (SIDE, SIDE))
    (granule / "QI_DATA").mkdir(parents=True)
    return write_scene(path, np.stack([grey, grey, grey]), block=128)


def beside(image: Path, name: str) -> Path:
    """Return the path of a product's mask by its file name."""
    images = image.parent.parent if image.parent.name == "R10m" else image.parent
    if name.startswith(("MSK_", "S2A_OPER")):
        return images.parent / "QI_DATA" / name
    metres = name.rpartition("_")[2].partition(".")[0]
    return images / f"R{metres}" / f"{image.stem.rpartition('_TCI')[0]}_{name}"
