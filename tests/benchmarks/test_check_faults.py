"""The injected faults: each fits the sources, each fact has one, and cheap ones are found."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.check import compiled, concurrency, faults, gather, inject, memory, prove, sides
from benchmarks.check.cases import CASES
from benchmarks.check.facts import COLLECTORS, Fact, against_base, collectors_of, of_imports, of_stages
from benchmarks.check.gather import Fault
from benchmarks.check.inject import Edit, Injection
from benchmarks.check.sides import CheckError
from benchmarks.check.summary import Result
from benchmarks.check.timed import TIMED
from s2fast.folder.pair_blocks import PairBlocks
from s2fast.raster.prefetch import ReaderAhead
from tests.archives import Archive

NAMES = [fault.name for fault in faults.FAULTS]


def fault_of(name: str) -> Injection:
    return next(fault for fault in faults.FAULTS if fault.name == name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_injection_still_fits_the_sources_and_compiles(name: str, tmp_path: Path) -> None:
    fault = fault_of(name)
    inject.injected(fault, tmp_path)
    assert sides.tree_hash(tmp_path) != sides.tree_hash(sides.ROOT)
    for file in {edit.file for edit in fault.edits}:
        compile((tmp_path / file).read_text("utf-8"), file, "exec")


def test_an_injection_that_fits_no_more_says_so(tmp_path: Path) -> None:
    gone = Injection("gone", (Edit("s2fast/raster/reader.py", "no such text", ""),), shows=("f",))
    with pytest.raises(CheckError, match="does not contain the text"):
        inject.injected(gone, tmp_path)


def test_faults_have_their_own_names_and_look_at_something_that_exists() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for fault in faults.FAULTS:
        assert fault.shows
        assert bool(fault.kinds) != bool(fault.timed)
        assert set(fault.kinds) <= set(gather.KINDS)
        assert set(fault.cases) <= set(CASES)
        assert set(fault.timed) <= set(TIMED)
        assert bool(fault.cases) == bool(set(fault.kinds) & set(gather.COUNTED))


def small(one_tile: Archive, tmp_path: Path) -> str:
    """Return a folder that is laid out as the check's archive."""
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "scenes").symlink_to(one_tile.scenes)
    (folder / "regions.geojson").symlink_to(one_tile.regions)
    return str(folder)


def uncovered(names: Iterable[str]) -> list[str]:
    """Return the facts that no fault should turn red."""
    return [name for name in names if not any(prove.is_witness(fault, name) for fault in faults.FAULTS)]


@pytest.mark.slow
def test_every_fact_of_the_stages_has_a_fault(one_tile: Archive, tmp_path: Path) -> None:
    found = {fact.name for fact in of_stages(tmp_path, small(one_tile, tmp_path))}
    found |= {fact.name for fact in of_imports(tmp_path, "")}
    assert len(found) > 20
    assert not uncovered(found)


@pytest.mark.slow
def test_every_fact_of_memory_has_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Only the names are wanted here.
    monkeypatch.setattr("s2fast.pipeline.run_stages", lambda *_arguments, **_options: None)
    monkeypatch.setattr(memory, "_array_peak", lambda name, *_calls: Fact(f"{name}: peak of arrays [MiB]", 1.0))
    monkeypatch.setattr(memory, "_CALLS", 1)
    functions = [getattr(memory, COLLECTORS[what].partition(":")[2]) for what in collectors_of("memory")]
    found = [fact.name for function in functions for fact in function(tmp_path, "")]
    assert len(found) == len(functions) + 3
    assert not uncovered(found)


def test_every_count_has_a_fault() -> None:
    found = []
    for name, case in CASES.items():
        measures = ["instructions"]
        if case.kind == "operation":
            measures += ["instructions of compiled code", "simulated cache misses"]
        found += [f"{label}: {measure}" for label in case.labels(name).values() for measure in measures]
        if len(case.sizes) > 1:
            found.append(f"{name}: growth exponent")
    assert not uncovered(found)


def test_every_measure_of_compiled_code_has_a_fault() -> None:
    measures = [
        fact.name for fact in compiled.of_assembly("hamming_top2.numba_cpu._search_panel", "", counts_vectors=True)
    ]
    gpu = ("registers", "spilled bytes", "shared memory [bytes]", "blocks on an SM", "tensor instructions")
    measures += [f"gpu sm_90: {name}" for name in (*gpu, "instructions a comparison")]
    windows = ("programs on an SM", "population counts", "fused multiply-adds", "instructions a step")
    measures += [f"gpu sm_90, windows: {name}" for name in (*gpu[:2], *windows)]
    measures += [f"gpu sm_90, 3 diffusion steps: {name}" for name in ("registers", "fused multiply-adds")]
    measures += [f"gpu sm_90, base blur: {name}" for name in gpu[:3]]
    measures += [f"gpu sm_90, derivatives, radius 2: {name}" for name in ("instructions a pixel", "bytes a pixel")]
    assert not uncovered([*measures, "numba: functions with a parallel loop"])


@pytest.mark.slow
def test_what_overlaps_is_counted_and_a_lock_is_found(
    one_tile: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small(one_tile, tmp_path)
    free = {fact.name: fact for fact in concurrency.of_waits(tmp_path / "free", folder)}
    assert not uncovered(free)
    monkeypatch.setattr(concurrency, "PATIENCE_S", 0.2)
    lock = threading.Lock()

    def locked(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def held(*arguments: Any, **options: Any) -> Any:
            with lock:
                return function(*arguments, **options)

        monkeypatch.setattr(owner, name, held)

    locked(PairBlocks, "_read")
    # Reading ahead by 0 windows is what a lock that is held while a window is written comes to.
    monkeypatch.setattr(ReaderAhead.windows, "__defaults__", (0,))
    blocked = {fact.name: fact for fact in concurrency.of_waits(tmp_path / "blocked", folder)}
    worse = {name for name in free if against_base(blocked[name], free[name])}
    assert worse == {
        "blocks of pairs: reads at the same time",
        "ingest: windows read while another is written",
        "ingest: tiles decoded at the same time",
    }


@pytest.mark.slow
def test_an_array_more_per_call_is_found_and_an_equal_call_is_not() -> None:
    def call(extra_kib: int) -> object:
        return np.ones(2 << 17).sum() + (np.ones(extra_kib << 7).sum() if extra_kib else 0)

    def kept(extra_kib: int) -> object:
        arrays = [np.ones(2 << 17), np.ones(extra_kib << 7)]
        return sum(array.sum() for array in arrays)

    base = memory._array_peak("f", lambda: kept(0))
    assert 2 <= base.value < 2.1
    assert against_base(memory._array_peak("f", lambda: kept(0)), base) is None
    assert against_base(memory._array_peak("f", lambda: kept(64)), base)
    assert against_base(memory._array_peak("f", lambda: call(64)), base) is None


def test_outcomes_name_the_witness() -> None:
    fault = Injection("f", (), shows=("a: *",), kinds=("stages",))
    right, other = Fault("a: b", "1 → 2", accepted=False), Fault("c: d", "1 → 2", accepted=False)
    facts = [
        (Fact("a: b", 100.0), Fact("a: b", 103.0, slack=0.01)),
        (Fact("c: d", 100.0), Fact("c: d", 100.2, slack=0.01)),
        (Fact("c: e", 100.0), Fact("c: e", 90.0)),
        (None, Fact("a: new", 1.0)),
    ]
    both = prove.judged(fault, Result("base", facts, faults=[right, other]))
    assert both == {
        "outcome": "found",
        "witnesses": ["a: b"],
        "others": ["c: d"],
        "strongest": ("a: b", 3.0),
        "nearest": ("c: d", 0.2),
    }
    no_tolerance = [(Fact("a: b", 100.0), Fact("a: b", 101.0)), (Fact("c: d", 1.0), Fact("c: d", 1.0, limit=0.5))]
    far = prove.judged(fault, Result("base", no_tolerance, faults=[right]))
    assert far["strongest"] == ("a: b", 1e6)
    assert far["nearest"] == ("c: d", 1e6)
    assert prove.judged(fault, Result("base", faults=[other]))["outcome"] == "false alarm"
    assert prove.judged(None, Result("base", faults=[right]))["outcome"] == "false alarm"
    assert prove.judged(fault, Result("base"))["outcome"] == "missed"
    assert prove.judged(None, Result("base"))["outcome"] == "missed"


@pytest.mark.slow
def test_a_proof_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Fault("ingest: reads", "1 → 2", accepted=False)
    ran = []

    def one_run(injection: Injection | None, *_sides: object) -> Result:
        ran.append(injection and injection.name)
        facts = [(Fact(found.name, 100.0), Fact(found.name, 102.0 if injection else 100.1, slack=0.01))]
        return Result("base", facts, faults=[found] if injection else [])

    monkeypatch.setattr(prove, "one_run", one_run)
    results, names = tmp_path / "results.jsonl", [prove.CONTROL, "decoding a tile twice"]
    measuring_hash = prove.measuring_hash
    prove.prove(names, [0], 1, tmp_path, results)
    prove.prove(names, [0, 1], 2, tmp_path, results)
    assert len(ran) == 2 * 2 * 2
    prove.prove(names, [0, 1], 2, tmp_path, results)
    assert len(ran) == 8
    with monkeypatch.context() as changed:
        changed.setattr(prove, "measuring_hash", lambda name: "another" if name == names[0] else measuring_hash(name))
        assert {record["trial"] for record in prove.read(results)} == {names[1]}
    rows = prove.table(names, [0, 1, 2], prove.read(results))
    assert [(row["trial"], row["load"], row["runs"]) for row in rows] == [
        (name, load, 2) for name in names for load in (0, 1)
    ]
    assert [row["found"] for row in rows] == [0, 0, 2, 2]
    text = prove.markdown(rows).splitlines()
    assert {line.count("|") for line in text} == {12}
    assert text[2].endswith("|  |  | 0.1 |")
    assert text[-1].endswith("| ingest: reads | 2 |  |")
    record = json.loads(results.read_text().splitlines()[0])
    told = prove.machines(prove.read(results))
    assert told.startswith(f"8 runs on {record['machine']}, {record['cores']} cores; {record['time'][:10]}")
    assert prove.machines([]) == "No runs yet."


def test_busy_processes_end_with_the_run() -> None:
    with prove.busy(2) as started:
        assert [process.poll() for process in started] == [None, None]
    assert all(process.poll() is not None for process in started)


@pytest.mark.parametrize(
    ("constant", "value", "concerned"),
    [
        (
            "_MEASURING_KIND",
            {**prove._MEASURING_KIND, "memory": ("memory", "inject")},
            lambda fault: "memory" in fault.kinds,
        ),
        ("_TIMING", (*prove._TIMING, "inject"), lambda fault: fault.timed),
    ],
)
def test_a_record_depends_on_what_measures_its_trial(
    monkeypatch: pytest.MonkeyPatch, constant: str, value: object, concerned: Callable[[Injection], bool]
) -> None:
    before = {name: prove.measuring_hash(name) for name in prove.TRIALS}
    monkeypatch.setattr(prove, constant, value)
    changed = {name for name in prove.TRIALS if prove.measuring_hash(name) != before[name]}
    assert changed == {name for name, fault in prove.TRIALS.items() if fault is None or concerned(fault)}
