"""Result of a check, and its summary in Markdown for a terminal and for a pull request."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.check import gather
from benchmarks.check.facts import Fact
from benchmarks.check.statistics import SLOWER, Verdict
from benchmarks.check.timed import TIMED
from benchmarks.check.timing import Timing, overall

PASSED, WORSE, IMPOSSIBLE, NOISY = 0, 1, 2, 3


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
    timings: list[Timing] = field(default_factory=list)
    """Timed cases."""
    neighbours: float | None = None
    """Share of the processor that other processes took while timing; None: unknown, or nothing was timed."""
    not_compared: dict[str, str] = field(default_factory=dict)
    """Kinds of facts and cases that base cannot run, and why."""
    seconds: float = 0.0
    """Duration of the check [s]."""

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
    3: "**Too noisy**: this is not a pass; repeat it on a quieter machine.",
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
    cases = [case for case in result.not_compared if case in TIMED]
    if result.timings or cases:
        lines += [
            f"Times of head and base, interleaved; slower: the whole interval is above +{100 * (SLOWER - 1):.0f} %.",
            *([f"Neighbours took {100 * result.neighbours:.0f} % of the processor."] if result.neighbours else []),
            "",
            "| case | clock | base | pairs of processes | head against base | verdict |",
            "|---|---|---|---|---|---|",
        ]
        for timing in result.timings:
            verdict = f"**{timing.verdict.value}**" if timing.verdict is Verdict.SLOWER else timing.verdict.value
            clock, base_ms = timing.clock.removesuffix("_s"), 1000 * timing.seconds
            found = f"{timing.measured.processes} | {timing.measured} | {verdict}"
            lines.append(f"| {timing.case} | {clock} | {base_ms:.1f} ms | {found} |")
        lines += [
            f"| {case} | | | | base cannot run it: {result.not_compared[case]} | not compared |" for case in cases
        ]
        lines.append("")
    lines += [
        f"Not compared: {kind}, which base cannot gather ({reason})."
        for kind, reason in result.not_compared.items()
        if kind not in TIMED
    ]
    lines += [f"Not checked: {kind} ({reason})." for kind, reason in result.left_out.items()]
    return "\n".join(lines).rstrip()


def scope(result: Result) -> str:
    """Return what was checked, in one line."""
    limits = sum(fact.limit is not None for _, fact in result.facts)
    compared = sum(base is not None for base, _ in result.facts)
    words = f"{len(result.facts)} facts, {limits} with a limit, {compared} compared with base"
    if result.timings:
        cases = len({timing.case for timing in result.timings})
        words += f"; {cases} cases timed: {overall(result.timings).value}"
    return f"{words}; {result.seconds:.0f} s."
