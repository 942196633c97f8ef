"""A Dask scheduler killed near the end of matching: the run goes on with the next one and hangs at no point.

Two kills by default; ``S2FAST_SCHEDULER_KILLS=30 pytest tests/work/test_dask_kills.py`` makes as many as asked.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from s2fast.folder.record import RunRecord
from s2fast.work.progress import Bar, Progress
from tests.archives import Archive
from tests.dask_parts import dask_pair, free_port, open_when_ready
from tests.folder.test_resume import run
from tests.test_pipeline import digests

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("S2FAST_SCHEDULER_KILLS", "2"))
PAIRS = 6
BOUND_S = 150.0
"""No run of a few seconds may take longer [s]: the scheduler is back after some, and awaited for sixty."""


class Killer(Progress):
    """Kills a scheduler and its worker some time after a pair of the matching is done, and starts others."""

    def __init__(self, cluster: ExitStack, port: int, pair: int, delay_s: float) -> None:
        self.cluster = cluster
        self._port, self._pair, self._delay_s = port, pair, delay_s
        self._thread = threading.Thread(target=self._kill)

    def _kill(self) -> None:
        time.sleep(self._delay_s)
        self.cluster.close()
        self.cluster = dask_pair(self._port)

    @contextmanager
    def stage(self, name: str, todo: int, kept: int) -> Iterator[Bar]:  # noqa: ARG002  the contract's
        killer = self

        class Counting(Bar):
            done = 0

            def advance(self) -> None:
                self.done += 1
                if name == "match" and self.done == killer._pair:
                    killer._thread.start()

        yield Counting()

    def join(self) -> None:
        self._thread.join()


def settle(ended: Future[RunRecord], archive: Archive, out: Path, port: int, killer: Killer) -> None:
    try:
        ended.set_result(run(archive, out, scheduler=f"tcp://127.0.0.1:{port}", progress=killer))
    except Exception as error:
        ended.set_exception(error)


@pytest.fixture(scope="module")
def begun(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose scenes are not matched yet."""
    out = tmp_path_factory.mktemp("begun") / "out"
    run(archive, out, stages=["ingest", "extract"])
    return out


@pytest.fixture(scope="module")
def undisturbed(archive: Archive, begun: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    shutil.copytree(begun, out)
    run(archive, out)
    return out


@pytest.mark.parametrize("number", range(KILLS))
def test_a_scheduler_killed_near_the_end_of_matching(
    number: int, archive: Archive, begun: Path, undisturbed: Path, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    draw = random.Random(number)
    port = free_port()
    killer = Killer(dask_pair(port), port, draw.randint(PAIRS - 3, PAIRS), draw.uniform(0, 0.1))
    try:
        open_when_ready(f"tcp://127.0.0.1:{port}").close()
        out = tmp_path / "out"
        shutil.copytree(begun, out)
        ended: Future[RunRecord] = Future()
        threading.Thread(target=settle, args=(ended, archive, out, port, killer), daemon=True).start()
        ended.result(timeout=BOUND_S)
        killer.join()
        assert digests(out) == digests(undisturbed)
    finally:
        killer.cluster.close()
