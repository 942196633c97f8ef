"""The benchmark of alignment: what is left is measured against the truth, and a wrong sign is seen."""

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio
import rasterio.shutil
from rasterio.transform import Affine

from benchmarks.align_models import simulated, write_warped
from benchmarks.align_peers import correlation_shift, left, resampling
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


def test_correlation_finds_the_shift_of_a_fourier_series() -> None:
    image = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 1, (96, 96)), (0, 0), 3)
    frequency = np.fft.fftfreq(96)
    for down, right in ((-1.28, 2.34), (0.5, -0.02), (0, 0)):
        turned = np.exp(-2j * np.pi * (down * frequency[:, None] + right * frequency))
        moved = np.fft.ifft2(np.fft.fft2(image) * turned).real
        # Positions of 1/50 px are tried.
        assert correlation_shift(image, moved) == pytest.approx((-down, -right), abs=1e-9)


def test_a_missing_peer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(resampling(tmp_path / "x.jp2", tmp_path, 1)) == [{"tool": "gdalwarp", "skipped": "it is not installed"}]


@pytest.mark.slow
def test_the_right_models_are_chosen_of_few_matches() -> None:
    # Without regard to how an affinity's gain varies over the ground, 2 of 25 affinities are taken for shifts.
    assert [row["right"] for row in simulated(400, 25, 0)] == [25] * 4


@pytest.mark.parametrize("count", [1, 3])
def test_a_warped_copy_shows_the_ground_further_right_and_down(tmp_path: Path, count: int) -> None:
    pixels = np.random.default_rng(2).integers(1, 1000, (count, 90, 120)).astype(np.uint16)
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", count=count, height=90, width=120, dtype="uint16",
                       crs="EPSG:32636", transform=Affine(10, 0, 0, 0, -10, 0)) as written:  # fmt: skip
        written.write(pixels)
    sizes: list[tuple[int, ...]] = []

    def warp(share: npt.NDArray[np.float64], size_px: tuple[int, ...]) -> npt.NDArray[np.float64]:
        sizes.append(size_px)
        return np.tile([3.0, 2.0], (len(share), 1))

    write_warped(tmp_path / "a.tif", tmp_path / "b.tif", warp)
    with rasterio.open(tmp_path / "b.tif") as read:
        moved = read.read()
    assert sizes == [(120, 90)]
    np.testing.assert_array_equal(moved[:, 2:, 3:], pixels[:, :-2, :-3])
    assert not moved[:, :2].any()


@pytest.mark.slow
@pytest.mark.shared
def test_the_judge_sees_the_shift_of_the_real_pair(shared_data: Path, tmp_path: Path) -> None:
    (reference,), (target,) = ((shared_data / "arosics").glob(name) for name in ("ref*", "tgt*"))
    with rasterio.open(target) as dataset:
        # The wrong way round, 3.8 px would be left.
        moved = Affine.translation(-6.2, -18.3) @ dataset.transform
        rasterio.shutil.copy(dataset, tmp_path / "moved.vrt", driver="VRT")
    with rasterio.open(tmp_path / "moved.vrt", "r+") as dataset:
        dataset.transform = moved
    after = left(reference, tmp_path / "moved.vrt")
    assert after["left px median"] < 0.15
    assert np.abs(after["median dx, dy px"]).max() < 0.1


@pytest.mark.slow
def test_a_small_series(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--size", "512", "--dates", "3", "--data", "nowhere", "--pair", "nowhere", "--json"]) == 0
    series, real = map(json.loads, capsys.readouterr().out.splitlines())
    assert series["aligned"] > 0
    assert series["left px most"] < 0.3
    assert series["worse than before"] == series["scenes with changed pixels"] == 0
    assert real["skipped"] == "nowhere does not exist"
