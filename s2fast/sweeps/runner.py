"""Run a sweep's cases one after another, each in its own process, and record each as a JSON line."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import s2fast_kernels
from s2fast.errors import InputError
from s2fast.files.redaction import public
from s2fast.sweeps.checks import Checked
from s2fast.sweeps.grid import Case
from s2fast.work.compilation import AnnouncedCompilation
from s2fast.work.machine import installed, processor, versions
from s2fast.work.progress import Progress, duration_text
from s2fast_kernels.machine import available_cores

Row = dict[str, Any]
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


def run_sweep(
    checked: Checked,
    rows_path: Path,
    report: Report,
    *,
    retry: bool = False,
    about: Callable[[], dict[str, Any]] = about,
) -> list[Row]:
    """Run every case that has no row yet.

    Parameters
    ----------
    checked
        The sweep, its cases and its inputs.
    rows_path
        JSON lines, one per case, appended to; a case with a row of equal settings, data and sources is not run again.
        Run folders lie beside it while the sweep runs.
    report
        Receives progress messages.
    retry
        Run failed cases again.
    about
        Returns what ran and where, for each row.

    Returns
    -------
    list[Row]
        The rows of all cases, in the order they run.
    """
    sweep, cases = checked.sweep, checked.cases
    with _only_writer(rows_path):
        rows = {row["case"]: row for row in read_rows(rows_path)}
        if retry:
            rows = {case: row for case, row in rows.items() if row["status"] == "ok"}
        names = [case.identity(checked.identity, source_hash()) for case in cases]
        todo = [(name, case) for name, case in zip(names, cases, strict=True) if name not in rows]
        done = len(cases) - len(todo)
        report(f"{sweep.name}: {len(cases)} cases, {done} done before" + checked.forecast([case for _, case in todo]))
        if todo:
            _compile(report)
            start = time.monotonic()
            with _scratch(rows_path.with_name(f"{rows_path.stem}.work")) as folder:
                shared = SharedStages(folder)
                for number, (name, case) in enumerate(todo, 1):
                    rows[name] = {"case": name} | _row(checked, case, shared) | about()
                    with rows_path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(rows[name]) + "\n")
                    left_s = (time.monotonic() - start) / number * (len(todo) - number)
                    left = f", {duration_text(left_s)} left" if number < len(todo) else ""
                    report(f"{number} of {len(todo)}, {_outcome(rows[name])}{left}: {case.label}")
    return [rows[name] for name in names]


def _compile(report: Report) -> None:
    """Compile the kernels that this machine lacks, so that no case is charged with it."""

    class Lines(Progress):
        def print_line(self, text: str) -> None:
            report(text)

    compilation = AnnouncedCompilation(Lines())
    try:
        compilation.wait()
    finally:
        compilation.close()


@contextmanager
def _only_writer(rows_path: Path) -> Iterator[None]:
    """Lock the file of rows."""
    with rows_path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another sweep is writing {rows_path}: wait for it, or choose another --out") from error
        yield


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Yield an empty folder for run folders, and remove it in the end; a killed sweep may have left one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_rows(path: Path) -> list[Row]:
    """Read JSON lines; remove a last line truncated by a kill, also from the file."""
    if not path.exists():
        return []
    rows, text = [], path.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, "utf-8")
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            row = json.loads(line)
            row["case"], row["status"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}, line {number} is not a row of a sweep: remove the line, or choose another --out"
            ) from error
        rows.append(row)
    return rows


class SharedStages:
    """Run folders of a sweep, and the costs of the stages computed in them.

    The folder's content keys decide what is recomputed. Cases are ordered so that each result is computed once in one
    folder; cases with settings that change only costs use other folders.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._costs: dict[str, dict[str, Any]] = {}

    def out(self, case: Case) -> Path:
        """Return the run folder of a case; remove the folder of earlier cases with other cost settings."""
        for other in self._folder.iterdir():
            if other.name != case.folder_name:
                shutil.rmtree(other)
        return self._folder / case.folder_name

    def charge(self, case: Case, computed: Mapping[str, Any]) -> dict[str, Any]:
        """Return the full cost of a case's stages, computed by it or shared."""
        known = self._costs.setdefault(case.folder_name, {})
        known.update(computed)
        return {name: {**cost, "shared": name not in computed} for name, cost in known.items()}

    def drop(self, case: Case) -> None:
        """Remove a folder that a failed case may have left incomplete."""
        shutil.rmtree(self._folder / case.folder_name, ignore_errors=True)
        self._costs.pop(case.folder_name, None)


def _row(checked: Checked, case: Case, shared: SharedStages) -> Row:
    sweep, start = checked.sweep, time.monotonic()
    job = sweep.job(case)
    if sweep.shares_stages:
        data = checked.dataset
        job |= {"scenes": data.scenes, "regions": data.regions, "truth": data.truth, "out": str(shared.out(case))}
    answer, reason = run_alone(sweep.CHILD, job, sweep.limit_s)
    if reason:
        shared.drop(case)
    stages = answer.pop("stages", {})
    if sweep.shares_stages and not reason:
        stages = shared.charge(case, stages)
    alone = case.run.get("run.workers", 1) == 1
    cpu = [stage["cpu_s"] for stage in stages.values() if alone and "cpu_s" in stage]
    return {
        "sweep": sweep.name,
        "status": "failed" if reason else "ok",
        "reason": reason,
        "settings": dict(case.settings),
        "label": case.label,
        "config": case.config.model_dump(mode="json") if sweep.shares_stages else dict(case.run),
        "data": checked.data,
        "seconds": round(sum(stage["seconds"] for stage in stages.values()), 6) if stages else None,
        "cpu_s": round(sum(cpu), 3) if cpu else None,
        "peak_mb": max((stage["peak_mb"] for stage in stages.values()), default=None),
        "above_mb": max((stage["above_mb"] for stage in stages.values()), default=None),
        "stages": stages,
        **answer,
        "took_s": round(time.monotonic() - start, 1),
    }


def run_alone(module: str, job: Mapping[str, Any], limit_s: float) -> tuple[dict[str, Any], str]:
    """Run a job in a process of its own; return its answer, or an empty one and the reason."""
    # The process ends when the other end of this pipe is closed, even if this process is killed.
    lifeline, held = os.pipe()
    command = [sys.executable, "-P", "-c", f"from {module} import main; main()"]
    pipe = subprocess.PIPE
    path = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
    # In a session of its own, since a Control-C on the terminal is meant for this process, which then ends the child.
    with subprocess.Popen(  # noqa: S603
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, pass_fds=(lifeline,), start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as child:  # fmt: skip
        try:
            os.close(lifeline)
            output, errors = child.communicate(json.dumps({**job, "lifeline": lifeline}), timeout=limit_s)
        except subprocess.TimeoutExpired:
            return {}, f"took longer than {limit_s:.0f} s and was killed"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            os.close(held)
    if child.returncode == 0:
        answer: dict[str, Any] = json.loads(output.splitlines()[-1])
        return answer, ""
    if child.returncode < 0:
        return {}, f"killed by signal {-child.returncode}: out of memory, most likely"
    return {}, public((errors.strip().splitlines() or [f"exit code {child.returncode}"])[-1])


def _outcome(row: Row) -> str:
    if row["status"] != "ok":
        return f"failed ({row['reason']})"
    found = row.get("found") or {}
    verified = f", {found['verified_pairs']} pairs verified" if found.get("verified_pairs") is not None else ""
    return f"{row['seconds']:.3g} s{verified}"


def columns(rows: Sequence[Row]) -> list[Row]:
    """Flatten rows: join nested names by dots, write lists and nested settings as JSON."""
    return [dict(_flat("", row)) for row in rows]


def _flat(prefix: str, row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        name = f"{prefix}{key}"
        if name in ("config", "data", "settings", "environment.versions") or isinstance(value, list):
            yield name, json.dumps(value)
            if name == "settings":
                yield from ((f"set.{setting}", given) for setting, given in value.items())
        elif isinstance(value, dict):
            yield from _flat(f"{name}.", value)
        else:
            yield name, value
