import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest

from s2fast.errors import ConfigError, S2FastError, SceneError
from s2fast.work import executors, units
from s2fast.work.executors import InProcess, Workplace, open_workplace
from s2fast.work.thread_limits import limit_threads, thread_limit
from s2fast.work.units import MAX_LOSSES, run_units
from s2fast_kernels import backends, machine
from s2fast_kernels.machine import available_cores
from tests.dask_parts import dask_pair, free_port, open_when_ready, wait_until

pytestmark = pytest.mark.slow


def square(unit: int, offset: int) -> tuple[int, int]:
    return unit * unit + offset, thread_limit()


def fail_on_three(unit: int) -> int:
    if unit == 3:
        raise SceneError("unit 3 is broken")
    return unit


def note_then_fail(unit: int, folder: Path) -> None:
    (folder / str(unit)).touch()
    if unit == 0:
        raise SceneError("the first fails")


def warn(unit: int) -> int:
    warnings.warn("of a library", UserWarning, stacklevel=1)
    return unit


def log_if_odd(unit: int) -> int:
    log = logging.getLogger("s2fast.stages.any")
    log.info("unit %d", unit)
    if unit % 2:
        log.warning("unit %d is odd", unit)
    return unit


def die_on_three(unit: int, folder: Path, deaths: int) -> int:
    """Kill the worker on unit 3, as often as asked."""
    if unit == 3:
        before = len(list(folder.iterdir()))
        if before < deaths:
            (folder / str(before)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return unit


def note_process_and_wait(unit: int, folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(600)


def wait_for_file(unit: int, folder: Path) -> int:
    """Say that the unit runs, and hold it until told to go on."""
    (folder / f"started {unit}").touch()
    wait_until((folder / "go").exists)
    return unit


def is_running(pid: int) -> bool:
    try:
        # A zombie has ended; it only waits for its parent.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("workers", "threads"), [(1, 0), (2, 3)])
def test_every_unit_runs_once(workers: int, threads: int) -> None:
    with open_workplace(workers, threads=threads) as workplace:
        results = dict(run_units(workplace, square, range(20), 5))
    assert results == {unit: (unit * unit + 5, threads) for unit in range(20)}


def device_of_worker(unit: int, folder: Path) -> tuple[str, int]:
    """Return the GPU that "auto" selects where two are pretended, and how many workers use it."""
    machine.gpu_missing = lambda: None  # type: ignore[assignment]
    machine.gpus = lambda: machine.Gpus(((9, 0), (9, 0)))  # type: ignore[assignment]
    (folder / f"{unit} {os.getpid()}").touch()
    wait_until(lambda: len({path.name.split()[1] for path in folder.iterdir()}) == int((folder.name).split()[0]))
    return backends.find_device(), machine.PLACE.sharing("auto")


@pytest.mark.parametrize(("workers", "sharing"), [(2, 1), (3, 2)])
def test_local_workers_take_turns_with_the_gpus(tmp_path: Path, workers: int, sharing: int) -> None:
    folder = tmp_path / f"{workers} workers"
    folder.mkdir()
    with open_workplace(workers) as workplace:
        found = [result for _, result in run_units(workplace, device_of_worker, range(workers), folder)]
    assert sorted(found) == sorted((f"cuda:{number % 2}", sharing) for number in range(workers))


def test_workers_of_dask_take_turns_with_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each machine counts its own workers; one that joined later takes the first GPU."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(machine, "gpus", lambda: machine.Gpus(((9, 0), (9, 0))))
    monkeypatch.setattr(machine, "PLACE", machine.Place())
    monkeypatch.setattr(executors, "PLACE", machine.PLACE)
    known = executors.places(["tcp://a:1", "tcp://a:2", "tcp://a:3", "tcp://b:7"])
    found = {}
    for address in [*known, "tcp://c:1"]:
        monkeypatch.setattr(distributed, "get_worker", lambda address=address: SimpleNamespace(address=address))
        found[address] = executors._run_placed(known, backends.find_device), machine.PLACE.sharing("auto")
    assert found == {
        "tcp://a:1": ("cuda:0", 2), "tcp://a:2": ("cuda:1", 2), "tcp://a:3": ("cuda:0", 2),
        "tcp://b:7": ("cuda:0", 1), "tcp://c:1": ("cuda:0", 1),
    }  # fmt: skip
    assert machine.Place(2, 3).sharing("cuda:1") == 3


def test_a_run_records_the_gpus_of_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "gpus", lambda: machine.Gpus(((9, 0), (9, 0), (9, 0))))
    with open_workplace(2) as workplace:
        found = [workplace.devices(*given) for given in (("cuda:0", "auto"), ("cuda:1", "cuda:1"), ("cpu", "auto"))]
    assert found == ["cuda:0, cuda:1", "cuda:1", "cpu"]


def test_local_workers_share_the_cores() -> None:
    with open_workplace(2) as workplace:
        assert (workplace.slots, workplace.threads) == (2, max(1, available_cores() // 2))


@pytest.mark.parametrize("workers", [1, 2])
def test_failures_reach_the_caller(workers: int) -> None:
    with open_workplace(workers) as workplace, pytest.raises(SceneError, match="unit 3 is broken"):
        list(run_units(workplace, fail_on_three, range(10)))


def test_nothing_starts_after_a_failure(tmp_path: Path) -> None:
    with open_workplace() as workplace, pytest.raises(SceneError):
        list(run_units(workplace, note_then_fail, range(10), tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


def test_units_are_taken_as_needed() -> None:
    taken: list[int] = []

    def units() -> Iterator[int]:
        for unit in range(100):
            taken.append(unit)
            yield unit

    results = run_units(Workplace(InProcess(), 1, 0), square, units(), 0)
    next(results)
    assert len(taken) == 1


@pytest.mark.parametrize("deaths", [1, 2])
def test_units_of_killed_workers_are_computed_again(tmp_path: Path, deaths: int) -> None:
    with open_workplace(2) as workplace:
        results = list(run_units(workplace, die_on_three, range(12), tmp_path, deaths))
        # The pool that replaced the broken one serves the next stage.
        assert dict(run_units(workplace, square, range(3), 0)) == {n: (n * n, workplace.threads) for n in range(3)}
    assert sorted(results) == [(unit, unit) for unit in range(12)]
    assert len(list(tmp_path.iterdir())) == deaths


def test_a_unit_that_kills_every_worker_is_named(tmp_path: Path) -> None:
    done = []
    with open_workplace(2) as workplace, pytest.raises(S2FastError, match="^3: the worker died each time") as told:
        done += [unit for unit, _ in run_units(workplace, die_on_three, range(12), tmp_path, 1000)]
    assert len(list(tmp_path.iterdir())) == MAX_LOSSES
    assert "\n" not in str(told.value)
    assert 3 not in done


class GivesUpError(Exception):
    """As of an executor that has lost a unit's workers too often."""


def test_the_last_attempt_of_a_unit_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    running: dict[int, Future[Any]] = {}
    seen: list[list[int]] = []
    attempts = iter(range(2))

    def submit(_: object, threads: int, function: object, unit: int) -> Future[Any]:
        del threads, function
        future: Future[Any] = Future()
        if unit == 3 and next(attempts) == 0:
            future.set_exception(GivesUpError())
        else:
            running[unit] = future
        return future

    def end_units() -> bool:
        seen.append(list(running))
        # Unit 3 takes three times as long as the executor is waited for.
        if 3 not in running or seen.count([3]) == 3:
            for future in running.values():
                future.set_result(None)
            running.clear()
        return False

    monkeypatch.setattr(units, "LIVENESS_CHECK_S", 0.001)
    workplace = Workplace(InProcess(), 2, 1)
    monkeypatch.setattr(workplace.executor, "submit", submit)
    monkeypatch.setattr(workplace, "give_up_errors", (GivesUpError,))
    monkeypatch.setattr(workplace, "is_lost", end_units)
    done = [unit for unit, _ in run_units(workplace, square, range(8))]
    assert sorted(done) == list(range(8))
    assert seen == [[0, 1, 2], [3], [3], [3], [4, 5, 6, 7]]


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from s2fast.work.executors import open_workplace\n"
        "from s2fast.work.units import run_units\n"
        "from tests.work.test_executors import note_process_and_wait\n"
        "if __name__ == '__main__':\n"
        "    with open_workplace(2) as workplace:\n"
        "        list(run_units(workplace, note_process_and_wait, range(2), pathlib.Path(sys.argv[1])))\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(program)
    notes = tmp_path / "notes"
    notes.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, script, notes], env=environment)
    try:
        wait_until(lambda: len(list(notes.iterdir())) == 2)
    finally:
        parent.kill()
        parent.wait()
    workers = [int(path.name) for path in notes.iterdir()]
    wait_until(lambda: not any(is_running(pid) for pid in workers))


def test_dask_is_an_executor_like_the_others() -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        open_workplace(scheduler=cluster.scheduler_address) as workplace,
    ):
        assert (workplace.slots, workplace.threads) == (2, 1)
        results = dict(run_units(workplace, square, range(20), 5))
        with pytest.raises(SceneError, match="unit 3 is broken"):
            list(run_units(workplace, fail_on_three, range(10)))
    assert results == {unit: (unit * unit + 5, 1) for unit in range(20)}


def test_a_scheduler_that_comes_back_goes_on_with_the_units(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    port = free_port()
    with dask_pair(port) as first:
        workplace = open_when_ready(f"tcp://127.0.0.1:{port}")
        results = run_units(workplace, wait_for_file, range(3), tmp_path)
        with ThreadPoolExecutor(1) as thread:
            collected = thread.submit(list, results)
            wait_until((tmp_path / "started 0").exists)
            first.close()
            (tmp_path / "go").touch()
            with dask_pair(port):
                assert sorted(collected.result(timeout=120)) == [(unit, unit) for unit in range(3)]
                workplace.close()


def test_a_scheduler_that_stays_away_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "RECONNECT_S", 1.0)
    port = free_port()
    with dask_pair(port) as pair:
        workplace = open_when_ready(f"tcp://127.0.0.1:{port}")
        results = run_units(workplace, wait_for_file, range(3), tmp_path)
        with ThreadPoolExecutor(1) as thread:
            collected = thread.submit(list, results)
            wait_until((tmp_path / "started 0").exists)
            pair.close()
            with pytest.raises(S2FastError, match=f"127.0.0.1:{port} went away .*: completed results are kept"):
                collected.result(timeout=120)
        workplace.close()


def test_dask_gives_the_units_of_a_killed_worker_to_another(tmp_path: Path) -> None:
    dask = pytest.importorskip("dask")
    distributed = pytest.importorskip("distributed")
    with (
        # Dask would start a worker four times before it gives a unit up.
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        open_workplace(scheduler=cluster.scheduler_address) as workplace,
    ):
        assert sorted(run_units(workplace, die_on_three, range(8), tmp_path, 1)) == [(unit, unit) for unit in range(8)]
        with pytest.raises(S2FastError, match="^3: the worker died each time"):
            list(run_units(workplace, die_on_three, range(8), tmp_path, 1000))


@pytest.mark.parametrize(
    ("status", "raised", "expected"),
    [
        ("finished", OSError("the connection is dead"), BrokenExecutor),
        ("finished", TimeoutError(), BrokenExecutor),
        ("cancelled", CancelledError(), BrokenExecutor),
        ("error", SceneError("the unit's own"), SceneError),
    ],
)
def test_a_result_that_cannot_be_fetched_leaves_no_future_open(
    status: str, raised: Exception, expected: type[Exception]
) -> None:
    class Remote:
        def __init__(self) -> None:
            self.status = status

        def result(self, timeout: float) -> None:
            assert timeout == executors.ANSWER_TIMEOUT_S
            raise raised

    future: Future[None] = Future()
    executors._copy_outcome(future, Remote())
    assert isinstance(future.exception(timeout=0), expected)


def test_an_executor_lost_without_a_word_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(InProcess):
        def submit(self, *_: object, **__: object) -> Future[Any]:  # type: ignore[override]
            return Future()

    class Lost(Workplace):
        def is_lost(self) -> bool:
            return True

        def reopen(self) -> None:
            self.executor = InProcess()

    monkeypatch.setattr(units, "LIVENESS_CHECK_S", 0.05)
    assert dict(run_units(Lost(Silent(), 2, 0), square, range(5), 0)) == {unit: (unit * unit, 0) for unit in range(5)}


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "no address"])
def test_absent_scheduler_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "CONNECT_S", 0.5)
    with pytest.raises(ConfigError, match="no Dask scheduler answers"), open_workplace(scheduler=address):
        pass


def test_no_workers_is_refused() -> None:
    with pytest.raises(ConfigError, match="workers is 0, must be at least 1"), open_workplace(0):
        pass


def test_thread_limit_reaches_opencv() -> None:
    before = cv2.getNumThreads()
    variables = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "GDAL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    try:
        limit_threads(1)
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def test_warnings_of_libraries_in_workers_stay_off_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with open_workplace(2) as workplace:
        assert len(list(run_units(workplace, warn, range(4)))) == 4
    assert "of a library" not in capfd.readouterr().err


@pytest.mark.parametrize("place", ["processes", "dask", "here"])
def test_what_units_log_is_logged_once_here(
    place: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as opened:
        address = None
        if place == "dask":
            distributed = pytest.importorskip("distributed")
            cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=3, dashboard_address=":0")
            address = opened.enter_context(cluster).scheduler_address
        workplace = opened.enter_context(open_workplace(2 if place == "processes" else 1, address))
        assert sorted(run_units(workplace, log_if_odd, range(9))) == [(unit, unit) for unit in range(9)]
        logged = [(record.name, record.levelno, record.getMessage()) for record in caplog.records]
    assert sorted(found for found in logged if found[0].startswith("s2fast.stages")) == [
        ("s2fast.stages.any", logging.WARNING, f"unit {unit} is odd") for unit in (1, 3, 5, 7)
    ]
    if place == "processes":
        assert "is odd" not in capfd.readouterr().err
