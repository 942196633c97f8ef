"""Benchmarks interleave their candidates and record their environment."""

import json
import time

import pytest

from benchmarks import __main__, harness


def test_candidates_are_timed_in_turn() -> None:
    calls: list[str] = []
    candidates = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    seconds = harness.interleaved(candidates, 2)
    assert calls == [*"abc", *"abc", *"bca"]
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2, "c": 2}


def test_the_ratio_is_taken_round_by_round() -> None:
    # The third round was slow for both: a ratio of medians would not see that.
    assert harness.ratio([2.0, 4.0, 30.0], [1.0, 2.0, 10.0]) == 2.0


def test_a_record_is_one_line_with_its_environment(capsys: pytest.CaptureFixture[str]) -> None:
    harness.emit({"rate": 0.5, "at": time.gmtime(0).tm_year}, as_json=True)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    record = json.loads(printed)
    assert (record["rate"], record["at"]) == (0.5, 1970)
    assert record["environment"]["cores"] >= 1
    harness.emit({"rate": 0.123456}, as_json=False)
    assert capsys.readouterr().out == "rate=0.1235\n"


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["nonsense"], 2), (["--help"], 0)])
def test_without_a_known_name_the_benchmarks_are_listed(
    argv: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main(argv) == code
    listed = capsys.readouterr().err
    assert all(name in listed for name in __main__.COMMANDS)
