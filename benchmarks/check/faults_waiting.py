"""Faults that only wait: times alone show them."""

from __future__ import annotations

from benchmarks.check.inject import Edit, Injection

_PIPELINE = "s2fast/pipeline.py"
_BEGIN = "    progress = progress or Progress()\n"
_END = "    if not changed:\n"


def _waiting(what: str, wait: str, *more: Edit) -> Injection:
    """Return a fault that waits at the end of a run for a share of the time that it has taken."""
    return Injection(
        f"+15 % of waiting: {what}",
        (
            Edit(_PIPELINE, _BEGIN, "    begin = time.perf_counter()\n" + _BEGIN),
            Edit(_PIPELINE, _END, wait + _END),
            *more,
        ),
        shows=("match",),
        timed=("match",),
    )


SLEEP = _waiting("a sleep", "    time.sleep(0.15 * (time.perf_counter() - begin))\n")

LOCK = _waiting(
    "a lock",
    "    held = threading.Lock()\n    held.acquire()\n"
    "    threading.Timer(0.15 * (time.perf_counter() - begin), held.release).start()\n"
    "    with held:\n        pass\n",
    Edit(_PIPELINE, "import logging\n", "import logging\nimport threading\n"),
)

WAITING_FAULTS = (SLEEP, LOCK)
"""15 % of a whole call of a stage's command, planning included, whatever the machine."""
