"""Results are written in order, while the next ones are computed, and no error is lost."""

import threading
from pathlib import Path

import pytest

from s2fast.config import load_config
from s2fast.errors import RunFolderError
from s2fast.folder.run_folder import RunFolder
from s2fast.stages.match import Shared, match_unit
from s2fast.stages.matching_rule import MatchingRule
from s2fast.stages.pairs import Pair
from s2fast.work.writer import Writer
from tests.stages.test_match import write_scenes


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


def test_a_unit_without_a_writer_has_written_when_it_returns_and_one_with_it_need_not(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_scenes(folder, {"a": 20, "b": 20, "c": 20})
    rule = MatchingRule.of(load_config().matching)
    match_unit((Pair("a", "b", "ab"),), rule, 0, str(tmp_path))
    assert folder.matched.rows()["key"].tolist() == ["ab"]
    writer, begin = Writer(), threading.Event()
    writer.wait = lambda: None  # type: ignore[method-assign]
    writer.submit(lambda: begin.wait(30))
    match_unit((Pair("a", "c", "ac"),), rule, 0, str(tmp_path), shared=Shared(writer))
    assert folder.matched.rows()["key"].tolist() == ["ab"]
    begin.set()
    del writer.wait  # type: ignore[method-assign]
    writer.close()
    assert sorted(folder.matched.rows()["key"]) == ["ab", "ac"]
