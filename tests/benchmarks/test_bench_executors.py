from pathlib import Path

import pytest

from benchmarks.bench_executors import two_against_one
from s2fast.work.executors import InProcess, LocalPool, Workplace
from tests.archives import Archive


@pytest.mark.slow
def test_two_workers_give_the_bytes_of_one(archive: Archive, tmp_path: Path) -> None:
    """It raises if they do not. A scene for each worker is enough."""
    (tmp_path / "archive" / "scenes").mkdir(parents=True)
    for product in archive.scenes.glob("*_T36UXA_*"):
        (tmp_path / "archive" / "scenes" / product.name).symlink_to(product)
    (tmp_path / "archive" / "regions.geojson").symlink_to(archive.regions)
    record = two_against_one(
        tmp_path / "archive", tmp_path, lambda: Workplace(InProcess(), 1, 0), lambda: LocalPool(2, 1), repeats=1
    )
    assert record["one_s"] > 0
    assert record["two_s"] > 0
