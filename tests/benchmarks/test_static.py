"""The compiled GPU kernels are acceptable: no spills, shared memory within limits, tensor cores in the main loop."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("triton")

from benchmarks import static, static_akaze
from s2fast_kernels.hamming_top2.triton_gpu import AMD_TILING, TILINGS, Tiling

GPU = {gpu.capability: gpu for gpu in static.GPUS}


@pytest.mark.parametrize("capability", sorted(TILINGS))
def test_every_tiling_is_fit(capability: int) -> None:
    report = static.report_cuda(GPU[capability], TILINGS[capability])
    assert report.problems() == []
    # Three minima or maxima a comparison are the algorithm; a mask a comparison would show here.
    assert 3 <= report.min_max < 4
    assert report.blocks_per_sm >= 1


def test_amd_is_fit() -> None:
    assert static.report_amd(AMD_TILING).problems() == []


def test_hopper_is_predicted_to_reach_its_share_of_the_peak() -> None:
    report = static.report_cuda(GPU[90], TILINGS[90])
    assert report.share_apart is not None
    assert report.share_apart >= 0.65


def test_a_spill_is_found() -> None:
    report = static.report_cuda(GPU[90], Tiling(128, 128, 4, 2, peel=True))
    assert any("spilled" in problem for problem in report.problems())


def test_too_much_shared_memory_is_found() -> None:
    report = static.report_cuda(GPU[89], Tiling(128, 64, 4, 3, peel=False))
    assert any("shared memory" in problem for problem in report.problems())


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
def test_the_command_prints_one_object_a_line() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "static", "--json"], check=True, capture_output=True, text=True
    )
    records = [json.loads(line) for line in run.stdout.splitlines()]
    assert [record["architecture"] for record in records] == ["sm_80", "sm_89", "sm_90", "sm_100", "sm_120", "gfx942"]
