"""Count instructions and simulated cache misses of single calls in this process, with valgrind's callgrind.

Hardware counters would count the very code that users run, but virtual machines seldom have them. Valgrind runs
anywhere and its counts do not depend on other load, but it knows no AVX-512 and is slow, above all while it counts. So
counting is switched on at the first call, after what loads and warms up; switching it off would have valgrind translate
all code anew for the next. The requests are those of ``callgrind.h``: five instructions without effect,
which valgrind recognises.
"""

from __future__ import annotations

import bisect
import ctypes
import gc
import heapq
import mmap
import platform
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

INSTRUCTION_SET = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+popcnt,+bmi,+bmi2,+fma"}
"""Environment of compiled kernels: an instruction set that valgrind supports."""

CACHES = ("--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,64,64", "--LL=1048576,16,64")
"""Options for simulated caches of one size on every machine: 32 KiB of data, and 1 MiB of all.

The data cache has 64 ways, not 8 as processors do: with 8, misses depend on where arrays happen to lie (equal calls of
`hamming_top2` differed by 15 %), with 64 by at most 1 % even if the whole heap is moved.
"""

COMPILED = "???"
"""Callgrind's name for code without a file: what was compiled in memory."""

_MISSES = ("D1mr", "D1mw")

_DISCARD, _DUMP, _START = 0, 3, 4

# mov rax, rdi; xor edx, edx; rol rdi by 3, 13, 61 and 51; xchg rbx, rbx; mov rax, rdx; ret.
_REQUEST = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")


def missing() -> str | None:
    """Return why nothing can be counted here; None if it can."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"instructions are counted on x86-64 only, this is {platform.machine()}"
    if shutil.which("valgrind") is None:
        return "valgrind is not installed: apt-get install valgrind, or your system's equivalent"
    return None


def command(profiles: Path, options: Sequence[str] = ()) -> list[str]:
    """Return the beginning of a command line that runs a program under callgrind, counting nothing yet.

    Parameters
    ----------
    profiles
        Folder of the profiles, one file for each counted call.
    options
        Further options, such as `CACHES`.
    """
    output = f"--callgrind-out-file={profiles}/profile"
    return ["valgrind", "--tool=callgrind", "--instr-atstart=no", output, *options]


@contextmanager
def counting(name: str) -> Iterator[None]:
    """Count a block of code, if this process runs under callgrind, and write its profile under a name."""
    # The garbage collector runs after a number of allocations: one more could move a pass over everything in or out.
    gc.collect()
    gc.disable()
    _switch_on()
    _request(_DISCARD)
    try:
        yield
    finally:
        _request(_DUMP, name)
        gc.enable()


@cache
def _switch_on() -> None:
    _request(_START)


@cache
def _machine_code() -> tuple[mmap.mmap, Callable[[int], int]]:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_REQUEST)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    # The page lives as long as the function that points into it.
    return page, ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)(address)


def _request(number: int, text: str = "") -> None:
    _page, call = _machine_code()
    held = ctypes.create_string_buffer(text.encode())
    code = (ord("C") << 24) | (ord("T") << 16) | number
    arguments = (ctypes.c_size_t * 6)(code, ctypes.addressof(held))
    call(ctypes.addressof(arguments))


@dataclass(frozen=True, slots=True)
class Profile:
    """Costs of one counted call by function."""

    instructions: Mapping[tuple[str, str], int]
    """Instructions by (file, function), without those of called functions."""
    misses: int
    """Simulated misses of the data cache; 0 if caches were not simulated."""

    @property
    def total(self) -> int:
        """All instructions."""
        return sum(self.instructions.values())

    @property
    def compiled(self) -> int:
        """Instructions of code that was compiled in memory."""
        return sum(count for (file, _), count in self.instructions.items() if file == COMPILED)

    def by_name(self, kernels: Sequence[tuple[int, str]]) -> dict[str, int]:
        """Return the instructions by readable name, given the sorted addresses of the compiled kernels."""
        counts: dict[str, int] = defaultdict(int)
        for (file, function), count in self.instructions.items():
            counts[_readable(file, function, kernels)] += count
        return dict(counts)


def _readable(file: str, function: str, kernels: Sequence[tuple[int, str]]) -> str:
    # Callgrind numbers the levels of recursion.
    function = function.partition("'")[0]
    if file == COMPILED and function.startswith("0x"):
        place = bisect.bisect_right(kernels, (int(function, 16), "\U0010ffff")) - 1
        return kernels[place][1] if place >= 0 else "compiled code"
    # Without a symbol table a function is an address, which differs from side to side.
    name = "code without names" if function.startswith("0x") else function
    return f"{name} ({Path(file).name})"


def grown(base: Mapping[str, int], head: Mapping[str, int], most: int = 5) -> list[str]:
    """Return the functions whose counts grew most, with both counts, the largest growth first."""
    rises = {name: count - base.get(name, 0) for name, count in head.items()}
    largest = heapq.nlargest(most, rises, key=rises.__getitem__)
    return [f"{name}: {base.get(name, 0):,} → {head[name]:,}" for name in largest if rises[name] > 0]


def read_profiles(folder: Path) -> dict[str, Profile]:
    """Return the profiles in a folder by the name given to `counting`; those that valgrind adds have none."""
    found = {}
    for path in folder.glob("profile*"):
        text = path.read_text()
        if name := re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.MULTILINE):
            found[name[1]] = parse(text)
    return found


def parse(text: str) -> Profile:
    """Read a profile in callgrind's format, version 1."""
    events = re.search(r"^events: (.*)$", text, re.MULTILINE)
    columns = events[1].split() if events else ["Ir"]
    missed = [columns.index(name) for name in _MISSES if name in columns]
    names: dict[str, dict[str, str]] = {"ob": {}, "fn": {}}
    counts: dict[tuple[str, str], int] = defaultdict(int)
    current, misses, after_calls = {"ob": "", "fn": ""}, 0, False
    for line in text.splitlines():
        first = line[:1]
        if first in "+-*0123456789" and first:
            if not after_calls:
                costs = line.split()[1:]
                counts[current["ob"], current["fn"]] += int(costs[0]) if costs else 0
                misses += sum(int(costs[column]) for column in missed if column < len(costs))
            # The line after "calls=" is the cost of the callee, which is counted where it was spent.
            after_calls = False
        elif line.startswith("calls="):
            after_calls = True
        elif found := re.match(r"(c?)(ob|fn)=(\(\d+\))(?: (.*))?$", line):
            called, kind, number, name = found.groups()
            if name:
                names[kind][number] = name
            if not called:
                current[kind] = names[kind][number]
    return Profile(dict(counts), misses)
