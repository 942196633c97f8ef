"""Predict the peak memory of a unit of work, in addition to the memory of the idle worker.

The peak of extraction depends on the detector: `s2fast.detectors.Implementation.extract_bytes`.

`compute.budget_mb` is compared with these predictions; tests/stages/test_memory.py compares them with measured peaks.
"""

from __future__ import annotations

import numpy as np

from s2fast.model import Raster
from s2fast.raster.luma import tiles_at_once
from s2fast.raster.windows import chunk_shape
from s2fast_kernels.machine import MIB

_BANDS = 3
"""Bands read at once; a scene of one band needs less."""

_GDAL_CACHE_BYTES = 64 * MIB
"""Size of GDAL's block cache, set by `s2fast.raster.dataset.gdal_settings`."""

_DECODER_BYTES = 12
"""Decoder memory per pixel and band: int32 coefficients, samples, and the copy of the samples for output."""

_COUNT_BYTES = 10
"""Memory per pixel and band for the histogram of an automatic stretch: valid values, also as int64."""

_LUMA_BYTES = 13
"""Memory per pixel of a tile whose luma is decoded: int32 samples, the result, its masks, and twice the compressed
tile, since OpenJPEG copies it: its three bands are up to 3.3 bytes if it is lossless and noise."""

_MASK_BYTES = 16
"""Memory per pixel of a window of a mask: values of several bands, flags, distances to them, and its margin."""

_MORE_WINDOWS = 2
"""Windows in memory besides those being read: one waiting (`s2fast.raster.prefetch.DEPTH`), one being written."""

_INGEST_BYTES = 8 * MIB
"""Buffers of compression, and what threads and libraries take."""

_PLACED_TILES = 4
"""Number of tiles whose masks `s2fast.regions.mask.place_regions` caches, at one bit per pixel."""

_ROW_BYTES = 64
"""Size of a packed descriptor."""

_SCENE_ROW_BYTES = 241
"""Memory per keypoint of a cached scene: descriptor, position, size, scale, outline, core pixels and map position; and
all but the size and the pixels a second time, sorted for the windowed search."""

_SAMPLE_BYTES = 15 * MIB // 4
"""Sampled blocks of a scene's pixels, their spectra, squares, patches and even pixels."""

_KERNEL_BYTES = 64 * MIB
"""Working memory of a Hamming kernel, without its operands and result."""

_MATCH_BYTES = 52
"""Memory per neighbour, including its match if it becomes one, and that of a null trial."""


def ingest_bytes(
    raster: Raster, reduction: int, *, masked: bool, auto_stretch: bool, threads: int = 1, clouds: bool = False
) -> int:
    """Predict the peak memory of ingesting one scene, without the polygons themselves.

    Parameters
    ----------
    raster
        The scene's header. The size of the windows read at once, whole blocks of the file, matters far more than the
        size of the scene.
    reduction
        ``ingest.reduction``.
    masked
        Whether polygons select and mask the windows.
    auto_stretch
        Whether a histogram of values longer than 8 bits is computed first.
    threads
        Number of threads that decode luma; GDAL's threads share one window.
    clouds
        Whether the scene has a mask of clouds.

    Returns
    -------
    int
        Bytes of: GDAL's cache; the window being decoded (or counted), as read and reordered for conversion to grey, or
        all windows whose luma is decoded; grey, valid and missing pixels of all windows in memory; and the masks cached
        for the next scene.
    """
    shape = (raster.shape[0] // raster.level, raster.shape[1] // raster.level)
    sides = chunk_shape(raster.block, reduction)
    window = min(sides[0] // raster.level, shape[0]) * min(sides[1] // raster.level, shape[1])
    value_bytes = np.dtype(raster.dtype).itemsize
    at_once = tiles_at_once(-(-raster.shape[0] // sides[0]) * -(-raster.shape[1] // sides[1]), threads)
    if not raster.luma:
        at_once = 1
    cached = min(_GDAL_CACHE_BYTES, shape[0] * shape[1] * _BANDS * value_bytes)
    decoding = max(_DECODER_BYTES, _COUNT_BYTES if auto_stretch and raster.dtype != "uint8" else 0)
    reading = window * (_BANDS + raster.masked) * (decoding + 2 * value_bytes)
    if raster.luma:
        cached, reading = 0, at_once * window * _LUMA_BYTES
    held = (2 + (raster.masked or clouds)) * window * (at_once + _MORE_WINDOWS) + clouds * window * _MASK_BYTES
    masks = _PLACED_TILES * raster.shape[0] * raster.shape[1] // 8 + 3 * sides[0] * sides[1] if masked else 0
    return _INGEST_BYTES + cached + reading + held + masks


def match_bytes(keypoints: int, scenes: int) -> int:
    """Predict the peak memory of matching one block of pairs.

    Parameters
    ----------
    keypoints
        Maximum number of keypoints of a scene in the block.
    scenes
        Number of scenes on either side of the block.

    Returns
    -------
    int
        Bytes of: the scenes of both sides; the trains' descriptors, concatenated; the neighbours of one query in all
        trains, and vice versa; all matches of the block, and those of a null trial per pair. More trials are searched
        at once only if their rows fit into a kernel's working memory.
    """
    rows = keypoints * scenes
    return 2 * scenes * scene_bytes(keypoints) + rows * (_ROW_BYTES + _MATCH_BYTES * (1 + scenes)) + _KERNEL_BYTES


def scene_bytes(keypoints: int) -> int:
    """Predict the memory of a scene cached for matching [bytes]."""
    return keypoints * _SCENE_ROW_BYTES + _SAMPLE_BYTES
