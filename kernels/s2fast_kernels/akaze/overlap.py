"""Overlap the host's work on a batch of windows with the device's work on the next one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Protocol

from s2fast_kernels.akaze.jobs import WindowResult


class InFlight(Protocol):
    """A batch of windows whose passes are queued on a device."""

    def select(self) -> None:
        """Wait for the maxima, suppress them on the host, and queue the descriptors of those that remain."""

    def results(self) -> list[WindowResult]:
        """Wait for the descriptors and return the results."""


def overlapped(queued: Iterable[InFlight]) -> Iterator[WindowResult]:
    """Yield the results of batches in order, queueing each batch before the host waits for the one before.

    Parameters
    ----------
    queued
        Queues the next batch when it is asked for it. Two batches are on the device at a time.
    """
    selecting: InFlight | None = None
    describing: InFlight | None = None
    for batch in chain(queued, (None, None)):
        if selecting is not None:
            selecting.select()
        if describing is not None:
            yield from describing.results()
        selecting, describing = batch, selecting
