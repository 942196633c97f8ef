"""Detect the hardware available to the kernels: CPU cores and GPU drivers."""

from __future__ import annotations

import os
from pathlib import Path

_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Device nodes of the drivers of NVIDIA, AMD, and the Windows Subsystem for Linux."""


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_missing() -> str | None:
    """Return why there is no GPU, or None if a driver is installed; importing torch to ask would take a second."""
    return None if any(Path(node).exists() for node in _GPU_DRIVERS) else "no GPU driver"


def gpu_driver() -> bool:
    """Return whether a GPU driver is installed."""
    return gpu_missing() is None
