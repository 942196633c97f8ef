"""The benchmark of alignment: what is left is measured against the truth, and a wrong sign is seen."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from benchmarks.align_peers import correlation_shift, pair
from benchmarks.bench_align import compared, main

SHIFTS = {"a": (0.0, 0.0), "b": (10.0, -20.0), "c": (-30.0, 40.0), "d": (500.0, 500.0)}


def table(sign: float) -> pd.DataFrame:
    """Return corrections that are right but for their sign; scene d is in no network, and not part of the datum."""
    rows = [
        {"scene_id": name, "reference": "median of A", "aligned": name != "d", "offset_error_m": 0.5}
        | {f"offset_{axis}_m": float("nan") if name == "d" else at for axis, at in zip("xy", shift, strict=True)}
        | {f"add_{axis}_m": sign * at for axis, at in zip("xy", shift, strict=True)}
        for name, shift in SHIFTS.items()
    ]
    return pd.DataFrame(rows)


def test_nothing_is_left_of_right_corrections() -> None:
    right = compared(table(-1), SHIFTS, 10.0)
    assert (right["scenes"], right["aligned"], right["left px most"], right["worse than before"]) == (4, 3, 0, 0)
    assert right["before px median"] == pytest.approx(5**0.5, abs=1e-4)
    assert right["within 2 stated errors %"] == 100
    wrong = compared(table(1), SHIFTS, 10.0)
    assert (wrong["left px most"], wrong["worse than before"]) == (10, 2)


def test_phase_correlation_finds_the_shift_that_opencv_made() -> None:
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.normal(0, 1, (160, 160)), (0, 0), 3)
    right, down = 2.34, -1.28
    moved = cv2.warpAffine(image, np.float64([[1, 0, right], [0, 1, down]]), (160, 160), flags=cv2.INTER_CUBIC)
    taper = np.outer(np.hanning(96), np.hanning(96))
    a, b = (part[32:128, 32:128] * taper for part in (image, moved))
    assert correlation_shift(a, b) == pytest.approx((-down, -right), abs=0.03)


@pytest.mark.shared
@pytest.mark.slow
def test_the_real_pair_fits_after_alignment(shared_data: Path, tmp_path: Path) -> None:
    before, after, *peers = pair(shared_data / "arosics", tmp_path, "")
    assert before["left px median"] > 1.8
    assert after["left px median"] < 0.15
    assert [row["tool"] for row in peers] == ["AROSICS global", "AROSICS local"]


@pytest.mark.slow
def test_a_small_series(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--size", "512", "--dates", "3", "--data", "nowhere", "--pair", "nowhere", "--json"]) == 0
    series, real = map(json.loads, capsys.readouterr().out.splitlines())
    assert series["aligned"] > 0
    assert series["left px most"] < 0.3
    assert series["worse than before"] == series["scenes with changed pixels"] == 0
    assert real["skipped"] == "nowhere does not exist"
