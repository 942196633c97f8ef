"""Trials: runs of settings on one half of the scenes, kept as JSON lines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2fast.errors import ConfigError, S2FastError
from s2fast.sweeps.rows import read_rows
from s2fast.tuning.score import Outcome, flaw, score
from s2fast.tuning.space import Settings

Answered = tuple[dict[str, Any], str]
"""The answer of a trial's process, and the reason if there is none."""

Runner = Callable[[Settings, str, float], Answered]
"""Runs settings on a half, "choose" or "report", within seconds."""


class TimeUpError(S2FastError):
    """A trial was ended, or not begun, since the time did not suffice."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A run of settings on one half."""

    row: Mapping[str, Any]
    """Its line in the file."""

    @property
    def settings(self) -> Settings:
        """What it sets."""
        settings: Settings = self.row["settings"]
        return settings

    @property
    def outcome(self) -> Outcome:
        """Its pairs."""
        return [(bool(right), error) for right, error in self.row["pairs"]]

    @property
    def flaw(self) -> str:
        """Why its settings must not be used; empty if they may."""
        return self.row["reason"] or flaw(self.row["answer"])

    @property
    def score(self) -> float:
        """How good it is; of a trial that failed or verified a falsehood, less than any other."""
        return -1000.0 if self.flaw else score(self.outcome)

    @property
    def cpu_s(self) -> float | None:
        """Processor time of all stages, whether they were computed or kept from another trial."""
        cpu_s: float | None = self.row.get("cpu_s")
        return cpu_s

    def told(self) -> str:
        """Return what it found, in a few words."""
        if self.row["reason"]:
            return f"failed ({self.row['reason']})"
        answer = self.row["answer"]
        error = "" if answer["error_px"] is None else f", error {answer['error_px']:.3g} px"
        flawed = f"; {self.flaw}" if self.flaw else ""
        return f"{answer['verified']} of {answer['pairs']} moved pairs verified{error}{flawed}"


class Trials:
    """All trials of a search; one that is done is not run again.

    Parameters
    ----------
    path
        The file, appended to.
    run
        Runs a trial.
    budget_s
        Time for all trials, also those of earlier calls [s].
    about
        What the trials' results depend on besides their settings; trials of others are not used.
    """

    def __init__(self, path: Path, run: Runner, budget_s: float, about: str) -> None:
        self._path, self._run, self._about = path, run, about
        self.budget_s = budget_s
        """Time for all trials, also those of earlier calls [s]."""
        self.rows = [row for row in read_rows(path) if row.get("about") == about]
        self._spent_s = sum(float(row["took_s"]) for row in self.rows)

    @property
    def left_s(self) -> float:
        """Time that is left [s]."""
        return self.budget_s - self._spent_s

    def spend(self, seconds: float) -> None:
        """Charge time that was spent on something else, to this call only: it is not kept in the file."""
        self._spent_s += seconds

    @property
    def longest_s(self) -> float:
        """The longest time that a trial took [s]."""
        return max((float(row["took_s"]) for row in self.rows), default=0.0)

    def known(self, half: str) -> list[Trial]:
        """Return the trials done on a half, in order."""
        return [Trial(row) for row in self.rows if row["half"] == half]

    def done(self, settings: Settings, half: str) -> Trial | None:
        """Return the trial of settings on a half, if it is done."""
        return next((trial for trial in self.known(half) if dict(trial.settings) == dict(settings)), None)

    def get(self, settings: Settings, half: str, limit_s: float) -> Trial:
        """Return the trial of settings on a half; run it if it is not done.

        Raises
        ------
        TimeUpError
            There is no time, or the trial was ended by its limit. That tells nothing of its settings: it is not kept.
        ConfigError
            The first trial of a half fails, so that there is nothing to compare with.
        """
        if found := self.done(settings, half):
            return found
        if limit_s <= 0:
            raise TimeUpError("no time is left")
        start = time.monotonic()
        answer, reason = self._run(settings, half, limit_s)
        took_s = time.monotonic() - start
        self._spent_s += took_s
        if reason and took_s >= limit_s:
            raise TimeUpError(reason)
        if reason and not self.known(half):
            raise ConfigError(f"the first trial failed: {reason}")
        row = {
            "case": f"{half} {json.dumps(dict(settings), sort_keys=True)}", "status": "failed" if reason else "ok",
            "about": self._about, "half": half, "settings": dict(settings), "reason": reason, **answer,
            "took_s": round(took_s, 2),
        }  # fmt: skip
        row["cpu_s"] = self._whole_cost(row)
        row = json.loads(json.dumps(row))  # as a later call reads it
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        return Trial(row)

    def _whole_cost(self, row: Mapping[str, Any]) -> float | None:
        """Return the processor time of all stages; those kept cost what they cost the trial that computed them."""
        total = 0.0
        for stage, key in row.get("keys", {}).items():
            same = [other for other in (*self.rows, row) if other["half"] == row["half"]]
            costs = [other["stages"][stage]["cpu_s"] for other in same
                     if other.get("keys", {}).get(stage) == key and stage in other.get("stages", {})]  # fmt: skip
            if not costs:
                return None
            total += costs[-1]
        return round(total, 3) if row.get("keys") else None
