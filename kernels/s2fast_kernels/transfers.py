"""Copies between the host and a device, in pinned memory and beside the computation.

On a CUDA device, downloads have a stream of their own. They wait for the work that produces their tensors, and not for
what was queued after it. On the CPU, the copies are plain.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def upload(values: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Copy an array to a device. The host does not wait for a CUDA device."""
    tensor = torch.from_numpy(np.require(values, requirements=("C", "W")))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@cache
def copy_stream(device: torch.device) -> Any:
    """Return the stream of a CUDA device on which downloads run; None for other devices."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


def mark(device: torch.device) -> Any:
    """Return an event that is reached when all work queued so far is done; None if the device has no queue."""
    return torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None


class Download:
    """Tensors on their way to the host.

    Parameters
    ----------
    tensors
        What to copy, all on one device.
    after
        The `mark` that follows the work that produces them; None: everything queued so far.
    """

    def __init__(self, tensors: Sequence[torch.Tensor], after: Any = None) -> None:
        device = tensors[0].device
        stream = copy_stream(device)
        self._arrived = None
        if stream is None:
            self._tensors = [tensor.cpu() for tensor in tensors]
            return
        stream.wait_event(after if after is not None else mark(device))
        with torch.cuda.stream(stream):
            # The copies lie in pinned memory.
            self._tensors = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
            self._arrived = stream.record_event()
        for tensor in tensors:
            tensor.record_stream(stream)

    def arrays(self) -> list[npt.NDArray[Any]]:
        """Wait for the copies and return them."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return [tensor.numpy() for tensor in self._tensors]
