"""Installed packages and the processor of this machine, as recorded by runs and shown by `s2fast doctor`."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

PACKAGES: Mapping[str, str] = {
    **dict.fromkeys(("s2fast", "numpy", "opencv-python-headless", "faiss-cpu", "numba", "torch"), ""),
    "triton": "gpu",
    **dict.fromkeys(("rasterio", "geopandas", "shapely", "pyproj", "zarr"), ""),
    "distributed": "cluster",
    "obstore": "s3",
}
"""Packages that affect results or speed, with the extra of s2fast that installs each; empty: always required."""


def installed(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of all `PACKAGES`, found once per process."""
    return {package: installed(package) or "not installed" for package in PACKAGES}


def processor() -> str:
    """Return the processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
