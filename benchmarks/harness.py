"""What every benchmark shares: interleaved timing, the record of a measurement, how it is printed."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import platform
import time
from collections.abc import Callable, Mapping
from functools import cache
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
    """Return where a measurement was made: machine, cores, versions, when."""
    # Loaded here: a revision that is measured as the base may not have this module.
    from llvmlite import binding

    from s2fast.work.machine import processor, versions
    from s2fast_kernels.machine import available_cores

    features = binding.get_host_cpu_features()
    vectors = [name for name in ("avx2", "avx512bw", "avx512bitalg", "avx512vpopcntdq") if features.get(name)]
    return {
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": " ".join([processor() or platform.machine(), *vectors]),
        "cores": available_cores(),
        "python": platform.python_version(),
        "versions": {name: version for name, version in versions().items() if version != "not installed"},
    }


def option_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of a benchmark's options, with what all of them take."""
    found = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--json", action="store_true", help="print JSON, one object a line, instead of a table")
    return found


def emit(record: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one record: a JSON object with the environment, or a line for people."""
    if as_json:
        print(json.dumps({**record, "environment": environment()}), flush=True)
        return
    shown = (f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in record.items())
    print("  ".join(shown), flush=True)
