"""Every backend of `hamming_top2` that can run here returns the reference's bits."""

import numpy as np
import pytest

from s2fast_kernels.backends import available
from s2fast_kernels.hamming_top2 import BACKENDS, hamming_top2
from s2fast_kernels.hamming_top2.cases import CASES, Case, operands, random_descriptors


@pytest.mark.parametrize("backend", available(BACKENDS))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_reference(case: Case, backend: str) -> None:
    query, train, offsets = operands(case)
    wanted = hamming_top2(query, train, offsets, backend="reference")
    got = hamming_top2(query, train, offsets, backend=backend)
    for field in ("index", "best", "second"):
        assert getattr(got, field).dtype == getattr(wanted, field).dtype
        np.testing.assert_array_equal(getattr(got, field), getattr(wanted, field), err_msg=field)


def test_reference_by_hand() -> None:
    query = np.zeros((1, 8), np.uint64)
    train = np.zeros((4, 8), np.uint64)
    train[0, 0] = 0b111
    train[1, 7] = 0b1
    train[2, 3] = 0b1 << 63
    train[3, 0] = 0b11
    top2 = hamming_top2(query, train, np.array([0, 1, 1, 4]), backend="reference")
    np.testing.assert_array_equal(top2.index, [[0, -1, 0]])
    np.testing.assert_array_equal(top2.best, [[3, 65535, 1]])
    np.testing.assert_array_equal(top2.second, [[65535, 65535, 1]])


@pytest.mark.parametrize("backend", [name for name in available(BACKENDS) if name != "reference"])
def test_more_rows_than_opencv_takes(backend: str) -> None:
    rng = np.random.default_rng(1)
    train = random_descriptors(rng, 263_000)
    query = train[[0, 131_071, 131_072, 262_999]].copy()
    train[200_000] = train[5]
    query = np.concatenate([query, train[200_000:200_001]])
    top2 = hamming_top2(query, train, np.array([0, len(train)]), backend=backend)
    np.testing.assert_array_equal(top2.index[:, 0], [0, 131_071, 131_072, 262_999, 5])
    np.testing.assert_array_equal(top2.best[:, 0], 0)
    assert top2.second[4, 0] == 0


@pytest.mark.parametrize(
    ("query", "train", "offsets", "message"),
    [
        (np.zeros((2, 8), np.int64), np.zeros((2, 8), np.uint64), np.array([0, 2]), "query must be"),
        (np.zeros((2, 8), np.uint64), np.zeros((2, 7), np.uint64), np.array([0, 2]), "train must be"),
        (np.zeros((2, 8), np.uint64), np.zeros((4, 8), np.uint64)[::2], np.array([0, 2]), "contiguous"),
        (np.zeros((2, 8), np.uint64), np.zeros((2, 8), np.uint64), np.array([0, 1]), "train_offsets must rise"),
        (np.zeros((2, 8), np.uint64), np.zeros((2, 8), np.uint64), np.array([0, 2], np.int32), "int64"),
        (np.zeros((2, 8), np.uint64), np.zeros((2, 8), np.uint64), np.array([0, 2, 1, 2]), "train_offsets must rise"),
    ],
)
def test_refuses(query: np.ndarray, train: np.ndarray, offsets: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hamming_top2(query, train, offsets)
