"""One writer per run folder: a lock with its owner, host and age, taken over when its owner is dead.

An owner of the same machine is alive while its process is; one of another machine while its heartbeat is young.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from s2fast.errors import RunFolderError
from s2fast.files.storage import LOCK, is_alive
from s2fast.folder.run_folder import RunFolder

log = logging.getLogger(__name__)

BEAT_S = 15.0
"""How often an owner says that it is alive [s]."""

STALE_S = 120.0
"""An owner of another machine that has not said so for this long [s] is dead."""


_held: set[str] = set()
"""Tokens of this process's owners."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who writes a run folder."""

    token: str
    """Tells this owner from every other."""
    host: str
    """Name of its machine."""
    machine: str
    """Its boot and process namespace: there, and only there, its process id means something."""
    pid: int
    """Its process id."""
    started: str
    """When that process was started, as the system counts: the id may have been given anew."""
    since: float
    """When it began to write [s since 1970]."""
    beat: float
    """When it last said that it is alive [s since 1970]."""

    @classmethod
    def this_process(cls) -> Owner:
        """Return the owner that this process is."""
        pid, now = os.getpid(), time.time()
        return cls(secrets.token_hex(8), platform.node(), _machine(), pid, _start(pid), now, now)

    @classmethod
    def read(cls, data: bytes | None) -> Owner | None:
        """Read a lock file; None if nobody can be read from it."""
        try:
            return cls(**json.loads(data or b""))
        except (TypeError, ValueError):
            return None

    def written(self) -> bytes:
        """Return the lock file."""
        return json.dumps(asdict(self)).encode()

    @property
    def is_alive(self) -> bool:
        """Whether it may still write."""
        if self.machine == _machine():
            mine = self.pid == os.getpid()
            return is_alive(self.pid) and _start(self.pid) == self.started and (not mine or self.token in _held)
        return time.time() - self.beat < STALE_S

    def far(self) -> str:
        """Return what a process of another machine should know of this owner's age; empty here."""
        if self.machine == _machine():
            return ""
        return f", last seen {time.time() - self.beat:.0f} s ago and taken over after {STALE_S:.0f} s of silence"

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since)
        today = since.date() == datetime.now().date()
        return f"process {self.pid} on {self.host} since {since:%H:%M}{'' if today else f' of {since:%Y-%m-%d}'}"


class Lock:
    """The right to write a run folder.

    Parameters
    ----------
    folder
        The run folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._owner: Owner | None = None
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def acquire(self) -> None:
        """Take the lock, or that of a dead owner.

        Raises
        ------
        RunFolderError
            Somebody else writes the folder.
        """
        mine = Owner.this_process()
        _held.add(mine.token)  # before anybody can read it
        try:
            holder = self._take(mine)
        except BaseException:
            _held.discard(mine.token)
            raise
        if holder:
            log.info("%s is taken over from %s, which is dead", self._folder, holder)
        self._owner = mine
        self._heart.start()

    def _take(self, mine: Owner) -> Owner | None:
        """Write the lock; return the dead owner whose lock it was."""
        while True:
            before = self._content()
            holder = Owner.read(before)
            if holder and holder.is_alive:
                raise RunFolderError(f"{self._folder} is being written by {holder}{holder.far()}: run again later")
            if self._folder.swap(LOCK, before, mine.written()):
                return holder

    def confirm(self) -> None:
        """Raise RunFolderError if another process has taken the folder over."""
        found = Owner.read(self._content())
        if found and self._owner and found.token != self._owner.token:
            raise RunFolderError(
                f"{self._folder} was taken over by {found}, as this process had given no sign of life for "
                f"{STALE_S:.0f} s: run again later"
            )

    def close(self) -> None:
        """Give the lock back, if it is ours."""
        if self._owner is None:
            return
        self._ended.set()
        self._heart.join()
        _held.discard(self._owner.token)
        # Where it cannot be removed, it is that of a dead owner.
        with suppress(RunFolderError):
            found = Owner.read(self._content())
            if found and found.token == self._owner.token:
                self._folder.remove(LOCK)
        self._owner = None
        self._folder.sweep()

    def _content(self) -> bytes | None:
        try:
            return self._folder.read(LOCK)
        except FileNotFoundError:
            return None

    def _beat(self) -> None:
        """Say again and again that the owner is alive; a beat that fails is made up for by the next."""
        while self._owner and not self._ended.wait(BEAT_S):
            with suppress(RunFolderError):
                self.confirm()
                self._folder.write(LOCK, replace(self._owner, beat=time.time()).written())


def _machine() -> str:
    """Name the space in which a process id means something, until the machine starts anew."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115  the name of a namespace is no path
    except OSError:
        return platform.node()


def _start(pid: int) -> str:
    """Return when a process was started, as the system counts; "ended" if it only waits for its parent."""
    try:
        # The name in brackets may hold anything.
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "ended" if state[0] in "ZX" else state[19]
