"""Thumbnails of scenes for the report: in colour, and masked; drawn once, and kept in the run folder."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from s2fast.folder.kept_pictures import keep_pictures, kept_pictures
from s2fast.folder.record import SceneInput
from s2fast.folder.run_folder import RunFolder
from s2fast.report.imagery import THUMBNAIL_PX, from_source, shown_tile, stored_grey, stretched, whole_scene
from s2fast.work.executors import Workplace
from s2fast.work.units import run_units
from s2fast_kernels.machine import available_cores

SIDE_PX = THUMBNAIL_PX
"""Longest side of a thumbnail as drawn and kept; in a page of many scenes they are smaller, see `beside`."""

_LEAST_SIDE_PX = 96
"""In a page of many scenes, longest sides of thumbnails are no shorter [px]."""

_FULL_SIDE_SCENES = 60
"""Number of scenes up to which a page has thumbnails of the full size; with more, those are in files beside it."""

_SMALL_SCENES = 15
"""A page of more scenes has thumbnails as large together as so many of the full size."""

_QUALITY = 78
"""JPEG quality. JPEG is twenty times faster to write than WebP, and a third larger."""

_URL = "data:image/jpeg;base64,"

_OUTSIDE = 0.4
"""Relative brightness outside the regions: dark enough to see the mask, light enough to recognise the ground."""


_AHEAD_PX = 1 << 24
"""Largest masked scene drawn while other work runs [px]: drawing takes a byte per pixel, besides that work's memory."""

_AT_ONCE_PX = 1 << 27
"""Largest masked scene drawn at once with others, when no other work runs [px]."""

_MOST_THREADS = 4
"""Threads that draw."""


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """One scene's thumbnails, as data URLs of JPEG images."""

    scene: str
    """The scene in colour, or the stored tile in grey."""
    tile: str | None
    """The stored tile in grey, dark where keypoints are not allowed; None: the run has no regions."""
    in_colour: bool
    """False if the scene's file cannot be read, and `scene` shows the stored tile."""


def thumbnails(
    scenes: Sequence[SceneInput], folder: RunFolder, workplace: Workplace, *, masked: bool
) -> dict[str, Thumbnails]:
    """Return the thumbnails of all scenes by scene id, one unit of work per scene; draw those that are not kept."""
    side_px = thumbnail_side(len(scenes))
    drawn = run_units(workplace, thumbnail_unit, scenes, side_px, folder.address, masked)
    return {item.scene.scene_id: pictures for item, pictures in drawn}


def thumbnail_side(scenes: int) -> int:
    """Return the longest side of a thumbnail [px].

    Examples
    --------
    >>> thumbnail_side(50), thumbnail_side(240), thumbnail_side(100_000)
    (512, 128, 96)
    """
    if scenes <= _FULL_SIDE_SCENES:
        return SIDE_PX
    return max(_LEAST_SIDE_PX, round(SIDE_PX * math.sqrt(_SMALL_SCENES / scenes)))


@contextmanager
def drawn_ahead(
    scenes: Sequence[SceneInput],
    folder: RunFolder,
    workplace: Workplace,
    threads: int | None = None,
    *,
    masked: bool,
) -> Iterator[list[Future[Any]]]:
    """Draw and keep the thumbnails of scenes in other threads while the block runs; not of large masked ones.

    Without a number of threads, the block is part of the report, and several draw, if there are several cores. At the
    end of the block, scenes not begun are left to `thumbnails`, which also raises what went wrong with others. If units
    of work run on other machines, no scene is drawn.
    """
    most_px = _AHEAD_PX
    if threads is None:
        cores = workplace.threads or available_cores()
        threads, most_px = (min(_MOST_THREADS, cores) if cores > 1 else 0), _AT_ONCE_PX
    # A masked tile is read from the run folder, the others at a resolution near the thumbnail's.
    drawn = [item for item in scenes if not masked or math.prod(item.raster.shape) <= most_px]
    if not drawn or not workplace.is_local or threads < 1:
        yield []
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="s2fast-thumbnails")
    try:
        yield [pool.submit(keep_thumbnails, item, folder.address, masked=masked, warns=False) for item in drawn]
    finally:
        pool.shutdown(cancel_futures=True)


def thumbnail_unit(item: SceneInput, side_px: int, out: str, masked: bool) -> Thumbnails:
    """Return one scene's thumbnails at a size."""
    pictures = keep_thumbnails(item, out, masked=masked)
    if side_px == SIDE_PX:
        return pictures
    tile = None if pictures.tile is None else shrunk_url(pictures.tile, side_px)
    return Thumbnails(shrunk_url(pictures.scene, side_px), tile, pictures.in_colour)


def keep_thumbnails(item: SceneInput, out: str, *, masked: bool, warns: bool = True) -> Thumbnails:
    """Return one scene's thumbnails as kept in the run folder; otherwise draw them, and keep them if in colour.

    Parameters
    ----------
    item
        The scene, whose tile is stored.
    out
        Address of the run folder.
    masked
        Whether the run uses regions.
    warns
        Whether to log a warning if the scene's file cannot be read.
    """
    folder, scene_id = RunFolder(out), item.scene.scene_id
    key = folder.tile_key(scene_id) or ""
    kept = kept_pictures(folder, scene_id, key)
    if kept is not None:
        return Thumbnails(**kept)
    drawn = _drawn(item, folder, SIDE_PX, masked=masked, warns=warns)
    if drawn.in_colour:
        keep_pictures(folder, scene_id, key, asdict(drawn))
    return drawn


def _drawn(item: SceneInput, folder: RunFolder, side_px: int, *, masked: bool, warns: bool) -> Thumbnails:
    scene_id = item.scene.scene_id
    window = whole_scene(folder, scene_id)
    pixels = from_source(folder, scene_id, window, side_px, item.scene.source, warns=warns)
    scene = stored_grey(folder, scene_id, window, side_px) if pixels is None else stretched(pixels)
    tile = data_url(shown_tile(folder, scene_id, window, side_px, _OUTSIDE)) if masked else None
    return Thumbnails(data_url(scene), tile, pixels is not None)


def shrunk_url(url: str, side_px: int) -> str:
    """Return a thumbnail with at most this many pixels per side."""
    encoded = np.frombuffer(base64.b64decode(url.removeprefix(_URL)), np.uint8)
    bgr = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED))
    scale = side_px / max(bgr.shape[:2])
    if scale >= 1:
        return url
    rows, cols = (max(1, round(side * scale)) for side in bgr.shape[:2])
    return _data_url(cv2.resize(bgr, (cols, rows), interpolation=cv2.INTER_AREA))


def data_url(image: npt.NDArray[np.uint8]) -> str:
    """Encode (rows, cols, 3) RGB or (rows, cols) grey pixels as a data URL of a JPEG image."""
    return _data_url(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def _data_url(bgr: npt.NDArray[Any]) -> str:
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return _URL + base64.b64encode(encoded.tobytes()).decode()
