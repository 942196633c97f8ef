"""Thumbnails of scenes for the report: in colour, and masked."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from s2fast.folder.record import SceneInput
from s2fast.folder.run_folder import RunFolder
from s2fast.report.imagery import THUMBNAIL_PX, from_source, shown_tile, stored_grey, stretched, whole_scene
from s2fast.work.executors import Workplace, run_units

SIDE_PX = THUMBNAIL_PX
"""Longest side of a thumbnail."""

_LEAST_SIDE_PX = 96

_FULL_SIDE_SCENES = 60
"""Number of scenes from which thumbnails become smaller, so that their total size stays the same."""

_QUALITY = 78
"""JPEG quality. JPEG is twenty times faster to write than WebP, and a third larger."""

_OUTSIDE = 0.4
"""Relative brightness outside the regions: dark enough to see the mask, light enough to recognise the ground."""


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """One scene's thumbnails, as data URLs of JPEG images."""

    scene: str
    """The scene in colour, or the stored tile in grey."""
    tile: str
    """The stored tile in grey, dark where keypoints are not allowed."""
    in_colour: bool
    """False if the scene's file cannot be read, and `scene` shows the stored tile."""


def thumbnails(scenes: Sequence[SceneInput], folder: RunFolder, workplace: Workplace) -> dict[str, Thumbnails]:
    """Draw the thumbnails of all scenes, one unit of work per scene; return them by scene id."""
    side_px = thumbnail_side(len(scenes))
    drawn = run_units(workplace, thumbnail_unit, scenes, side_px, folder.address)
    return {item.scene.scene_id: pictures for item, pictures in drawn}


def thumbnail_side(scenes: int) -> int:
    """Return the longest side of a thumbnail [px].

    Examples
    --------
    >>> thumbnail_side(50), thumbnail_side(240), thumbnail_side(100_000)
    (512, 256, 96)
    """
    return max(_LEAST_SIDE_PX, min(SIDE_PX, round(SIDE_PX * math.sqrt(_FULL_SIDE_SCENES / max(scenes, 1)))))


def thumbnail_unit(item: SceneInput, side_px: int, out: str) -> Thumbnails:
    """Draw one scene's thumbnails."""
    folder, scene_id = RunFolder(out), item.scene.scene_id
    window = whole_scene(folder, scene_id)
    pixels = from_source(folder, scene_id, window, side_px, item.scene.source)
    scene = stored_grey(folder, scene_id, window, side_px) if pixels is None else stretched(pixels)
    tile = shown_tile(folder, scene_id, window, side_px, _OUTSIDE)
    return Thumbnails(data_url(scene), data_url(tile), pixels is not None)


def data_url(image: npt.NDArray[np.uint8]) -> str:
    """Encode (rows, cols, 3) RGB or (rows, cols) grey pixels as a data URL of a JPEG image."""
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
