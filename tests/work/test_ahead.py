"""Units are begun ahead of time, in order, and no further than asked."""

import threading

import pytest

from s2fast.work.ahead import ahead


@pytest.mark.parametrize("depth", [1, 2])
def test_later_units_are_begun_while_one_is_used(depth: int) -> None:
    begun: list[int] = []
    reached = threading.Semaphore(0)

    def begin(unit: int) -> int:
        begun.append(unit)
        reached.release()
        return 10 * unit

    units = ahead(range(4), begin, depth)
    assert next(units) == (0, 0)
    for _ in range(depth + 1):
        assert reached.acquire(timeout=60)
    assert begun == list(range(depth + 1))
    assert list(units) == [(unit, 10 * unit) for unit in (1, 2, 3)]
    assert begun == [0, 1, 2, 3]


def test_an_error_ends_the_units() -> None:
    begun = []

    def begin(unit: int) -> int:
        begun.append(unit)
        return 1 // (unit - 1)

    units = ahead(range(100), begin, 2)
    assert next(units) == (0, -1)
    with pytest.raises(ZeroDivisionError):
        list(units)
    assert max(begun) <= 3
