"""The timed part: base against base, then base against head, in one session, interleaved."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.check.sides import SideError, Worker
from benchmarks.check.statistics import (
    MAX_ROUNDS,
    MIN_ROUNDS,
    Interval,
    Verdict,
    interval,
    is_quiet,
    judge,
    log_ratio,
)

CLOCKS = ("cpu_s", "wall_s")
"""CPU time, which other processes disturb less, decides; wall time is judged too if it is quiet."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One case by one clock."""

    case: str
    """Name in `benchmarks.check.cases.CASES`."""
    clock: str
    """``cpu_s`` or ``wall_s``."""
    control: Interval
    """Base against a second process of base."""
    measured: Interval | None
    """Head against base; None if the control was not quiet."""
    seconds: float
    """Typical call of base [s]."""

    @property
    def verdict(self) -> Verdict:
        """Verdict on head."""
        return judge(self.control, self.measured)


def time_case(
    case: str,
    archive: str,
    base: Worker,
    twin: Worker,
    head: Worker,
    *,
    most_s: float = 60.0,
    rounds: tuple[int, int] = (MIN_ROUNDS, MAX_ROUNDS),
) -> list[Timing]:
    """Time one case on three prepared processes.

    Parameters
    ----------
    case, archive
        The case to time; the archive is for the stages.
    base, twin, head
        Two processes of base and one of head.
    most_s
        Time limit for rounds [s]; the minimum of rounds is always timed.
    rounds
        Minimum and maximum rounds of each comparison.

    Returns
    -------
    list[Timing]
        One by CPU time and one by wall time.
    """
    sides = (base, twin, head)
    for worker in sides:
        worker.send("prepare", case=case, archive=archive)
    # Base sets the repeats: a slower head would otherwise be timed over fewer.
    repeats, *_ = [answer["repeats"] for answer in received(sides)]
    for worker in sides:
        worker.ask("repeat", repeats=repeats)
    deadline = time.monotonic() + most_s / 2
    control, seconds = paired_rounds(base, twin, deadline, rounds, until=is_quiet)
    quiet = is_quiet(control["cpu_s"])
    measured = paired_rounds(base, head, time.monotonic() + most_s / 2, rounds, until=narrow)[0] if quiet else {}
    return [Timing(case, clock, control[clock], measured.get(clock), seconds[clock]) for clock in CLOCKS]


def received(workers: Sequence[Worker]) -> list[dict[str, Any]]:
    """Return every worker's answer; read all of them before an error is raised, so that none is left in a pipe."""
    answers, errors = [], []
    for worker in workers:
        try:
            answers.append(worker.receive())
        except SideError as error:
            errors.append(error)
    if errors:
        # An error of head takes precedence over one of a base that is too old.
        raise min(errors, key=lambda error: error.side != workers[-1].label)
    return answers


def narrow(so_far: Interval) -> bool:
    """Return whether to stop timing head; only the width decides, so that no verdict is favoured."""
    return so_far.narrow


def paired_rounds(
    base: Worker,
    other: Worker,
    deadline: float,
    rounds: tuple[int, int],
    until: Callable[[Interval], bool],
) -> tuple[dict[str, Interval], dict[str, float]]:
    """Time rounds of base, other, other, base until the interval of the CPU time satisfies `until`."""
    ratios: dict[str, list[float]] = {clock: [] for clock in CLOCKS}
    calls: dict[str, list[float]] = {clock: [] for clock in CLOCKS}
    fewest, most = rounds
    while True:
        order: Sequence[Worker] = (base, other, other, base)
        # Every second round starts with the other side, so that neither always follows a pause.
        if len(ratios["cpu_s"]) % 2:
            order = (other, base, base, other)
        answers = [(worker, worker.ask("time")) for worker in order]
        for clock in CLOCKS:
            of_base, of_other = (
                [answer[clock] for worker, answer in answers if worker is side] for side in (base, other)
            )
            ratios[clock].append(log_ratio(of_base, of_other))
            calls[clock] += of_base
        done = len(ratios["cpu_s"])
        if done >= fewest and (until(interval(ratios["cpu_s"])) or done >= most or time.monotonic() > deadline):
            break
    typical = {clock: sorted(times)[len(times) // 2] for clock, times in calls.items()}
    return {clock: interval(values) for clock, values in ratios.items()}, typical


def overall(timings: Sequence[Timing]) -> Verdict:
    """Return the overall verdict: slower if any case is by either clock, too noisy if the CPU time of any case is."""
    verdicts = [timing.verdict for timing in timings]
    if Verdict.SLOWER in verdicts:
        return Verdict.SLOWER
    unsure = [timing for timing in timings if timing.clock == "cpu_s" and timing.verdict is Verdict.NOISY]
    return Verdict.NOISY if unsure else Verdict.SAME
