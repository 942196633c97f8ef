"""The timed part: base against head, short calls in turn, in pairs of fresh processes."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.check.neighbours import Neighbours
from benchmarks.check.sides import Side, SideError, Worker
from benchmarks.check.statistics import FEWEST, Interval, Verdict, intervals, log_ratio
from benchmarks.check.timed import OPERATION_SIZES, STAGES, TIMED

CLOCKS = ("cpu_s", "wall_s")
"""Only wall time sees waiting; what a process waits for a processor is not part of it. Each is a witness of its own."""

MOST = 30
"""Most pairs of processes."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One case by one clock."""

    case: str
    """Name in `benchmarks.check.timed.TIMED`."""
    clock: str
    """``cpu_s`` or ``wall_s``."""
    measured: Interval
    """Head against base."""
    seconds: float
    """Typical call of base [s]."""

    @property
    def verdict(self) -> Verdict:
        """Verdict on head."""
        return self.measured.verdict


@dataclass(frozen=True, slots=True)
class Times:
    """All timed cases."""

    timings: list[Timing]
    """Two of each case that both sides can run, one by each clock."""
    neighbours: float | None
    """Share of the processor that other processes took while timing, 0 to 1; None: unknown on this system."""
    not_compared: dict[str, str]
    """Cases that base cannot run, and why."""


class Process(Protocol):
    """A process of one side, as `benchmarks.check.sides.Worker`."""

    def send(self, do: str, **arguments: Any) -> None:
        """Send a request."""

    def receive(self) -> dict[str, Any]:
        """Return the answer to the last request."""

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and return the answer."""

    def close(self) -> None:
        """End the process."""


Pair = tuple[Process, Process]
"""A process of base and one of head."""


def time_cases(
    timed: Sequence[str],
    base: Side,
    head: Side,
    scenes: Path,
    *,
    budget_s: float,
    start: Callable[[Side], Process] = Worker,
    now: Callable[[], float] = time.monotonic,
) -> Times:
    """Time cases on both sides, in one pair of fresh processes after another, until all intervals are narrow.

    Only the widths of the intervals and the budget decide when to stop, so that no verdict is favoured. Operations and
    stages have processes of their own: those of the stages take seconds to start, and operations can be timed more
    often.

    Parameters
    ----------
    timed
        Names in `TIMED`.
    base, head
        The sides.
    scenes
        Folder of small scenes, see `benchmarks.check.gather.small_scenes`.
    budget_s
        Time limit [s], a third for the operations and the rest for the stages, each from the first call: no pair of
        processes is started that is expected to end later.
    start, now
        How a process is started, and the clock of the budget [s].

    Raises
    ------
    SideError
        Head cannot run a case.
    """
    neighbours, not_compared = Neighbours(), dict[str, str]()
    timings: list[Timing] = []
    groups = [[case for case in timed if case in OPERATION_SIZES], [case for case in timed if case in STAGES]]
    shares = (1 / 3, 2 / 3) if all(groups) else (1, 1)
    for share, cases in zip(shares, groups, strict=True):
        timings += _time_group(cases, base, head, scenes, not_compared, budget_s=share * budget_s, start=start, now=now)
    return Times(timings, neighbours.share(), not_compared)


def _time_group(
    cases: Sequence[str],
    base: Side,
    head: Side,
    scenes: Path,
    not_compared: dict[str, str],
    *,
    budget_s: float,
    start: Callable[[Side], Process],
    now: Callable[[], float],
) -> list[Timing]:
    """Time cases that share processes; add those that base cannot run, and why, to `not_compared`."""
    samples: dict[str, list[Sample]] = {case: [] for case in cases}
    deadline, number = math.inf, 0
    while samples:
        began = now()
        # The side that is started first, and timed first, changes: neither always follows a pause.
        with _pair(base, head, start, head_first=number % 2 == 1) as pair:
            for case, reason in _prepare(pair, list(samples), scenes).items():
                not_compared[case] = reason
                del samples[case]
            if number == 0:
                # The first pair compiles what is not cached, which is no part of the budget.
                began, deadline = now(), now() + budget_s
            for case, sample in time_pair(pair, list(samples), number).items():
                samples[case].append(sample)
        number += 1
        narrow = all(timing.measured.narrow for timing in _timings(samples))
        if (number >= FEWEST and narrow) or number >= MOST or now() + (now() - began) > deadline:
            break
    return _timings(samples)


Sample = Mapping[str, tuple[float, float]]
"""One case in one pair of processes, by clock: median over rounds of `log_ratio`, and a typical call of base [s]."""


def _timings(samples: Mapping[str, Sequence[Sample]]) -> list[Timing]:
    """Return the results of all cases, by both clocks."""
    if not samples:
        return []
    found = {
        clock: intervals([[sample[clock][0] for sample in of_case] for of_case in samples.values()]) for clock in CLOCKS
    }
    return [
        Timing(case, clock, found[clock][row], statistics.median(sample[clock][1] for sample in of_case))
        for row, (case, of_case) in enumerate(samples.items())
        for clock in CLOCKS
    ]


@contextlib.contextmanager
def _pair(base: Side, head: Side, start: Callable[[Side], Process], *, head_first: bool) -> Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        # The sides may be equal, and have equal names: their order tells them apart.
        first, second = (
            stack.enter_context(contextlib.closing(start(side)))
            for side in ((head, base) if head_first else (base, head))
        )
        yield (second, first) if head_first else (first, second)


def _prepare(pair: Pair, cases: Sequence[str], scenes: Path) -> dict[str, str]:
    """Prepare the cases in both processes at once; return those that base cannot run, and why."""
    for process in pair:
        process.send("prepare", cases=cases, scenes=str(scenes))
    of_base, of_head = (process.receive()["errors"] for process in pair)
    for case, reason in of_head.items():
        raise SideError("head", f"{case}: {reason}")
    return dict(of_base)


def time_pair(pair: Pair, cases: Sequence[str], number: int) -> dict[str, Sample]:
    """Time all cases in one pair of processes.

    Parameters
    ----------
    pair, cases
        Prepared processes of base and head, and the cases.
    number
        Number of the pair; base is timed first in every second round of the pairs together.

    Returns
    -------
    dict
        The sample of each case.
    """
    base, head = pair
    ratios: dict[str, dict[str, list[float]]] = {case: {clock: [] for clock in CLOCKS} for case in cases}
    calls: dict[str, dict[str, list[float]]] = {case: {clock: [] for clock in CLOCKS} for case in cases}
    for case in schedule(cases):
        turn = number + len(ratios[case]["cpu_s"])
        order = (base, head, head, base) if turn % 2 == 0 else (head, base, base, head)
        answers = [(process, process.ask("time", case=case, calls=TIMED[case].calls)) for process in order]
        for clock in CLOCKS:
            of_base, of_head = (
                [answer[clock] for process, answer in answers if process is side] for side in (base, head)
            )
            ratios[case][clock].append(log_ratio(of_base, of_head))
            calls[case][clock] += of_base
    return {
        case: {
            clock: (statistics.median(ratios[case][clock]), statistics.median(calls[case][clock])) for clock in CLOCKS
        }
        for case in cases
    }


def schedule(cases: Sequence[str]) -> list[str]:
    """Return the rounds of a pair of processes: those of each case spread over its life."""
    rounds = [((turn + 0.5) / TIMED[case].rounds, case) for case in cases for turn in range(TIMED[case].rounds)]
    return [case for _, case in sorted(rounds, key=lambda entry: entry[0])]


def overall(timings: Sequence[Timing]) -> Verdict:
    """Return the overall verdict: slower if any case is by either clock, too noisy if any is by either clock."""
    verdicts = [timing.verdict for timing in timings]
    for verdict in (Verdict.SLOWER, Verdict.NOISY):
        if verdict in verdicts:
            return verdict
    return Verdict.SAME
