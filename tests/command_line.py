"""The command line, called by tests."""

import sys

import pytest

from s2fast import cli


def s2fast(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["s2fast", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def assert_one_line(stderr: str, said: str) -> None:
    lines = [line for line in stderr.splitlines() if "error:" in line]
    assert len(lines) == 1, stderr
    assert said in lines[0]
    assert "Traceback" not in stderr
