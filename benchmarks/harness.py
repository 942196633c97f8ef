"""Shared by all benchmarks: interleaved timing, the environment of a measurement, options and output."""

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


def interleaved(
    candidates: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Time candidates alternately, so that other load on the machine affects all of them.

    Parameters
    ----------
    candidates
        Functions to time, by name. Each is first called once without timing.
    repeats
        Rounds; every round calls every candidate once, in rotating order.
    clock
        Returns seconds: the wall's, or with `time.process_time` those of the CPU, for work of one thread.

    Returns
    -------
    dict
        The seconds of every call, by name, in the order of the rounds.
    """
    for candidate in candidates.values():
        candidate()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for number in range(repeats):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            start = clock()
            candidates[name]()
            seconds[name].append(clock() - start)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return the median over the rounds of the ratio of the times in the same round."""
    return float(np.median(np.divide(slow, fast)))


@cache
def environment() -> dict[str, Any]:
    """Return the environment of a measurement: time, machine, cores, versions."""
    # Imported here, because an older base revision may not have these modules.
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
    """Return a parser for a benchmark's options, with the options common to all benchmarks."""
    found = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--json", action="store_true", help="print JSON, one object per line, instead of a table")
    return found


def emit(record: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one record: a JSON object with the environment, or a readable line."""
    if as_json:
        print(json.dumps({**record, "environment": environment()}), flush=True)
        return
    shown = (f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in record.items())
    print("  ".join(shown), flush=True)
