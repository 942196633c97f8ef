"""Run a sweep's cases one after another, each in its own process, and record each as a JSON line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.check.sides import ROOT, CheckError, git, tree_hash
from benchmarks.datasets import Dataset, open_dataset
from benchmarks.harness import environment
from benchmarks.sweep.grid import RUN_KEYS, Case, SweepFile, cases_of

Row = dict[str, Any]
Report = Callable[[str], None]


def run_sweep(sweep: SweepFile, rows_path: Path, cache: Path, report: Report, *, retry: bool = False) -> list[Row]:
    """Run every case that has no row yet.

    Parameters
    ----------
    sweep
        The sweep.
    rows_path
        JSON lines, one per case, appended to; a case with a row of equal settings, data and sources is not run again.
    cache
        Folder for synthetic data sets.
    report
        Receives progress messages.
    retry
        Run failed cases again.

    Returns
    -------
    list[Row]
        The rows of all cases, in the order they run.
    """
    cases, source = cases_of(sweep), tree_hash(ROOT)
    rows = {row["case"]: row for row in read_rows(rows_path)}
    if retry:
        rows = {case: row for case, row in rows.items() if row["status"] == "ok"}
    names = [case.identity(sweep.data, source) for case in cases]
    todo = [(name, case) for name, case in zip(names, cases, strict=True) if name not in rows]
    report(f"{sweep.name}: {len(cases)} cases, {len(cases) - len(todo)} done before")
    if todo:
        dataset = open_dataset(sweep.data, cache)
        start = time.monotonic()
        with scratch(cache) as folder:
            shared = SharedStages(folder)
            for number, (name, case) in enumerate(todo, 1):
                rows[name] = {"case": name} | _row(sweep, case, dataset, shared)
                with rows_path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[name]) + "\n")
                left = (time.monotonic() - start) / number * (len(todo) - number)
                report(f"{number} of {len(todo)}, {_outcome(rows[name])}, {left:.0f} s left: {case.label}")
    return [rows[name] for name in names]


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
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise CheckError(
                f"{path}, line {number} is not valid JSON: remove the line, or choose another --out"
            ) from error
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


def _row(sweep: SweepFile, case: Case, dataset: Dataset, shared: SharedStages) -> Row:
    start = time.monotonic()
    job = _job(sweep, case, dataset, shared)
    answer, reason = _answer(job, sweep.limit_s)
    if reason:
        shared.drop(case)
    stages = answer.pop("stages", {})
    if sweep.kind == "run" and not reason:
        stages = shared.charge(case, stages)
    return {
        "sweep": sweep.name,
        "status": "failed" if reason else "ok",
        "reason": reason,
        **revision(),
        "settings": dict(case.settings),
        "label": case.label,
        "config": case.config.model_dump() if sweep.kind == "run" else dict(case.resolved),
        "data": sweep.data.model_dump(exclude_defaults=True) | {"kind": sweep.data.kind},
        "seconds": round(sum(stage["seconds"] for stage in stages.values()), 6) if stages else None,
        "peak_mb": max((stage["peak_mb"] for stage in stages.values()), default=None),
        "above_mb": max((stage["above_mb"] for stage in stages.values()), default=None),
        "stages": stages,
        **answer,
        "took_s": round(time.monotonic() - start, 1),
        "environment": environment(),
    }


def _job(sweep: SweepFile, case: Case, dataset: Dataset, shared: SharedStages) -> dict[str, Any]:
    if sweep.kind == "hamming":
        return {"kind": "hamming", "backend": "auto", "n": 1000, "m": 1000, "segments": 1, **case.resolved}
    return {
        "kind": "run",
        "settings": {key: value for key, value in case.resolved.items() if key not in RUN_KEYS},
        "workers": case.run_settings["run.workers"],
        "core_px": case.run_settings["kernel.core_px"],
        "scenes": [str(path) for path in dataset.scenes],
        "regions": str(dataset.regions) if dataset.regions else None,
        "truth": str(dataset.truth) if dataset.truth else None,
        "out": str(shared.out(case)),
    }


def _answer(job: Mapping[str, Any], limit_s: float) -> tuple[dict[str, Any], str]:
    """Run a job; return its answer, or an empty one and the reason."""
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks.sweep.child"],
            input=json.dumps(job), capture_output=True, text=True, timeout=limit_s, cwd=ROOT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {}, f"took longer than {limit_s:.0f} s and was killed"
    if ran.returncode == 0:
        answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
        return answer, ""
    if ran.returncode < 0:
        return {}, f"killed by signal {-ran.returncode}: out of memory, most likely"
    return {}, (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1]


def revision() -> dict[str, Any]:
    """Report which sources are measured."""
    try:
        commit = git("rev-parse", "HEAD")
        dirty = bool(git("status", "--porcelain", "--", "s2fast", "kernels", "benchmarks"))
    except CheckError:  # an installed copy has no history
        commit, dirty = "", None
    return {"commit": commit, "dirty": dirty, "source": tree_hash(ROOT)}


@contextmanager
def scratch(cache: Path) -> Iterator[Path]:
    """Yield an empty folder for run folders in the cache, since full tiles may be too large for /tmp."""
    with TemporaryDirectory(prefix="sweep-", dir=cache) as folder:
        yield Path(folder)


def _outcome(row: Row) -> str:
    return f"{row['seconds']:.3g} s" if row["status"] == "ok" else f"failed ({row['reason']})"


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
