"""The compiled look-up of maxima in a mask decides as the positions that keypoints get."""

import numpy as np
import pytest

from s2fast_kernels.akaze.candidates import positions
from s2fast_kernels.akaze.masks import Mask


@pytest.mark.parametrize("octave", [0, 1, 3])
def test_maxima_are_looked_up_where_their_keypoints_are(octave: int) -> None:
    rng = np.random.default_rng(octave)
    valid = rng.random((203, 170)) < 0.5
    n = 4000
    y, x = (rng.integers(-1, (side >> octave) + 2, n, dtype=np.int32) for side in valid.shape)
    offset = rng.uniform(-1.05, 1.05, (n, 2)).astype(np.float32)
    offset[::4] = rng.choice([-1, -0.5, 0, 0.5, 1], (len(offset[::4]), 2))  # edges of pixels, and of what is stable
    offset[5] = np.nan
    mask = Mask(valid, valid.shape)
    stable = np.abs(offset).max(axis=1) <= 1
    at = np.floor(positions(octave, x, y, np.where(stable[:, None], offset, 0)) + np.float32(0.5)).astype(np.intp)
    found = mask.holds(y, x, offset, octave)
    np.testing.assert_array_equal(found, stable & mask.at(at[:, 1], at[:, 0]))
    assert 0 < np.count_nonzero(found) < n
