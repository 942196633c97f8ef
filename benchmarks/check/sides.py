"""The two sides of a comparison: one set of measuring code, two trees of s2fast and its kernels.

Both sides are timed by this checkout's benchmarks, so that a change of the measuring code is no difference between
them. Where base is from before something that is measured, that alone is left out, and the result says so. A side is a
folder of links, ``s2fast``, ``s2fast_kernels`` and ``benchmarks``, put first on the path of the side's own interpreter,
with a cache of compiled kernels of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
"""This checkout."""

PACKAGES = {"s2fast": "s2fast", "s2fast_kernels": "kernels/s2fast_kernels"}
"""What is compared, and where a checkout has it."""

_REQUIREMENTS = ("constraints.txt", "pyproject.toml")


class CheckError(Exception):
    """The check itself cannot be done; told in one line."""


class SideError(CheckError):
    """A side cannot do what was asked: a base from before what is measured, or a head that fails."""

    def __init__(self, side: str, reason: str) -> None:
        super().__init__(f"{side}: {reason}")
        self.side, self.reason = side, reason


@dataclass(frozen=True, slots=True)
class Side:
    """One tree, ready to run."""

    name: str
    """``base`` or ``head``."""
    path: Path
    """The folder of links."""
    python: str
    """The interpreter of its environment."""
    cache: Path
    """Where its compiled kernels are kept."""


def tree_hash(root: Path) -> str:
    """Hash the sources that are compared, names and contents."""
    digest = hashlib.blake2b(digest_size=8)
    for package, place in sorted(PACKAGES.items()):
        for file in sorted((root / place).rglob("*.py")):
            digest.update(f"{package}/{file.relative_to(root / place)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def make_side(name: str, root: Path, python: str, cache: Path) -> Side:
    """Link a checkout's packages and this checkout's benchmarks into a folder; the same sources share it."""
    path = cache / "sides" / tree_hash(root)
    path.mkdir(parents=True, exist_ok=True)
    places = {package: root / place for package, place in PACKAGES.items()}
    for package, target in (places | {"benchmarks": ROOT / "benchmarks"}).items():
        link = path / package
        link.unlink(missing_ok=True)
        link.symlink_to(target.resolve())
    return Side(name, path, python, path / "compiled")


def base_side(revision: str, cache: Path) -> Side:
    """Check a revision out into a git worktree of its own, with an environment of its own."""
    commit = git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    worktree = cache / "worktrees" / commit[:12]
    if not worktree.exists():
        git("worktree", "prune")
        git("worktree", "add", "--quiet", "--detach", "--force", str(worktree), commit)
    return make_side("base", worktree, environment(worktree, cache), cache)


def head_side(cache: Path) -> Side:
    """Take this checkout as it is, uncommitted changes included."""
    return make_side("head", ROOT, sys.executable, cache)


def environment(root: Path, cache: Path) -> str:
    """Find or make the interpreter with what a checkout pins.

    Where it pins what this checkout pins, its environment would be this one package by package, so this one serves:
    what is its own is the path and the cache of compiled kernels.
    """
    pinned = [(root / name).read_bytes() if (root / name).exists() else b"" for name in _REQUIREMENTS]
    if pinned[0] == (ROOT / _REQUIREMENTS[0]).read_bytes():
        return sys.executable
    folder = cache / "environments" / hashlib.blake2b(b"\0".join(pinned), digest_size=8).hexdigest()
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        # Scipy is what the benchmarks want beside the base's own.
        wanted = ["--constraint", str(root / "constraints.txt"), f"{root}[dev]", "scipy"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
        (folder / ".ready").touch()
    return str(python)


def git(*arguments: str) -> str:
    """Run git in this checkout."""
    ran = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    if ran.returncode:
        told = ran.stderr.strip() or "unknown revision"
        raise CheckError(f"git {' '.join(arguments)}: {told}")
    return ran.stdout.strip()


class Worker:
    """A worker process of a side; see `benchmarks.check.worker`."""

    def __init__(self, side: Side, label: str = "", environment: Mapping[str, str] | None = None) -> None:
        self.side, self.label = side, label or side.name
        # A pipe that nobody reads would fill, and stop the worker.
        self._told = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by `close`
        self._process = subprocess.Popen(
            [side.python, "-m", "benchmarks.check.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._told,
            text=True,
            env=worker_environment(side) | dict(environment or {}),
            cwd=side.path,
        )
        self._requests: Any = self._process.stdin
        self._answers: Any = self._process.stdout

    def send(self, do: str, **arguments: Any) -> None:
        """Ask; `receive` the answer before asking again."""
        with contextlib.suppress(BrokenPipeError):  # `receive` says how it died
            self._requests.write(json.dumps({"do": do, **arguments}) + "\n")
            self._requests.flush()

    def receive(self) -> dict[str, Any]:
        """Read the answer to what was sent."""
        line = self._answers.readline()
        if not line:
            raise CheckError(f"the worker of {self.label} ended with code {self._process.wait()}: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SideError(self.label, answer["error"])
        return answer

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and return the answer."""
        self.send(do, **arguments)
        return self.receive()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._told.close()

    def _last_words(self) -> str:
        self._told.seek(0)
        return (self._told.read().strip().splitlines() or ["no message"])[-1]


@contextlib.contextmanager
def workers(*sides: tuple[Side, str]) -> Iterator[list[Worker]]:
    """Start workers of (side, label), and end them."""
    started = [Worker(side, label) for side, label in sides]
    try:
        yield started
    finally:
        for worker in started:
            worker.close()


def worker_environment(side: Side) -> dict[str, str]:
    """Environment of a worker: the side's code first, one thread everywhere."""
    one_thread = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GDAL_NUM_THREADS")
    return os.environ | dict.fromkeys(one_thread, "1") | {
        "PYTHONPATH": str(side.path),
        "PYTHONHASHSEED": "0",
        "NUMBA_CACHE_DIR": str(side.cache),
    }  # fmt: skip
