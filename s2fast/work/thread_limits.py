"""Limit the threads that units of work may use, in this process or in one of its threads."""

from __future__ import annotations

import os
import sys
import threading

_limit = 0
"""Threads per unit of work in this process; see `limit_threads`."""

_gdal = {"may have threads": False, "lacks them": False}
"""Of GDAL's own threads; see `_after_fork`."""

_own = threading.local()
"""``limit``: threads of the unit of work in this thread, where several share those of the process."""


def thread_limit() -> int:
    """Return the number of threads that a unit of work may use here; 0: no limit was set. See `limit_threads`."""
    return getattr(_own, "limit", _limit)


def limit_this_thread(threads: int) -> None:
    """Limit the threads of the kernels that are called from this thread; other libraries keep those of the process."""
    import numba

    _own.limit = threads
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))


def limit_threads(threads: int) -> None:
    """Limit the threads of the libraries that units of work use; 0: change nothing."""
    global _limit
    _limit = threads
    if threads == 0:
        return
    import cv2

    cv2.setNumThreads(threads)
    os.environ["GDAL_NUM_THREADS"] = "1" if _gdal["lacks them"] else str(threads)
    _gdal["may have threads"] = True
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(threads)
    else:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if "numba" in sys.modules:
        numba = sys.modules["numba"]
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    else:
        # Numba rejects a change of this variable once its threads have started, so only its first value counts.
        os.environ.setdefault("NUMBA_NUM_THREADS", str(threads))


def _after_fork() -> None:
    """Let GDAL decode in the calling thread: a fork lacks the threads of its pool, for which it would wait forever."""
    if _gdal["may have threads"]:
        _gdal["lacks them"] = True
        os.environ["GDAL_NUM_THREADS"] = "1"


os.register_at_fork(after_in_child=_after_fork)
