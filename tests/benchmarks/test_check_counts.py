"""Counted cases: callgrind's profiles, growth, tolerances, and what a worse count is reported with."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import calls
from benchmarks.check import callgrind, counted, gather, limits, measure_limits, sides
from benchmarks.check.callgrind import Profile
from benchmarks.check.cases import CASES
from benchmarks.check.counted import Counted
from benchmarks.check.facts import Fact
from benchmarks.check.gather import Gathered
from benchmarks.check.growth import exponent, scatter
from benchmarks.check.sides import Side, SideError
from s2fast.pipeline import STAGES
from s2fast_kernels.operations import CALLED

POOL = gather.processors()
"""Runs the processes of all tests of this file."""

PROFILE = """\
events: Ir D1mr D1mw
desc: Trigger: Client Request: match/4
ob=(1) /usr/lib/libpython.so
fn=(1) eval
1 100 3
cfn=(2)
cob=(2) ???
calls=3 0
1 5000 70 20
ob=(2)
fn=(2)
+1 40 0 2
cfn=(1)
calls=1 0
+1 900
+2 2
ob=(1)
fn=(3) eval'2
* 7
fn=(4) 0x00001000
* 1
"""


def test_every_instruction_is_counted_once_where_it_was_executed() -> None:
    profile = callgrind.parse(PROFILE.replace("fn=(2)", "fn=(2) 0x00002010", 1))
    assert profile.total == 100 + 40 + 2 + 7 + 1
    assert profile.compiled == 42
    assert profile.misses == 3 + 2


def test_functions_have_names_that_are_the_same_on_both_sides() -> None:
    text = PROFILE.replace("cfn=(2)", "cfn=(2) 0x00002010", 1)
    profile = callgrind.parse(text)
    kernels = [(0x1F00, "first"), (0x2000, "second"), (0x2020, "third")]
    assert profile.by_name(kernels) == {
        "eval (libpython.so)": 107,
        "second": 42,
        "code without names (libpython.so)": 1,
    }
    assert profile.by_name([])["compiled code"] == 42


def test_a_profile_is_named_by_the_call_that_was_counted(tmp_path: Path) -> None:
    (tmp_path / "profile.1").write_text(PROFILE.replace("cfn=(2)", "cfn=(2) 0x00002010", 1))
    (tmp_path / "profile").write_text("events: Ir\n")
    assert list(callgrind.read_profiles(tmp_path)) == ["match/4"]


def test_what_grew_most_is_named_first() -> None:
    base, head = {"a": 10, "b": 5, "same": 7, "fell": 9}, {"a": 11, "b": 25, "same": 7, "fell": 1, "new": 3_000}
    assert callgrind.grown(base, head) == ["new: 0 → 3,000", "b: 5 → 25", "a: 10 → 11"]
    assert callgrind.grown(base, head, most=1) == ["new: 0 → 3,000"]


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 2.0])
def test_the_exponent_leaves_out_a_fixed_cost(power: float) -> None:
    work = [6, 28, 120]
    assert exponent(work, [1e6 + 30 * value**power for value in work]) == pytest.approx(power, abs=1e-4)


def test_exponents_at_the_edges() -> None:
    assert exponent([1, 2, 4], [5, 5, 5]) == 0
    assert exponent([1, 2, 4], [5, 6, 6]) == 0
    assert exponent([1, 2, 4], [5, 5, 900]) == 6
    assert exponent([1, 4], [100, 400]) == pytest.approx(1)


def test_an_exponent_is_as_sure_as_its_counts() -> None:
    work = [6, 28, 120]
    steep, flat = [1e6, 3e6, 12e6], [250e6, 256e6, 272e6]
    assert scatter(work, steep, 0.0) == 0
    assert 0 < scatter(work, steep, 0.0028) < 0.01
    assert scatter(work, flat, 0.0028) > 0.2
    for signs in itertools.product((-1, 1), repeat=3):
        off = [count * (1 + 0.0028 * sign) for count, sign in zip(flat, signs, strict=True)]
        assert exponent(work, off) <= exponent(work, flat) + scatter(work, flat, 0.0028)


def test_equal_code_whose_counts_scatter_is_not_accused_of_growth() -> None:
    # `s2fast pairs` of equal code: nearly all instructions are a fixed cost.
    runs = [
        {4: 250_088_761, 8: 255_824_581, 16: 271_873_052},
        {4: 249_976_114, 8: 255_566_599, 16: 271_715_449},
        {4: 249_700_000, 8: 255_824_581, 16: 272_100_000},
    ]
    facts = [Gathered(gather.facts_of_counts(counts("s2fast pairs", run), ["growth"])[0], {}) for run in runs]
    for base, head in itertools.permutations(facts, 2):
        assert gather.faults(base, head) == []


def test_tolerances_are_twice_the_spread_within_their_bounds() -> None:
    def facts(match: float, report: float, compiled: float) -> list[Fact]:
        return [
            Fact("match, 4 scenes: instructions", match),
            Fact("report, 4 scenes: instructions", report),
            Fact("akaze, 1 windows: instructions of compiled code", compiled),
        ]

    found = measure_limits.tolerances([facts(1000_000, 1000_000, 7), facts(1001_000, 1100_000, 9)])
    assert found["instructions"] == {"match": 0.005, "report": 0.005}
    assert found["instructions of compiled code"] == {"akaze": 0.0005}
    assert measure_limits.tolerances([facts(1, 1, 7)] * 2)["instructions of compiled code"] == {"akaze": 0}


def test_the_tolerances_that_are_in_use_were_measured_and_are_narrow() -> None:
    record = json.loads(limits.FILE.read_text("utf-8"))
    assert record["runs"] >= 3
    for case in CASES:
        assert 0 < limits.tolerance(limits.INSTRUCTIONS, case) <= 0.005
    assert set(record["tolerances"]["instructions"]) == set(CASES)
    assert [limits.tolerance(limits.COMPILED, operation) for operation in ("hamming_top2", "window_matches")] == [0, 0]


def counts(case: str, per_size: dict[int, int], functions: dict[str, int] | None = None) -> list[Counted]:
    return [
        Counted(case, size, Profile({("???", "0x1"): number}, 0), functions or {}, {})
        for size, number in per_size.items()
    ]


def test_facts_of_counts() -> None:
    runs = counts("match", {4: 1_000, 8: 3_200, 16: 12_400})
    found = {fact.name: fact for fact in gather.facts_of_counts(runs, ["counts", "growth"])[0]}
    assert list(found) == [
        "match, 4 scenes: instructions",
        "match, 8 scenes: instructions",
        "match, 16 scenes: instructions",
        "match: growth exponent",
    ]
    assert found["match: growth exponent"].value == pytest.approx(1, abs=0.001)
    operation = gather.facts_of_counts(counts("akaze", {1: 500}), ["counts", "misses"])[0]
    assert [fact.name.partition(": ")[2] for fact in operation] == [
        "instructions",
        "instructions of compiled code",
        "simulated cache misses",
    ]
    assert operation[1].slack <= 0.0005


def test_a_search_through_all_pairs_for_each_pair_breaks_the_limit_of_growth() -> None:
    linear = {size: 10_000 + 500 * size * (size - 1) // 2 for size in CASES["match"].sizes}
    slower = {size: count + (size * (size - 1) // 2) ** 2 for size, count in linear.items()}
    base, head = (Gathered(*gather_facts(runs)) for runs in (linear, slower))
    assert "match: growth exponent" in {fault.name for fault in gather.faults(base, head)}
    assert {fault.name for fault in gather.faults(Gathered(), head)} == {"match: growth exponent"}
    assert gather.faults(base, base) == []


def gather_facts(per_size: dict[int, int]) -> tuple[list[Fact], dict[str, str]]:
    return gather.facts_of_counts(counts("match", per_size), ["counts", "growth"])[0], {}


def test_a_worse_count_is_told_with_the_functions_that_grew() -> None:
    sides_of = []
    for total, functions in ((1_000, {"search": 600, "write": 400}), (1_500, {"search": 1_100, "write": 400})):
        sides_of.append(gather.facts_of_counts(counts("match", {4: total}, functions), ["counts"]))
    (of_base, base_functions), (of_head, head_functions) = sides_of
    base, head = Gathered(of_base, {}, base_functions), Gathered(of_head, {}, head_functions)
    (fault,) = gather.faults(base, head)
    assert (fault.name, fault.grown) == ("match, 4 scenes: instructions", ("search: 600 → 1,100",))


def test_what_is_counted_is_what_a_run_calls() -> None:
    kinds = {kind: [name for name, case in CASES.items() if case.kind == kind] for kind in ("operation", "stage")}
    assert set(kinds["operation"]) == set(calls.CALLS) == {operation.name for operation in CALLED}
    assert kinds["stage"] == [*STAGES, "s2fast pairs"]


def test_base_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def count(side: Side, *_arguments: object, **_options: object) -> tuple[list[Counted], dict[str, str]]:
        asked.append(side.name)
        return counts("match", {4: 1_000}), {}

    monkeypatch.setattr(counted, "count", count)
    monkeypatch.setattr(gather, "small_scenes", lambda _cache: tmp_path)
    for name in ("base", "base", "head", "head"):
        found = gather.gather(
            Side(name, tmp_path, "python", tmp_path), ["counts"], tmp_path, pool=POOL, cases=["match"]
        )
        assert [fact.value for fact in found.facts] == [1_000]
        assert "match, 4 scenes: instructions" in found.functions
    assert asked == ["base", "head", "head"]
    gather.gather(
        Side("base", tmp_path, "python", tmp_path), ["counts"], tmp_path, pool=POOL, cases=["match", "verify"]
    )
    assert asked == ["base", "head", "head", "base"]


def test_what_base_cannot_run_is_left_out_and_what_head_cannot_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(*_arguments: object, **_options: object) -> tuple[list[Counted], dict[str, str]]:
        return counts("match", {4: 1_000}), {"window_matches": "ModuleNotFoundError: not there yet"}

    monkeypatch.setattr(counted, "count", count)
    monkeypatch.setattr(gather, "small_scenes", lambda _cache: tmp_path)
    for _ in range(2):
        found = gather.gather(Side("base", tmp_path, "python", tmp_path), ["counts"], tmp_path, pool=POOL, lenient=True)
        assert found.left_out == {"window_matches": "ModuleNotFoundError: not there yet"}
        assert len(found.facts) == 1
    with pytest.raises(SideError, match="head: window_matches: ModuleNotFoundError"):
        gather.gather(Side("head", tmp_path, "python", tmp_path), ["counts"], tmp_path, pool=POOL)


def test_why_a_stage_cannot_run_is_what_happened_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"python": {}, "errors": {"verify": "RuntimeError: s2fast match ended with exit code 2"}}
    later = {"kernels": [], "errors": {"verify": "FileNotFoundError: 04"}}
    monkeypatch.setattr(counted, "_plain_run", lambda *_: first)
    monkeypatch.setattr(counted, "_counted_run", lambda *_: ({}, later))
    side = Side("base", tmp_path, "python", tmp_path)
    found, errors = counted.count(side, ["verify"], tmp_path, growth=False, caches=False, pool=POOL)
    assert found == []
    assert errors == first["errors"]


@pytest.mark.slow
@pytest.mark.longest
def test_equal_code_gives_equal_counts(tmp_path: Path, other_processors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := callgrind.missing():
        assert gather.choose_kinds(["counts"]) == ([], {"counts": reason})
        return
    side = replace(sides.head_side(tmp_path), cache=other_processors / "code")
    # What the first run without valgrind has left compiled stays.
    plain_run, ran = counted._plain_run, set()

    def plain_run_once(side: Side, program: str, *arguments: Any) -> dict[str, Any]:
        if program in ran:
            return {"python": {}, "errors": {}}
        ran.add(program)
        return plain_run(side, program, *arguments)

    monkeypatch.setattr(counted, "_plain_run", plain_run_once)

    def count(*cases: str, caches: bool = False) -> dict[str, Counted]:
        return {
            run.case: run for run in counted.count(side, cases, tmp_path, growth=False, caches=caches, pool=POOL)[0]
        }

    # Caches are simulated once: it doubles the time and changes no instruction.
    first = count("hamming_top2", caches=True) | count("import s2fast")
    again = count("hamming_top2", "import s2fast")
    assert first["hamming_top2"].profile.compiled == again["hamming_top2"].profile.compiled > 1_000_000
    assert first["hamming_top2"].profile.misses > 1_000
    named = first["hamming_top2"].functions
    assert max(named, key=named.__getitem__) == "s2fast_kernels.hamming_top2.numba_cpu._search_panel"
    assert first["import s2fast"].profile.total == pytest.approx(again["import s2fast"].profile.total, rel=0.005)


def test_a_side_that_fails_says_so_in_its_own_words(tmp_path: Path) -> None:
    python = tmp_path / "python"
    told = ("warning", "ImportError: no module s2fast.cli", "==7== I refs: 5")
    python.write_text("\n".join(["#!/bin/sh", *(f"echo '{line}' >&2" for line in told), "exit 1"]))
    python.chmod(0o755)
    side = Side("base", tmp_path, str(python), tmp_path)
    with pytest.raises(SideError, match="^base: ImportError: no module s2fast.cli$"):
        counted.count(side, ["match"], tmp_path, growth=False, caches=False, pool=POOL)
