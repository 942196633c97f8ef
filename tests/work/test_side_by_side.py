"""Units run at once in threads of this process, which share its own threads."""

import logging
import threading

import pytest

from s2fast.work.executors import InProcess, Workplace
from s2fast.work.side_by_side import THREAD, side_by_side
from s2fast.work.thread_limits import thread_limit
from s2fast.work.units import run_units
from s2fast_kernels.threads import threads_here


def test_units_meet_and_share_the_threads() -> None:
    both = threading.Barrier(2)

    def unit(number: int) -> tuple[int, int, int]:
        both.wait(60)
        return number, thread_limit(), threads_here()

    with side_by_side(Workplace(InProcess(), 1, 2), 2) as place:
        found = dict(run_units(place, unit, range(6)))
    assert found == {number: (number, 1, 1) for number in range(6)}
    assert thread_limit() != 1
    assert not any(thread.name.startswith(THREAD) for thread in threading.enumerate())


def test_what_units_log_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Their threads log where all others of this process do; nothing has to be brought here."""

    def unit(number: int) -> None:
        logging.getLogger("s2fast.stages.any").warning("unit %d", number)

    with side_by_side(Workplace(InProcess(), 1, 2), 2) as place:
        list(run_units(place, unit, range(6)))
    assert sorted(record.getMessage() for record in caplog.records) == [f"unit {number}" for number in range(6)]


def test_an_error_ends_the_units_that_have_not_begun() -> None:
    begun = []

    def unit(number: int) -> None:
        begun.append(number)
        raise ValueError(f"unit {number}")

    with side_by_side(Workplace(InProcess(), 1, 2), 2) as place, pytest.raises(ValueError, match=r"unit \d"):
        list(run_units(place, unit, range(100)))
    assert len(begun) <= 4


def test_one_unit_at_a_time_runs_where_it_did() -> None:
    workplace = Workplace(InProcess(), 1, 2)
    with side_by_side(workplace, 1) as place:
        assert place is workplace
