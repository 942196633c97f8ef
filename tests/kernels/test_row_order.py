"""Orders of rows equal those of `np.lexsort`."""

from __future__ import annotations

import numpy as np
import pytest

from s2fast_kernels.row_order import row_order


@pytest.mark.parametrize("rows", [0, 1, 2, 63, 65, 257])
@pytest.mark.parametrize("most", [1, 2, 487, 2**40, 2**62])
def test_rows_are_ordered_as_by_lexsort_also_if_keys_fit_in_no_number(rows: int, most: int) -> None:
    rng = np.random.default_rng(rows)
    kinds, bits = rng.random(rows) < 0.5, rng.integers(0, 3, rows).astype(np.uint16)
    keys = kinds, rng.integers(0, most, rows), bits, rng.integers(0, 9, rows)
    found = row_order(*keys)
    np.testing.assert_array_equal(found, np.lexsort(keys))
    assert found.dtype == np.intp
