"""What a case's process and its folder leave behind where the system refuses something."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from s2fast.config import Config
from s2fast.sweeps.folders import SideBySide
from s2fast.sweeps.grid import Case
from s2fast.sweeps.kept_pairs import keep_pairs, kept_file, read_pictures
from s2fast.sweeps.limited_process import Limits, run_alone
from s2fast.truth.copies import Injection
from s2fast.truth.scoring import run_on


def test_a_process_that_cannot_be_started_leaves_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2fast.sweeps.limited_process.sys.executable", "/nowhere/python")
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(FileNotFoundError):
        run_alone("any", {}, Limits(1))
    assert sorted(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize("links", [True, False])
def test_what_a_case_writes_leaves_the_folder_that_it_began_with_as_it_was(
    links: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the file system has no hard links."""

    def refused(*_: object) -> None:
        raise PermissionError

    if not links:
        monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr("s2fast.truth.scoring.run_stages", lambda *_, **__: None)
    monkeypatch.setattr("s2fast.truth.scoring.Run", lambda _: None)
    folders = SideBySide(tmp_path, [Case({}, Config(), {}), Case({}, Config(), {})])
    first, second = (Injection((), (), (), (), [pair]) for pair in (("a", "b"), ("c", "d")))
    run_on(Config(), first, None, folders.out(0) / "injected")
    folders.charge(0, {})
    written = tmp_path / "0" / "injected.csv"
    before = written.read_text()
    began = folders.out(1)
    assert (began / "injected.csv").samefile(written) == links
    assert (began / "injected.csv").read_text() == before
    run_on(Config(), second, None, began / "injected")
    assert written.read_text() == before
    assert "c,d" in (began / "injected.csv").read_text()
    assert [path.name for path in began.iterdir()] == ["injected.csv"]


def test_pictures_of_scenes_that_another_case_has_written_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = pd.DataFrame({"query": ["x"], "train": ["y"], "verified": [False]})
    monkeypatch.setattr(
        "s2fast.sweeps.kept_pairs._pictures",
        lambda _, wanted: ({"scene_id": name, "rows": 1, "cols": 1, "picture": ""} for name in sorted(wanted)),
    )
    monkeypatch.setattr("s2fast.sweeps.kept_pairs._lines", lambda *_: ())
    for case, names in (("one", ["a", "b"]), ("two", ["b", "c"]), ("three", ["a"])):
        run: Any = SimpleNamespace(pairs=lambda: pairs, scene_ids=names)
        keep_pairs(run, kept_file(tmp_path / "mine.jsonl", case))
    assert list(read_pictures(tmp_path / "mine.jsonl")) == ["a", "b", "c"]
