"""Accuracy of a run: residuals of inliers about the shift of their pair."""

from __future__ import annotations

import base64

import numpy as np
import pandas as pd
import pytest

from s2fast.report import accuracy
from s2fast.report.accuracy import PARTS, Accuracy


def table(shifts: list[tuple[float, float]], verified: list[bool], n_inliers: int = 1) -> pd.DataFrame:
    return pd.DataFrame(shifts, columns=["dx_m", "dy_m"]).assign(verified=verified, n_inliers=n_inliers)


def test_statistics_are_those_of_all_residuals() -> None:
    rng = np.random.default_rng(0)
    pairs = table([(3.0, -4.0), (0.0, 0.0), (10.0, 1.0)], [True, False, True])
    found, residuals = Accuracy(pairs), []
    for pair, count in ((0, 500), (2, 900)):
        residual = rng.normal((0.5, -0.25), (1.0, 2.0), (count, 2))
        residuals.append(residual)
        shift = residual + pairs.loc[pair, ["dx_m", "dy_m"]].to_numpy(float)
        found.add(np.full(count, pair), shift, rng.integers(0, 65536, (count, 2)).astype(np.uint16))
    every = np.concatenate(residuals)
    told = found.summary()
    assert told is not None
    assert (told["pairs"], told["inliers"], told["drawn"]) == (2, 1400, 1400)
    assert told["within"]["mean"] == pytest.approx(every.mean(axis=0), abs=1e-4)
    assert told["within"]["std"] == pytest.approx(every.std(axis=0), abs=1e-4)
    assert told["within"]["rmse"] == pytest.approx(np.sqrt((every**2).mean(axis=0)), abs=1e-4)
    lengths = np.hypot(*every.T)
    assert [told["within"]["ce90"], told["within"]["ce95"]] == pytest.approx(np.percentile(lengths, [90, 95]), abs=1e-3)
    assert told["between"]["mean"] == [6.5, -1.5]
    limit = told["histogram"]["limit_m"]
    assert sum(told["histogram"]["counts"]) == pytest.approx((lengths <= limit).sum(), abs=1)
    cloud = np.array(told["cloud"]["counts"])
    assert cloud.sum() == (np.abs(every) <= np.percentile(lengths, 98)).all(axis=1).sum()
    # North is up: most residuals lie south of the middle, and east of it.
    middle = len(cloud) // 2
    assert cloud[middle + 1 :].sum() > cloud[:middle].sum()
    assert cloud[:, middle + 1 :].sum() > cloud[:, :middle].sum()


def test_profiles_follow_the_ground() -> None:
    pairs = table([(1.0, 2.0)], [True])
    share = np.stack(np.meshgrid(np.linspace(0, 65535, 80), np.linspace(0, 65535, 80)), axis=-1).reshape(-1, 2)
    share = share.astype(np.uint16)
    # East grows from the top to the bottom, north from the left to the right.
    residual = np.column_stack([share[:, 1] / 65535 - 0.5, 3 * (share[:, 0] / 65535 - 0.5)])
    found = Accuracy(pairs)
    found.add(np.zeros(len(share), np.intp), residual + np.array([1, 2]), share)
    packed = found.profiles()[0]
    assert packed
    rows, columns = np.frombuffer(base64.b64decode(packed), "<i2").reshape(2, 2, PARTS) / 100
    centres = (np.arange(PARTS) + 0.5) / PARTS - 0.5
    np.testing.assert_allclose(rows, [centres, np.zeros(PARTS)], atol=0.02)
    np.testing.assert_allclose(columns, [np.zeros(PARTS), 3 * centres], atol=0.04)


def test_parts_without_inliers_are_unknown_and_pairs_without_have_no_profile() -> None:
    found = Accuracy(table([(0.0, 0.0), (0.0, 0.0)], [True, True]))
    found.add(np.zeros(2, np.intp), np.ones((2, 2)), np.zeros((2, 2), np.uint16))
    one, none = found.profiles()
    assert none is None
    assert one
    values = np.frombuffer(base64.b64decode(one), "<i2").reshape(4, PARTS)
    assert values.tolist() == [[100] + [-32768] * (PARTS - 1)] * 4


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "_MOST_RESIDUALS", 200)
    found = Accuracy(table([(0.0, 0.0), (0.0, 0.0)], [True, True], n_inliers=500))
    # In two parts, every fifth of all: of each pair the same share.
    found.add(np.zeros(903, np.intp), np.ones((903, 2)), np.zeros((903, 2), np.uint16))
    found.add(np.ones(97, np.intp), np.ones((97, 2)), np.zeros((97, 2), np.uint16))
    told = found.summary()
    assert told is not None
    assert (told["inliers"], told["drawn"]) == (1000, 200)


def test_nothing_verified_has_no_accuracy() -> None:
    assert Accuracy(table([(0.0, 0.0)], [False])).summary() is None
