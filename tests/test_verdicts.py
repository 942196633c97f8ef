"""Verdicts on pairs."""

import pandas as pd
import pytest

from s2fast.verdicts import is_verified


@pytest.mark.parametrize("dtype", ["boolean", "object"])
def test_pairs_without_a_verdict_are_not_verified(dtype: str) -> None:
    pairs = pd.DataFrame({"verified": pd.array([True, None, False], dtype)}, index=[7, 8, 9])
    pd.testing.assert_series_equal(is_verified(pairs), pd.Series([True, False, False], [7, 8, 9], name="verified"))
    assert is_verified(pairs.iloc[:0]).dtype == bool
