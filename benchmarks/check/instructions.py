"""Count the instructions that the compiled kernels execute, with callgrind: independent of other load.

Hardware counters would count the very code that users run, but virtual machines seldom have them; valgrind runs
anywhere, but slowly and without AVX-512. Therefore the kernels are compiled for AVX2 and search small operands. Only
instructions in code without a file are counted: the code that LLVM compiled in memory, without Python and libraries. A
loop that does more work shows in both builds, since the source is the same.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from benchmarks.calls import CALLS
from benchmarks.check.sides import Side, worker_environment

INSTRUCTION_SET = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+popcnt,+bmi,+bmi2,+fma"}
"""An instruction set that valgrind supports."""

_MODULE = "benchmarks.check.instructions"


def missing() -> str | None:
    """Return why instructions cannot be counted here; None if they can."""
    absent = [tool for tool in ("valgrind", "callgrind_control") if shutil.which(tool) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def start(side: Side, scratch: Path) -> subprocess.Popen[str]:
    """Start counting a side's instructions; `finish` returns the counts."""
    scratch.mkdir(parents=True)
    environment = worker_environment(side) | INSTRUCTION_SET | {"NUMBA_CACHE_DIR": f"{side.cache}-avx2"}
    # Compilation under valgrind would take minutes, so a first process fills the cache.
    program = f"{sys.executable if side.python == sys.executable else side.python} -m {_MODULE}"
    counted = f"valgrind --tool=callgrind --callgrind-out-file={scratch}/counts {program} counted"
    return subprocess.Popen(
        ["sh", "-c", f"{program} compile && exec {counted}"],
        env=environment, cwd=side.path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], scratch: Path) -> dict[str, int]:
    """Return the counts by operation.

    Raises
    ------
    OSError
        Valgrind failed; the message contains its last line.
    """
    _, messages = process.communicate()
    found = {}
    for path in sorted(scratch.glob("counts.*")):
        text = path.read_text()
        trigger = re.search(r"^desc: Trigger: .*?counted-(\w+)", text, re.MULTILINE)
        if trigger:
            found[trigger[1]] = of_compiled_code(text)
    if process.returncode or set(found) != set(CALLS):
        last = (messages.strip().splitlines() or ["no message"])[-1]
        raise OSError(f"valgrind ended with code {process.returncode}, counted {sorted(found)}: {last}")
    return found


def of_compiled_code(profile: str) -> int:
    """Return the number of instructions of a callgrind profile in code without a file."""
    names: dict[str, str] = {}
    costs: Counter[str] = Counter()
    current, after_calls = "", False
    for line in profile.splitlines():
        if found := re.match(r"c?ob=(\(\d+\))(?: (.*))?", line):
            if found[2]:
                names[found[1]] = found[2]
            if line.startswith("ob="):
                current = found[1]
        elif line.startswith("calls="):
            # The next line is the cost of the callee, which is counted there.
            after_calls = True
        elif line[:1] in "+-*0123456789" and line:
            if not after_calls:
                costs[current] += int(line.rsplit(maxsplit=1)[-1])
            after_calls = False
    return sum(cost for name, cost in costs.items() if names.get(name) == "???")


def main(mode: str) -> None:
    """Run every operation once; in mode `counted`, under valgrind, write a profile after each."""
    for name, sized in CALLS.items():
        call = sized.make(sized.small)
        call()
        if mode == "counted":
            # Two profiles, so that loading from the cache is only in the first.
            _write_profile(f"loaded-{name}")
            call()
            _write_profile(f"counted-{name}")


def _write_profile(name: str) -> None:
    subprocess.run(["callgrind_control", f"--dump={name}", str(os.getpid())], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(sys.argv[1])
