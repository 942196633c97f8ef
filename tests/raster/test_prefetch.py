import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2fast.errors import SceneError
from s2fast.model import Raster, Window
from s2fast.raster.prefetch import reading_ahead

WINDOWS = [Window(row, 0, 1, 1) for row in range(7)]
ASKED = [(window, None) for window in WINDOWS]


class FakeReader:
    """Hands out a window's row as its only pixel, and notes who read what."""

    def __init__(self, bad_row: int | None = None, at_once: int = 1) -> None:
        self.at_once = at_once
        self.raster = Raster((7, 1), (1, 1), "", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
        self.stretch = None
        self.bad_row = bad_row
        self.read_rows: list[int] = []
        self.threads: set[int] = set()
        self.closed = False

    def read(self, window: Window, _wanted: Any = None) -> Any:
        self.threads.add(threading.get_ident())
        self.read_rows.append(window.row)
        if window.row == self.bad_row:
            raise SceneError(f"row {window.row} is bad")
        return np.full((1, 1), window.row, np.uint8), np.ones((1, 1), bool)

    @contextmanager
    def opened(self) -> Iterator["FakeReader"]:
        self.threads.add(threading.get_ident())
        yield self
        self.threads.add(threading.get_ident())
        self.closed = True


def settled(reader: FakeReader, count: int) -> bool:
    """Wait until a number of windows has been read, then a little for more that should not come."""
    deadline = time.monotonic() + 60
    while len(reader.read_rows) < count and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    return len(reader.read_rows) == count


def reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("s2fast-read")]


@pytest.mark.parametrize("depth", [0, 1, 2, 50])
def test_windows_come_whole_in_order_and_from_one_other_thread(depth: int) -> None:
    reader = FakeReader()
    with reading_ahead(reader.opened()) as ahead:
        assert ahead.reader.raster.shape == (7, 1)
        got = [(window, int(grey[0, 0])) for (window, _), (grey, _) in ahead.windows(ASKED, depth)]
    assert got == [(window, window.row) for window in WINDOWS]
    assert reader.read_rows == list(range(7))
    assert len(reader.threads) == 1
    assert threading.get_ident() not in reader.threads
    assert reader.closed


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_as_many_windows_are_read_ahead_as_asked_and_no_more(depth: int) -> None:
    reader = FakeReader()
    with reading_ahead(reader.opened()) as ahead:
        for number, _ in enumerate(ahead.windows(ASKED, depth)):
            assert settled(reader, min(number + 1 + depth, len(WINDOWS)))


@pytest.mark.parametrize("at_once", [2, 3])
def test_several_windows_are_read_at_once_and_come_in_order(at_once: int) -> None:
    class Waiting(FakeReader):
        """Ends no read before as many have begun as are allowed at once."""

        def read(self, window: Window, wanted: Any = None) -> Any:
            if window.row < at_once:
                begun.wait(60)
            return super().read(window, wanted)

    begun = threading.Barrier(at_once)
    reader = Waiting(at_once=at_once)
    with reading_ahead(reader.opened()) as ahead:
        got = [(window, int(grey[0, 0])) for (window, _), (grey, _) in ahead.windows(ASKED)]
    assert got == [(window, window.row) for window in WINDOWS]
    assert sorted(reader.read_rows) == list(range(7))
    # One more thread opens and closes.
    assert at_once < len(reader.threads) <= at_once + 1
    assert reader.closed
    # The one that opened and closed is kept for the next reader.
    assert len([thread for thread in reading_threads() if thread.ident in reader.threads]) == 1


def test_each_thread_reads_one_window_ahead() -> None:
    reader = FakeReader(at_once=2)
    with reading_ahead(reader.opened()) as ahead:
        for number, _ in enumerate(ahead.windows(ASKED)):
            assert settled(reader, min(number + 1 + 2, len(WINDOWS)))


def test_a_failed_read_is_raised_at_its_window() -> None:
    reader = FakeReader(bad_row=3)
    got = []
    with pytest.raises(SceneError, match="row 3 is bad"), reading_ahead(reader.opened()) as ahead:
        got += [window.row for (window, _), _ in ahead.windows(ASKED)]
    assert reader.closed
    assert len(reader.read_rows) <= 5


def test_callers_failure_closes_the_reader() -> None:
    reader = FakeReader()

    def stopped() -> None:
        with reading_ahead(reader.opened()) as ahead:
            for _ in ahead.windows(ASKED):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert reader.closed
    assert len(reader.read_rows) <= 2


def test_one_thread_reads_for_each_calling_thread_and_ends_with_it() -> None:
    readers = [FakeReader(), FakeReader()]

    def read() -> None:
        for reader in readers:
            with reading_ahead(reader.opened()) as ahead:
                list(ahead.windows(ASKED))

    before = set(reading_threads())
    caller = threading.Thread(target=read)
    caller.start()
    caller.join()
    assert len(readers[0].threads) == 1
    assert readers[0].threads == readers[1].threads
    deadline = time.monotonic() + 60
    while set(reading_threads()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(reading_threads()) - before


def test_readers_open_at_the_same_time_have_their_own_threads() -> None:
    one, other = FakeReader(), FakeReader()
    with reading_ahead(one.opened()) as first, reading_ahead(other.opened()) as second:
        for _ in zip(first.windows(ASKED), second.windows(ASKED), strict=True):
            pass
    assert one.threads.isdisjoint(other.threads)


def test_open_errors_reach_the_caller(tmp_path: Path) -> None:
    from s2fast.raster.reader import open_raster

    with pytest.raises(SceneError, match="cannot be opened"), reading_ahead(open_raster(tmp_path / "none.tif")):
        pass
