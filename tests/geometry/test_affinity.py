"""Displacements that change over the ground."""

import numpy as np
import pytest

from s2fast.geometry.affinity import Affinity, agree_on_similarity, fit_affinity

REACH = 1.5


def displaced(change: np.ndarray, count: int = 400, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    at = rng.uniform(0, 500, (count, 2))
    return at, [1.0, -2.0] + (at - 250) @ change.T + rng.normal(0, noise, (count, 2))


def fitted(at: np.ndarray, moved: np.ndarray) -> Affinity | None:
    near = np.hypot(*(moved - [1.0, -2.0]).T) <= REACH
    return fit_affinity(at, moved, np.ones(len(at)), near, REACH)


def turned(angle_deg: float, scale: float) -> np.ndarray:
    angle = np.deg2rad(angle_deg)
    return scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) - np.eye(2)


def test_one_shift_has_no_trend() -> None:
    assert fitted(*displaced(np.zeros((2, 2)))) is None


@pytest.mark.parametrize(
    ("change", "model"),
    [
        ([[0.0, -0.004], [0.004, 0.0]], "similarity"),
        ([[0.005, 0.0], [0.0, 0.005]], "similarity"),
        ([[0.005, 0.0], [0.0, -0.005]], "affinity"),
    ],
)
def test_a_trend_is_found_and_named(change: list[list[float]], model: str) -> None:
    at, moved = displaced(np.array(change))
    found = fitted(at, moved)
    assert found is not None
    assert found.model == model
    np.testing.assert_allclose(found.change, change, atol=4 * found.change_error)
    np.testing.assert_allclose(found.at(at), [1.0, -2.0] + (at - 250) @ np.array(change).T, atol=0.2)


def test_rotation_scale_and_shear_are_those_of_the_matrix() -> None:
    found = fitted(*displaced(turned(0.4, 1.002), noise=0.0))
    assert found is not None
    assert found.rotation_deg == pytest.approx(0.4)
    assert found.scale == pytest.approx(1.002)
    assert found.shear == pytest.approx(0, abs=1e-9)


def test_too_few_matches_fit_nothing() -> None:
    assert fitted(*displaced(turned(0.4, 1.002), count=5)) is None


def test_matches_along_a_line_fit_nothing() -> None:
    at, moved = displaced(turned(0.4, 1.002))
    at[:, 1] = 3 * at[:, 0] + np.random.default_rng(1).normal(0, 0.5, len(at))
    assert fitted(at, moved) is None


def test_a_large_rotation_is_found_among_wrong_matches() -> None:
    at, moved = displaced(turned(35, 1.1))
    wrong = np.arange(400) % 2 == 0
    moved[wrong] = np.random.default_rng(1).uniform(-500, 500, (200, 2))
    agrees = agree_on_similarity(at + np.array([500_000, 5_600_000]), moved, REACH)
    assert agrees is not None
    assert np.count_nonzero(agrees & ~wrong) > 190
    assert np.count_nonzero(agrees & wrong) < 5
