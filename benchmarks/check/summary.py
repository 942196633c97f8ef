"""Result of a check, and its summary in Markdown for a terminal and for a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.check import gather
from benchmarks.check.facts import Fact
from benchmarks.check.statistics import SLOWER, Verdict
from benchmarks.check.timing import Times, Timing, overall

PASSED, WORSE, IMPOSSIBLE, NOISY = 0, 1, 2, 3

_BLIND = {
    "counts": "work in Python, NumPy and compiled code that takes too little time to be timed",
    "growth": "work that grows faster than the number of scenes, pairs or keypoints",
    "misses": "memory read in an order that the caches do not serve",
}
"""What the check does not see without a kind of facts."""


@dataclass(slots=True)
class Result:
    """Result of a check."""

    base: str
    """Name of the base; empty: limits only."""
    facts: list[tuple[Fact | None, Fact]] = field(default_factory=list)
    """Facts of base and of head."""
    faults: list[gather.Fault] = field(default_factory=list)
    """Facts that violate their rule or limit."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Kinds of facts that cannot be gathered here, and why."""
    times: Times | None = None
    """Timed cases; None: not timed."""
    not_compared: dict[str, str] = field(default_factory=dict)
    """Kinds of facts and cases that base cannot run, and why."""
    strict: bool = False
    """Whether times that could not be judged are an exit code of their own."""
    seconds: float = 0.0
    """Duration of the check [s]."""

    @property
    def timings(self) -> list[Timing]:
        """The timed cases by both clocks."""
        return self.times.timings if self.times else []

    @property
    def verdict(self) -> Verdict:
        """Verdict of the times alone."""
        return overall(self.timings)

    @property
    def code(self) -> int:
        """Exit code: facts and certain times decide; uncertain times only if they are asked to."""
        if self.verdict is Verdict.SLOWER or any(not fault.accepted for fault in self.faults):
            return WORSE
        return NOISY if self.strict and self.verdict is Verdict.NOISY else PASSED


_VERDICTS = {
    PASSED: "**No slower.**",
    WORSE: "**Worse.**",
    NOISY: "**Times could not be judged**, and --strict-times is set: repeat the check on a quieter machine.",
}


def markdown(result: Result) -> str:
    """Return the summary: the verdict, the violations, the times, and what could not be checked."""
    lines = ["## Performance check", "", f"{_VERDICTS[result.code]} {scope(result)}", ""]
    if result.faults:
        lines += ["| fact | base → head |", "|---|---|"]
        lines += [
            f"| {fault.name} | {fault.told}{' (accepted)' if fault.accepted else ''} |" for fault in result.faults
        ]
        lines.append("")
        for fault in result.faults:
            if fault.grown:
                lines += [f"What grew most in *{fault.name}*:", "", *(f"- {line}" for line in fault.grown), ""]
    if result.times:
        lines += _times(result.times)
    for kind, reason in result.not_compared.items():
        lines += [f"Not compared: {kind}, which base cannot run ({reason}).", ""]
    reasons: dict[str, list[str]] = {}
    for kind, reason in result.left_out.items():
        reasons.setdefault(reason, []).append(kind)
    for reason, kinds in reasons.items():
        lines += [f"Not checked: {', '.join(kinds)} ({reason}).{_blind(kinds)}", ""]
    return "\n".join(lines).rstrip()


def _blind(kinds: Sequence[str]) -> str:
    unseen = [_BLIND[kind] for kind in kinds if kind in _BLIND]
    return f" Without it this check is blind to {'; '.join(unseen)}." if unseen else ""


def _times(times: Times) -> list[str]:
    unsure = [timing for timing in times.timings if timing.verdict is Verdict.NOISY]
    lines = []
    if unsure:
        cases = sorted({timing.case for timing in unsure})
        whose = "" if len(cases) == len({timing.case for timing in times.timings}) else f" of {', '.join(cases)}"
        lines += [f"Times{whose} could not be judged here: {_neighbours(times)}.", ""]
    if times.timings:
        lines += [
            f"Times of head and base, in turn; slower: the whole interval is above +{100 * (SLOWER - 1):.0f} %.",
            "",
            "| case | clock | base | processes | head against base | verdict |",
            "|---|---|---|---|---|---|",
        ]
    for timing in times.timings:
        verdict = f"**{timing.verdict.value}**" if timing.verdict is Verdict.SLOWER else timing.verdict.value
        clock, base_ms = timing.clock.removesuffix("_s"), 1000 * timing.seconds
        cells = [timing.case, clock, f"{base_ms:.1f} ms", str(timing.measured.processes), str(timing.measured), verdict]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""] if times.timings else lines


def _neighbours(times: Times) -> str:
    if times.neighbours is None:
        return "how much of the processor others took is not known on this system"
    return f"neighbours took {100 * times.neighbours:.0f} % of the processor"


def scope(result: Result) -> str:
    """Return what was checked, in one line."""
    limits = sum(fact.limit is not None for _, fact in result.facts)
    compared = sum(base is not None for base, _ in result.facts)
    words = f"{len(result.facts)} facts, {limits} with a limit, {compared} compared with base"
    if result.timings:
        cases = len({timing.case for timing in result.timings})
        words += f"; {cases} cases timed: {result.verdict.value}"
    return f"{words}; {result.seconds:.0f} s."
