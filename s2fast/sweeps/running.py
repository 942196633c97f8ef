"""A sweep that runs: what each case's process is told, and what becomes of its answer."""

from __future__ import annotations

import datetime as dt
import hashlib
import platform
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import s2fast_kernels
from s2fast.errors import InputError
from s2fast.files.legible import counted
from s2fast.files.places import exists
from s2fast.files.storage import FREE_SPACE
from s2fast.sweeps.checks import Checked
from s2fast.sweeps.columns import digits
from s2fast.sweeps.folders import Costs
from s2fast.sweeps.grid import Case, SweepFile
from s2fast.sweeps.kept_pairs import kept_file
from s2fast.sweeps.rows import Row, RowFile
from s2fast.truth.copies import inject
from s2fast.work.machine import installed, processor, versions
from s2fast_kernels.machine import available_cores

Report = Callable[[str], object]


@cache
def source_hash() -> str:
    """Return a hash of the sources of s2fast and its kernels, names and contents."""
    digest = hashlib.blake2b(digest_size=8)
    for folder in (Path(__file__).parents[1], Path(s2fast_kernels.__path__[0])):
        for file in sorted(folder.rglob("*.py")):
            digest.update(f"{folder.name}/{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def environment() -> dict[str, Any]:
    """Return the environment of a measurement: time, machine, cores, versions."""
    return {
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": processor() or platform.machine(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "versions": {name: version for name, version in versions().items() if version != "not installed"},
    }


def about() -> dict[str, Any]:
    """Return what ran: version and sources, and the environment."""
    return {"version": installed("s2fast"), "source": source_hash(), "environment": environment()}


class Running:
    """A sweep that runs: its cases, and what becomes of their answers.

    Parameters
    ----------
    checked
        The sweep, its cases and its inputs.
    rows
        Where its rows are kept.
    rows_path
        The file of the rows; what is kept of each case's pairs lies beside it.
    report
        Receives progress messages.
    about
        Returns what ran and where, for each row.
    """

    def __init__(
        self, checked: Checked, rows: RowFile, rows_path: Path, report: Report, about: Callable[[], dict[str, Any]]
    ) -> None:
        self.checked, self.rows, self.report, self.rows_path = checked, rows, report, rows_path
        self.names = [case.identity(checked.identity, source_hash()) for case in checked.cases]
        self._about = about
        self._injected: str | None = None

    def inject(self) -> None:
        """Make the copies of the scenes, of which the answer is known; they lie beside the rows, for later runs too."""
        if self.file.truth:
            folder = self.rows_path.with_name(f"{self.rows_path.stem}.copies")
            self._injected = str(inject(self.checked.scenes, self.file.truth, folder, self.report))

    @property
    def file(self) -> SweepFile:
        """The sweep's settings."""
        return self.checked.sweep

    def todo(self, *, round_: int = 1, timed: bool = True) -> list[int]:
        """Return the cases, by index, of which a run is not done."""
        return [at for at, name in enumerate(self.names) if not self.rows.has(name, round_, timed=timed)]

    def job(self, at: int, out: Path, *, again: bool = False) -> dict[str, Any]:
        """Return what a case's process needs to know; `again`: it is only timed."""
        case, data = self.checked.cases[at], self.checked.dataset
        job = self.file.job(case)
        if self.file.shares_stages:
            kept = None if again else str(kept_file(self.rows_path, self.names[at]))
            # A worker of a cluster may have another working directory.
            scenes, regions = [absolute(place) for place in data.scenes], data.regions and absolute(data.regions)
            truth = None if again else data.truth and absolute(data.truth)
            job |= {"scenes": scenes, "regions": regions, "truth": truth, "out": str(out), "kept": kept}
            job["injected"] = None if again else self._injected
        return job

    def add(self, at: int, answer: Mapping[str, Any], reason: str, stages: Costs, took_s: float, **more: Any) -> Row:
        """Record a run of a case; raise InputError if it met a full disk, which says nothing about its settings."""
        if FREE_SPACE in reason:
            raise InputError(reason)
        case = self.checked.cases[at]
        row = {"case": self.names[at], **more, **_row(self.checked, case, answer, reason, stages, took_s)}
        if row.get("round", 1) > 1:
            kept = ("case", "round", "status", "reason", "seconds", "cpu_s", "peak_mb", "above_mb", "stages", "took_s")
            row = {name: row[name] for name in kept} | {"environment": self._about()["environment"]}
        else:
            row |= self._about()
        self.rows.add(row)
        return row


def absolute(place: str) -> str:
    """Return the absolute path of what is on this disk; other addresses as they are."""
    return str(Path(place).absolute()) if exists(place) else place


def _row(checked: Checked, case: Case, answer: Mapping[str, Any], reason: str, stages: Costs, took_s: float) -> Row:
    sweep = checked.sweep
    cpu = [stage["cpu_s"] for stage in stages.values() if "cpu_s" in stage]
    seconds = [stage["seconds"] for stage in stages.values() if "seconds" in stage]
    return {
        "sweep": sweep.name,
        "status": "failed" if reason else "ok",
        "reason": reason,
        "settings": dict(case.settings),
        "label": case.label,
        "config": case.config.model_dump(mode="json") if sweep.shares_stages else dict(case.run),
        "data": checked.data,
        "seconds": round(sum(seconds), 6) if seconds else None,
        "cpu_s": round(sum(cpu), 3) if cpu else None,
        "peak_mb": max((stage["peak_mb"] for stage in stages.values()), default=None),
        "above_mb": max((stage["above_mb"] for stage in stages.values()), default=None),
        "stages": stages,
        **answer,
        "took_s": round(took_s, 1),
    }


def outcome(row: Row) -> str:
    """Return what became of a case, in a few words."""
    if row["status"] != "ok":
        return f"failed ({row['reason']})"
    found = row.get("found") or {}
    pairs = found.get("verified_pairs")
    verified = "" if pairs is None else f", {counted(pairs, 'pair')} verified"
    took = f"{digits(row['seconds'], 3)} s" if row["seconds"] is not None else f"{digits(row['cpu_s'] or 0, 3)} CPU s"
    return f"{took}{verified}"
