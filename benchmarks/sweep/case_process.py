"""Run one case of a benchmark's sweep in its own process; see `s2fast.sweeps.case_process`."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.calls import warm_up
from benchmarks.meter import memory_mib, peak_memory


def run_case(job: dict[str, Any]) -> dict[str, Any]:
    """Run all stages on a data set and return the row."""
    from benchmarks.counts import run_counts
    from s2fast.results import Run
    from s2fast.sweeps import case_process

    warm_up()
    if job["core_px"]:
        if job["workers"] > 1:
            raise ValueError("kernel.core_px needs a single process: set run.workers = 1")
        from s2fast_kernels.akaze.numba_cpu import NumbaEngine

        NumbaEngine.core_px = job["core_px"]
    row = case_process.run_case(job)
    return {**row, "counts": run_counts(Run(job["out"]))}


def search_case(job: dict[str, Any], rounds: int = 5) -> dict[str, Any]:
    """Search random descriptors with one backend, interleaved with OpenCV's search of the same data."""
    from benchmarks import peers
    from benchmarks.harness import interleaved, ratio
    from s2fast_kernels.hamming_top2 import hamming_top2
    from s2fast_kernels.hamming_top2.cases import random_descriptors

    rng = np.random.default_rng(0)
    query, train = random_descriptors(rng, job["n"]), random_descriptors(rng, job["m"])
    offsets = np.linspace(0, len(train), job["segments"] + 1).astype(np.int64)
    sample, one = min(200, len(query)), np.array([0, len(train)], np.int64)

    def search() -> Any:
        return hamming_top2(query, train, offsets, backend=job["backend"])

    def peer() -> Any:
        return peers.opencv(query[:sample], train)

    found = search()
    wanted = hamming_top2(query[:sample], train, offsets, backend="reference")
    exact = all(
        np.array_equal(getattr(found, name)[:sample], getattr(wanted, name)) for name in ("index", "best", "second")
    )
    peer_exact = np.array_equal(peer()[:, 0], hamming_top2(query[:sample], train, one, backend="numba").best[:, 0])
    if not (exact and peer_exact):
        raise ValueError(f"wrong answers ({'ours' if peer_exact else 'OpenCV'}): nothing was timed")
    peaks: list[float] = []
    with peak_memory(peaks):
        search()
    times = interleaved({"search": search, "opencv": peer}, rounds)
    seconds = float(np.median(times["search"]))
    # OpenCV's rate does not depend on the number of queries, so only a sample is timed.
    scaled = [second * len(query) / sample for second in times["opencv"]]
    return {
        "stages": {"search": {"seconds": seconds, "peak_mb": memory_mib("VmHWM"), "above_mb": round(peaks[0], 1)}},
        "backends": {"search": job["backend"]},
        "counts": {"comparisons": len(query) * len(train)},
        "quality": {
            "exact": 1,
            "rate_1e9_per_s": round(len(query) * len(train) / seconds / 1e9, 4),
            "times_opencv": round(ratio(scaled, times["search"]), 3),
        },
    }


def main() -> None:
    """Run one case."""
    from s2fast.sweeps.case_process import answer

    answer(lambda job: search_case(job) if job["kind"] == "hamming" else run_case(job))


if __name__ == "__main__":
    main()
