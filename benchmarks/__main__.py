"""Run a benchmark: ``python -m benchmarks NAME [options]``."""

from __future__ import annotations

import importlib
import os
import sys

COMMANDS = {
    "notebook": ("benchmarks.bench_notebook", "all stages against the notebook's script, after checking equal results"),
    "fulltile": (
        "benchmarks.bench_notebook:fulltile",
        "the same on full 10980 px tiles, extrapolated to 50 scenes",
    ),
    "unmasked": ("benchmarks.bench_unmasked", "two whole tiles, all stages, against OpenCV's reading and AKAZE alone"),
    "costs": (
        "benchmarks.bench_costs",
        "cost per scene, pixel, keypoint and pair; predicted cost of large archives",
    ),
    "reading": ("benchmarks.bench_reading", "whole scenes as grey: stored luma against weighted bands"),
    "quality": ("benchmarks.bench_quality", "verdicts and shifts against the truth, and false positives"),
    "unverified": ("benchmarks.bench_unverified", "which rule stopped each pair that a run has not verified"),
    "masks": ("benchmarks.bench_masks", "CPU time and memory of the masks of a full tile"),
    "resolutions": ("benchmarks.bench_resolutions", "scenes beside resampled ones of other resolutions"),
    "second-look": ("benchmarks.bench_second_look", "what is found of scenes off by up to 180 px"),
    "find": ("benchmarks.bench_find", "pictures found in an archive, false ones, and how fast the search is"),
    "align": ("benchmarks.bench_align", "what is left of known offsets after alignment, synthetic and real"),
    "safety": (
        "benchmarks.bench_safety",
        "CPU time of the checks of strangers' files and names, and its share",
    ),
    "fuzz": ("benchmarks.fuzz", "damaged inputs of every kind: no traceback, no crash, no hang"),
    "traps": ("benchmarks.traps.command", "verification in cases in which it has failed before"),
    "hamming": ("benchmarks.bench_hamming", "hamming_top2 against OpenCV, FAISS and the bound of the hardware"),
    "window": ("benchmarks.bench_window", "windowed matching in both directions on prepared rows against two searches"),
    "akaze": ("benchmarks.bench_akaze", "akaze against OpenCV: parity, seconds and memory"),
    "prepare": ("benchmarks.bench_prepare", "preparation as tensor operations and by kornia against OpenCV's"),
    "executors": ("benchmarks.bench_executors", "overhead per unit of work; two workers against one"),
    "install": ("benchmarks.bench_install", "a stranger's walk: seconds and megabytes from an empty environment"),
    "sweep": ("benchmarks.sweep.command", "quality, seconds and memory of settings"),
    "tune": ("benchmarks.bench_tune", "s2fast tune beside the defaults and a grid of the same cost, on unseen scenes"),
    "injected": ("benchmarks.bench_injected", "injected truth against real scenes, less what is their misregistration"),
    "check": ("benchmarks.check.command", "whether this checkout is slower than another revision"),
    "check-limits": ("benchmarks.check.measure_limits", "how much equal counts differ, and the tolerances that follow"),
    "prove-check": ("benchmarks.check.prove", "whether the check finds injected faults and nothing else"),
    "gpu": (
        "benchmarks.bench_gpu",
        "the default job's parts on a GPU against all cores, and predictions",
    ),
    "static-akaze": ("benchmarks.static_akaze", "compiled AKAZE passes, and the seconds predicted for a full tile"),
    "static": ("benchmarks.static", "compiled GPU kernels, and the rate predicted from their instructions"),
}
"""By name: ``module`` or ``module:function``, a function (argv) -> exit code (default ``main``), and a description."""


def main(argv: list[str]) -> int:
    """Run the benchmark named by the first argument, or list all benchmarks."""
    if not argv or argv[0] not in COMMANDS:
        print("usage: python -m benchmarks NAME [--json] [options]\n", file=sys.stderr)
        for name, (_, description) in COMMANDS.items():
            print(f"  {name:12} {description}", file=sys.stderr)
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `s2fast.cli`
    module, _, function = COMMANDS[argv[0]][0].partition(":")
    code: int = getattr(importlib.import_module(module), function or "main")(argv[1:])
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
