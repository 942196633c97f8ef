"""Run s2fast on damaged inputs: each run must end with a result or a one-line error, without traceback, crash or hang.

    python -m benchmarks fuzz [--trials N] [--names N] [--only KIND ...] [--seed S] [--json]

Every trial damages one file of a small job (a scene, polygons, settings, or a file of a finished run folder) and runs
the command line on it in a separate process. "store" reads the damaged run folder and runs the job again in it,
"folder" only reads it, as one does with a stranger's: tables, scenes, matches and a picture. "names" passes names of
files through all outputs; see `benchmarks.fuzz_names`. One line per kind gives trials, exit codes and faults; the exit
code is 1 if there was any fault.

A write outside the run folder is a fault, too: the files around it are compared before and after, and of Python, every
file that is opened to write, made, moved or removed anywhere is looked at; see `benchmarks.fuzz_writes`.
"""

from __future__ import annotations

import math
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import cv2
import geopandas
import numpy as np
import rasterio
import shapely
from rasterio.transform import from_origin

from benchmarks import fuzz_names, fuzz_writes
from benchmarks.harness import emit, option_parser
from s2fast.cli import main as command_line

_EXIT_CODES = (0, 2, 3)
"""Success; invalid input; success without some scenes or polygons."""

_MOST_SECONDS = 90
"""A longer trial counts as a hang."""

_MOST_BYTES = 2 << 30
"""Maximum memory of a trial; the job needs a tenth."""

_AT_ONCE = 2
"""Number of concurrent trials."""

_SIDE_PX = 160

_NAMES = "names"
"""The kind of trials that damages no file."""

_IMPORTED = ("s2fast.report.listing", "s2fast.results", "s2fast.pictures.pair", "matplotlib.backends.backend_agg")
"""Modules that trials would otherwise import each for itself: they take longer than the trials."""

_SHOWN = 20
"""Most names whose faults are printed."""

_SETTINGS = """
[features]
backend = "opencv"
upsample = 1

[matching]
mode = "exhaustive"
backend = "opencv"
radius_m = 50.0

[regions]
mode = "keep"
"""

_WORDS = (
    "nan",
    "-1",
    "1e999",
    '""',
    "null",
    "true",
    "[]",
    "{}",
    '"\\u0000"',
    "99999999999999999999",
    "é\udcff",
    "=",
    '"',
    "\n",
)
"""Replacements for a word of a text file."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A trial that went wrong."""

    trial: str
    """The file, and how it was damaged."""
    what: str
    """Traceback, crash, hang, memory, exit code or write, and the last printed line."""


def main(argv: Sequence[str]) -> int:
    """Run the trials and print the faults."""
    parser = option_parser("fuzz", __doc__)
    parser.add_argument("--trials", type=int, default=1000, help="total number of trials")
    parser.add_argument("--names", type=int, default=20_000, help="number of names")
    parser.add_argument("--only", choices=[*KINDS, _NAMES], nargs="+", default=[*KINDS, _NAMES])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        intact = Path(scratch) / "intact"
        write_job(intact)
        for module in _IMPORTED:
            import_module(module)
        damaged = [kind for kind in options.only if kind != _NAMES]
        for number, kind in enumerate(damaged):
            count = len(range(number, options.trials, len(damaged)))
            seeds = range(options.seed, options.seed + count)
            codes, faults = run_trials(kind, seeds, intact, Path(scratch))
            failed |= bool(faults)
            record = {"benchmark": "fuzz", "kind": kind}
            for fault in faults:
                emit(
                    {"benchmark": "fuzz", "kind": kind, "fault": fault.what, "trial": fault.trial}, as_json=options.json
                )
            record = {f"exit {code}": codes[code] for code in sorted(codes)}
            record |= {"trials": count, "faults": len(faults)}
            emit({"benchmark": "fuzz", "kind": kind, **record}, as_json=options.json)
    if _NAMES in options.only:
        escaped = fuzz_names.faults(options.names, options.seed)
        for line in escaped[:_SHOWN]:
            emit({"benchmark": "fuzz", "kind": _NAMES, "fault": line}, as_json=options.json)
        emit(
            {"benchmark": "fuzz", "kind": _NAMES, "trials": options.names, "faults": len(escaped)},
            as_json=options.json,
        )
        failed |= bool(escaped)
    return int(failed)


def write_job(folder: Path) -> None:
    """Write a small job in every format: scenes as JPEG 2000 and GeoTIFF, polygons, settings, and a finished run."""
    rng = np.random.default_rng(0)
    ground = sum(
        cv2.GaussianBlur(rng.normal(0, 60 * sigma, (_SIDE_PX, _SIDE_PX)), (0, 0), sigma) for sigma in (1, 2, 4)
    )
    (folder / "scenes").mkdir(parents=True)
    for name, driver in (("one.jp2", "JP2OpenJPEG"), ("other.jp2", "JP2OpenJPEG"), ("third.tif", "GTiff")):
        grey = np.clip(ground + rng.normal(120, 3, ground.shape), 1, 255).astype(np.uint8)
        size = {"driver": driver, "width": _SIDE_PX, "height": _SIDE_PX, "count": 3, "dtype": "uint8"}
        encoding = {"QUALITY": "100", "REVERSIBLE": "YES"} if driver == "JP2OpenJPEG" else {"compress": "deflate"}
        georeferencing = {"crs": "EPSG:32636", "transform": from_origin(600_000, 5_600_040, 10, 10)}
        with rasterio.open(folder / "scenes" / name, "w", **size, **encoding, **georeferencing) as dataset:
            dataset.write(np.stack([grey, grey, grey]))
    boxes = [shapely.box(600_100 + 700 * n, 5_598_600, 600_700 + 700 * n, 5_599_900) for n in range(2)]
    polygons = geopandas.GeoDataFrame({"name": ["a", "b"]}, geometry=boxes, crs="EPSG:32636").to_crs("EPSG:4326")
    polygons.to_file(folder / "regions.geojson")
    polygons.to_parquet(folder / "regions.parquet")
    (folder / "settings.toml").write_text(_SETTINGS)
    process, output, _ = _start(run_command(folder), folder / "printed")
    # Without the limit of a trial: the first run compiles.
    code, printed, _ = _wait(process, output, math.inf)
    if code:
        raise RuntimeError(f"the undamaged job fails: {printed}")


def run_command(folder: Path, regions: str = "regions.geojson") -> list[str]:
    """Return the arguments that run the job."""
    job = ["run", folder / "settings.toml", "--scenes", folder / "scenes", "--regions", folder / regions]
    return [str(part) for part in (*job, "--out", folder / "out")]


def reading_commands(folder: Path) -> list[list[str]]:
    """Return the arguments of the commands that only read the results."""
    out, picture = str(folder / "out"), str(folder / "picture.png")
    return [["pairs", out], ["scenes", out], ["show", out, "one", "other", "--output", picture, "--dpi", "60"]]


def _remove_results(kind: str, folder: Path) -> None:
    """Remove the results, unless they are to be damaged."""
    if kind not in ("store", "folder"):
        shutil.rmtree(folder / "out")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file to damage."""

    pattern: str
    """Glob pattern of the job's files."""
    text: bool = False
    """Whether words may be replaced as well as bytes."""
    regions: str = "regions.geojson"
    """Polygons used by the job."""


KINDS: Mapping[str, Kind] = {
    "jp2": Kind("scenes/*.jp2"),
    "tiff": Kind("scenes/*.tif"),
    "geojson": Kind("regions.geojson", text=True),
    "parquet": Kind("regions.parquet", regions="regions.parquet"),
    "toml": Kind("settings.toml", text=True),
    "store": Kind("out/**/*"),
    "folder": Kind("out/**/*", text=True),
}
"""Kinds of trials by name."""


def run_trials(kind: str, seeds: Sequence[int], intact: Path, scratch: Path) -> tuple[Counter[int], list[Fault]]:
    """Damage one file per seed and run the job on it, several at once.

    Parameters
    ----------
    kind
        One of `KINDS`.
    seeds
        One seed per trial.
    intact
        The undamaged job of `write_job`.
    scratch
        An existing folder for copies of the job.

    Returns
    -------
    codes : Counter
        Number of runs per exit code.
    faults : list of Fault
    """
    codes: Counter[int] = Counter()
    faults = []
    waiting = list(seeds)
    while waiting:
        batch, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
        running = []
        for seed in batch:
            folder = scratch / f"{kind}-{seed}"
            shutil.copytree(intact, folder)
            damage = damage_file(folder, KINDS[kind], np.random.default_rng([seed, *kind.encode()]))
            _remove_results(kind, folder)
            before = fuzz_writes.around(folder)
            commands = [run_command(folder, KINDS[kind].regions)]
            if kind == "store":
                commands.insert(0, ["pairs", str(folder / "out")])
            if kind == "folder":
                commands = reading_commands(folder)
            running.append((folder, f"{kind} {seed}: {damage}", commands, before))
        for step in range(max(len(commands) for _, _, commands, _ in running)):
            started = [
                (damage, _start(commands[step], folder / "printed"))
                for folder, damage, commands, _ in running
                if step < len(commands)
            ]
            for damage, process in started:
                code, printed, wrong = _wait(*process)
                codes[code] += 1
                if wrong:
                    last = printed.strip().splitlines()[-1:] or [""]
                    faults.append(Fault(damage, f"{wrong}: {last[0][:300]}"))
        for folder, damage, _, before in running:
            faults += [Fault(damage, f"write outside OUT: {name}") for name in fuzz_writes.outside(folder, before)]
            shutil.rmtree(folder)
    return codes, faults


def damage_file(folder: Path, kind: Kind, rng: np.random.Generator) -> str:
    """Damage one file of a job; return the file and the kind of damage."""
    files = sorted(path for path in folder.glob(kind.pattern) if path.is_file() and path.stat().st_size)
    path = files[int(rng.integers(len(files)))]
    content = path.read_bytes()
    kinds = (*_BYTES, _word) if kind.text else _BYTES
    change = kinds[int(rng.integers(len(kinds)))]
    path.write_bytes(change(content, rng))
    return f"{path.relative_to(folder)} {change.__name__.strip('_')}"


def _flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """Invert a few bits."""
    found = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        found[int(rng.integers(len(found)))] ^= 1 << int(rng.integers(8))
    return bytes(found)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut off the end."""
    return content[: int(rng.integers(len(content)))]


def _holed(content: bytes, rng: np.random.Generator) -> bytes:
    """Overwrite a part with zeros."""
    start, length = int(rng.integers(len(content))), int(rng.integers(1, 600))
    return content[:start] + bytes(min(length, len(content) - start)) + content[start + length :]


def _shortened(content: bytes, rng: np.random.Generator) -> bytes:
    """Remove a part."""
    start, length = int(rng.integers(len(content))), int(rng.integers(1, 600))
    return content[:start] + content[start + length :]


def _stuffed(content: bytes, rng: np.random.Generator) -> bytes:
    """Insert random bytes."""
    start = int(rng.integers(len(content)))
    return content[:start] + rng.bytes(int(rng.integers(1, 60))) + content[start:]


def _word(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace a word."""
    words = content.split(b" ")
    word = _WORDS[int(rng.integers(len(_WORDS)))].encode(errors="surrogateescape")
    words[int(rng.integers(len(words)))] = word
    return b" ".join(words)


_BYTES: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (_flipped, _cut, _holed, _shortened, _stuffed)


def _start(arguments: Sequence[str], printed: Path) -> tuple[int, Path, float]:
    """Run the command line in a fork of this process; return its id, its output file and its start time."""
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        _command(arguments, printed)
    return process, printed, time.monotonic()


def _command(arguments: Sequence[str], printed: Path) -> NoReturn:
    code = 1
    try:
        target = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        fuzz_writes.watch(printed.parent)
        sys.argv = ["s2fast", *arguments]
        command_line()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(process: int, printed: Path, start: float) -> tuple[int, str, str]:
    """Wait for a trial; return its exit code, its output and the fault (empty: none)."""
    for _ in _pauses(start):
        ended, status, usage = os.wait4(process, os.WNOHANG)
        if ended:
            break
    else:
        os.kill(process, signal.SIGKILL)
        os.wait4(process, 0)
        return -signal.SIGKILL, printed.read_text(errors="replace"), "hang"
    code = os.waitstatus_to_exitcode(status)
    text = printed.read_text(errors="replace")
    if code < 0:
        return code, text, f"crash, {signal.Signals(-code).name}"
    if "Traceback (most recent call last)" in text:
        return code, text, "traceback"
    if usage.ru_maxrss * 1024 > _MOST_BYTES:
        return code, text, f"memory, {usage.ru_maxrss >> 10} MB"
    return code, text, "" if code in _EXIT_CODES else f"exit code {code}"


def _pauses(start: float) -> Iterator[None]:
    """Yield at short intervals until the time limit of a trial."""
    while time.monotonic() - start < _MOST_SECONDS:
        yield
        time.sleep(0.01)
