"""Memory of a device, how much of it searches may take, and the stream on which they run.

The limit belongs to the calling thread, like the number of threads; kernels split their work so that their predicted
peak stays within it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING

from s2fast_kernels import machine
from s2fast_kernels.errors import S2FastError

if TYPE_CHECKING:
    import torch

_limit = ContextVar("limit", default=0)
_workers = ContextVar("workers", default=1)


class DeviceMemoryError(S2FastError, RuntimeError):
    """A device has too little memory, or the limit leaves too little; one line."""


@contextmanager
def at_most_bytes(limit: int, workers: int = 1) -> Iterator[None]:
    """Limit what searches from this thread take on a device.

    0: three quarters of what is free at first, shared between so many workers.
    """
    before = _limit.set(limit), _workers.set(workers)
    try:
        yield
    finally:
        _limit.reset(before[0])
        _workers.reset(before[1])


def allowed_bytes(device: torch.device) -> int:
    """Return how much memory searches may take on a device, scenes that stay there included."""
    return _limit.get() or _most_of_the_free(device) // _workers.get()


@cache
def _most_of_the_free(device: torch.device) -> int:
    """Return what "auto" allows when a device is first used: scenes that stay there count later."""
    return machine.device_budget_bytes(str(device), "auto") or sys.maxsize


@contextmanager
def shortage_named(device: torch.device) -> Iterator[None]:
    """Raise DeviceMemoryError, a single line, where torch finds too little memory on the device."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        allowed = allowed_bytes(device) >> 20
        raise DeviceMemoryError(
            f"{device} has less free memory than the {allowed} MiB that searches may take"
        ) from error


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Queue what torch and Triton launch on a stream of a GPU besides the default one; elsewhere do nothing.

    There is one per device: scenes that stay there are used in the order in which they were copied.
    """
    import torch

    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device), torch.cuda.stream(_stream_of(device)):
        yield


@cache
def _stream_of(device: torch.device) -> torch.cuda.Stream:
    import torch

    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
