"""The predicted peaks of `s2fast.memory` against measured ones, each in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from s2fast.config import load_config
from s2fast.errors import ConfigError
from s2fast.memory import MIB, extract_bytes, match_bytes
from s2fast.pipeline import run_stages
from tests.archives import Archive

ROOT = Path(__file__).parents[1]

EXTRACT = """
import sys
import cv2, numpy as np
sys.path[:0] = [{root!r}, {kernels!r}]
from s2fast.config import load_config
from s2fast.extract import extract_scene
from tests.archives import textured

def memory(name):
    # Not ru_maxrss: a child inherits its parent's peak in that.
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

side, wanted_side = {side}, {wanted_side}
config = load_config(overrides={{"regions.mode": "none", "features.max_per_scene": 0, "features.threshold": 0.001}})
patch = cv2.GaussianBlur(textured(np.random.default_rng(1), (1098, 1098)), (0, 0), {blur})
patch = cv2.normalize(patch, None, 1, 255, cv2.NORM_MINMAX)
valid = lambda rows, columns: np.pad(
    np.ones((max(0, min(rows.stop, wanted_side) - rows.start), min(columns.stop, wanted_side) - columns.start), bool),
    ((0, min(rows.stop - rows.start, max(0, rows.stop - wanted_side))), (0, max(0, columns.stop - wanted_side))),
)
extract_scene(patch[:200, :200].copy(), valid, config, "numba", 2)  # what is loaded and compiled is not counted
resident = memory("VmRSS")
mirrored = np.block([[patch, patch[:, ::-1]], [patch[::-1], patch[::-1, ::-1]]])
grey = np.tile(mirrored, (5, 5))[:side, :side].copy()
found = extract_scene(grey, valid, config, "numba", 2)
print(len(found), memory("VmHWM") - resident)
"""


def measured_extract(side: int, wanted_side: int, blur: float) -> tuple[int, int]:
    program = EXTRACT.format(
        root=str(ROOT), kernels=str(ROOT / "kernels"), side=side, wanted_side=wanted_side, blur=blur
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    keypoints, peak = map(int, told.stdout.split())
    return keypoints, peak


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("wanted_side", "blur", "limit"),
    [(10980, 1.2, 1500 * MIB), (4000, 3.0, 800 * MIB)],
    ids=["whole tile, dense", "one part in seven wanted"],
)
def test_a_full_tile_stays_within_its_prediction(wanted_side: int, blur: float, limit: int) -> None:
    keypoints, peak = measured_extract(10980, wanted_side, blur)
    predicted = extract_bytes((10980, 10980), 2)
    assert keypoints > 100_000
    assert peak <= predicted <= 1500 * MIB
    assert peak <= limit
    if wanted_side == 10980:
        # A prediction that is far too high would promise nothing.
        assert peak >= 0.6 * predicted


def test_what_does_not_fit_is_refused(archive: Archive, tmp_path: Path) -> None:
    config = load_config(overrides={"features.backend": "opencv", "compute.budget_mb": 128})
    run_stages(config, [archive.scenes], archive.regions, tmp_path / "fits")
    doubled = config.model_copy(update={"compute": config.compute.model_copy(update={"budget_mb": 20})})
    with pytest.raises(ConfigError, match="may take 26 MB and compute.budget_mb is 20"):
        run_stages(doubled, [archive.scenes], archive.regions, tmp_path / "does not")


def test_predictions_grow_with_the_plan() -> None:
    assert extract_bytes((5490, 5490), 2, windowed=False) > 2.9e9
    assert extract_bytes((2000, 2000), 4) > extract_bytes((2000, 2000), 1)
    assert match_bytes(10_000, 16) > match_bytes(10_000, 8) > match_bytes(5_000, 8)
