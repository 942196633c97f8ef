"""The default job on a GPU: the answers of the compiled rows, and memory within ``compute.device_budget_mb``."""

from pathlib import Path

import numpy as np
import pytest
import torch

from s2fast.config import load_config
from s2fast.folder.record import RunRecord
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.stages.extract import extract_scene
from s2fast_kernels.akaze.cases import synthetic_image
from s2fast_kernels.backends import needs_triton
from tests.stages.test_pretended_gpu import assert_same_answers, scenes, wanted

__all__ = ["scenes", "wanted"]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_default_run(scenes: Path, wanted: tuple[RunRecord, Path], tmp_path: Path) -> None:
    record = run_stages(Job(load_config(), [scenes], None, tmp_path / "out"))
    row = "torch" if needs_triton() else "triton"
    stages = record.history.stages
    assert stages["extract"].ran == f"{row} on cuda:0, pixels by torch"
    assert stages["match"].ran == f"{row} on cuda:0"
    assert_same_answers(tmp_path / "out", wanted[1], record)


@pytest.mark.parametrize("side_px", [900, 4200])
@pytest.mark.parametrize("budget_mb", [320, 1024])
def test_extraction_keeps_within_the_budget(side_px: int, budget_mb: int) -> None:
    config = load_config(overrides={"compute.device_budget_mb": budget_mb})
    grey = synthetic_image((side_px, side_px))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    found = extract_scene(grey, _everywhere, config, "torch" if needs_triton() else "triton")
    assert len(found.features) > 1000
    assert torch.cuda.max_memory_allocated() - held <= budget_mb << 20


def _everywhere(rows: slice, columns: slice) -> np.ndarray:
    return np.ones((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
