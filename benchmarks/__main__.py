"""Choose a benchmark: ``python -m benchmarks NAME [options]``."""

from __future__ import annotations

import importlib
import sys

COMMANDS = {
    "notebook": ("benchmarks.bench_notebook", "the whole job beside the notebook's script, equal answers first"),
    "fulltile": (
        "benchmarks.bench_notebook:fulltile",
        "the same on full 10980 px tiles, and what 50 of them would take",
    ),
    "costs": (
        "benchmarks.bench_costs",
        "what a scene, a pixel, a keypoint and a pair cost; what archives would",
    ),
    "quality": ("benchmarks.bench_quality", "verdicts and shifts held against the truth, and against chance"),
    "fuzz": ("benchmarks.fuzz", "damaged inputs of every kind: no traceback, no crash, no hang"),
    "traps": ("benchmarks.traps.command", "verification tried where it has been wrong"),
    "hamming": ("benchmarks.bench_hamming", "hamming_top2 against OpenCV, FAISS and the bound of the hardware"),
    "window": ("benchmarks.bench_window", "windowed matching both ways on prepared rows against two searches"),
    "akaze": ("benchmarks.bench_akaze", "akaze against OpenCV: parity, then seconds and memory"),
    "executors": ("benchmarks.bench_executors", "overhead a unit of work; two workers against one"),
    "sweep": ("benchmarks.sweep.command", "what settings give in quality, seconds and memory"),
    "check": ("benchmarks.check.command", "whether this checkout is slower than another revision"),
    "prove-check": ("benchmarks.check.prove", "the check on injected faults: found, and nothing else"),
    "static": ("benchmarks.static", "what the compiler made of the GPU kernels, and the rate that predicts"),
}
"""Name, module with a ``main(argv) -> exit code`` or another function named, and what it is; imported when chosen."""


def main(argv: list[str]) -> int:
    """Run the benchmark named first, or list them."""
    if not argv or argv[0] not in COMMANDS:
        print("usage: python -m benchmarks NAME [--json] [options]\n", file=sys.stderr)
        for name, (_, description) in COMMANDS.items():
            print(f"  {name:12} {description}", file=sys.stderr)
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    module, _, function = COMMANDS[argv[0]][0].partition(":")
    code: int = getattr(importlib.import_module(module), function or "main")(argv[1:])
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
