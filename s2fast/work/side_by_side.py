"""Run several units of work at once in threads of this process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from s2fast.work.executors import Workplace
from s2fast.work.library_warnings import no_warnings_of_threads
from s2fast.work.thread_limits import limit_this_thread, limit_threads
from s2fast_kernels.machine import available_cores

THREAD = "s2fast-units"
"""Beginning of the threads' names."""


@contextmanager
def side_by_side(workplace: Workplace, units: int) -> Iterator[Workplace]:
    """Yield a workplace that runs so many units at once in threads of this process, which share its own threads.

    Units should spend most of their time in code that releases Python's GIL. For one unit at a time, it is the given
    workplace.
    """
    if units == 1:
        yield workplace
        return
    limit_threads(workplace.threads)
    share = max(1, (workplace.threads or available_cores()) // units)
    pool = ThreadPoolExecutor(units, THREAD, limit_this_thread, (share,))
    with no_warnings_of_threads(), closing(Workplace(pool, units, 0)) as threads:
        yield threads
