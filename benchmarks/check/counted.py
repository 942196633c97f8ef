"""The process whose calls are counted: ``python -m benchmarks.check.counted PROGRAM CASES SIZES FOLDER SCENES [MADE]``.

Three programs count the three kinds of cases: operations on seeded operands, stages one after the other on 4, 8 and 16
scenes, and commands from their first import. Each is first run without valgrind, so that compiled kernels and byte code
are in their caches and Python's own compilation is not counted. This run also counts the calls of Python functions, and
leaves run folders, MADE, in which the later stages are counted without the earlier ones.
"""

from __future__ import annotations

import cProfile
import json
import math
import os
import pstats
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.check.callgrind import CACHES, INSTRUCTION_SET, Profile, command, counting, read_profiles
from benchmarks.check.cases import CASES, stage_arguments
from benchmarks.check.sides import Side, SideError, worker_environment

if TYPE_CHECKING:
    # Not imported here: what this module imports would be missing in the count of `import s2fast`.
    from benchmarks.calls import Call

_MODULE = "benchmarks.check.counted"

_FIRST_STAGES = ("ingest", "extract", "match")
"""Stages that take as long to count as those after them, which are counted in another process."""

Sizes = Literal["all", "first"]
"""Which of a case's sizes to run."""

_NAMES = "names.json"

_CORE_PX = 256
"""Side of the extraction's windows [px]."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Counts of one case at one size."""

    case: str
    """Name in `benchmarks.check.cases.CASES`."""
    size: int
    """One of the case's sizes."""
    profile: Profile
    """Instructions by function."""
    functions: Mapping[str, int]
    """Instructions by readable name of the function, compiled kernels by their own."""
    python: Mapping[str, int]
    """Calls of Python functions in a stage."""


def count(
    side: Side, cases: Sequence[str], scenes: Path, *, growth: bool, caches: bool, pool: Executor
) -> tuple[list[Counted], dict[str, str]]:
    """Count the cases of one side, the longest processes first.

    Parameters
    ----------
    side, cases
        The side, and names of cases.
    scenes
        Folder of at least 16 small scenes of two tiles.
    growth
        Count at all sizes, not only the first.
    caches
        Simulate caches for the operations, which doubles their time.
    pool
        Runs as many processes at once as the machine has processors: counts do not depend on each other.

    Returns
    -------
    tuple
        The counts, and why the side cannot run the other cases.

    Raises
    ------
    SideError
        A process failed; the message is its last line.
    """
    programs = {program: [name for name in cases if CASES[name].kind == program] for program in _PROGRAMS}
    wanted = {program: names for program, names in programs.items() if names}
    sizes: Sizes = "all" if growth else "first"
    with tempfile.TemporaryDirectory() as folder:
        made = {program: Path(folder) / program for program in wanted}
        plain = [
            pool.submit(_plain_run, side, program, names, sizes, made[program], scenes)
            for program, names in wanted.items()
        ]
        named = [future.result() for future in plain]
        python = {label: calls for names in named for label, calls in names["python"].items()}
        # Why a case failed without valgrind; a later stage fails under it for want of what that run did not leave.
        first_errors = {case: why for names in named for case, why in names["errors"].items()}
        runs = [
            pool.submit(_counted_run, side, program, part, sizes, made[program], scenes, CACHES if caches else ())
            for program, names in wanted.items()
            for part in _parts(names)
        ]
        counted = [run.result() for run in runs]
    found: list[Counted] = []
    errors: dict[str, str] = {}
    for profiles, names in counted:
        kernels = [(int(address), name) for address, name in names["kernels"]]
        for label, profile in profiles.items():
            case, _, size = label.rpartition("/")
            functions = profile.by_name(kernels)
            found.append(Counted(case, int(size), profile, functions, python.get(label, {})))
        errors |= names["errors"]
    errors = {case: first_errors.get(case, why) for case, why in errors.items()}
    absent = set(cases) - {one.case for one in found} - set(errors)
    if absent:
        raise SideError(side.name, f"valgrind wrote no profile of {', '.join(sorted(absent))}")
    return found, errors


def _parts(cases: Sequence[str]) -> list[list[str]]:
    """Return the cases of a program in parts, one for each process: two processors count the stages."""
    first = [case for case in cases if case in _FIRST_STAGES]
    return [part for part in (first, [case for case in cases if case not in first]) if part]


def _plain_run(
    side: Side, program: str, cases: Sequence[str], sizes: Sizes, made: Path, scenes: Path
) -> dict[str, Any]:
    """Run a program without valgrind, into the empty folder `made`.

    Return how often stages call Python functions, ``python``, and why cases failed, ``errors``.
    """
    made.mkdir()
    _run(side, [], program, cases, sizes, made, scenes)
    named: dict[str, Any] = json.loads((made / _NAMES).read_text())
    return named


def _counted_run(
    side: Side,
    program: str,
    cases: Sequence[str],
    sizes: Sizes,
    made: Path,
    scenes: Path,
    simulated: Sequence[str],
) -> tuple[dict[str, Profile], dict[str, Any]]:
    """Run a program under valgrind after its plain run; return its profiles, and what names them."""
    with tempfile.TemporaryDirectory() as folder:
        valgrind = command(Path(folder), simulated if program == "operation" else ())
        _run(side, valgrind, program, cases, sizes, Path(folder), scenes, made)
        return read_profiles(Path(folder)), json.loads((Path(folder) / _NAMES).read_text())


def _run(
    side: Side,
    valgrind: Sequence[str],
    program: str,
    cases: Sequence[str],
    sizes: Sizes,
    folder: Path,
    scenes: Path,
    *made: Path,
) -> None:
    environment = worker_environment(side) | INSTRUCTION_SET | {"NUMBA_CACHE_DIR": f"{side.cache}-avx2"}
    environment |= {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 18)}
    arguments = [program, ",".join(cases), sizes, *map(str, (folder, scenes, *made))]
    python = [side.python, "-m", _MODULE, *arguments]
    ran = subprocess.run(
        [*valgrind, *python], env=environment, cwd=side.path, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        # Valgrind's own lines begin with its process, as in "==123==".
        lines = [line for line in ran.stderr.splitlines() if line.strip() and not line.startswith("==")]
        raise SideError(side.name, lines[-1] if lines else f"ended with code {ran.returncode}")


class Counter:
    """Runs calls, under valgrind counted; collects what names them."""

    def __init__(self, sizes: str, folder: Path, made: Path | None) -> None:
        self.sizes = sizes
        """Which of a case's sizes to run, "all" or the "first"."""
        self.folder = folder
        """Folder for what this process leaves."""
        self.made = made
        """What the run without valgrind has left; None: this is that run."""
        self.python: dict[str, dict[str, int]] = {}
        self.errors: dict[str, str] = {}

    def sizes_of(self, case: str) -> Sequence[int]:
        """Return the sizes to run a case at."""
        return CASES[case].sizes if self.sizes == "all" else CASES[case].sizes[:1]

    @contextmanager
    def attempt(self, cases: Sequence[str]) -> Iterator[None]:
        """Record why these cases cannot run, if they cannot: an older base may lack them."""
        try:
            yield
        except Exception as error:  # reported by the caller
            self.errors |= dict.fromkeys(cases, f"{type(error).__name__}: {error}")

    def run(self, size: int, case: str, call: Call) -> None:
        """Run a call; count it under valgrind."""
        if self.made is None:
            call()
            return
        with counting(f"{case}/{size}"):
            call()

    def name_calls(self, size: int, case: str, call: Call) -> None:
        """Run a call and record how often it calls each Python function."""
        profiler = cProfile.Profile()
        profiler.runcall(call)
        stats: Any = pstats.Stats(profiler)
        calls: dict[str, int] = {}
        for (file, _line, function), (_primitive, number, *_times) in stats.stats.items():
            name = f"{function} ({_module(file)})"
            calls[name] = calls.get(name, 0) + number
        self.python[f"{case}/{size}"] = calls


def _module(file: str) -> str:
    """Return a source file's path below its package's folder, which is the same on both sides."""
    for root in (str(Path.cwd()), *sorted(sys.path, key=len, reverse=True)):
        if root and file.startswith(root + os.sep):
            return file[len(root) + 1 :]
    return Path(file).name


def count_operations(cases: Sequence[str], counter: Counter, scratch: Path, scenes: Path) -> None:
    """Count operations, each after two calls that load it."""
    del scratch, scenes
    for case in cases:
        with counter.attempt([case]):
            for size in counter.sizes_of(case):
                call = _operation(case, size)
                call()
                call()
                counter.run(size, case, call)


def _operation(case: str, size: int) -> Call:
    from benchmarks.calls import CALLS, akaze

    # The size of the extraction is its number of windows, a square number.
    return akaze(_CORE_PX * math.isqrt(size), _CORE_PX) if case == "akaze" else CALLS[case].make(size)


def count_stages(cases: Sequence[str], counter: Counter, scratch: Path, scenes: Path) -> None:
    """Count stages, by commands in this process: a whole run for each size, after one that loads everything."""
    sizes = sorted({size for case in cases for size in counter.sizes_of(case)})
    with counter.attempt(cases):
        _run_stages(cases, counter, scratch / "warm", scenes, sizes[0], lambda _size, _case, call: call())
        for size in sizes:
            run = counter.name_calls if counter.made is None else counter.run
            _run_stages(cases, counter, scratch / f"{size:02}", scenes, size, run)


def _run_stages(
    cases: Sequence[str],
    counter: Counter,
    folder: Path,
    scenes: Path,
    size: int,
    run: Callable[[int, str, Call], object],
) -> None:
    """Run all stages up to the last wanted one on `size` scenes, half of them of each tile.

    The first stages are left out if none of them is wanted and the run without valgrind has left their results.
    """
    from s2fast.cli import app

    stages = [name for name, case in CASES.items() if case.kind == "stage"]
    stages = stages[: 1 + max(stages.index(case) for case in cases)]
    if counter.made is not None and not set(cases) & set(_FIRST_STAGES):
        stages = [stage for stage in stages if stage not in _FIRST_STAGES]
        shutil.copytree(counter.made / folder.name, folder)
    else:
        folder.mkdir()
    job = stage_arguments(scenes, size, folder)

    def call(stage: str) -> Call:
        arguments = ["pairs", str(folder / "out")] if stage == "s2fast pairs" else [stage, *job]

        def command_in_this_process() -> None:
            code = app(arguments, standalone_mode=False)
            if code:
                raise RuntimeError(f"s2fast {stage} ended with exit code {code}")

        return command_in_this_process

    for stage in stages:
        if stage in cases:
            run(size, stage, call(stage))
        else:
            call(stage)()
        if counter.made is None and stage == _FIRST_STAGES[-1]:
            shutil.copytree(folder, counter.folder / folder.name)


def count_commands(cases: Sequence[str], counter: Counter, scratch: Path, scenes: Path) -> None:
    """Count the import of the package and the help, both from a fresh interpreter."""
    del scratch, scenes

    def import_package() -> None:
        import s2fast  # noqa: F401

    def print_help() -> None:
        from s2fast.cli import app

        app(["--help"], standalone_mode=False)

    for case, call in {"import s2fast": import_package, "s2fast --help": print_help}.items():
        if case in cases:
            counter.run(1, case, call)
        else:
            call()


_PROGRAMS: Mapping[str, Callable[[Sequence[str], Counter, Path, Path], None]] = {
    "stage": count_stages,
    "operation": count_operations,
    "command": count_commands,
}
"""Programs by kind of case, the longest first."""


def _kernels() -> list[tuple[int, str]]:
    """Return the addresses and names of the kernels that this process has loaded."""
    dispatcher = sys.modules.get("numba.core.dispatcher")
    if dispatcher is None:
        return []
    found = []
    for module in [name for name in sys.modules if name.startswith("s2fast")]:
        for name, value in vars(sys.modules[module]).items():
            if isinstance(value, dispatcher.Dispatcher):
                for compiled in value.overloads.values():
                    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
                    found.append((address, f"{module}.{name}"))
    return sorted(set(found))


def main(program: str, cases: str, sizes: str, folder: str, scenes: str, *made: str) -> None:
    """Run the cases of one program."""
    counter = Counter(sizes, Path(folder), Path(made[0]) if made else None)
    with tempfile.TemporaryDirectory(prefix="counted-") as scratch, Path(os.devnull).open("w") as nowhere:
        # What a command prints is counted, but must not mix with the caller's own output.
        os.dup2(nowhere.fileno(), 1)
        _PROGRAMS[program](cases.split(","), counter, Path(scratch), Path(scenes))
    names = {"kernels": _kernels(), "python": counter.python, "errors": counter.errors}
    (Path(folder) / _NAMES).write_text(json.dumps(names))
    # Under valgrind the interpreter takes seconds to end.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
