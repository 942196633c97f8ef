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
"""The processor's time, which neighbours disturb less, decides; the wall's is judged too where it is quiet."""


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
    """Head against base; None where the control was not quiet."""
    seconds: float
    """Typical call of base [s]."""

    @property
    def verdict(self) -> Verdict:
        """What this says of head."""
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
        What to time; the archive is for the stages.
    base, twin, head
        Two processes of base and one of head.
    most_s
        Time to spend on rounds [s], at least the fewest rounds aside.
    rounds
        Fewest and most rounds of either comparison.

    Returns
    -------
    list[Timing]
        By the processor's clock and by the wall's.
    """
    sides = (base, twin, head)
    for worker in sides:
        worker.send("prepare", case=case, archive=archive)
    # Head sets nothing: a slower head would otherwise be timed over fewer repeats.
    repeats, *_ = [answer["repeats"] for answer in received(sides)]
    for worker in sides:
        worker.ask("repeat", repeats=repeats)
    deadline = time.monotonic() + most_s / 2
    control, seconds = paired_rounds(base, twin, deadline, rounds, until=is_quiet)
    quiet = is_quiet(control["cpu_s"])
    measured = paired_rounds(base, head, time.monotonic() + most_s / 2, rounds, until=narrow)[0] if quiet else {}
    return [Timing(case, clock, control[clock], measured.get(clock), seconds[clock]) for clock in CLOCKS]


def received(workers: Sequence[Worker]) -> list[dict[str, Any]]:
    """Read every worker's answer; raise the first error only then, so that none is left to be read."""
    answers, errors = [], []
    for worker in workers:
        try:
            answers.append(worker.receive())
        except SideError as error:
            errors.append(error)
    if errors:
        # Head's own fault comes before what a base is too old for.
        raise min(errors, key=lambda error: error.side != workers[-1].label)
    return answers


def narrow(so_far: Interval) -> bool:
    """Whether to stop timing head: whatever the interval says of it, so that no verdict is favoured."""
    return so_far.narrow


def paired_rounds(
    base: Worker,
    other: Worker,
    deadline: float,
    rounds: tuple[int, int],
    until: Callable[[Interval], bool],
) -> tuple[dict[str, Interval], dict[str, float]]:
    """Time base, other, other, base, round after round, until the processor's interval satisfies `until`."""
    ratios: dict[str, list[float]] = {clock: [] for clock in CLOCKS}
    calls: dict[str, list[float]] = {clock: [] for clock in CLOCKS}
    fewest, most = rounds
    while True:
        order: Sequence[Worker] = (base, other, other, base)
        # Every second round starts with the other, so that neither always follows a pause.
        if len(ratios["cpu_s"]) % 2:
            order = (other, base, base, other)
        told = [(worker, worker.ask("time")) for worker in order]
        for clock in CLOCKS:
            of_base, of_other = ([answer[clock] for worker, answer in told if worker is side] for side in (base, other))
            ratios[clock].append(log_ratio(of_base, of_other))
            calls[clock] += of_base
        done = len(ratios["cpu_s"])
        if done >= fewest and (until(interval(ratios["cpu_s"])) or done >= most or time.monotonic() > deadline):
            break
    typical = {clock: sorted(times)[len(times) // 2] for clock, times in calls.items()}
    return {clock: interval(values) for clock, values in ratios.items()}, typical


def overall(timings: Sequence[Timing]) -> Verdict:
    """Sum up: slower if any case is by either clock, too noisy if the processor's clock could not say of any."""
    verdicts = [timing.verdict for timing in timings]
    if Verdict.SLOWER in verdicts:
        return Verdict.SLOWER
    unsure = [timing for timing in timings if timing.clock == "cpu_s" and timing.verdict is Verdict.NOISY]
    return Verdict.NOISY if unsure else Verdict.SAME
