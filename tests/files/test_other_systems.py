"""Run folders where the operating system lacks what Linux has."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from s2fast.errors import InputError, RunFolderError
from s2fast.files import local_storage
from s2fast.files.local_storage import LocalStorage
from s2fast.sweeps.rows import only_writer


def test_without_locks_of_files_a_swap_still_has_one_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(local_storage, "SETTLE_S", 0.01)
    storage = LocalStorage(tmp_path)
    assert storage.swap("run.lock", None, b"one")
    assert not storage.swap("run.lock", None, b"two")
    assert storage.read("run.lock") == b"one"


def test_without_flags_no_link_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(tmp_path)
    storage.write("run.json", b"{}")
    (tmp_path / "link").symlink_to(tmp_path / "run.json")
    monkeypatch.delattr(os, "O_NOFOLLOW")
    assert storage.read("run.json") == b"{}"
    with pytest.raises(RunFolderError, match="link is a link"):
        storage.read("link")


def test_a_sweep_says_that_it_needs_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Windows")
    with pytest.raises(InputError, match="need Linux"), only_writer(tmp_path / "rows.jsonl"):
        pass
