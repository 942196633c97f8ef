"""What every benchmark shares: interleaved timing, the record of a measurement, how it is printed."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


def interleaved(candidates: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Time candidates in turn, so that whatever else the machine does falls on all of them.

    Parameters
    ----------
    candidates
        What to time, by name. Each is called once before, unmeasured.
    repeats
        Rounds; every round calls every candidate once, in an order that rotates.

    Returns
    -------
    dict
        The seconds of every call, by name, round by round: entries at one position are neighbours in time.
    """
    for candidate in candidates.values():
        candidate()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for number in range(repeats):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.perf_counter()
            candidates[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median over the rounds of how many times longer one took than the other in the same round."""
    return float(np.median(np.divide(slow, fast)))


@cache
def environment() -> dict[str, Any]:
    """Say where a measurement was made: machine, cores, versions, when."""
    packages = ("numpy", "numba", "opencv-python-headless", "faiss-cpu", "torch", "triton")
    installed = {found.metadata["Name"].lower() for found in importlib.metadata.distributions()}
    return {
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages if name in installed},
    }


def _processor() -> str:
    """Name the processor and the vector instructions that decide what these kernels can do."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    lines = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in lines.items()}
    vectors = {"avx2", "avx512bw", "avx512_bitalg", "avx512_vpopcntdq"} & set(facts.get("flags", "").split())
    return " ".join([facts.get("model name", platform.machine()), *sorted(vectors)])


def emit(record: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one record: a JSON object with the environment, or a line for people."""
    if as_json:
        print(json.dumps({**record, "environment": environment()}), flush=True)
        return
    shown = (f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in record.items())
    print("  ".join(shown), flush=True)
