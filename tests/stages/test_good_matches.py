"""Good matches as a table, and back."""

import numba
import numpy as np

from s2fast.stages.good_matches import GoodMatches
from s2fast.stages.matching_rule import Matches
from s2fast.stages.pairs import Pair


def test_matches_read_back_are_equal_and_of_the_types_that_kernels_are_compiled_for() -> None:
    rows = [np.arange(start, start + 3, dtype=np.int32) for start in (0, 10)]
    bits = np.array([7, 80, 300], np.uint16)
    written = [Matches(row, row + 1, bits, bits + 1, 50.0) for row in rows]
    pairs = [Pair("a", "b", "a-b"), Pair("a", "c", "a-c")]
    found = GoodMatches.of_tables(pairs, [50.0, 50.0], GoodMatches(pairs, written).table())
    for again, matches in zip(found.matches, written, strict=True):
        for name in ("query_row", "train_row", "distance", "second"):
            column, wanted = getattr(again, name), getattr(matches, name)
            np.testing.assert_array_equal(column, wanted)
            # Read-only arrays are another type: the kernels would be compiled a second time.
            assert numba.typeof(column) == numba.typeof(wanted), name
