"""Displacements that change over the ground."""

import numpy as np
import pytest

from s2fast.affinity import fit_affinity


def displaced(change: np.ndarray, count: int = 400, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    at = rng.uniform(0, 500, (count, 2))
    return at, [1.0, -2.0] + (at - 250) @ change.T + rng.normal(0, noise, (count, 2))


def test_one_shift_has_no_trend() -> None:
    at, moved = displaced(np.zeros((2, 2)))
    found = fit_affinity(at, moved, np.ones(400), np.array([1.0, -2.0]), 1.5)
    assert found is not None
    assert not found.significant


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
    found = fit_affinity(at, moved, np.ones(400), np.array([1.0, -2.0]), 1.5)
    assert found is not None
    assert (found.significant, found.model) == (True, model)
    np.testing.assert_allclose(found.change, change, atol=4 * found.change_error)
    np.testing.assert_allclose(found.at(at), [1.0, -2.0] + (at - 250) @ np.array(change).T, atol=0.2)


def test_rotation_scale_and_shear_are_those_of_the_matrix() -> None:
    angle = np.deg2rad(0.4)
    turned = 1.002 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    at, moved = displaced(turned - np.eye(2), noise=0.0)
    found = fit_affinity(at, moved, np.ones(400), np.array([1.0, -2.0]), 1.5)
    assert found is not None
    assert found.rotation_deg == pytest.approx(0.4)
    assert found.scale == pytest.approx(1.002)
    assert found.shear == pytest.approx(0, abs=1e-9)


def test_too_few_matches_fit_nothing() -> None:
    at, moved = displaced(np.zeros((2, 2)), count=5)
    assert fit_affinity(at, moved, np.ones(5), np.array([1.0, -2.0]), 1.5) is None
