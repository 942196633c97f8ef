"""A sweep that is stopped again and again, at any moment, ends with the rows of one that was not.

Three stops by default, by Control-C and by kill. ``S2FAST_SWEEP_STOPS=20 pytest --log-cli-level=INFO
tests/sweeps/test_stops.py`` makes as many as asked and tells of each; ``S2FAST_SWEEP_OPTIONS="--workers 2"`` adds
options to the command.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shlex
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.archives import Archive
from tests.forked import forked_command

pytestmark = pytest.mark.slow

log = logging.getLogger(__name__)

STOPS = int(os.environ.get("S2FAST_SWEEP_STOPS", "3"))
OPTIONS = shlex.split(os.environ.get("S2FAST_SWEEP_OPTIONS", ""))

GRID = """
base.regions.mode = "none"
base.matching.mode = "exhaustive"
base.features.upsample = 1
[[grid]]
matching.ratio = [0.8, 0.9]
"""


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows without what differs between runs of one case."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found = [{name: row[name] for name in ("case", "label", "status", "config", "found", "counts")} for row in rows]
    return sorted(found, key=lambda row: row["label"])


def answer_to_control_c() -> None:
    """Undo what a shell's background job, as which the tests may run, does: it ignores Control-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def started(file: Path, scenes: Path, out: Path) -> tuple[BaseProcess, Path]:
    """Start the sweep; return its process, and the file of what it prints."""
    told = file.with_suffix(".told")
    arguments = ["sweep", file, "--scenes", scenes, "--out", out, *OPTIONS]
    return forked_command(told, *arguments, before=answer_to_control_c), told


def complete(file: Path, scenes: Path, out: Path) -> None:
    running, told = started(file, scenes, out)
    running.join(300)
    assert running.exitcode == 0, told.read_text()


def processes_in(folder: Path) -> list[str]:
    """The processes that have a file in a folder open."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                links = [str(link.readlink()) for link in (process / "fd").iterdir()]
            except OSError:
                continue
            found += [process.name for link in links if link.startswith(str(folder))]
    return found


def wait_for(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.longest
def test_a_sweep_stopped_again_and_again_ends_with_equal_rows(one_tile: Archive, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GRID)
    whole = tmp_path / "whole"
    begun = time.monotonic()
    complete(file, one_tile.scenes, whole)
    took_s, wanted = time.monotonic() - begun, rows_of(whole / "mine.jsonl")
    assert len(wanted) == 2
    draw, out, stopped = random.Random(STOPS), tmp_path / "out", 0
    rows = out / "mine.jsonl"
    while stopped < STOPS:
        how = (signal.SIGINT, signal.SIGKILL)[stopped % 2]
        left_before = (out / "mine.work").exists()
        running, told = started(file, one_tile.scenes, out)
        after_s = draw.uniform(0, took_s)
        running.join(after_s)
        if running.exitcode is None:
            os.kill(running.ident or 0, how)
            running.join(30)
        errors = told.read_text() if told.exists() else ""
        if running.exitcode in (0, -signal.SIGINT):
            # It was finished before the stop. An interpreter that is about to end no longer answers to Control-C.
            assert rows_of(rows) == wanted
            shutil.rmtree(out)
            continue
        stopped += 1
        log.info("%s after %.1f s: %s", how.name, after_s, errors.splitlines()[-1:])
        assert "Traceback" not in errors, errors
        if how == signal.SIGINT:
            assert running.exitcode == 130
            last = errors.splitlines()[-1]
            assert last.startswith("s2fast: stopped; ")
            assert last.endswith("; the same command continues from there")
            # A killed sweep leaves its run folders, and one that has not begun to run cases leaves them too.
            assert left_before or not (out / "mine.work").exists()
        wait_for(lambda: not processes_in(out))
        if rows.exists():
            whole_lines = [line for line in rows.read_text().splitlines(keepends=True) if line.endswith("\n")]
            assert all(json.loads(line)["status"] == "ok" for line in whole_lines)
    complete(file, one_tile.scenes, out)
    assert rows_of(rows) == wanted
    assert sorted(path.name for path in out.iterdir()) == ["mine.html", "mine.jsonl", "mine.pairs", "mine.parquet"]
    assert len(list((out / "mine.pairs").iterdir())) == 3
