from pathlib import Path

import pytest

from benchmarks.bench_executors import two_against_one
from s2fast.work.executors import InProcess, LocalPool, Workplace
from tests.archives import Archive


@pytest.mark.slow
@pytest.mark.usefixtures("forked_workers")
def test_two_workers_give_the_bytes_of_one(one_tile: Archive, tmp_path: Path) -> None:
    """It raises if they do not. A scene for each worker is enough."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "scenes").symlink_to(one_tile.scenes)
    (tmp_path / "archive" / "regions.geojson").symlink_to(one_tile.regions)
    record = two_against_one(
        tmp_path / "archive", tmp_path, lambda: Workplace(InProcess(), 1, 0), lambda: LocalPool(2, 1), repeats=1
    )
    assert record["one_s"] > 0
    assert record["two_s"] > 0
