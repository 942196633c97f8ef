"""The false-positive rate of verification, and the warning about it."""

import pytest
from scipy.stats import binomtest

from s2fast.geometry.nulls import NullRate, null_summary, null_warning


@pytest.mark.parametrize(("trials", "verified"), [(1, 0), (1, 1), (6, 1), (63, 63), (257, 2), (1128, 0), (1128, 3)])
def test_interval_is_that_of_clopper_and_pearson(trials: int, verified: int) -> None:
    null = NullRate(trials=trials, verified=verified)
    exact = binomtest(verified, trials).proportion_ci(confidence_level=0.95, method="exact")
    # The two solve the same equation with different root finders.
    assert null.interval == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert null.interval[0] <= null.rate == verified / trials <= null.interval[1]


def test_no_warning_if_nothing_was_verified() -> None:
    assert null_warning(NullRate(trials=1128, verified=0), 1128, 700) == ""


def test_warning_gives_rate_meaning_and_remedy_in_one_line() -> None:
    null = NullRate(trials=1128, verified=3)
    told = null_warning(null, 1128, 700)
    assert told.startswith("3 of 1,128 null trials were verified (0.27 %, 95 % confidence interval 0.055 to 0.78 %)")
    assert "about 3 (at most 9) of this run's 1,128 pairs; 700 are verified" in told
    assert "n_witnesses" in told
    assert "verification.nulls" in told
    assert "\n" not in told
    assert null_summary(NullRate(trials=7, verified=1)).startswith("1 of 7 null trials was verified")


def test_warning_if_chance_may_explain_all_verified_pairs() -> None:
    null = NullRate(trials=1128, verified=3)
    distrust = "do not rely on this run's verdicts"
    assert distrust in null_warning(null, 1128, 9)
    assert distrust not in null_warning(null, 1128, 10)
    assert "No verdict is affected" in null_warning(null, 1128, 0)
