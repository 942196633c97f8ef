"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from s2fast.files.replacing import ABANDONED_S, check_writable, remove_abandoned, replacing


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / f"{'a' * 251}.csv"  # as long as a name may be
    path.write_text("before")
    with replacing(path) as first, replacing(path) as second:
        assert (first.parent, first.suffix) == (tmp_path, ".csv")
        for partial, text in ((first, "one"), (second, "two")):
            assert not partial.exists()
            partial.write_text(text)
        assert path.read_text() == "before"
    assert [file.read_text() for file in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_all_is_as_before(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.csv"
    path.write_text("before")

    def fail() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


def test_what_killed_processes_have_left_is_removed(tmp_path: Path) -> None:
    here = platform.node()
    names = [f"{node}-{pid}-0.tif" for node, pid in ((here, 999_999_999), (here, os.getppid()), ("far-away", 1))]
    dead, alive, far = (tmp_path / f".partial-{name}" for name in names)
    old = tmp_path / f".partial-{names[1]}.ovr"
    for path in (dead, alive, far, old):
        path.touch()
    os.utime(old, (old.stat().st_mtime - 2 * ABANDONED_S,) * 2)
    remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([alive, far])


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        check_writable(tmp_path / "nowhere")
