"""Detect the hardware available to this process: CPU cores, memory, GPU drivers, and GPUs that torch can use."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

MIB = 1 << 20
"""Bytes of a mebibyte, the unit of all budgets of memory."""

_NVIDIA = ("/dev/nvidiactl", "/proc/driver/nvidia")
_GPU_DRIVERS = (*_NVIDIA, "/dev/kfd", "/dev/dxg")
"""Nodes of the drivers of NVIDIA, AMD, and the Windows Subsystem for Linux."""

_INSTALL_CUDA = "pip uninstall -y torch && pip install torch --index-url https://pypi.org/simple"
"""PyPI's torch for Linux is built with CUDA; builds for the CPU alone are from other indexes."""

_INSTALL_OTHER = "install the build of torch for this GPU: https://pytorch.org/get-started/locally"

_INSTALL_OLDER = "install an earlier torch that has: https://pytorch.org/get-started/previous-versions"


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs that torch can use, or why there are none."""

    capabilities: tuple[tuple[int, int], ...] = ()
    """Compute capability of each GPU, ``cuda:0`` first."""

    missing: str = ""
    """Why there is none; empty if there are."""

    remedy: str = ""
    """The command that makes an installed GPU usable, or a hint; empty if there is none."""


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_mb() -> float:
    """Return the memory that this machine can still give without swapping, or this container's if less [MiB].

    Where the system does not tell, as outside Linux, it is 0.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0.0
    values = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    found = values.get("MemAvailable", values["MemTotal"])
    with suppress(OSError, ValueError, LookupError):  # no control groups, or no limit ("max")
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())["inactive_file"]
        found = min(found, (limit - used + int(cached)) / MIB)
    return found


@cache
def gpu_missing() -> str | None:
    """Return why there is no GPU, or None if a driver is installed; importing torch to ask would take a second."""
    found = any(Path(node).exists() for node in _GPU_DRIVERS) or shutil.which("nvidia-smi")
    return None if found else "no GPU driver"


def gpus() -> Gpus:
    """Return the GPUs that torch can use; import torch only if a GPU driver is installed."""
    reason = gpu_missing()
    if reason is not None:
        return Gpus(missing=reason)
    if importlib.util.find_spec("torch") is None:
        return Gpus(missing="not installed: torch", remedy="pip install torch")
    import torch

    if torch.cuda.is_available():
        found = tuple(torch.cuda.get_device_capability(number) for number in range(torch.cuda.device_count()))
        if any(_has_code(capability, torch.cuda.get_arch_list()) for capability in found):
            return Gpus(found)
        told = ", ".join(f"{major}.{minor}" for major, minor in found)
        missing = f"torch {torch.__version__} has no code for the GPUs here, of compute capability {told}"
        return Gpus(missing=missing, remedy=_INSTALL_OLDER)
    if torch.version.cuda is None and torch.version.hip is None:
        nvidia = any(Path(node).exists() for node in _NVIDIA) or shutil.which("nvidia-smi")
        missing = f"there is a GPU driver, but torch {torch.__version__} is built for the CPU alone"
        return Gpus(missing=missing, remedy=_INSTALL_CUDA if nvidia else _INSTALL_OTHER)
    return Gpus(missing=f"there is a GPU driver, but torch {torch.__version__} finds no GPU", remedy="run nvidia-smi")


def _has_code(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Return whether a GPU runs code that was built for some of these architectures; True if none is named so.

    Code for an architecture runs on those of the same major number and no smaller minor one; "compute" is compiled for
    any later one when it is loaded.

    Examples
    --------
    >>> [_has_code(gpu, ["sm_75", "sm_80", "sm_120"]) for gpu in ((6, 1), (8, 9), (9, 0), (12, 1))]
    [False, True, False, True]
    >>> _has_code((9, 0), ["sm_80", "compute_80"])
    True
    """
    built = [re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", name) for name in architectures]
    known = [(found[1], (int(found[2]), int(found[3]))) for found in built if found]
    return not known or any(own <= capability and (kind == "compute" or own[0] == capability[0]) for kind, own in known)


@dataclass(slots=True)
class Place:
    """Which of the workers on this machine this process is."""

    number: int = 0
    """From 0."""

    workers: int = 1
    """How many there are."""

    def gpu(self, count: int) -> int:
        """Return the GPU that "auto" selects, of `count`: the workers take turns."""
        return self.number % count

    def sharing(self, device: str) -> int:
        """Return how many workers use this worker's GPU, given ``compute.device``."""
        count = len(gpus().capabilities) if device == "auto" else 1
        return -(-self.workers // max(1, count))


PLACE = Place()
"""This process's place; whoever starts workers sets it in each."""


AUTO_SHARE = 0.75
"""Share of a GPU's free memory that "auto" allows: the rest is for fragments, libraries and other processes."""


def device_budget_bytes(device: str, budget_mb: int | Literal["auto"], workers: int = 1) -> int | None:
    """Return the memory of a device that a worker may use [bytes]; None: no limit.

    Parameters
    ----------
    device
        ``"cpu"``, which has no limit of its own unless one is given, or ``"cuda:0"``.
    budget_mb
        ``compute.device_budget_mb``.
    workers
        Number of workers that share the device; "auto" divides its free memory between them.
    """
    if budget_mb != "auto":
        return budget_mb * MIB
    if device == "cpu":
        return None
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    # What torch's allocator holds but no tensor uses is free too.
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(AUTO_SHARE * (free + held)) // workers


def current_gpu(device: torch.device) -> AbstractContextManager[object]:
    """Make a GPU the current one, on which Triton launches kernels; do nothing for the CPU."""
    import torch

    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
