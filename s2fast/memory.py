"""How much memory a unit of work takes at most, beyond what is loaded: pure functions of its plan.

`compute.budget_mb` is held against these figures; tests/test_memory.py holds them against measured peaks.
"""

from __future__ import annotations

MIB = 1 << 20

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

_KERNEL_BYTES = 64 * MIB
"""What a Hamming kernel may take above its operands and result."""

_MATCH_BYTES = 40
"""A neighbour and the match that it may become."""


_OPENCV_BYTES_PER_PX = 105
"""cv2.AKAZE keeps every level of the whole image."""


def extract_bytes(shape: tuple[int, int], threads: int, *, windowed: bool = True, upsample: int = 1) -> int:
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

    Returns
    -------
    int
        Bytes. In windows: the tile and what of it is clear, where keypoints may lie (one bit a pixel), the planes
        between octaves (float32, a quarter of the pixels each time), one strip of the mask's making, the threads'
        windows, and candidates as dense as real scenes get.
    """
    tile = 2 * shape[0] * shape[1]
    shape = (upsample * shape[0], upsample * shape[1])
    pixels = shape[0] * shape[1]
    if not windowed:
        return tile + pixels * _OPENCV_BYTES_PER_PX
    planes = 4 * (pixels // 4 + pixels // 16 + pixels // 64)
    strip = 6 * min(_MASK_STRIP_ROWS, shape[0]) * shape[1]
    candidates = int(pixels * DENSE_PER_PX) * _CANDIDATE_BYTES
    return tile + pixels // 8 + planes + strip + threads * min(_WINDOW_BYTES, 40 * pixels) + candidates


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
        Bytes: descriptors of both sides, the trains once more in one array, the neighbours of one query in all trains
        and back, and all matches of the block.
    """
    rows = keypoints * scenes
    return 3 * rows * _ROW_BYTES + rows * _MATCH_BYTES * (1 + scenes) + _KERNEL_BYTES
