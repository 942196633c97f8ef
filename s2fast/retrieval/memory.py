"""Predict the peak memory of finding a picture, in addition to that of the idle process.

``compute.budget_mb`` is compared with these predictions; tests/retrieval/test_memory.py compares them with measured
peaks. Nothing here grows with the archive, but `index_bytes`.
"""

from __future__ import annotations

from s2fast.errors import S2FastError, option
from s2fast_kernels.machine import MIB

_GDAL_CACHE_BYTES = 64 * MIB
"""Size of GDAL's block cache, set by `s2fast.raster.dataset.gdal_settings`."""

_KERNEL_BYTES = 40 * MIB
"""Working memory of a Hamming kernel, without its operands and result."""

_SCENE_BYTES = 8 << 10
"""Memory per scene of an index: its entry, and the votes for it."""

_NEIGHBOUR_BYTES = 24
"""Memory per keypoint of a picture and scene that are compared at once: both distances, the row, and which are good."""

_KEYPOINT_BYTES = 84
"""Memory of a scene's keypoint."""

_COMPARED_BYTES = 4 * _KEYPOINT_BYTES + 32
"""Memory per keypoint of a scene that is compared with a picture: as read, as chosen, without the place found, and its
neighbours."""


def index_bytes(scenes: int) -> int:
    """Predict the memory of an opened index and the votes of one picture, without the search."""
    return scenes * _SCENE_BYTES


def scenes_at_once(keypoints: int, budget_mb: int) -> int:
    """Return how many scenes are compared with a picture at once: their neighbours take a sixteenth of the budget."""
    return max(1, budget_mb * MIB // 16 // (_NEIGHBOUR_BYTES * max(1, keypoints)))


def search_bytes(keypoints: int, scenes: int, rows: int, *, mapped: bool) -> int:
    """Predict the peak memory of comparing a picture with a segment of an index.

    Parameters
    ----------
    keypoints
        Keypoints of the picture.
    scenes
        Scenes that are compared at once.
    rows
        Keypoints of the segment.
    mapped
        Whether its files are mapped into memory, which the system takes back when it needs to; else they are held.
    """
    held = 0 if mapped else 2 * rows * (64 + 16)
    return _KERNEL_BYTES + _NEIGHBOUR_BYTES * keypoints * scenes + held


def kept_bytes(budget_mb: int) -> int:
    """Return the memory for keypoints of candidates, kept for the next pictures: an eighth of the budget."""
    return budget_mb * MIB // 8


def kept_rows(budget_mb: int) -> int:
    """Return how many keypoints of candidates are kept."""
    return kept_bytes(budget_mb) // _KEYPOINT_BYTES


def candidate_bytes(rows: int) -> int:
    """Predict the peak memory of comparing a picture with all keypoints of one scene."""
    return _KERNEL_BYTES + rows * _COMPARED_BYTES


def reading_bytes(pixels: int, bands: int, itemsize: int) -> int:
    """Predict the peak memory of reading a picture.

    Parameters
    ----------
    pixels
        Pixels at the resolution at which it is searched.
    bands, itemsize
        Bands that are read, and bytes per value.
    """
    return _GDAL_CACHE_BYTES + pixels * (bands * (2 * itemsize + 2) + 6)


def check(needed_bytes: int, budget_mb: int, what: str, error: type[S2FastError]) -> None:
    """Raise an error if something does not fit into the budget.

    Parameters
    ----------
    needed_bytes
        Predicted peak.
    budget_mb
        The budget [MiB].
    what
        What takes the memory, at the beginning of the message.
    error
        Type of the error.
    """
    if needed_bytes > budget_mb * MIB:
        name = option("budget_mb", "budget-mb")
        raise error(f"{what} may take {-(-needed_bytes // MIB)} MiB and {name} is {budget_mb}: raise it")
