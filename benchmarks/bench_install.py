"""A stranger's walk: seconds and megabytes from an empty environment to the demo.

    python -m benchmarks install [--json] [--python PYTHON] [--wheel FILE] [--constraint FILE] [--keep DIR]

Builds the wheel unless one is given, installs it into a new environment outside the repository, and runs there what the
README says. Seconds of pip depend on the network and its cache; those of the commands on the machine; megabytes on
neither.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import emit, option_parser

ROOT = Path(__file__).resolve().parents[1]

IMPORTS = ("s2fast", "s2fast.cli", "s2fast.config", "s2fast.results", "s2fast.pipeline")
"""Modules whose import is measured, each in an interpreter of its own."""


def main(argv: list[str]) -> int:
    """Walk, and print each step."""
    parser = option_parser("install", __doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the new environment")
    parser.add_argument("--wheel", type=Path, help="default: build one from this checkout")
    parser.add_argument("--constraint", type=Path, help="versions of packages")
    parser.add_argument("--keep", type=Path, help="folder for the environment and the demo, kept")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        wheel = (options.wheel or _built(folder)).resolve()
        constraint = ["--constraint", str(options.constraint.resolve())] if options.constraint else []
        try:
            for record in walk(folder, wheel, options.python, constraint):
                emit({"bench": "install", **record}, as_json=options.json)
        except subprocess.CalledProcessError as error:
            print(f"install: {' '.join(error.cmd[:5])} ... ended with {error.returncode}", file=sys.stderr)
            return 1
    return 0


def _built(folder: Path) -> Path:
    """Build the wheel of this checkout."""
    from hatchling.builders.wheel import WheelBuilder

    return Path(next(iter(WheelBuilder(str(ROOT)).build(directory=str(folder)))))


def walk(folder: Path, wheel: Path, python: str, constraint: list[str]) -> Iterator[dict[str, Any]]:
    """Yield a record per step."""
    environment = folder / "env"
    binaries = environment / ("Scripts" if os.name == "nt" else "bin")
    inside, command = str(binaries / "python"), str(binaries / "s2fast")
    yield _step("environment", [python, "-m", "venv", str(environment)], folder)
    yield _step("pip install", [inside, "-m", "pip", "install", "--quiet", *constraint, str(wheel)], folder)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([inside, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    sizes = {path.name: _megabytes(path) for path in site.iterdir()}
    yield {"step": "size", "packages": len(list(site.glob("*.dist-info"))), "MB": round(sum(sizes.values()))}
    for name in sorted(sizes, key=lambda name: -sizes[name])[:8]:
        yield {"step": "size", "of": name, "MB": round(sizes[name])}
    yield _step("s2fast demo, first", [command, "demo", "--out", "demo"], folder)
    yield _step("s2fast demo, again", [command, "demo", "--out", "demo"], folder)
    pair = ("S2A_20160830T083602_T36UXA", "S2A_20170815T083602_T36UXA")
    yield _step("s2fast show", [command, "show", "demo/run", *pair, "-o", "mine.png"], folder)
    yield _step("s2fast --help", [command, "--help"], folder)
    for module in IMPORTS:
        yield _step(f"import {module}", [inside, "-c", f"import {module}"], folder)


def _step(step: str, command: list[str], folder: Path) -> dict[str, Any]:
    """Run a command outside the repository; return its seconds."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, env=variables, stdout=subprocess.DEVNULL, check=True)
    return {"step": step, "seconds": round(time.perf_counter() - began, 2)}


def _megabytes(path: Path) -> float:
    """Return the size of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6
