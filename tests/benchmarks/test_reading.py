"""The benchmark of reading compares the greys before it times them."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench_reading
from tests.archives import textured, write_scene


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    return write_scene(tmp_path / "scene.jp2", np.stack([textured(rng, (300, 400)) for _ in range(3)]))


@pytest.mark.slow
def test_every_level_is_timed_with_both_greys(scene: Path) -> None:
    rows = list(bench_reading.rows(scene, 2))
    assert [row["level"] for row in rows] == list(bench_reading.LEVELS)
    for row in rows:
        assert min(row["luma cpu_s"], row["opencv wall_s"], row["times less cpu"]) > 0
        assert 0 < row["mean difference"] < bench_reading.MOST_APART


def test_greys_of_another_image_are_not_timed(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = bench_reading.windows

    def inverted(path: Path, settings: bench_reading.Ingest) -> object:
        for grey, has_data in read(path, settings):
            yield (255 - grey if settings.grey == "luma" else grey), has_data

    monkeypatch.setattr(bench_reading, "windows", inverted)
    with pytest.raises(SystemExit, match="nothing was timed"):
        next(bench_reading.rows(scene, 1))
