"""Results are written in order, while the next ones are computed, and no error is lost."""

import threading

import pytest

from s2fast.errors import RunFolderError
from s2fast.work.writer import Writer


def test_functions_are_called_in_order_beside_the_caller() -> None:
    begun, called = threading.Event(), []
    writer = Writer()
    writer.submit(lambda: called.append(begun.wait(30)))  # only the caller, later, lets it end
    writer.submit(lambda: called.append("second"))
    assert called == []
    begun.set()
    writer.wait()
    assert called == [True, "second"]
    writer.close()


@pytest.mark.parametrize("ended_by", ["wait", "close"])
def test_after_an_error_nothing_is_written_and_it_is_raised(ended_by: str) -> None:
    called, writer = [], Writer()
    begin = threading.Event()

    def fail() -> None:
        begin.wait(30)
        raise RunFolderError("disk full")

    writer.submit(fail)
    writer.submit(lambda: called.append("verdicts without matches"))
    begin.set()
    with pytest.raises(RunFolderError, match="disk full"):
        getattr(writer, ended_by)()
    writer.submit(lambda: called.append("another block")) if ended_by == "wait" else None
    with pytest.raises(RunFolderError, match="disk full"):
        writer.close()
    assert called == []
