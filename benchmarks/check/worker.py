"""A process of one side: ``python -m benchmarks.check.worker``. It answers one JSON request a line.

Long-lived, so that imports and compilation are over before anything is timed; one request is one timed call, so that
the caller can interleave sides as it likes.
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
"""A timed call takes at least about this long; shorter work is repeated within it."""


class Answers:
    """State between requests: the prepared case and how often a call repeats it."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._call: Call = lambda: None
        self._repeats = 1

    def prepare(self, case: str, archive: str) -> dict[str, Any]:
        """Make a case's operands and call it, compiled and warm; say how many repeats fill `LEAST_S`."""
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        self._call = CASES[case](Path(archive), folder)
        self._call()
        self._repeats = 1
        seconds = min(self.time()["cpu_s"] for _ in range(2))
        return {"repeats": max(1, math.ceil(LEAST_S / max(seconds, 1e-4)))}

    def repeat(self, repeats: int) -> dict[str, Any]:
        """Set how often a timed call does the work: the same on all sides."""
        self._repeats = repeats
        return {}

    def time(self) -> dict[str, Any]:
        """Time one call, by the wall and by the processor."""
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(self._repeats):
            self._call()
        return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}

    def collect(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Gather facts of one kind."""
        from benchmarks.check.facts import collect

        return {"facts": collect(what, scratch=self._scratch, **arguments)}


def main() -> None:
    """Answer until standard input ends."""
    # Whatever libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as scratch:
        state = Answers(Path(scratch))
        for line in sys.stdin:
            request: dict[str, Any] = json.loads(line)
            method: Callable[..., dict[str, Any]] = getattr(state, request.pop("do"))
            try:
                answer = method(**request)
            except Exception as error:  # handed to the caller, who says which side and case it was
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
