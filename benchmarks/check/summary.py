"""A check's result in Markdown, for a terminal and for a pull request."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.check import gather
from benchmarks.check.cases import CASES
from benchmarks.check.facts import Fact
from benchmarks.check.statistics import SLOWER, Verdict
from benchmarks.check.timing import Timing, overall

PASSED, WORSE, IMPOSSIBLE, NOISY = 0, 1, 2, 3


@dataclass(slots=True)
class Result:
    """What a check found."""

    base: str
    """What head was held against; empty: limits only."""
    facts: list[tuple[Fact | None, Fact]] = field(default_factory=list)
    """Base's and head's."""
    faults: list[gather.Fault] = field(default_factory=list)
    """Facts that are worse."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Kinds of facts that cannot be gathered here, and why."""
    timings: list[Timing] = field(default_factory=list)
    """What was timed."""
    not_compared: dict[str, str] = field(default_factory=dict)
    """Kinds of facts and cases that base cannot run, and why: head alone was looked at, or nothing."""
    seconds: float = 0.0
    """How long the check took [s]."""

    @property
    def code(self) -> int:
        """Exit code."""
        if any(not fault.accepted for fault in self.faults):
            return WORSE
        verdict = overall(self.timings) if self.timings else Verdict.SAME
        return {Verdict.SLOWER: WORSE, Verdict.NOISY: NOISY}.get(verdict, PASSED)


_VERDICTS = {
    0: "**No slower.**",
    1: "**Worse.**",
    3: "**Too noisy to say**: this is not a pass; run it again where less else runs.",
}


def markdown(result: Result) -> str:
    """Write the summary: the verdict, what is worse, the times, what could not be looked at."""
    lines = ["## Performance check", "", f"{_VERDICTS[result.code]} {told_scope(result)}", ""]
    if result.faults:
        lines += ["| fact | base → head |", "|---|---|"]
        lines += [
            f"| {fault.name} | {fault.told}{' (accepted)' if fault.accepted else ''} |" for fault in result.faults
        ]
        lines.append("")
    cases = [case for case in result.not_compared if case in CASES]
    if result.timings or cases:
        lines += [
            f"Times: head beside base in turn; slower means by more than {100 * (SLOWER - 1):.0f} % for sure."
            " The control is base beside base.",
            "",
            "| case | clock | base | control | head against base | |",
            "|---|---|---|---|---|---|",
        ]
        for timing in result.timings:
            measured = str(timing.measured) if timing.measured else "not timed"
            verdict = f"**{timing.verdict.value}**" if timing.verdict is Verdict.SLOWER else timing.verdict.value
            clock, base_ms = timing.clock.removesuffix("_s"), 1000 * timing.seconds
            lines.append(f"| {timing.case} | {clock} | {base_ms:.0f} ms | {timing.control} | {measured} | {verdict} |")
        lines += [
            f"| {case} | | | | base cannot run it: {result.not_compared[case]} | not compared |" for case in cases
        ]
        lines.append("")
    lines += [
        f"Not held against base's: {kind}, which base cannot gather ({reason})."
        for kind, reason in result.not_compared.items()
        if kind not in CASES
    ]
    lines += [f"Not looked at: {kind} ({reason})." for kind, reason in result.left_out.items()]
    return "\n".join(lines).rstrip()


def told_scope(result: Result) -> str:
    """Say what was looked at."""
    limits = sum(fact.limit is not None for _, fact in result.facts)
    compared = sum(base is not None for base, _ in result.facts)
    words = f"{len(result.facts)} facts, {limits} with a limit, {compared} held against base's"
    if result.timings:
        cases = len({timing.case for timing in result.timings})
        words += f"; {cases} cases timed: {overall(result.timings).value}"
    return f"{words}; {result.seconds:.0f} s."
