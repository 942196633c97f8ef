"""Queues of work on a device: copies and kernels in order, on a stream of their own, beside the host's work.

Copies to the device return before they are done; the kernels queued after them see them. Copies to the host are done
when the queue has been waited for. Host memory of either copy is pinned, so that a GPU copies without the processor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch


class Queue(Protocol):
    """A queue of one device."""

    def upload(self, host: torch.Tensor) -> torch.Tensor:
        """Return a copy on the device; the host's memory may change afterwards."""

    def download(self, found: torch.Tensor) -> torch.Tensor:
        """Return a copy on the host, which holds the values once `wait` has returned."""

    def wait(self) -> None:
        """Return when everything queued is done."""


class HostQueue:
    """The queue of the CPU device, on which everything is done at once."""

    def upload(self, host: torch.Tensor) -> torch.Tensor:
        """See `Queue`."""
        return host.clone()

    def download(self, found: torch.Tensor) -> torch.Tensor:
        """See `Queue`."""
        return found

    def wait(self) -> None:
        """See `Queue`."""


class StreamQueue:
    """The queue of a GPU: a stream besides the default one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def upload(self, host: torch.Tensor) -> torch.Tensor:
        """See `Queue`; torch keeps the pinned memory until the copy is done."""
        return host.pin_memory().to(self._device, non_blocking=True)

    def download(self, found: torch.Tensor) -> torch.Tensor:
        """See `Queue`."""
        host = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
        return host.copy_(found, non_blocking=True)

    def wait(self) -> None:
        """See `Queue`."""
        self._stream.synchronize()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Queue what torch and Triton launch."""
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            yield


@contextmanager
def queue_of(device: torch.device) -> Iterator[Queue]:
    """Make a device's queue the one to which torch and Triton add, and return it."""
    if device.type != "cuda":
        yield HostQueue()
        return
    queue = _stream_queue(device)
    with queue.current():
        yield queue


@cache
def _stream_queue(device: torch.device) -> StreamQueue:
    """Return the only stream of a device: scenes that stay there are used in the order in which they were copied."""
    return StreamQueue(device)


def upload(queue: Queue, array: npt.NDArray[np.generic]) -> torch.Tensor:
    """Queue the copy of an array to the device."""
    return queue.upload(torch.from_numpy(np.ascontiguousarray(array)))


def download(queue: Queue, *found: torch.Tensor) -> list[npt.NDArray[np.generic]]:
    """Copy tensors to the host, and wait."""
    copies = [queue.download(tensor) for tensor in found]
    queue.wait()
    return [copy.numpy() for copy in copies]
