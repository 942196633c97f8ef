"""Read ahead: other threads read the next windows while the current one is processed."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import islice

import numpy as np
import numpy.typing as npt

from s2fast.model import Window
from s2fast.raster.reader import Reader

ReadRequest = tuple[Window, npt.NDArray[np.bool_] | None]
"""Arguments of `Reader.read`: a window, and the mask of its pixels that are used."""

Pixels = tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]
"""Result of `Reader.read`."""

DEPTH = 1
"""Number of windows read ahead by each thread. The first makes ingest 1.1 x faster, a second another 1.02 x; each costs
memory."""


class ReaderAhead:
    """A reader that runs in other threads; created by `reading_ahead`."""

    def __init__(self, threads: ThreadPoolExecutor, reader: Reader) -> None:
        self.reader = reader
        self._threads = threads

    def windows(
        self, requests: Iterable[ReadRequest], depth: int | None = None
    ) -> Iterator[tuple[ReadRequest, Pixels]]:
        """Yield windows in order, reading at most `depth` of them ahead; None: `DEPTH` per thread.

        `requests` is consumed in the caller's thread, only as windows are about to be read. An error of a read is
        raised when that window is reached; later windows are not read.
        """
        depth = DEPTH * self.reader.at_once if depth is None else depth
        remaining = iter(requests)
        waiting: deque[tuple[ReadRequest, Future[Pixels]]] = deque()
        try:
            while True:
                for window, wanted in islice(remaining, depth + 1 - len(waiting)):
                    waiting.append(((window, wanted), self._threads.submit(self.reader.read, window, wanted)))
                if not waiting:
                    return
                request, pixels = waiting.popleft()
                yield request, pixels.result()
        finally:
            for _, future in waiting:
                future.cancel()


@contextmanager
def reading_ahead(opened: AbstractContextManager[Reader]) -> Iterator[ReaderAhead]:
    """Open and close a reader in one separate thread, and read in this or, if the reader allows it, in several."""
    with _reading_thread() as thread:
        reader = thread.submit(opened.__enter__).result()
        try:
            if reader.at_once == 1:
                yield ReaderAhead(thread, reader)
            else:
                with ThreadPoolExecutor(reader.at_once, _NAME) as threads:
                    yield ReaderAhead(threads, reader)
        finally:
            thread.submit(opened.__exit__, None, None, None).result()


_NAME = "s2fast-read"

_kept = threading.local()

# A fork has none of the threads.
os.register_at_fork(after_in_child=lambda: vars(_kept).clear())


@contextmanager
def _reading_thread() -> Iterator[ThreadPoolExecutor]:
    """Yield an idle thread that the calling thread has read with before, or a new one.

    Each new thread loads PROJ's tables again. Two open readers never share a thread: each has its own GDAL settings.
    """
    if not hasattr(_kept, "idle"):
        _kept.idle = []
    idle: list[ThreadPoolExecutor] = _kept.idle
    thread = idle.pop() if idle else ThreadPoolExecutor(1, _NAME)
    try:
        yield thread
    finally:
        idle.append(thread)
