"""What this machine can do: versions, backends, drivers, and the one command that mends what is missing."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from dataclasses import dataclass
from functools import cache

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from s2fast.raster.openjpeg import library
from s2fast.work.machine import PACKAGES, installed
from s2fast_kernels.backends import BackendError, resolve
from s2fast_kernels.machine import available_cores, gpu_missing
from s2fast_kernels.operations import OPERATIONS, Operation

_OTHER_CV2 = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    topic: str
    """What was looked at."""
    told: str
    """What was found."""
    fine: bool = True
    """False: the main job cannot run like this."""
    present: bool = True
    """False: it is not there; unless the finding is not fine either, the main job runs without it."""
    remedy: str = ""
    """The command that mends or completes it, or a hint."""

    @property
    def mark(self) -> str:
        """Return the word that begins its line."""
        if not self.fine:
            return "MISS"
        return "ok" if self.present else "none"


def examine() -> list[Finding]:
    """Examine everything the main job needs, and what would make it faster."""
    return [
        Finding("python", f"{platform.python_version()} at {sys.executable}"),
        Finding("cores", str(available_cores())),
        *(_package(name, extra) for name, extra in PACKAGES.items()),
        *_cv2_wheels(),
        _jp2(),
        _gpu(),
        *(finding for operation in OPERATIONS for finding in _operation(operation)),
    ]


@cache
def _wanted() -> dict[str, SpecifierSet]:
    """Versions that s2fast asks for, by package."""
    wanted = [Requirement(line) for line in importlib.metadata.requires("s2fast") or ()]
    return {requirement.name: requirement.specifier for requirement in wanted}


def _package(name: str, extra: str) -> Finding:
    version = installed(name)
    wanted = _wanted().get(name)
    if version is not None and wanted is not None and not wanted.contains(version, prereleases=True):
        return Finding(name, f"{version}, {wanted} is wanted", fine=False, remedy=f"pip install '{name}{wanted}'")
    if version is not None:
        return Finding(name, version)
    if extra:
        return Finding(name, "not installed (optional)", present=False, remedy=f"pip install 's2fast[{extra}]'")
    return Finding(name, "not installed", fine=False, present=False, remedy=f"pip install '{name}'")


def _cv2_wheels() -> list[Finding]:
    """Report other OpenCV wheels: all share one folder, and the last one installed wins."""
    others = [name for name in _OTHER_CV2 if installed(name)]
    if not others:
        return []
    remedy = f"pip uninstall -y {' '.join(others)} && pip install --force-reinstall 'opencv-python-headless>=4.10,<5'"
    return [Finding("cv2", f"shared with {', '.join(others)}, which may take AKAZE away", remedy=remedy)]


def _jp2() -> Finding:
    import rasterio
    from rasterio.drivers import raster_driver_extensions

    if "jp2" in raster_driver_extensions():
        parts = library()
        version = (
            f"in parts by OpenJPEG {parts.opj_version().decode()}" if parts else "whole tiles only: no OpenJPEG found"
        )
        return Finding("JPEG 2000", f"read by GDAL {rasterio.__gdal_version__}, {version}")
    return Finding("JPEG 2000", "GDAL has no JP2 driver", fine=False, remedy="pip install --force-reinstall rasterio")


_GPU_HINT = "nothing is wrong: everything runs on the CPU; a GPU needs its driver"


def _gpu() -> Finding:
    reason = gpu_missing()
    if reason:
        return Finding("GPU", reason, present=False, remedy=_GPU_HINT)
    import torch

    if torch.cuda.is_available():
        memory_gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Finding("GPU", f"{torch.cuda.get_device_name(0)}, {memory_gib:.0f} GiB")
    return Finding("GPU", f"a driver, but no device that torch {torch.__version__} can use", present=False)


def _operation(operation: Operation) -> list[Finding]:
    """Return a line for each of an operation's backends, and one for the choice of "auto"."""
    windowed = {engine.name for engine in operation.engines}
    rows = []
    for backend in operation.backends:
        topic, reason = f"{operation.name}: {backend.name}", backend.missing()
        if reason:
            hint = _GPU_HINT if reason == gpu_missing() else '"auto" takes another'
            rows.append(Finding(topic, reason, present=False, remedy=hint))
        else:
            where = f"can run, device: {backend.device}"
            rows.append(Finding(topic, f"{where}, in windows" if backend.name in windowed else where))
    topic = f"{operation.name}: auto"
    try:
        rows.append(Finding(topic, f"takes {resolve(operation.backends).name}; called: {operation.called}"))
    except BackendError as error:
        rows.append(Finding(topic, str(error), fine=not operation.stages, present=False))
    return rows
