"""A run in a fork of a process that has run before: it has none of the parent's threads."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import rasterio.shutil

from s2fast.config import load_config
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from tests.archives import Archive

_PATIENCE_S = 120.0


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["JP2OpenJPEG", "GTiff"])
def test_a_fork_of_a_process_that_has_matched_matches(archive: Archive, tmp_path: Path, driver: str) -> None:
    config = load_config(overrides={"compute.threads": 2})
    scenes = archive.scenes
    if driver == "GTiff":  # GDAL decodes several strips in threads of its own
        scenes = tmp_path / "scenes"
        scenes.mkdir()
        for file in archive.scenes.rglob("*_TCI.jp2"):
            rasterio.shutil.copy(file, scenes / f"{file.stem}.tif", driver=driver, compress="deflate")

    def run(name: str) -> None:
        run_stages(Job(config, [scenes], archive.regions, tmp_path / name), stages=["ingest", "extract", "match"])

    run("parent")
    child = os.fork()
    if child == 0:
        try:
            run("child")
            os._exit(0)
        finally:
            os._exit(1)
    deadline = time.monotonic() + _PATIENCE_S
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.05)
    if ended == (0, 0):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0)
