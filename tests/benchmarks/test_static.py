"""The compiled GPU kernels are acceptable: no spills, shared memory within limits, tensor cores in the main loop."""

import json

import numpy as np
import pytest

pytest.importorskip("triton")

from benchmarks import static, static_akaze, static_windows
from s2fast_kernels.hamming_top2.cases import random_descriptors
from s2fast_kernels.hamming_top2.triton_gpu import AMD_TILING, TILINGS, Tiling
from s2fast_kernels.hamming_window_top2_both import WindowRows
from s2fast_kernels.window_matches.triton_gpu import TILING as WINDOWS
from s2fast_kernels.window_matches.triton_gpu import Tiling as Tile

GPU = {gpu.capability: gpu for gpu in static.GPUS}


@pytest.mark.slow
@pytest.mark.parametrize("capability", sorted(TILINGS))
def test_every_tiling_is_fit(capability: int) -> None:
    report = static.report_cuda(GPU[capability], TILINGS[capability])
    assert report.problems() == []
    # Three minima or maxima a comparison are the algorithm; a mask a comparison would show here.
    assert 3 <= report.min_max < 4
    assert report.blocks_per_sm >= 1


@pytest.mark.slow
def test_amd_is_fit() -> None:
    assert static.report_amd(AMD_TILING).problems() == []


@pytest.mark.slow
def test_hopper_is_predicted_to_reach_its_share_of_the_peak() -> None:
    report = static.report_cuda(GPU[90], TILINGS[90])
    assert report.share_apart is not None
    assert report.share_apart >= 0.65


@pytest.mark.slow
def test_a_spill_is_found() -> None:
    report = static.report_cuda(GPU[90], Tiling(128, 128, 4, 2, peel=True))
    assert any("spilled" in problem for problem in report.problems())


@pytest.mark.slow
def test_too_much_shared_memory_is_found() -> None:
    report = static.report_cuda(GPU[89], Tiling(128, 64, 4, 3, peel=False))
    assert any("shared memory" in problem for problem in report.problems())


@pytest.mark.slow
@pytest.mark.parametrize("capability", sorted(GPU))
def test_the_windowed_kernel_is_fit(capability: int) -> None:
    report = static_windows.report_windows(GPU[capability], WINDOWS)
    assert report.problems() == []
    # Half a descriptor's words: two lanes of 16 words per thread, or all 32 in two threads.
    assert report.counts == 16
    assert report.tiles_per_sm is not None
    assert report.tiles_per_sm >= 16


@pytest.mark.slow
def test_the_windowed_kernel_is_fit_for_amd() -> None:
    assert static_windows.report_windows_amd(WINDOWS).problems() == []


@pytest.mark.slow
def test_hopper_is_predicted_to_finish_the_job_in_a_tenth_of_a_second() -> None:
    report = static_windows.report_windows(GPU[90], WINDOWS)
    assert report.job_s is not None
    assert report.job_s <= 0.1


@pytest.mark.slow
def test_faults_of_the_windowed_kernel_are_found() -> None:
    report = static_windows.WindowReport("sm_90", "", 1, spilled_bytes=8, shared_bytes=0, counts=0, fused=2)
    assert report.problems() == [
        "sm_90, window_matches: 8 bytes spilled per thread",
        "sm_90, window_matches: no population count in the main loop",
        "sm_90, window_matches: 2 fused multiply-adds of float64",
    ]
    assert any("spilled" in problem for problem in static_windows.report_windows(GPU[90], Tile(256, 1)).problems())


def test_steps_of_a_search_are_counted() -> None:
    rng = np.random.default_rng(3)
    query, train = (
        WindowRows.of(random_descriptors(rng, n), rng.uniform(0, 60, (n, 2)), rng.integers(0, 2, n), 5.0)
        for n in (90, 130)
    )
    work = static_windows.steps_of(query, train, 16)
    strips = candidates = compared = 0
    for first in range(0, 90, 16):
        visits = []
        for lane in range(first, min(first + 16, 90)):
            found = []
            for strip, (low, high) in enumerate(train.strip_y):
                if query.group[lane] == train.strip_group[strip] and low - 5 <= query.y[lane] <= high + 5:
                    x = train.x[train.strip_start[strip] : train.strip_start[strip + 1]]
                    found.append(int((np.abs(x - query.x[lane]) <= 5).sum()))
            visits.append(found)
            compared += sum(found)
        turns = max(map(len, visits))
        strips += turns
        candidates += sum(max(found[turn] for found in visits if len(found) > turn) for turn in range(turns))
    assert (work.tiles, work.strips, work.candidates, work.compared) == (6, strips, candidates, compared)
    assert candidates > strips


@pytest.mark.slow
@pytest.mark.parametrize("capability", sorted(TILINGS))
def test_every_akaze_pass_is_fit(capability: int) -> None:
    analysis = {variant.name: static_akaze.analysed(variant, GPU[capability]) for variant in static_akaze.variants()}
    for found in analysis.values():
        assert found.problems() == []
        # One program alone would wait at every barrier.
        assert found.blocks_per_sm >= 2
        assert found.bytes_per_px < found.halo_bytes_per_px < 1.5 * found.bytes_per_px
    if capability == 90:
        assert static_akaze.predicted(GPU[90], analysis)["predicted s"] <= 0.15


@pytest.mark.slow
@pytest.mark.parametrize("variant", [static_akaze.diffuse_variant(3), static_akaze.derive_variant(4)])
def test_akaze_passes_are_fit_for_amd(variant: static_akaze.Variant) -> None:
    found = static_akaze.analysed_for_amd(variant)
    assert found.problems() == []
    assert found.registers > 30
    fused = static_akaze.analysed_for_amd(variant, fusion=True)
    assert any("fused multiply-adds" in problem for problem in fused.problems())


@pytest.mark.slow
def test_a_spilling_akaze_pass_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from s2fast_kernels.akaze import triton_gpu

    monkeypatch.setattr(triton_gpu, "DIFFUSE_TILE", triton_gpu.Tile(64, 128, 16))
    found = static_akaze.analysed(static_akaze.diffuse_variant(3), GPU[90])
    assert any("spilled" in problem for problem in found.problems())


@pytest.mark.slow
def test_contracted_products_of_an_akaze_pass_are_found() -> None:
    found = static_akaze.analysed(static_akaze.diffuse_variant(2), GPU[90], fusion=True)
    assert any("fused multiply-adds" in problem for problem in found.problems())


SASS = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/              @!P0 IADD3 R2, R2, 0x1, RZ ;
        /*0020*/                   {tensor} R4, R4, R8, R4 ;
        /*0030*/                   VIMNMX.S32 R5, R5, R6, PT ;
        /*0040*/              @P1  BRA 0x10 ;
        /*0050*/                   BRA 0x0 ;
"""


def test_the_main_loop_is_the_inner_one() -> None:
    loop = static.main_loop(SASS.replace("{tensor}", "IMMA.16832.S8.S8"))
    assert loop == {"IADD3": 1, "IMMA": 1, "VIMNMX": 1, "BRA": 1}


def test_a_loop_without_tensor_cores_is_found() -> None:
    assert static.main_loop(SASS.replace("{tensor}", "IMAD.IADD")) == {}
    report = static.Report("sm_90", "", 1, 0, 0, 1, 1, tensor_instructions=0, instructions=1.0, min_max=1.0)
    assert report.problems() == ["sm_90: no tensor-core instruction in the main loop"]


@pytest.mark.slow
def test_the_command_prints_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert static.main(["--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    every = ["sm_80", "sm_89", "sm_90", "sm_100", "sm_120", "gfx942"]
    one_bit = ["sm_80", "sm_89", "sm_90"]
    assert [record["architecture"] for record in records] == [*every, *one_bit, *every]
    operations = 6 * ["hamming_top2"] + 3 * ["hamming_top2, one-bit sketch"] + 6 * ["window_matches"]
    assert [record["operation"] for record in records] == operations
