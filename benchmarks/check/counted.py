"""The process whose calls are counted: ``python -m benchmarks.check.counted PROGRAM CASES SIZES SCRATCH SCENES``.

Three programs count the three kinds of cases: operations on seeded operands, stages one after the other on 4, 8 and 16
scenes, and commands from their first import. Each is first run without valgrind, so that compiled kernels and byte code
are in their caches and Python's own compilation is not counted.
"""

from __future__ import annotations

import cProfile
import json
import math
import os
import pstats
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.check.callgrind import CACHES, INSTRUCTION_SET, Profile, command, counting, read_profiles
from benchmarks.check.cases import CASES, stage_arguments
from benchmarks.check.sides import Side, SideError, worker_environment

if TYPE_CHECKING:
    # Not imported here: what this module imports would be missing in the count of `import s2fast`.
    from benchmarks.calls import Call

_MODULE = "benchmarks.check.counted"

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
    """Calls of Python functions, at the first size of a stage."""


def count(
    side: Side, cases: Sequence[str], scenes: Path, *, growth: bool, caches: bool
) -> tuple[list[Counted], dict[str, str]]:
    """Count the cases of one side, in one process for each kind of case.

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

    Returns
    -------
    tuple
        The counts, and why the side cannot run the other cases.

    Raises
    ------
    SideError
        A process failed; the message is its last line.
    """
    found: list[Counted] = []
    errors: dict[str, str] = {}
    for program in _PROGRAMS:
        wanted = [name for name in cases if CASES[name].kind == program]
        if wanted:
            simulated = CACHES if caches and program == "operation" else ()
            counted, why = _count_program(side, program, wanted, scenes, growth=growth, options=simulated)
            found += counted
            errors |= why
    return found, errors


def _count_program(
    side: Side, program: str, cases: Sequence[str], scenes: Path, *, growth: bool, options: Sequence[str]
) -> tuple[list[Counted], dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        profiles = Path(folder)
        environment = worker_environment(side) | INSTRUCTION_SET | {"NUMBA_CACHE_DIR": f"{side.cache}-avx2"}
        environment |= {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 18)}
        python = [side.python, "-m", _MODULE, program, ",".join(cases)]
        rest = [folder, str(scenes)]
        warm = Path(f"{side.cache}-avx2") / f"{program}-ready"
        if not warm.exists():
            _run(side, [*python, "none", *rest], environment)
            warm.parent.mkdir(parents=True, exist_ok=True)
            warm.touch()
        _run(side, [*command(profiles, options), *python, "all" if growth else "first", *rest], environment)
        named = json.loads((profiles / "names.json").read_text())
        kernels = [(int(address), name) for address, name in named["kernels"]]
        counted = []
        for label, profile in read_profiles(profiles).items():
            case, _, size = label.rpartition("/")
            functions = profile.by_name(kernels)
            counted.append(Counted(case, int(size), profile, functions, named["python"].get(label, {})))
    errors: dict[str, str] = named["errors"]
    absent = set(cases) - {one.case for one in counted} - set(errors)
    if absent:
        raise SideError(side.name, f"valgrind wrote no profile of {', '.join(sorted(absent))}")
    return counted, errors


def _run(side: Side, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    ran = subprocess.run(arguments, env=environment, cwd=side.path, capture_output=True, text=True, check=False)
    if ran.returncode:
        # Valgrind's own lines begin with its process, as in "==123==".
        lines = [line for line in ran.stderr.splitlines() if line.strip() and not line.startswith("==")]
        raise SideError(side.name, lines[-1] if lines else f"ended with code {ran.returncode}")


class Counter:
    """Runs calls, under valgrind counted; collects what names them."""

    def __init__(self, sizes: str) -> None:
        self.sizes = sizes
        """``none``: no valgrind, only fill the caches; ``first`` or ``all`` sizes of a case."""
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
        with counting(f"{case}/{size}") if self.sizes != "none" else nullcontext():
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
        _count_runs(cases, sizes, counter, scratch, scenes)


def _count_runs(cases: Sequence[str], sizes: Sequence[int], counter: Counter, scratch: Path, scenes: Path) -> None:
    _run_stages(cases, scratch / "warm", scenes, sizes[0], lambda _case, call: call())
    if counter.sizes == "none":
        return
    for size in sizes:
        _run_stages(cases, scratch / f"{size:02}", scenes, size, partial(counter.run, size))
    _run_stages(cases, scratch / "py", scenes, sizes[0], partial(counter.name_calls, sizes[0]))


def _run_stages(
    cases: Sequence[str], folder: Path, scenes: Path, size: int, run: Callable[[str, Call], object]
) -> None:
    """Run all stages up to the last wanted one on `size` scenes, half of them of each tile."""
    from s2fast.cli import app

    folder.mkdir()
    job = stage_arguments(scenes, size, folder)

    def call(stage: str) -> Call:
        arguments = ["pairs", str(folder / "out")] if stage == "s2fast pairs" else [stage, *job]

        def command_in_this_process() -> None:
            code = app(arguments, standalone_mode=False)
            if code:
                raise RuntimeError(f"s2fast {stage} ended with exit code {code}")

        return command_in_this_process

    stages = [name for name, case in CASES.items() if case.kind == "stage"]
    for stage in stages[: 1 + max(stages.index(case) for case in cases)]:
        if stage in cases:
            run(stage, call(stage))
        else:
            call(stage)()


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
    "operation": count_operations,
    "stage": count_stages,
    "command": count_commands,
}


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


def main(program: str, cases: str, sizes: str, folder: str, scenes: str) -> None:
    """Run the cases of one program."""
    counter = Counter(sizes)
    with tempfile.TemporaryDirectory(prefix="counted-") as scratch, Path(os.devnull).open("w") as nowhere:
        # What a command prints is counted, but must not mix with the caller's own output.
        os.dup2(nowhere.fileno(), 1)
        _PROGRAMS[program](cases.split(","), counter, Path(scratch), Path(scenes))
    names = {"kernels": _kernels(), "python": counter.python, "errors": counter.errors}
    (Path(folder) / "names.json").write_text(json.dumps(names))


if __name__ == "__main__":
    main(*sys.argv[1:])
