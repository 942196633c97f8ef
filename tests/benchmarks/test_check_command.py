"""The check as a whole: sides, workers, injected faults, exit codes, its summary."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.check import command, facts, gather, inject, sides, summary
from benchmarks.check.facts import Fact
from benchmarks.check.faults import FAULTS
from benchmarks.check.gather import Gathered
from benchmarks.check.sides import CheckError, Side, SideError
from benchmarks.check.statistics import Interval
from benchmarks.check.summary import Result
from benchmarks.check.timing import Times, Timing
from s2fast.model import Window
from s2fast.raster.reader import LumaReader
from tests.archives import Archive

QUIET = Interval(1.0, 0.99, 1.01, 8)
WIDE = Interval(1.0, 0.8, 1.2, 8)
SLOW = Interval(1.15, 1.12, 1.18, 8)


def timed(measured: Interval, clock: str = "cpu_s") -> Timing:
    return Timing("hamming_top2", clock, measured, 0.25)


def times(*timings: Timing, neighbours: float | None = 0.31) -> Times:
    return Times(list(timings), neighbours, {})


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (Result("base"), 0),
        (Result("base", times=times(timed(QUIET))), 0),
        (Result("base", times=times(timed(SLOW))), 1),
        (Result("base", faults=[gather.Fault("f", "worse", accepted=False)]), 1),
        (Result("base", faults=[gather.Fault("f", "worse", accepted=True)]), 0),
        # Facts decide: a machine too noisy for times is no failure, unless it is asked for.
        (Result("base", times=times(timed(WIDE))), 0),
        (Result("base", times=times(timed(WIDE)), strict=True), 3),
        (Result("base", times=times(timed(QUIET)), strict=True), 0),
        (Result("base", times=times(timed(WIDE)), faults=[gather.Fault("f", "worse", accepted=False)]), 1),
        (Result("base", times=times(timed(QUIET), timed(SLOW, "wall_s"))), 1),
        (Result("base", times=times(timed(WIDE), timed(SLOW, "wall_s")), strict=True), 1),
    ],
)
def test_exit_codes(result: Result, code: int) -> None:
    assert result.code == code


def test_the_summary_says_what_is_worse_and_what_was_not_looked_at() -> None:
    why = "valgrind is not installed: apt-get install valgrind"
    result = Result(
        "base",
        facts=[(Fact("run: comparisons", 5), Fact("run: comparisons", 6))],
        faults=[
            gather.Fault("run: comparisons", "5 → 6, not more wanted", accepted=False),
            gather.Fault("match, 4 scenes: instructions", "100 → 110", accepted=True, grown=("search: 50 → 60",)),
        ],
        left_out={"counts": why, "misses": why},
        times=times(timed(SLOW), timed(WIDE, "wall_s")),
    )
    text = summary.markdown(result)
    assert "**Worse.**" in text
    assert "| run: comparisons | 5 → 6, not more wanted |" in text
    assert "| match, 4 scenes: instructions | 100 → 110 (accepted) |" in text
    assert "What grew most in *match, 4 scenes: instructions*:\n\n- search: 50 → 60" in text
    assert "+15.0 % [+12.0, +18.0] | **slower** |" in text
    assert "[-20.0, +20.0] | too noisy |" in text
    assert "Times could not be judged here: neighbours took 31 % of the processor." in text
    assert f"Not checked: counts, misses ({why}). Without it this check is blind to work in Python" in text
    rows = [line for line in text.splitlines() if line.startswith("| hamming_top2")]
    assert {line.count("|") for line in rows} == {7}


def test_the_summary_names_the_cases_whose_times_could_not_be_judged() -> None:
    other = Timing("match", "cpu_s", QUIET, 0.25)
    text = summary.markdown(Result("base", times=times(timed(WIDE), other, neighbours=None)))
    assert "**No slower.**" in text
    assert "Times of hamming_top2 could not be judged here: how much of the processor others took is not known" in text
    assert "could not be judged" not in summary.markdown(Result("base", times=times(timed(QUIET))))


def test_an_unknown_revision_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command.main(["--base", "no-such-revision", "--cache", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "unknown revision" in told


@pytest.fixture
def head(tmp_path: Path) -> Side:
    side = sides.head_side(tmp_path)
    # What is compiled for the tests serves here too; only the path is the side's own.
    return Side(side.name, side.path, side.python, tmp_path / "compiled")


def test_a_side_runs_its_own_sources(tmp_path: Path, head: Side) -> None:
    faulty = inject.faulty_side(next(f for f in FAULTS if f.name == "decoding a tile twice"), tmp_path)
    assert faulty.path != head.path
    text = (
        "from importlib.util import find_spec as f;"
        'print(f("s2fast.raster.reader").origin, f("benchmarks.check").origin)'
    )
    for side, root in ((head, sides.ROOT), (faulty, tmp_path)):
        environment = sides.worker_environment(side)
        told = subprocess.run(
            [side.python, "-c", text], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        reader, benchmarks = (Path(name).resolve() for name in told.stdout.split())
        assert reader.is_relative_to(root)
        assert benchmarks.is_relative_to(sides.ROOT)


def test_what_base_is_too_old_for_is_a_row_and_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = Side("head", tmp_path, "python", tmp_path)
    base = Side("base", tmp_path, "python", tmp_path)

    def ask(side: Side, kind: str, _archive: Path, collector: str) -> list[Fact]:
        if side is base and kind == "stages":
            raise SideError("base", "No module named 's2fast.stages'")
        return [Fact(f"{kind}: f", 1.0)] if collector == kind else []

    def time_cases(cases: Sequence[str], *_sides: object, **_options: object) -> Times:
        return Times([timed(QUIET)] if "akaze" in cases else [], None, {"match": "no match there"})

    monkeypatch.setattr(gather, "_ask", ask)
    monkeypatch.setattr(gather, "small_scenes", lambda _cache: tmp_path)
    monkeypatch.setattr(gather, "small_archive", lambda _cache: tmp_path)
    monkeypatch.setattr(command, "time_cases", time_cases)
    found = command.check(base, head, tmp_path, kinds=["compiled", "stages"], timed=["akaze", "match"])
    assert found.code == 0
    assert found.not_compared == {"stages": "No module named 's2fast.stages'", "match": "no match there"}
    assert [before and before.name for before, _ in found.facts] == ["compiled: f", None]
    text = summary.markdown(found)
    assert "Not compared: match, which base cannot run (no match there)." in text
    assert "Not compared: stages, which base cannot run" in text
    with pytest.raises(CheckError, match="nothing can be compared with this base"):
        command.check(base, head, tmp_path, kinds=["stages"], timed=["match"])
    with pytest.raises(SideError, match="base: "):
        gather.gather(base, ["stages"], tmp_path, pool=gather.processors())


@pytest.mark.slow
def test_the_facts_find_a_needless_decode(one_tile: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "scenes").symlink_to(one_tile.scenes)
    (tmp_path / "archive" / "regions.geojson").symlink_to(one_tile.regions)
    read = LumaReader.read

    def read_twice(self: LumaReader, window: Window, wanted: Any = None) -> object:
        if window.row == window.col == 0:
            read(self, window, wanted)
        return read(self, window, wanted)

    monkeypatch.setattr(LumaReader, "read", read_twice)
    found = gather.faults(Gathered(), Gathered(list(facts.of_stages(tmp_path, str(tmp_path / "archive")))))
    # The plan itself says how many blocks there are: no base is needed to find it.
    assert [fault.name for fault in found] == ["ingest: blocks decoded", "ingest: reads"]


def test_the_record_is_json() -> None:
    result = Result("base", facts=[(None, Fact("f", 1.0))], times=times(timed(QUIET), timed(WIDE)))
    record = json.loads(json.dumps(command.record(result)))
    assert record["facts"] == {"f": [None, 1.0]}
    assert [row["verdict"] for row in record["timings"]] == ["no slower", "too noisy"]
