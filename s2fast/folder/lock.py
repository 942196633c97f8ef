"""The lock of a run folder: it admits one writer, and is taken over once its owner is dead.

An owner on this machine is alive while its process runs; an owner on another machine while its heartbeat is recent.
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
from s2fast.files.processes import is_alive
from s2fast.files.storage import LOCK
from s2fast.folder.run_folder import RunFolder

log = logging.getLogger(__name__)

BEAT_S = 15.0
"""Interval between an owner's heartbeats [s]."""

STALE_S = 120.0
"""An owner on another machine counts as dead after this long without a heartbeat [s]."""


_held_tokens: set[str] = set()
"""Tokens of the locks that this process holds."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a lock."""

    token: str
    """Unique random identifier."""
    host: str
    """Name of the machine."""
    machine: str
    """Boot id and process namespace, within which the process id is valid."""
    pid: int
    """Process id."""
    started: str
    """Start time of the process [system clock ticks]; detects a reused process id."""
    since: float
    """When the lock was acquired [s since 1970]."""
    beat: float
    """Time of the latest heartbeat [s since 1970]."""

    @classmethod
    def this_process(cls) -> Owner:
        """Return a new owner for this process."""
        pid, now = os.getpid(), time.time()
        return cls(secrets.token_hex(8), platform.node(), _machine(), pid, _start_time(pid), now, now)

    @classmethod
    def read(cls, data: bytes | None) -> Owner | None:
        """Parse the content of a lock file; return None if it is missing or unreadable."""
        try:
            return cls(**json.loads(data or b""))
        except (TypeError, ValueError):
            return None

    def to_bytes(self) -> bytes:
        """Return the content of the lock file."""
        return json.dumps(asdict(self)).encode()

    @property
    def is_alive(self) -> bool:
        """Whether the owner may still write."""
        if self.machine != _machine():
            return abs(time.time() - self.beat) < STALE_S
        if not is_alive(self.pid) or _start_time(self.pid) != self.started:
            return False
        return self.pid != os.getpid() or self.token in _held_tokens

    def last_seen(self) -> str:
        """Return the age of the latest heartbeat as text, or an empty string if the owner is on this machine."""
        if self.machine == _machine():
            return ""
        return f", last seen {max(0, time.time() - self.beat):.0f} s ago (the lock expires after {STALE_S:.0f} s)"

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since)
        today = since.date() == datetime.now().date()
        return f"process {self.pid} on {self.host} since {since:%H:%M}{'' if today else f' of {since:%Y-%m-%d}'}"


class Lock:
    """A run folder's lock, kept alive by a heartbeat thread.

    Parameters
    ----------
    folder
        The run folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._owner: Owner | None = None
        self._closing = threading.Event()
        self._heartbeat = threading.Thread(target=self._send_heartbeats, daemon=True)

    def acquire(self) -> None:
        """Acquire the lock if it is free or its owner is dead.

        Raises
        ------
        RunFolderError
            Another process is writing the folder.
        """
        owner = Owner.this_process()
        _held_tokens.add(owner.token)  # before the lock file is visible to others
        try:
            dead = self._take(owner)
        except BaseException:
            _held_tokens.discard(owner.token)
            raise
        if dead:
            log.info("%s: took over the lock of %s, which is dead", self._folder, dead)
        self._owner = owner
        self._folder.hold()
        self._heartbeat.start()

    def _take(self, owner: Owner) -> Owner | None:
        """Write the lock file; return the dead owner it replaces, if any."""
        while True:
            before = self._content()
            holder = Owner.read(before)
            if holder and (holder.is_alive or self._still_beats(holder)):
                raise RunFolderError(
                    f"{self._folder} is being written by {holder}{holder.last_seen()}: run again later"
                )
            if self._folder.swap(LOCK, before, owner.to_bytes()):
                return holder

    def _still_beats(self, holder: Owner) -> bool:
        """Return whether an owner whose clock is ahead of this machine's renews its lock, which only waiting shows."""
        if holder.machine == _machine() or holder.beat <= time.time():
            return False
        log.info("%s: waiting %.0f s to see whether %s is alive: its clock differs", self._folder, 2 * BEAT_S, holder)
        time.sleep(2 * BEAT_S)
        found = Owner.read(self._content())
        return found is not None and found.token == holder.token and found.beat != holder.beat

    def confirm(self) -> None:
        """Raise RunFolderError if another process has taken over the lock."""
        found = Owner.read(self._content())
        if found and self._owner and found.token != self._owner.token:
            raise RunFolderError(
                f"{self._folder} was taken over by {found}, because this process sent no heartbeat for "
                f"{STALE_S:.0f} s: run again later"
            )

    def close(self) -> None:
        """Release the lock, if this process holds it."""
        if self._owner is None:
            return
        self._closing.set()
        self._heartbeat.join()
        _held_tokens.discard(self._owner.token)
        # A lock file that cannot be removed now belongs to a dead owner and can be taken over.
        with suppress(RunFolderError):
            found = Owner.read(self._content())
            if found and found.token == self._owner.token:
                self._folder.remove(LOCK)
        self._owner = None
        self._folder.release()
        self._folder.sweep()

    def _content(self) -> bytes | None:
        try:
            return self._folder.read(LOCK)
        except FileNotFoundError:
            return None

    def _send_heartbeats(self) -> None:
        """Renew the heartbeat until the lock is closed; a failed write is retried at the next interval."""
        while self._owner and not self._closing.wait(BEAT_S):
            with suppress(RunFolderError):
                self.confirm()
                self._folder.write(LOCK, replace(self._owner, beat=time.time()).to_bytes())


def _machine() -> str:
    """Return an identifier of this boot and process namespace, within which process ids are valid."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115  a namespace's name is not a path
    except OSError:
        return platform.node()


def _start_time(pid: int) -> str:
    """Return the start time of a process [system clock ticks], or "ended" if it is a zombie."""
    try:
        # The second field, a name in brackets, may itself hold spaces and brackets.
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "ended" if state[0] in "ZX" else state[19]
