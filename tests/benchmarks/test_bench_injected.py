"""The comparison of injected and real truth: shifts fall into the scenes' misregistration and the rest."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from benchmarks.bench_injected import PIXEL_M, fitted, parts


def shifts(vectors: np.ndarray, noise_m: float, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    rows = []
    for one, other in itertools.combinations(range(len(vectors)), 2):
        dx_m, dy_m = vectors[other] - vectors[one] + draw.normal(0, noise_m, 2)
        rows.append({"query": f"s{one}", "train": f"s{other}", "dx_m": dx_m, "dy_m": dy_m})
    return pd.DataFrame(rows)


def test_the_datum_is_the_scenes_misregistration_and_the_rest_the_noise() -> None:
    vectors = np.random.default_rng(0).normal(0, 0.1 * PIXEL_M, (9, 2))
    exact = shifts(vectors, 0, 1)
    real, datum, rest = parts(exact, exact)
    np.testing.assert_allclose(real, datum)
    assert rest.max() < 1e-9
    noisy = shifts(vectors, 0.01 * PIXEL_M, 1)
    others = pd.concat([shifts(vectors, 0.01 * PIXEL_M, seed) for seed in (2, 3, 4)])
    real, datum, rest = map(np.median, parts(noisy, others))
    assert datum > 5 * rest > 0
    # The median length of a vector with two normal components is 1.18 times their standard deviation.
    assert rest == pytest.approx(0.0118, rel=0.3)


def test_scenes_that_other_settings_do_not_link_are_left_out() -> None:
    vectors = np.zeros((4, 2))
    known = shifts(vectors, 0, 1)
    found = fitted(known[~known["train"].eq("s3")])
    assert sorted(found) == ["s0", "s1", "s2"]
    for lengths in parts(known, known[~known["train"].eq("s3")]):
        np.testing.assert_array_equal(lengths, np.zeros(3))
