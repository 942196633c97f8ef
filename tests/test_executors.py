import os
import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from s2fast.errors import ConfigError, S2FastError, SceneError
from s2fast.executors import InProcess, Workplace, limit_threads, open_workplace, run_units


def square(unit: int, offset: int, threads: int) -> tuple[int, int]:
    return unit * unit + offset, threads


def fail_on_three(unit: int, threads: int) -> int:
    if unit == 3:
        raise SceneError("unit 3 is broken")
    return unit


def note_then_fail(unit: int, folder: Path, threads: int) -> None:
    (folder / str(unit)).touch()
    if unit == 0:
        raise SceneError("the first fails")


def kill_own_process(unit: int, threads: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("workers", "threads"), [(1, 0), (2, 3)])
def test_every_unit_runs_once(workers: int, threads: int) -> None:
    with open_workplace(workers, threads=threads) as workplace:
        results = dict(run_units(workplace, square, range(20), 5))
    assert results == {unit: (unit * unit + 5, threads) for unit in range(20)}


def test_local_workers_share_the_cores() -> None:
    with open_workplace(2) as workplace:
        assert workplace.threads >= 1
        assert workplace.slots == 2


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


def test_a_killed_worker_is_told() -> None:
    with open_workplace(2) as workplace, pytest.raises(S2FastError, match="a worker process died"):
        list(run_units(workplace, kill_own_process, range(4)))


def test_dask_is_an_executor_like_the_others() -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        open_workplace(scheduler=cluster.scheduler_address) as workplace,
    ):
        assert (workplace.slots, workplace.threads) == (2, 1)
        results = dict(run_units(workplace, square, range(20), 5))
        with pytest.raises(SceneError, match="unit 3 is broken"):
            list(run_units(workplace, fail_on_three, range(10)))
    assert results == {unit: (unit * unit + 5, 1) for unit in range(20)}


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "no address"])
def test_absent_scheduler_is_told(address: str) -> None:
    with pytest.raises(ConfigError, match="no Dask scheduler answers"), open_workplace(scheduler=address):
        pass


def test_no_workers_is_refused() -> None:
    with pytest.raises(ConfigError, match="--workers"), open_workplace(0):
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
