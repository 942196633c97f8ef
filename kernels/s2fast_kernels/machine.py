"""What this machine has for the kernels: processor cores and a GPU's driver."""

from __future__ import annotations

import os
from pathlib import Path

_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Device nodes of the drivers of NVIDIA, of AMD, and of the Windows subsystem for Linux."""


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_missing() -> str | None:
    """Return why no GPU can be there, or None where a driver is. Importing torch to ask it would take a second."""
    return None if any(Path(node).exists() for node in _GPU_DRIVERS) else "no GPU driver"


def gpu_driver() -> bool:
    """Return whether a GPU's driver is there."""
    return gpu_missing() is None
