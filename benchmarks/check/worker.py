"""A process of one side: ``python -m benchmarks.check.worker``. It answers one JSON request per line.

It is long-lived, so that imports and compilation precede all timing. One request is one timed call, so that the caller
can interleave the sides.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.calls import Call
from benchmarks.check.cases import CASES

LEAST_S = 0.25
"""A timed call takes at least about this long; shorter work is repeated within the call [s]."""


class Answers:
    """Answers requests; holds the prepared case and the number of repeats per call."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._call: Call = lambda: None
        self._repeats = 1

    def prepare(self, case: str, archive: str) -> dict[str, Any]:
        """Prepare a case and warm it up; return the number of repeats that fill `LEAST_S`."""
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        self._call = CASES[case](Path(archive), folder)
        self._call()
        self._repeats = 1
        seconds = min(self.time()["cpu_s"] for _ in range(2))
        return {"repeats": max(1, math.ceil(LEAST_S / max(seconds, 1e-4)))}

    def repeat(self, repeats: int) -> dict[str, Any]:
        """Set the repeats of a timed call, which must be equal on all sides."""
        self._repeats = repeats
        return {}

    def time(self) -> dict[str, Any]:
        """Return wall time and CPU time of one call."""
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(self._repeats):
            self._call()
        return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}

    def collect(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Return the facts of one kind."""
        from benchmarks.check.facts import collect

        return {"facts": collect(what, scratch=self._scratch, **arguments)}


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
