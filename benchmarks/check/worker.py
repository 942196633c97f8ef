"""A process of one side: ``python -m benchmarks.check.worker``. It answers one JSON request per line.

One request is one turn of a timed case, so that the caller can interleave the sides.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.check.timed import Prepared, prepare

_THREADS = Path("/proc/self/task")


class Answers:
    """Answers requests; holds the prepared cases."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._prepared: dict[str, Prepared] = {}

    def prepare(self, cases: Sequence[str], scenes: str) -> dict[str, Any]:
        """Prepare cases and warm them up; return why the others cannot run, by case."""
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        self._prepared, errors = prepare(cases, Path(scenes), folder)
        # What imports and preparation left is never searched for garbage again: this took longer than the calls.
        gc.collect()
        gc.freeze()
        return {"errors": errors}

    def time(self, case: str, calls: int) -> dict[str, Any]:
        """Return wall time and CPU time of a turn: of the fastest of its calls, by each clock.

        Wall time is without what threads waited for a processor that others used, where the system counts it.
        """
        prepared = self._prepared[case]
        walls, cpus = [], []
        gc.collect()
        for _ in range(calls):
            prepared.before()
            queued, wall, cpu = _queued_s(), time.perf_counter(), time.process_time()
            prepared.call()
            cpus.append(time.process_time() - cpu)
            elapsed = time.perf_counter() - wall
            # Several threads may have waited at once, but no machine is faster than with all its cores busy.
            walls.append(max(elapsed - (_queued_s() - queued), cpus[-1] / (os.cpu_count() or 1)))
        return {"wall_s": min(walls), "cpu_s": min(cpus)}

    def collect(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Return the facts of one kind."""
        from benchmarks.check.facts import collect

        return {"facts": collect(what, scratch=self._scratch, **arguments)}


def _queued_s() -> float:
    """Return how long the threads of this process have been ready to run, but had no processor [s]; 0 if unknown."""
    total = 0
    with contextlib.suppress(OSError):
        for thread in _THREADS.iterdir():
            # A thread may end meanwhile.
            with contextlib.suppress(OSError):
                total += int((thread / "schedstat").read_text("ascii").split()[1])
    return total / 1e9


def main() -> None:
    """Answer requests until standard input ends."""
    # Redirect the output of libraries to stderr, so that it does not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as scratch:
        state = Answers(Path(scratch))
        for line in sys.stdin:
            request: dict[str, Any] = json.loads(line)
            method: Callable[..., dict[str, Any]] = getattr(state, request.pop("do"))
            try:
                answer = method(**request)
            except Exception as error:  # passed to the caller, which adds the side and the case
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
