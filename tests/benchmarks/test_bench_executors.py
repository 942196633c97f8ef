from pathlib import Path

import pytest

from benchmarks import bench_executors
from benchmarks.bench_executors import content, overhead, several_against_one, two_against_one
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
    assert record.keys() == {"start_s", "one_s", "two_s", "ratio"}
    assert {"pairs.csv", "pairs.parquet", "scenes.parquet"} <= content(tmp_path / "one").keys()


def test_dispatching_takes_time() -> None:
    assert overhead(Workplace(InProcess(), 1, 0), 5)["ms_per_unit"] > 0


@pytest.mark.parametrize("same", [True, False])
def test_a_changed_byte_is_an_error(same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrote(_: Path, out: Path, workplace: Workplace) -> None:
        out.mkdir(exist_ok=True)
        (out / "pairs.csv").write_text("1" if same else out.name)
        (out / "run.json").write_text(out.name)  # holds times, which may differ

    def one() -> Workplace:
        return Workplace(InProcess(), 1, 0)

    monkeypatch.setattr(bench_executors, "run_job", wrote)
    if same:
        assert two_against_one(tmp_path, tmp_path, one, one, repeats=1)["ratio"]
    else:
        with pytest.raises(AssertionError, match="gave different bytes"):
            two_against_one(tmp_path, tmp_path, one, one, repeats=1)


def test_the_default_job_gives_equal_bytes_in_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrote = {1: b"same", 2: b"same", 3: b"other"}

    def written(scenes: Path, out: Path, workers: int) -> None:
        out.mkdir(exist_ok=True)
        (out / "pairs.csv").write_bytes(wrote[workers])

    monkeypatch.setattr(bench_executors, "run_default", written)
    assert several_against_one(tmp_path, tmp_path, 2, 2)["ratio"] > 0
    with pytest.raises(AssertionError, match="different bytes"):
        several_against_one(tmp_path, tmp_path, 3, 1)
