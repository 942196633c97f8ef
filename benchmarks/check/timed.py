"""The timed cases: operations and stages that users wait for, at sizes whose calls are short.

Short calls in turn are compared more exactly than long ones: other processes disturb both sides of a short turn alike.
An operation's call takes 1 to 6 ms. A stage cannot be cut short, so it runs on four scenes of 128 px, through the
command line in this process, including the planning of the run: base and head share this interface. All cases use one
thread, because a second vCPU of a shared machine is often the same core; that kernels run on all threads is a fact of
the compiled code (see `compiled`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.calls import CALLS, Call
from benchmarks.check.cases import stage_arguments

SCENES = 4
"""Scenes of the stages: two tiles on two dates, so six pairs."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A case that can be timed."""

    before: Call
    """Restores what the call changes; not timed."""
    call: Call
    """The timed call."""


@dataclass(frozen=True, slots=True)
class Timed:
    """How often a case is called."""

    rounds: int
    """Rounds of each pair of processes."""
    calls: int
    """Calls of a turn; the fastest counts."""


OPERATION_SIZES: Mapping[str, int] = {
    "akaze": 192,
    "window_matches": 20_000,
    "hamming_top2_both": 2_000,
    "hamming_top2": 2_000,
}
"""Sizes of the operations' calls (see `benchmarks.calls`)."""

STAGES = ("ingest", "extract", "match", "verify", "report")
"""Stages, each of which needs those before it."""

TIMED: Mapping[str, Timed] = {
    **dict.fromkeys(OPERATION_SIZES, Timed(rounds=6, calls=4)),
    **dict.fromkeys(STAGES, Timed(rounds=1, calls=1)),
    "match": Timed(rounds=2, calls=1),
}
"""Timed cases by name. One round of the stages takes about as long as a pair of processes takes to start: more rounds
of fewer pairs would give no narrower intervals, and a busy machine would not reach enough pairs."""


def prepare(cases: Sequence[str], scenes: Path, scratch: Path) -> tuple[dict[str, Prepared], dict[str, str]]:
    """Prepare cases and warm them up.

    Parameters
    ----------
    cases
        Names in `TIMED`.
    scenes
        Folder of small scenes for the stages, see `benchmarks.check.gather.small_scenes`.
    scratch
        Empty folder.

    Returns
    -------
    tuple
        The prepared cases, and why the others cannot run.
    """
    prepared: dict[str, Prepared] = {}
    errors: dict[str, str] = {}

    def attempt(case: str, prepare_one: Callable[[], Prepared]) -> None:
        try:
            found = prepare_one()
            found.before()
            found.call()
        except Exception as error:  # reported by the caller: an older base may lack the case
            errors[case] = f"{type(error).__name__}: {error}"
        else:
            prepared[case] = found

    for case in cases:
        if case not in STAGES:
            attempt(case, partial(_operation, case))
    wanted = [number for number, stage in enumerate(STAGES) if stage in cases]
    run = StageRuns(scenes, scratch)
    for stage in STAGES[: max(wanted, default=-1) + 1]:
        attempt(stage, partial(run.stage, stage))
        if stage in errors:
            errors |= dict.fromkeys(STAGES[STAGES.index(stage) :], errors[stage])
            break
    return (
        {case: found for case, found in prepared.items() if case in cases},
        {case: error for case, error in errors.items() if case in cases},
    )


def _operation(case: str) -> Prepared:
    return Prepared(lambda: None, CALLS[case].make(OPERATION_SIZES[case]))


class StageRuns:
    """Runs stages in one run folder, and keeps the folder's state before each."""

    def __init__(self, scenes: Path, scratch: Path) -> None:
        self._scratch, self._out = scratch, scratch / "out"
        self._job = stage_arguments(scenes, SCENES, scratch)

    def stage(self, stage: str) -> Prepared:
        """Keep the run folder as it is, and return the stage: every call finds the folder in this state."""
        kept = self._scratch / f"before-{stage}"
        if self._out.exists():
            shutil.copytree(self._out, kept)

        def restore() -> None:
            shutil.rmtree(self._out, ignore_errors=True)
            if kept.exists():
                shutil.copytree(kept, self._out)

        return Prepared(restore, lambda: self._run(stage))

    def _run(self, stage: str) -> None:
        from s2fast.cli import app

        code = app([stage, *self._job], standalone_mode=False)
        if code:
            raise RuntimeError(f"s2fast {stage} ended with exit code {code}")
