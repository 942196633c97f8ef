"""How much memory a unit of work takes at most, beyond what is loaded: pure functions of its plan.

What extraction takes depends on the detector: `s2fast.detectors.Implementation.extract_bytes`.

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
