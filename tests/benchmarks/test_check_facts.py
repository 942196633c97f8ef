"""Facts: rules and limits detect worse values, and counts equal the actual work."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import calls, counts, meter
from benchmarks.check import callgrind, compiled, facts, gather
from benchmarks.check.facts import Fact, against_base, beyond_limit
from benchmarks.check.gather import Gathered
from benchmarks.check.sides import CheckError
from benchmarks.check.timed import TIMED
from s2fast.config import load_config
from s2fast.model import Window
from s2fast.pipeline import STAGES, run_stages
from s2fast.planning import Job
from s2fast.results import Run
from s2fast_kernels.operations import CALLED
from tests.archives import Archive


@pytest.mark.parametrize(
    ("rule", "base", "head", "worse"),
    [
        ("equal", 5, 5, False),
        ("equal", 5, 6, True),
        ("equal", 5, 4, True),
        ("not more", 5, 4, False),
        ("not more", 5, 5, False),
        ("not more", 5, 6, True),
        ("not less", 5, 6, False),
        ("not less", 5, 4, True),
    ],
)
def test_rules(rule: str, base: float, head: float, worse: bool) -> None:
    told = against_base(Fact("f", head, rule), Fact("f", base, rule))
    assert (told is not None) is worse


def test_slack_and_grain_give_room_and_no_more() -> None:
    base = Fact("f", 100)
    assert against_base(Fact("f", 112, slack=0.1, grain=2), base) is None
    assert against_base(Fact("f", 113, slack=0.1, grain=2), base) == "100 → 113 (+13 %), not more wanted"


def test_limits_need_no_base() -> None:
    assert beyond_limit(Fact("f", 5)) is None
    assert beyond_limit(Fact("f", 5, limit=5)) is None
    assert beyond_limit(Fact("f", 6, limit=5)) == "6, the model allows 5"
    assert beyond_limit(Fact("f", 0, "not less", limit=1)) == "0, at least 1 wanted"


def test_faults_name_what_is_worse_and_what_was_expected() -> None:
    base = Gathered([Fact("a: x", 1), Fact("b: y", 1), Fact("gone", 1)])
    head = Gathered([Fact("a: x", 2), Fact("b: y", 1), Fact("new", 9), Fact("limited", 3, limit=2)])
    found = gather.faults(base, head, accept=["a: *"])
    assert [(fault.name, fault.accepted) for fault in found] == [("a: x", True), ("limited", False)]
    assert gather.faults(Gathered(), Gathered(head.facts[:3])) == []


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(CheckError, match="unknown kind of fact nonsense"):
        gather.choose_kinds(["nonsense"])


def test_what_cannot_be_gathered_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callgrind.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(callgrind.shutil, "which", lambda _tool: None)
    kinds, left_out = gather.choose_kinds(["stages", "counts"])
    assert kinds == ["stages"]
    assert left_out["counts"].startswith("valgrind is not installed: apt-get install valgrind")
    monkeypatch.setattr(callgrind.platform, "machine", lambda: "aarch64")
    assert "x86-64 only" in gather.choose_kinds(["growth"])[1]["growth"]


@pytest.mark.parametrize(
    ("window", "blocks"),
    [
        (Window(0, 0, 256, 256), 1),
        (Window(0, 0, 257, 256), 2),
        (Window(255, 255, 2, 2), 4),
        (Window(256, 0, 256, 512), 2),
    ],
)
def test_blocks_a_window_touches(window: Window, blocks: int) -> None:
    assert counts.blocks_of(window, (256, 256)) == blocks


@pytest.mark.slow
def test_what_ingest_does_is_what_was_planned(archive: Archive, tmp_path: Path) -> None:
    config = load_config(overrides={"ingest.halo_px": 0, "matching.mode": "exhaustive", "matching.mutual": False})
    with counts.counting() as done:
        run_stages(Job(config, [archive.scenes], archive.regions, tmp_path / "out"), stages=list(STAGES)[:-1])
    # The report reads the scenes once more, for their pictures.
    run_stages(Job(config, [archive.scenes], archive.regions, tmp_path / "out"), stages=["report"])
    run = Run(tmp_path / "out")
    found = counts.run_counts(run)
    assert done["blocks"] == found["blocks_decoded"] == sum(run.scenes()["windows_read"]) > 0
    pairs = run.pairs()
    assert found["comparisons"] == sum(pairs["n_query"] * pairs["n_train"])
    assert found["pixels_read"] == 256 * 256 * found["blocks_decoded"]
    # A query meets all its partners of a block in one call, never a pair twice.
    assert 0 < done["hamming_top2"] <= len(pairs)
    assert done["hamming_top2_both"] == 0
    assert done["akaze"] >= len(run.scene_ids)


def test_counting_leaves_nothing_behind() -> None:
    before = counts.Backend.load, counts.rasterio.io.DatasetReader.read
    with pytest.raises(ZeroDivisionError), counts.counting():
        1 / 0  # noqa: B018
    assert (counts.Backend.load, counts.rasterio.io.DatasetReader.read) == before


def test_peak_memory_forgets_peaks_before() -> None:
    np.ones(64 << 17).sum()
    peaks: list[float] = []
    with meter.peak_memory(peaks):
        np.ones(16 << 17).sum()
    assert 15 < peaks[0] < 24


ASSEMBLY = """
\tvpopcntw\t%zmm0, %zmm1
\tvmovdqu64\t%zmm3, 64(%rsp)
\tvpaddw\t%zmm1, %zmm2, %zmm2
\tmovq\t%rax, 8(%rsp)
\tretq
"""


def test_assembly_is_read() -> None:
    found = {fact.name: fact for fact in compiled.of_assembly("k", ASSEMBLY, counts_vectors=True)}
    assert found["k: vector instructions"].value == 3
    assert found["k: vectors stored on the stack"].value == 1
    assert found["k: vector population counts"].value == 1
    scalar = {fact.name: fact for fact in compiled.of_assembly("k", "\tpopcntq\t%rax, %rax\n", counts_vectors=True)}
    assert beyond_limit(scalar["k: vector population counts"])


def test_what_is_timed_and_counted_is_what_the_pipeline_calls() -> None:
    called = {operation.name for operation in CALLED}
    assert set(calls.CALLS) == called
    assert called < set(TIMED)
    # The definition of the default's own search is tested against, never measured in its place.
    assert "window_matches" in called
    assert not {"hamming_window_top2", "hamming_window_top2_both"} & set(TIMED)


@pytest.mark.slow
def test_the_default_job_calls_what_the_table_says_and_the_fact_counts_it(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "scenes").symlink_to(archive.scenes)
    (tmp_path / "archive" / "regions.geojson").symlink_to(archive.regions)
    found = {fact.name: fact for fact in facts.of_stages(tmp_path, str(tmp_path / "archive"))}
    counted = {name.split(": calls of ")[1]: fact for name, fact in found.items() if ": calls of " in name}
    assert set(counted) == {"akaze", "window_matches"}
    assert all(fact.value > 0 for fact in counted.values())
    assert found["match: calls of window_matches"].limit == 6
    assert not any(beyond_limit(fact) for fact in found.values())


def test_an_operation_that_is_not_called_and_one_that_should_not_be_break_a_limit() -> None:
    default = load_config()
    right = {"match": {"window_matches": 6}}
    assert not any(beyond_limit(fact) for fact in facts.of_calls(default, right, 6))
    for wrong, name in (
        ({"window_matches": 0}, "match: operations that should be called and are not"),
        ({"window_matches": 7}, "match: calls of window_matches"),
        ({"window_matches": 6, "hamming_top2": 1}, "match: calls of hamming_top2"),
    ):
        broken = [fact.name for fact in facts.of_calls(default, {"match": wrong}, 6) if beyond_limit(fact)]
        assert broken == [name]
