"""The compiled outlines are those of the arithmetic that defines them."""

import numpy as np
import pytest

from s2fast.image.painted import outlines


def wanted(painted: np.ndarray, xy: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Count the pixels of each of the 64 cells."""
    found = np.zeros(len(xy), np.uint64)
    for i, ((x, y), diameter) in enumerate(zip(xy, size, strict=True)):
        steps = np.float32(5) * diameter * np.linspace(-1, 1, 9, dtype=np.float32)
        columns, rows = (
            np.clip(np.rint(at + np.float32(0.5) + steps), 0, length).astype(int)
            for at, length in ((x, painted.shape[1]), (y, painted.shape[0]))
        )
        for number in range(64):
            down, right = divmod(number, 8)
            cell = painted[rows[down] : rows[down + 1], columns[right] : columns[right + 1]]
            if cell.any() and cell.sum() >= 0.25 * cell.size:
                found[i] |= np.uint64(1 << number)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.24, 0.6, 1.0])
def test_outlines_equal_their_definition(share: float) -> None:
    rng = np.random.default_rng(1)
    painted = np.kron(rng.random((66, 25)) < share, np.ones((9, 9))).astype(bool)
    xy = rng.uniform(-1, painted.shape[::-1], (300, 2)).astype(np.float32)
    xy[::3, 0] = np.round(xy[::3, 0] * 2) / 2  # halves are rounded to even
    size = rng.choice([4.8, 5.7, 9.6, 20.0], 300).astype(np.float32)
    found = outlines(lambda rows: painted[rows], painted.shape, xy, size)
    np.testing.assert_array_equal(found, wanted(painted, xy, size))
    assert found.any() == (share > 0)
