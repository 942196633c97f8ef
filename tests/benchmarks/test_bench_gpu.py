"""The measurements for a machine with a GPU, here through torch's rows on the CPU: they work when there is one."""

import json

import pytest
import torch

from benchmarks import bench_gpu
from s2fast_kernels.window_matches import torch_any
from tests.archives import Archive
from tests.stages.test_pretended_gpu import Pretended


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pretended GPU that is too old for Triton, and small cases."""
    Pretended(monkeypatch, (7, 5))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "pretended")
    monkeypatch.setattr(bench_gpu, "this_gpu", lambda: None)
    monkeypatch.setattr(bench_gpu, "kernels_of", lambda call: (0.5, str(call())[:0]))
    monkeypatch.setattr(bench_gpu, "ROWS", bench_gpu.ROWS[:2])
    for name, value in {"ROUNDS": 1, "QUICK_PX": 128, "QUICK_ROWS": 150}.items():
        monkeypatch.setattr(bench_gpu, name, value)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_every_part_is_measured_on_both_sides(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # What is pretended does not reach other processes.
    monkeypatch.setattr(bench_gpu, "PLACES", bench_gpu.PLACES[:2])
    assert bench_gpu.main(["--quick", "--json", "--scenes", str(archive.scenes)]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    compared = {record["measure"]: record for record in records if "times_faster" in record}
    assert [name.split()[0] for name in compared] == [
        "search:", "exhaustive:", "preparation", "AKAZE", "scene", "bilinear",
    ]  # fmt: skip
    for record in compared.values():
        on_cpu, on_gpu = (value for name, value in record.items() if name.endswith(" s"))
        assert record["times_faster"] == pytest.approx(on_cpu / on_gpu)
    runs = [record for record in records if "workers" in record]
    assert [record["match by"] for record in runs] == ["numba", "torch on cuda:0"]
    assert records[-1]["verdicts that differ"] == 0
    assert records[-1]["verified"] == records[-1]["verified on the CPU"] > 0


@pytest.mark.usefixtures("small")
def test_sides_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch_any, "_population", lambda words: words & 1)
    assert bench_gpu.main(["--quick", "--only", "search", "--only", "exhaustive"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("search: the backends of window_matches do not agree on ")
    assert "measure=exhaustive: 150 x 150" in second


def test_without_a_gpu_one_line_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench_gpu.main([]) == 2
    assert capsys.readouterr().out == "there is no GPU that torch can use: nothing was measured\n"
    with pytest.raises(SystemExit):
        bench_gpu.main(["--only", "run"])
    assert "the whole job needs --scenes DIR" in capsys.readouterr().err
