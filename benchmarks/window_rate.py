"""What a windowed search costs a query and a candidate, for `benchmarks.bench_costs`; one thread."""

from __future__ import annotations

import time

import numpy as np

from s2fast.work.executors import limit_threads
from s2fast_kernels.hamming_top2.cases import random_descriptors
from s2fast_kernels.hamming_window_top2 import hamming_window_top2

SIDE_PX = 10980


def windowed_rates() -> list[tuple[dict[str, float], float]]:
    """Time searches of several sizes and densities: units and CPU seconds of one search."""
    limit_threads(1)
    rng = np.random.default_rng(0)
    found = []
    for rows, candidates in ((100, 20), (100, 20), (5_000, 5), (5_000, 20), (5_000, 80), (50_000, 5), (50_000, 80)):
        query, train = random_descriptors(rng, rows), random_descriptors(rng, rows)
        xy, train_xy = rng.uniform(0, SIDE_PX, (2, rows, 2))
        # Clear of the tile's edge there are so many rows within this radius.
        radius = SIDE_PX * float(np.sqrt(candidates / (np.pi * rows)))
        times = []
        for _ in range(6):
            start = time.process_time()
            hamming_window_top2(query, xy, train, train_xy, radius)
            times.append(time.process_time() - start)
        units = {"searches": 1.0, "1e3 queries": rows / 1e3, "1e6 candidates": rows * candidates / 1e6}
        found.append((units, float(np.median(times[1:]))))
    return found[1:]
