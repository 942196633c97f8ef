"""The benchmark of whole scenes runs both sides and compares them."""

import json
from pathlib import Path

import pytest

from benchmarks import bench_unmasked


@pytest.mark.slow
def test_both_sides_are_measured_on_the_same_scenes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_unmasked.main(["--archive", str(tmp_path / "archive"), "--size", "256", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["scenes"] == 2
    for what in ("wall_s", "cpu_s", "peak_mib"):
        ratio = record[f"opencv {what}"] / record[f"s2fast {what}"]
        assert record[f"times less {what}"] == pytest.approx(ratio)
