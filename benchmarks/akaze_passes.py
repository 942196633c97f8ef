"""What AKAZE's passes over memory cost: ``python -m benchmarks akaze --passes``.

Each pass of the compiled backend runs on the planes of a window of the default size, which are larger than the caches
beside a core, and on planes of the same width and so few rows that they stay there. The instructions per pixel are the
same, so the difference is what the planes' way through memory costs, and what joined passes could save at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from s2fast_kernels.akaze import numba_cpu, numba_detect, numba_scale_space
from s2fast_kernels.akaze.scales import derivative_taps

WIDTH = numba_cpu.NumbaEngine.core_px + 2 * 82
"""Side of a window of the first octave with its halo [px]."""

_ROWS_IN_CACHE = 64
"""Rows of the low planes: the three of them that a pass uses, with their frames, take 1.5 MB."""

LEVEL_PIXELS = 6.6 * 10980**2
"""Pixels that each pass visits for a full tile: of all levels of all octaves, with halos."""

_RADIUS, _STEPS = 3, 4

PLANES = {"smooth": 3, "gradient": 5, "detect": 2, "diffuse": 3}
"""Planes of float32 that a pass reads, writes, or allocates for writing."""


def _passes(height: int, width: int) -> dict[str, Callable[[], object]]:
    """Return the passes of a level on planes of a size."""
    workspace = numba_cpu._Workspace()
    (image, free, dx, dy, *_), conductances, ring, scratch = workspace.planes(height, width, _STEPS)
    image[:] = np.random.default_rng(0).random(image.shape, np.float32)
    centre, corner = derivative_taps(_RADIUS)
    times = np.linspace(0.1, 0.4, _STEPS, dtype=np.float32)
    margin = _RADIUS + 1
    rectangle = margin, height - margin, margin, width - margin
    return {
        "smooth": lambda: numba_scale_space.smooth(image, free, height, width, numba_cpu._TAPS, scratch),
        "gradient": lambda: numba_detect.gradient(free, dx, dy, height, width, _RADIUS, centre, corner),
        # No maximum exceeds the threshold: what is done with maxima is no pass over planes.
        "detect": lambda: numba_detect.detect(
            dx, dy, *rectangle, _RADIUS, centre, corner, np.float32(1e9), scratch, workspace.position, workspace.shape
        ),
        "diffuse": lambda: numba_scale_space.diffuse(
            image, free, height, width, np.float32(0.03), times, conductances, ring, scratch
        ),
    }


def passes(rounds: int = 15, height: int = WIDTH, width: int = WIDTH) -> Iterator[dict[str, Any]]:
    """Yield for every pass its CPU time per pixel, through memory and in the cache: medians of interleaved rounds.

    Parameters
    ----------
    rounds
        How often each is timed.
    height, width
        Size of the planes that do not fit into the cache [px].
    """
    sizes = {"memory": (height, 1), "cache": (_ROWS_IN_CACHE, max(1, height // _ROWS_IN_CACHE))}
    calls = {name: (_passes(rows, width), rows, repeats) for name, (rows, repeats) in sizes.items()}
    ns: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds + 1):
        for name in PLANES:
            for where, (own, rows, repeats) in calls.items():
                start = time.thread_time()
                for _ in range(repeats):
                    own[name]()
                spent = time.thread_time() - start
                visited = (rows - 2 * _RADIUS if name == "detect" else rows) * repeats * width
                ns.setdefault((name, where), []).append(spent / visited * 1e9)
    for name, planes in PLANES.items():
        # The first round compiles, and touches the planes for the first time.
        memory, cache = (float(np.median(ns[name, where][1:])) for where in sizes)
        yield {
            "benchmark": "akaze_passes",
            "pass": name,
            "planes": planes,
            "ns_per_pixel": round(memory, 3),
            "in_cache_ns_per_pixel": round(cache, 3),
            "full_tile_s": round(memory * LEVEL_PIXELS / 1e9, 2),
            "of_it_memory_s": round((memory - cache) * LEVEL_PIXELS / 1e9, 2),
        }
