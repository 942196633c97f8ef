"""How much memory a unit of work takes at most, beyond what is loaded: pure functions of its plan.

`compute.budget_mb` is held against these figures; tests/stages/test_memory.py holds them against measured peaks.
"""

from __future__ import annotations

from s2fast.model import Raster
from s2fast.raster.windows import chunk_shape

MIB = 1 << 20

_BANDS = 3
"""Bands read at once; a scene of one band takes less."""

_GDAL_CACHE_BYTES = 64 * MIB
"""What `s2fast.raster.dataset.gdal_settings` leaves GDAL's cache of blocks."""

_DECODER_BYTES = 12
"""A decoder's int32 planes of a pixel and band: coefficients, samples, and their copy on the way out."""

_COUNT_BYTES = 10
"""A pixel and band on its way into the histogram of an automatic stretch: its valid values, and those as int64."""

_HELD_WINDOWS = 3
"""Windows between reading and Zarr: one read, one waiting (`s2fast.raster.prefetch.DEPTH`), one written."""

_INGEST_BYTES = 16 * MIB
"""Zarr's threads and what they compress."""

_PLACED_TILES = 4
"""Tiles whose masks `s2fast.regions.mask.place_regions` keeps, one bit a pixel."""

DENSE_PER_PX = 0.015
"""Keypoints a pixel that extraction must have room for: real scenes have 0.001 to 0.0025, and 0.015 after CLAHE."""

_CANDIDATE_BYTES = 500
"""What a maximum of the detector costs while lists of all windows are joined, sorted and described."""

_WINDOW_BYTES = 48 * MIB
"""A thread's six float32 planes of a 1024 px window with its halo, and the window's pixels."""

_MASK_STRIP_ROWS = 1024
"""Rows for which it is computed at once where a keypoint may lie."""

_ROW_BYTES = 64
"""A packed descriptor."""

_SCENE_ROW_BYTES = 241
"""A keypoint of a scene held for matching: descriptor, position, size, scale, painted cells, pixels around it, position
on the map; and all but the size and the pixels once more, in the order of the windowed search."""

_SAMPLE_BYTES = 3 * MIB // 2
"""Blocks of a scene's pixels, and their spectra."""

_KERNEL_BYTES = 64 * MIB
"""What a Hamming kernel may take above its operands and result."""

_MATCH_BYTES = 40
"""A neighbour and the match that it may become."""

_OPENCV_BYTES_PER_PX = 105
"""cv2.AKAZE keeps every level of the whole image."""


def ingest_bytes(raster: Raster, reduction: int, *, masked: bool, auto_stretch: bool) -> int:
    """Predict the peak of ingesting one scene, the polygons themselves not counted.

    Parameters
    ----------
    raster
        The scene's header: what matters is the window that is read at once, whole blocks of the file, far more than
        the scene's size.
    reduction
        ``ingest.reduction``.
    masked
        Whether polygons choose the windows and mask them.
    auto_stretch
        Whether 16-bit values are counted first.

    Returns
    -------
    int
        Bytes: GDAL's cache, the window being decoded (or counted), as read and in order for its grey, the windows
        between reading and Zarr, grey, valid and what is missing, and the masks kept for the next scene.
    """
    shape = (raster.shape[0] // raster.level, raster.shape[1] // raster.level)
    sides = chunk_shape(raster.block, reduction)
    window = min(sides[0] // raster.level, shape[0]) * min(sides[1] // raster.level, shape[1])
    value_bytes = 2 if raster.dtype == "uint16" else 1
    cached = min(_GDAL_CACHE_BYTES, shape[0] * shape[1] * _BANDS * value_bytes)
    decoding = max(_DECODER_BYTES, _COUNT_BYTES if auto_stretch and raster.dtype == "uint16" else 0)
    reading = window * (_BANDS + raster.masked) * (decoding + 2 * value_bytes)
    held = (2 + raster.masked) * window * _HELD_WINDOWS
    masks = _PLACED_TILES * raster.shape[0] * raster.shape[1] // 8 + 3 * sides[0] * sides[1] if masked else 0
    return _INGEST_BYTES + cached + reading + held + masks


def extract_bytes(
    shape: tuple[int, int], threads: int, *, windowed: bool = True, upsample: int = 1, masked: bool = False
) -> int:
    """Predict the peak of extracting one scene.

    Parameters
    ----------
    shape
        Rows and columns of the masked tile.
    threads
        Windows under way at once.
    windowed
        Whether the backend works in windows; OpenCV's does not.
    upsample
        Times the tile is enlarged for the detector.
    masked
        Whether the tile comes with what its file says is missing.

    Returns
    -------
    int
        Bytes. In windows: the tile, what of it is clear and what is missing, where pixels are equal and where keypoints
        may lie (one bit a pixel each), the planes between octaves (float32, a quarter of the pixels each time), one
        strip of the mask's making, the threads' windows, and candidates as dense as real scenes get.
    """
    tile = (2 + masked) * shape[0] * shape[1]
    shape = (upsample * shape[0], upsample * shape[1])
    pixels = shape[0] * shape[1]
    if not windowed:
        return tile + pixels * _OPENCV_BYTES_PER_PX
    planes = 4 * (pixels // 4 + pixels // 16 + pixels // 64)
    strip = 6 * min(_MASK_STRIP_ROWS, shape[0]) * shape[1]
    candidates = int(pixels * DENSE_PER_PX) * _CANDIDATE_BYTES
    return tile + tile // 16 + pixels // 8 + planes + strip + threads * min(_WINDOW_BYTES, 40 * pixels) + candidates


def match_bytes(keypoints: int, scenes: int) -> int:
    """Predict the peak of matching one block of pairs.

    Parameters
    ----------
    keypoints
        Most keypoints of a scene in the block.
    scenes
        Scenes on either side of the block.

    Returns
    -------
    int
        Bytes: the scenes of both sides, the trains' descriptors once more in one array, the neighbours of one query in
        all trains and back, and all matches of the block.
    """
    rows = keypoints * scenes
    return 2 * scenes * scene_bytes(keypoints) + rows * (_ROW_BYTES + _MATCH_BYTES * (1 + scenes)) + _KERNEL_BYTES


def scene_bytes(keypoints: int) -> int:
    """Predict what a scene takes while it is held for matching."""
    return keypoints * _SCENE_ROW_BYTES + _SAMPLE_BYTES
