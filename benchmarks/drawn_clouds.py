"""Masks of clouds drawn by hand, for the dates on which brightness does not tell clouds from snow or gives up.

``drawn_clouds.geojson`` holds polygons drawn over the pictures of five scenes of tile 36UYA. Each has the ``date`` of
its scene and ``brighter``, a grey value read off the picture: within the polygon, brighter pixels are cloud; null: all
of it is. Where polygons overlap, the later one counts. The masks that follow were looked at over the pictures.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom

FILE = Path(__file__).with_name("drawn_clouds.geojson")

_CLOUD, _GROUND, _NO_DATA = 9, 4, 0
"""Classes of a scene classification: cloud, vegetation, no data."""

_LEAST_PX = 2
"""Bright areas narrower than this are roofs or noise; the others are widened by a pixel."""


def drawn() -> dict[str, list[dict[str, Any]]]:
    """Return the polygons as GeoJSON features by date, in the order in which they were drawn."""
    by_date: dict[str, list[dict[str, Any]]] = {}
    for feature in json.loads(FILE.read_text("utf-8"))["features"]:
        by_date.setdefault(feature["properties"]["date"], []).append(feature)
    return by_date


def clouds(
    grey: npt.NDArray[np.uint8], transform: rasterio.Affine, crs: Any, features: Sequence[dict[str, Any]]
) -> npt.NDArray[np.bool_]:
    """Return True on the clouds of a scene, (rows, cols), by the polygons of its date, longitude and latitude."""
    found = np.zeros(grey.shape, np.bool_)
    for feature in features:
        shape = transform_geom("EPSG:4326", crs, feature["geometry"])
        inside = geometry_mask([shape], grey.shape, transform, invert=True)
        least = feature["properties"]["brighter"]
        found[inside] = True if least is None else _brighter(grey, least)[inside]
    return found


def _brighter(grey: npt.NDArray[np.uint8], least: int) -> npt.NDArray[np.bool_]:
    wide = np.ones((_LEAST_PX, _LEAST_PX), np.uint8)
    bright = cv2.morphologyEx((grey > least).view(np.uint8), cv2.MORPH_OPEN, wide)
    return np.asarray(cv2.dilate(bright, np.ones((3, 3), np.uint8)).view(np.bool_))


def with_masks(scenes: Path, folder: Path) -> list[str]:
    """Copy scenes into one folder, those of the dates with drawn clouds with a scene classification; return the dates.

    Parameters
    ----------
    scenes
        Folder with ``*_TCI.jp2`` at any depth, whose names begin with tile and date.
    folder
        Where they are copied to.
    """
    by_date, found = drawn(), []
    for path in sorted(scenes.rglob("*_TCI.jp2")):
        shutil.copy(path, folder)
        date = re.match(r"T36UYA_(\d{8})T", path.name)
        if date is None or date[1] not in by_date:
            continue
        with rasterio.open(path) as scene:
            grey = scene.read(1)
            classes = np.where(clouds(grey, scene.transform, scene.crs, by_date[date[1]]), _CLOUD, _GROUND)
            classes[grey == 0] = _NO_DATA
            profile = {"driver": "JP2OpenJPEG", "count": 1, "dtype": "uint8", "crs": scene.crs,
                       "transform": scene.transform, "width": scene.width, "height": scene.height}  # fmt: skip
        with rasterio.open(
            folder / path.name.replace("_TCI", "_SCL"), "w", quality=100, reversible="yes", **profile
        ) as mask:
            mask.write(classes.astype(np.uint8), 1)
        found.append(date[1])
    return found
