"""What this machine can do: versions, backends, drivers, and the one command that mends what is missing."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from s2fast.raster.openjpeg import library
from s2fast.work.executors import available_cores
from s2fast_kernels import akaze, hamming_top2
from s2fast_kernels.backends import Backend, BackendError, resolve

_PACKAGES = (
    "s2fast", "numpy", "opencv-python-headless", "faiss-cpu", "numba", "torch", "triton", "kornia", "rasterio",
    "geopandas", "shapely", "pyproj", "zarr", "distributed", "obstore",
)  # fmt: skip

_OPTIONAL = {
    "triton": "pip install 's2fast[gpu]'",
    "distributed": "pip install 's2fast[cluster]'",
    "obstore": "pip install 's2fast[s3]'",
}

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
    remedy: str = ""
    """The command that mends or completes it."""


def examine() -> list[Finding]:
    """Look at everything the main job needs, and at what would make it faster."""
    return [
        Finding("python", f"{platform.python_version()} at {sys.executable}"),
        Finding("cores", str(available_cores())),
        *(_package(name) for name in _PACKAGES),
        *_cv2_wheels(),
        _jp2(),
        _gpu(),
        *_operation("akaze", akaze.BACKENDS),
        *_operation("hamming_top2", hamming_top2.BACKENDS),
    ]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def _wanted() -> dict[str, SpecifierSet]:
    """Versions that s2fast asks for, by package."""
    wanted = [Requirement(line) for line in importlib.metadata.requires("s2fast") or ()]
    return {requirement.name: requirement.specifier for requirement in wanted}


def _package(name: str) -> Finding:
    version = _version(name)
    wanted = _wanted().get(name)
    if version is not None and wanted is not None and not wanted.contains(version, prereleases=True):
        return Finding(name, f"{version}, {wanted} is wanted", fine=False, remedy=f"pip install '{name}{wanted}'")
    if version is not None:
        return Finding(name, version)
    if name in _OPTIONAL:
        return Finding(name, "not installed (optional)", remedy=_OPTIONAL[name])
    return Finding(name, "not installed", fine=False, remedy=f"pip install '{name}'")


def _cv2_wheels() -> list[Finding]:
    """Tell of other OpenCV wheels: all share one folder, and the last one installed wins."""
    others = [name for name in _OTHER_CV2 if _version(name)]
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


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        memory_gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Finding("GPU", f"{torch.cuda.get_device_name(0)}, {memory_gib:.0f} GiB")
    return Finding("GPU", f"none seen by torch {torch.__version__}: work runs on the CPU")


def _operation(operation: str, table: Sequence[Backend]) -> list[Finding]:
    rows = []
    for backend in table:
        reason = backend.missing()
        rows.append(Finding(f"{operation}: {backend.name}", reason or "can run"))
    try:
        rows.append(Finding(f"{operation}: auto", f"takes {resolve(table).name}"))
    except BackendError as error:
        rows.append(Finding(f"{operation}: auto", str(error), fine=False))
    return rows
