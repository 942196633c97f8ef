"""Diagnose the installation: versions, backends and drivers, each problem with the command that fixes it."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from s2fast import __version__
from s2fast.config import Config
from s2fast.detectors import selected_backend
from s2fast.raster.openjpeg import library
from s2fast.stages.matching_rule import backends
from s2fast.work.compilation import MODULES, missing_modules
from s2fast.work.machine import PACKAGES, installed, processor
from s2fast_kernels import compiled, machine
from s2fast_kernels.backends import CPU, BackendError, Selected, needs_package, needs_triton, resolve
from s2fast_kernels.machine import available_cores
from s2fast_kernels.operations import OPERATIONS, Operation

_FOLDER = Path(__file__).parents[2]
"""The folder that the package lies in."""

_OTHER_CV2 = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    topic: str
    """The component that was checked."""
    result: str
    """The result of the check."""
    fine: bool = True
    """False: the main job cannot run because of this."""
    present: bool = True
    """False: the component is missing; if `fine` is True, the main job runs without it."""
    remedy: str = ""
    """The command that fixes the problem or installs the component, or a hint."""

    @property
    def mark(self) -> str:
        """The word at the beginning of the line."""
        if not self.fine:
            return "MISS"
        return "ok" if self.present else "none"


def examine() -> list[Finding]:
    """Check everything that the main job needs, and what would make it faster."""
    return [
        Finding("python", f"{platform.python_version()} at {sys.executable}"),
        Finding("cores", ", ".join(filter(None, (str(available_cores()), processor())))),
        *(_package(name, extra) for name, extra in PACKAGES.items()),
        *_cv2_wheels(),
        _jp2(),
        _gpu(),
        _kernels(),
        *_comparisons(),
        *(finding for operation in OPERATIONS for finding in _operation(operation)),
    ]


@cache
def _wanted() -> dict[str, SpecifierSet]:
    """Return the versions that s2fast requires, by package; none if it runs from a folder without being installed."""
    try:
        wanted = [Requirement(line) for line in importlib.metadata.requires("s2fast") or ()]
    except importlib.metadata.PackageNotFoundError:
        return {}
    return {requirement.name: requirement.specifier for requirement in wanted}


def _package(name: str, extra: str) -> Finding:
    version = installed(name)
    if version is None and name == "s2fast":
        text = f"{__version__} of a folder, not installed: versions of packages are not checked"
        return Finding(name, text, present=False, remedy=f"pip install {shlex.quote(str(_FOLDER))}")
    wanted = _wanted().get(name)
    if version is not None and wanted is not None and not wanted.contains(version, prereleases=True):
        return Finding(name, f"{version}; {wanted} is required", fine=False, remedy=f"pip install '{name}{wanted}'")
    if version is not None:
        return Finding(name, version)
    if extra:
        return Finding(name, "not installed (optional)", present=False, remedy=f"pip install 's2fast[{extra}]'")
    return Finding(name, "not installed", fine=False, present=False, remedy=f"pip install '{name}'")


def _cv2_wheels() -> list[Finding]:
    """Report other OpenCV wheels: all share one folder, so that the last one installed overwrites the others."""
    others = [name for name in _OTHER_CV2 if installed(name)]
    if not others:
        return []
    remedy = f"pip uninstall -y {' '.join(others)} && pip install --force-reinstall 'opencv-python-headless>=4.10,<5'"
    return [Finding("cv2", f"also installed by {', '.join(others)}, which may lack AKAZE", remedy=remedy)]


def _jp2() -> Finding:
    import rasterio
    from rasterio.drivers import raster_driver_extensions

    if "jp2" in raster_driver_extensions():
        parts = library()
        version = (
            f"luma and parts by OpenJPEG {parts.opj_version().decode()}" if parts else "no luma, no parts: no OpenJPEG"
        )
        return Finding("JPEG 2000", f"read by GDAL {rasterio.__gdal_version__}, {version}")
    return Finding("JPEG 2000", "GDAL has no JP2 driver", fine=False, remedy="pip install --force-reinstall rasterio")


_GPU_HINT = "no problem: everything runs on the CPU; to use a GPU, install its driver"


def _gpu() -> Finding:
    found = machine.gpus()
    if not found.capabilities:
        return Finding("GPU", found.missing, present=False, remedy=found.remedy or _GPU_HINT)
    import torch

    every = [torch.cuda.get_device_properties(number) for number in range(len(found.capabilities))]
    named = (f"cuda:{number}: {gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for number, gpu in enumerate(every))
    return Finding("GPU", "; ".join(named))


def _kernels() -> Finding:
    """Report how many modules are compiled, where the code lies, and where older versions may lie."""
    missing, folder = len(missing_modules()), compiled.cache_folder()
    older = sum(other != folder for other in folder.parent.glob("compiled-*"))
    kept = f"in {folder}" + (f"; {older} beside it, of other versions, may be deleted" if older else "")
    if not missing:
        return Finding("kernels", f"{len(MODULES)} of {len(MODULES)} compiled for this processor, {kept}")
    if not compiled.is_kept():
        return Finding(
            "kernels",
            f"compiled again by every process, since {folder} is not writable",
            remedy="set NUMBA_CACHE_DIR to a writable folder",
        )
    done = f"{len(MODULES) - missing} of {len(MODULES)} compiled" if missing < len(MODULES) else "not yet compiled"
    text = f"{done} for this processor: the first run does it, {kept}"
    return Finding("kernels", text, remedy="s2fast doctor --compile")


def _comparisons() -> list[Finding]:
    """Report how the compiled kernels, and torch, compare descriptors on this machine."""
    rows = []
    if installed("numba"):
        from s2fast_kernels.hamming_top2.paths import PATH

        rows.append(Finding("comparing descriptors", PATH))
    if installed("torch"):
        from s2fast_kernels.hamming_top2.torch_any import default_device, default_product

        device = default_device()
        rows.append(Finding("the same with torch", f"{default_product(device)} products, device: {device.type}"))
    return rows


def _operation(operation: Operation) -> list[Finding]:
    """Return a finding for each backend of an operation, and one for the backend that "auto" selects."""
    windowed = {engine.name for engine in operation.engines}
    rows = []
    for backend in operation.backends:
        topic, reason = f"{operation.name}: {backend.name}", backend.missing()
        if reason:
            hint = "" if reason == machine.gpu_missing() else '"auto" selects another backend'
            rows.append(Finding(topic, reason, present=False, remedy=hint))
        else:
            where = f"can run, device: {backend.device}"
            rows.append(Finding(topic, f"{where}, in windows" if backend.name in windowed else where))
    topic = f"{operation.name}: auto"
    try:
        selected = resolve(operation.backends)
        rows.append(Finding(topic, f"selects {selected.name} on {selected.device}; called: {operation.called}"))
    except BackendError as error:
        rows.append(Finding(topic, str(error), fine=not operation.stages, present=False))
    return rows


def default_run() -> str:
    """Return one line that names what a run with default settings uses on this machine."""
    config = Config()
    try:
        detecting = selected_backend(config)
        matching = resolve(backends(config.matching), config.matching.backend, config.compute.device)
    except BackendError as error:
        return f"a default run cannot start: {error}"
    uses = f"a default run uses: AKAZE {_where(detecting)}, matching {_where(matching)}, decoding on {_cores()}"
    return uses + _slow_without_triton(matching)


def _slow_without_triton(matching: Selected) -> str:
    """Return what "auto" loses, and how to mend it, where it takes torch's row on a GPU; else nothing."""
    if matching.name != "torch" or matching.device == CPU:
        return ""
    absent = needs_package("triton")()
    reason = absent or needs_triton()
    remedy = "pip install 's2fast[gpu]'" if absent else 'set compute.device = "cpu"'
    # As measured in docs/gpu.md, in windows and without.
    return f"; without Triton ({reason}) an H100 matches 4 to 11 times slower than 16 cores: {remedy}"


def _where(selected: Selected) -> str:
    return f"{selected.name} on {_cores() if selected.device == CPU else selected.device}"


def _cores() -> str:
    number = available_cores()
    return "1 core" if number == 1 else f"{number} cores"
