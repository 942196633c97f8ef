"""A run whose keypoints have orientations, and its index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from s2fast.config import load_config
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.retrieval.build import build
from tests.archives import Archive

ORIENTED = {"features.upright": False, "features.max_per_scene": 1500, "regions.mode": "none"}


@dataclass(frozen=True)
class Indexed:
    """A run and its index."""

    out: Path
    index: Path


def index_archive(archive: Archive, folder: Path) -> Indexed:
    """Extract the features of the archive's four scenes, and index 700 keypoints of each."""
    job = Job(load_config(None, ORIENTED), [str(archive.scenes)], None, folder / "out")
    run_stages(job, stages=["ingest", "extract"])
    build(str(folder / "index"), [folder / "out"], 700)
    return Indexed(folder / "out", folder / "index")
