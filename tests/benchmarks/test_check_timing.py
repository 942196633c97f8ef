"""The timed part of the check: order of calls, budget, stop rule, verdicts, on workers with fake clocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.check import neighbours, sides, timed, timing, worker
from benchmarks.check.sides import CheckError, Side, SideError
from benchmarks.check.statistics import FEWEST, Verdict
from benchmarks.datasets import ensure_crops
from s2fast_kernels import compiled

BASE, HEAD = (Side(name, Path(), "python", Path()) for name in ("base", "head"))


class Machine:
    """A machine whose processes take what a script says; it keeps what was asked of them."""

    def __init__(self, seconds: Callable[[Scripted, str], tuple[float, float]]) -> None:
        self.seconds = seconds
        self.started: list[Scripted] = []
        self.turns: list[tuple[Scripted, str]] = []
        self.clock_s = 0.0
        self.errors: dict[str, dict[str, str]] = {"base": {}, "head": {}}

    def start(self, side: Side) -> Scripted:
        """Start a process."""
        self.started.append(Scripted(self, side.name, len(self.started)))
        return self.started[-1]

    def now(self) -> float:
        """Return the time."""
        return self.clock_s

    def time(self, cases: list[str], budget_s: float = 1e6) -> timing.Times:
        """Time the cases on this machine."""
        return timing.time_cases(
            cases, BASE, HEAD, Path("archive"), budget_s=budget_s, start=self.start, now=self.now
        )  # fmt: skip


class Scripted:
    """A process."""

    def __init__(self, machine: Machine, side: str, number: int) -> None:
        self.machine, self.side, self.number = machine, side, number
        self.open, self.waiting = True, ""
        self.cases: list[str] = []

    def send(self, do: str, **arguments: Any) -> None:
        assert self.open
        assert not self.waiting
        self.waiting = do
        self.cases = arguments.get("cases", self.cases)

    def receive(self) -> dict[str, Any]:
        assert self.waiting == "prepare"
        self.waiting = ""
        self.machine.clock_s += 1.0
        return {"errors": {case: why for case, why in self.machine.errors[self.side].items() if case in self.cases}}

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert do == "time"
        assert arguments["calls"] == timed.TIMED[arguments["case"]].calls
        assert arguments["case"] in self.cases
        self.machine.turns.append((self, arguments["case"]))
        cpu_s, wall_s = self.machine.seconds(self, arguments["case"])
        self.machine.clock_s += wall_s
        return {"cpu_s": cpu_s, "wall_s": wall_s}

    def close(self) -> None:
        self.open = False


def steady(head_is: float, by: str = "both") -> Callable[[Scripted, str], tuple[float, float]]:
    """Calls of a millisecond; head takes `head_is` times as long, by both clocks or by the wall's alone."""

    def seconds(process: Scripted, _case: str) -> tuple[float, float]:
        slower = head_is if process.side == "head" else 1.0
        jitter = 1 + 0.002 * (len(process.machine.turns) % 3)
        return 1e-3 * jitter * (slower if by == "both" else 1.0), 1e-3 * jitter * slower

    return seconds


@pytest.mark.parametrize(
    ("head_is", "by", "verdicts"),
    [
        (1.0, "both", [Verdict.SAME, Verdict.SAME]),
        (1.15, "both", [Verdict.SLOWER, Verdict.SLOWER]),
        # A sleep, a lock: waiting takes no processor.
        (1.15, "wall", [Verdict.SAME, Verdict.SLOWER]),
        (0.8, "both", [Verdict.FASTER, Verdict.FASTER]),
    ],
)
def test_each_clock_is_a_witness(head_is: float, by: str, verdicts: list[Verdict]) -> None:
    found = Machine(steady(head_is, by)).time(["hamming_top2"])
    assert [entry.clock for entry in found.timings] == ["cpu_s", "wall_s"]
    assert [entry.verdict for entry in found.timings] == verdicts
    assert found.timings[1].measured.ratio == pytest.approx(head_is, rel=0.01)
    assert found.timings[0].seconds == pytest.approx(1e-3, rel=0.01)
    slower = Verdict.SLOWER in verdicts
    assert timing.overall(found.timings) is (Verdict.SLOWER if slower else Verdict.SAME)


def test_calls_are_in_turn_and_neither_side_is_always_first() -> None:
    machine = Machine(steady(1.0))
    machine.time(["ingest", "match"])
    rounds = [machine.turns[first : first + 4] for first in range(0, len(machine.turns), 4)]
    for one in rounds:
        assert len({case for _, case in one}) == 1
        first, second, third, fourth = (process for process, _ in one)
        assert first is fourth
        assert second is third
        assert {first.side, second.side} == {"base", "head"}
    for case in ("ingest", "match"):
        leads = [one[0][0].side for one in rounds if one[0][1] == case]
        assert len(leads) == FEWEST * timed.TIMED[case].rounds
        assert abs(leads.count("base") - leads.count("head")) <= 1
    # The rounds of a case are spread over those of the others.
    order = [one[0][1] for one in rounds[: sum(timed.TIMED[case].rounds for case in ("ingest", "match"))]]
    assert order != sorted(order)


def test_every_pair_is_of_fresh_processes_started_together_and_killed() -> None:
    machine = Machine(steady(1.0))
    machine.time(["match"])
    assert [process.side for process in machine.started] == (["base", "head", "head", "base"] * FEWEST)[: 2 * FEWEST]
    assert not any(process.open for process in machine.started)
    seen = [process.number for process, _ in machine.turns]
    assert [number // 2 for number in seen] == sorted(number // 2 for number in seen)


def test_a_side_is_compared_with_itself_by_two_processes() -> None:
    machine = Machine(steady(1.0))
    found = timing.time_cases(
        ["hamming_top2"], HEAD, HEAD, Path("archive"), budget_s=1e6, start=machine.start, now=machine.now
    )  # fmt: skip
    assert len(machine.started) == 2 * FEWEST
    assert {process.number for process, _ in machine.turns} == set(range(2 * FEWEST))
    assert {entry.verdict for entry in found.timings} == {Verdict.SAME}


def differing(process: Scripted, _case: str) -> tuple[float, float]:
    """Every process has its own speed, as long as it lives; the difference of two is 20 %."""
    own = 1.2 if (process.number // 4) % 2 == (process.side == "head") else 1.0
    return 1e-3 * own, 1e-3 * own


def test_processes_that_differ_are_no_evidence() -> None:
    machine = Machine(differing)
    found = machine.time(["hamming_top2"], budget_s=20.0)
    assert {entry.verdict for entry in found.timings} == {Verdict.NOISY}
    assert timing.overall(found.timings) is Verdict.NOISY


def test_sampling_goes_on_within_the_budget_and_stops_when_all_is_narrow() -> None:
    noisy = Machine(differing)
    found = noisy.time(["hamming_top2", "akaze"], budget_s=20.0)
    # A pair takes two seconds of preparation, which for the first is free, and 64 ms of calls.
    assert found.timings[0].measured.processes == len(noisy.started) // 2 == 10
    assert noisy.clock_s - 2.0 <= 20.0
    quiet = Machine(steady(1.0))
    quiet.time(["hamming_top2", "akaze"], budget_s=20.0)
    assert len(quiet.started) == 2 * FEWEST
    # One noisy case keeps all going, by either clock.
    one = Machine(lambda process, case: (1e-3, differing(process, case)[1] if case == "akaze" else 1e-3))
    one.time(["hamming_top2", "akaze"], budget_s=20.0)
    assert len(one.started) == len(noisy.started)


def test_the_width_alone_decides_when_to_stop() -> None:
    def started(head_is: float) -> int:
        def seconds(process: Scripted, case: str) -> tuple[float, float]:
            # The first two pairs differ by 20 %, those after them do not.
            both = differing(process, case)[0] if process.number < 4 else 1e-3
            return (both * (head_is if process.side == "head" else 1.0),) * 2

        machine = Machine(seconds)
        machine.time(["hamming_top2"])
        return len(machine.started)

    found = {started(head_is) for head_is in (0.5, 1.0, 1.06, 1.15, 3.0)}
    assert len(found) == 1
    assert 2 * FEWEST < found.pop() < 2 * timing.MOST


def test_a_budget_too_short_for_a_verdict_gives_none() -> None:
    found = Machine(steady(1.3)).time(["hamming_top2"], budget_s=3.0)
    assert {entry.measured.processes for entry in found.timings} == {2}
    assert {entry.verdict for entry in found.timings} == {Verdict.NOISY}


def test_what_base_cannot_run_is_left_out_with_its_reason_and_is_not_asked_for_again() -> None:
    machine = Machine(steady(1.0))
    machine.errors["base"] = {"match": "ModuleNotFoundError: no match there"}
    found = machine.time(["match", "ingest"])
    assert found.not_compared == machine.errors["base"]
    assert {entry.case for entry in found.timings} == {"ingest"}
    assert all(process.cases == ["ingest"] for process in machine.started[2:])
    machine.errors["base"]["ingest"] = "neither"
    nothing = machine.time(["match", "ingest"])
    assert (nothing.timings, len(nothing.not_compared)) == ([], 2)


def test_operations_and_stages_have_processes_and_budgets_of_their_own() -> None:
    machine = Machine(steady(1.0))
    found = machine.time(["match", "hamming_top2"])
    assert {entry.case for entry in found.timings} == {"match", "hamming_top2"}
    assert {tuple(process.cases) for process in machine.started} == {("match",), ("hamming_top2",)}
    alone, both = (Machine(differing) for _ in range(2))
    alone.time(["hamming_top2"], budget_s=21.0)
    both.time(["hamming_top2", "match"], budget_s=63.0)
    assert sum(process.cases == ["hamming_top2"] for process in both.started) == len(alone.started)


def test_what_head_cannot_run_is_an_error_even_if_base_cannot_either() -> None:
    machine = Machine(steady(1.0))
    machine.errors = {"base": {"match": "no"}, "head": {"match": "ImportError: gone"}}
    with pytest.raises(SideError, match="head: match: ImportError: gone"):
        machine.time(["match"])
    assert not any(process.open or process.waiting for process in machine.started)


def test_neighbours_are_what_is_busy_and_not_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stat, own, clock = tmp_path / "stat", [3.0], [100.0]
    monkeypatch.setattr(neighbours, "_STAT", stat)
    monkeypatch.setattr(neighbours, "_own_s", lambda: own[0])
    monkeypatch.setattr(neighbours.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(neighbours.os, "sysconf", lambda _name: 100)
    monkeypatch.setattr(neighbours.time, "monotonic", lambda: clock[0])
    stat.write_text("cpu  1000 10 500 9000 70 5 5 100 0 0\ncpu0 1 1 1 1\n")
    meter = neighbours.Neighbours()
    # In ten seconds of two processors: 12 s busy, of which 2 s stolen; 4 s are ours. Idle and waiting are not busy.
    own[0], clock[0] = 7.0, 110.0
    stat.write_text("cpu  1800 10 700 9600 270 5 5 300 0 0\ncpu0 1 1 1 1\n")
    assert meter.share() == pytest.approx(8 / 20)
    stat.unlink()
    assert meter.share() is None
    assert neighbours.Neighbours().share() is None


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_crops(tmp_path_factory.mktemp("tiny") / "scenes", side_px=128, size=256, dates=2, seed=0)


@pytest.mark.slow
def test_a_stage_finds_the_same_folder_at_every_call(tiny: Path, tmp_path: Path) -> None:
    prepared, errors = timed.prepare(["match", "verify"], tiny, tmp_path)
    assert (set(prepared), errors) == ({"match", "verify"}, {})
    blocks = tmp_path / "out" / "good"

    def written() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in blocks.rglob("*") if path.is_file()}

    matched = []
    for _ in range(2):
        prepared["match"].before()
        assert not written()
        prepared["match"].call()
        matched.append(written())
    assert matched[0]
    assert matched[0].keys() == matched[1].keys()
    assert matched[0] != matched[1]


@pytest.mark.slow
def test_the_tiny_scenes_have_keypoints_that_match(tiny: Path, tmp_path: Path) -> None:
    from s2fast.results import Run

    timed.prepare(["report"], tiny, tmp_path)
    pairs = Run(tmp_path / "out").pairs()
    assert len(pairs) == timed.SCENES * (timed.SCENES - 1) // 2
    assert pairs["n_query"].min() > 50
    assert pairs["n_good"].max() > 50


def test_a_stage_that_fails_takes_those_after_it_along(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    prepared, errors = timed.prepare(["hamming_top2", "extract", "report"], tmp_path / "empty", tmp_path)
    assert set(prepared) == {"hamming_top2"}
    assert set(errors) == {"extract", "report"}


@pytest.mark.slow
def test_a_worker_answers_tells_errors_and_its_end(tmp_path: Path) -> None:
    # The code that is compiled already is that of the copy.
    side = replace(sides.head_side(tmp_path), cache=compiled.cache_folder().parent)
    with sides.workers((side, "head")) as (process,):
        assert process.ask("prepare", cases=[], scenes="") == {"errors": {}}
        with pytest.raises(CheckError, match="head: KeyError"):
            process.ask("time", case="match", calls=1)
        # It is still there after an error, and nothing but answers is on its line.
        assert set(process.ask("prepare", cases=["hamming_top2"], scenes="")["errors"]) == set()
        assert set(process.ask("time", case="hamming_top2", calls=2)) == {"wall_s", "cpu_s"}
        with pytest.raises(CheckError, match="the worker of head ended"):
            process.ask("unheard of")  # an attribute it does not have is our mistake, not a case's


def test_wall_time_holds_waiting_and_not_the_queue_for_a_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = worker.Answers(tmp_path)
    clock = {"wall": 0.0, "cpu": 0.0, "queued": 0.0}

    def call() -> None:
        # 8 s of computing, 3 s asleep, 4 s ready without a processor.
        for name, seconds in (("wall", 15.0), ("cpu", 8.0), ("queued", 4.0)):
            clock[name] += seconds

    answers._prepared["case"] = timed.Prepared(lambda: None, call)
    monkeypatch.setattr(worker, "_queued_s", lambda: clock["queued"])
    monkeypatch.setattr(worker.time, "perf_counter", lambda: clock["wall"])
    monkeypatch.setattr(worker.time, "process_time", lambda: clock["cpu"])
    assert answers.time("case", calls=2) == {"wall_s": 11.0, "cpu_s": 8.0}
