"""The share of the processor that other processes take: what a shared machine's times suffer from."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

_STAT = Path("/proc/stat")

_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")
_COLUMNS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


class Neighbours:
    """Measures from its making until `share` is asked."""

    def __init__(self) -> None:
        self._wall, self._busy, self._own = time.monotonic(), _busy_s(), _own_s()

    def share(self) -> float | None:
        """Return the share of all processors that others took, 0 to 1; None where the system does not say.

        The processes that this one started count as its own once they have ended and been waited for. Time that the
        host of a virtual machine gave to others ("steal") counts as the others'.
        """
        busy = _busy_s()
        elapsed = time.monotonic() - self._wall
        if busy is None or self._busy is None or elapsed <= 0:
            return None
        others = (busy - self._busy) - (_own_s() - self._own)
        return min(1.0, max(0.0, others / (elapsed * (os.cpu_count() or 1))))


def _busy_s() -> float | None:
    """Return the time that all processors have been busy [s]; None elsewhere than on Linux."""
    try:
        fields = _STAT.read_text("ascii").split("\n", 1)[0].split()
    except OSError:
        return None
    ticks = dict(zip(_COLUMNS, map(int, fields[1:]), strict=False))
    return sum(ticks.get(name, 0) for name in _BUSY) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
