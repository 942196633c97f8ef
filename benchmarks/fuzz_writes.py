"""Writes of a trial outside its run folder: seen by Python's audit events, and by comparing the files around it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2fast_kernels.compiled import cache_folder

ALLOWED = ("out", "printed", "picture.png", "written", "tmp")
"""What a trial may write in its folder: the run folder, what the benchmark asks for or writes itself, and temporary
files."""

_LOG = "written"
"""File that receives the paths that Python wrote elsewhere."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_EVENTS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "os.mkdir": ((0, 2),), "os.rmdir": ((0, 1),), "os.remove": ((0, 1),), "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),), "os.symlink": ((1, 2),), "os.chmod": ((0, 2),), "os.chown": ((0, 3),),
    "os.truncate": ((0, -1),), "os.utime": ((0, 3),),
}  # fmt: skip
"""Which arguments of Python's audit events are paths that change, and the folders to which they are relative."""

_DEVICES = ("/dev/", "/proc/")

State = Mapping[str, tuple[int, int, int]]
"""Inode, size [bytes] and modification time [ns] of files, by their paths."""


def around(folder: Path) -> State:
    """Return the state of what no trial may change: its inputs, the undamaged job, and files beside its folder."""
    own = [path for path in folder.iterdir() if path.name not in ALLOWED]
    beside = [path for path in folder.parent.iterdir() if path.name == "intact" or not path.is_dir()]
    found: dict[str, tuple[int, int, int]] = {}
    for root in (*own, *beside):
        for path in (root, *root.rglob("*")):
            status = path.lstat()
            # What is read may get a time of its own; folders change with what is in them.
            found[str(path)] = (
                (status.st_ino, 0, 0) if path.is_dir() else (status.st_ino, status.st_size, status.st_mtime_ns)
            )
    return found


def outside(folder: Path, before: State) -> list[str]:
    """Return what a trial has written outside its run folder, by name; temporary files must be removed in the end."""
    after = around(folder)
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    left = [str(path) for path in (folder / "tmp").rglob("*")]
    log = folder / _LOG
    return [*changed, *left, *(log.read_text(errors="replace").splitlines() if log.exists() else ())]


def watch(folder: Path) -> None:
    """Note all that this process, a trial in a folder, writes elsewhere; its temporary files go into that folder.

    Compiled code is kept elsewhere, and is no fault.
    """
    sys.dont_write_bytecode = True
    (folder / "tmp").mkdir(exist_ok=True)
    tempfile.tempdir = str(folder / "tmp")
    own = [*(str(folder / name) for name in ALLOWED), str(cache_folder())]
    log = os.open(folder / _LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(path: Any, within: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # an open file
        start = Path(f"/proc/self/fd/{within}").readlink() if isinstance(within, int) and within >= 0 else Path()
        whole = os.path.abspath(start / os.fsdecode(path))  # noqa: PTH100  links are not followed
        if not any(whole == name or whole.startswith(f"{name}/") for name in own) and not whole.startswith(_DEVICES):
            os.write(log, f"{whole!a}\n".encode())

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            note(arguments[0], None)
        for path, within in _EVENTS.get(event, ()):
            note(arguments[path], arguments[within])

    sys.addaudithook(hook)
