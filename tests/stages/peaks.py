"""Measured peaks of memory, each in a fork, which finds nothing in memory that an earlier case has left there."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from s2fast.config import Config, load_config
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import run_stages
from s2fast.planning import Job, plan
from s2fast.stages.extract import extract_scene
from s2fast.stages.ingest import Unit, at_once, ingest_scene, ingest_unit
from s2fast.stages.match import match_unit
from s2fast.stages.matching_rule import MatchingRule
from s2fast.stages.pairs import Pair
from s2fast.work.thread_limits import limit_threads
from s2fast_kernels.machine import MIB
from tests.archives import textured
from tests.folders import put_scene, random_features
from tests.forked import forked


def measured(measure: Callable[..., Any], *case: Any) -> Any:
    """Call a function in a fork; return what it returns."""
    result, told = multiprocessing.Pipe(duplex=False)
    process = forked(_tell, told, measure, case)
    told.close()
    process.join()
    assert process.exitcode == 0, case
    return result.recv()


def _tell(told: Connection, measure: Callable[..., Any], case: tuple[Any, ...]) -> None:
    told.send(measure(*case))


def memory(name: str) -> int:
    """Return a line of the process's status [bytes]: ``"VmRSS"``, or ``"VmHWM"``, the peak."""
    # Not ru_maxrss: a child inherits its parent's peak in that.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def forget_peak() -> int:
    """Return the memory in use."""
    # What was freed and is still held would be used again, and not be counted.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def ingesting(folder: Path, scene: str, grey: str, threads: int, regions: str | None) -> int:
    """Measure the ingestion of a scene in a folder, with a small one to load what is not counted."""
    os.environ["GDAL_NUM_THREADS"] = str(threads)
    peak = 0
    for name in ("small.jp2", scene):
        settings, polygons = load_config(overrides={"ingest.grey": grey}), regions and folder / regions
        record = plan(Job(settings, [folder / name], polygons, "", strict=True))
        out = RunFolder(folder / "out" / f"{name} {grey} {threads} {regions}")
        out.create()
        resident = forget_peak()
        ingest_scene(record.usable[0], record.config, record.regions, out)
        peak = memory("VmHWM") - resident
    return peak


def ingesting_and_extracting(folder: Path, scene: str, reduction: int) -> int:
    """Measure a tile that stays in memory until its features are extracted."""
    limit_threads(2)
    peak = 0
    for name, reduced in (("small.jp2", 1), (scene, reduction)):
        settings = load_config(
            overrides={"features.upright": True, "features.upsample": 1, "ingest.reduction": reduced}
        )
        record = plan(Job(settings, [folder / name], None, "", strict=True))
        out = RunFolder(folder / "out" / f"unit of {name}, {reduced}")
        out.create()
        resident = forget_peak()
        found = ingest_unit(Unit(record.usable[0], "key"), record.config, None, out.address)
        assert found.extracted_s is not None
        peak = memory("VmHWM") - resident
    return peak


def several_at_once(scenes: Path, out: Path) -> tuple[int, int]:
    """Measure a run that ingests and extracts several scenes at once; return its prediction, too."""
    settings = load_config(overrides={"compute.threads": 2})
    jobs = [Job(settings, [scenes], None, out / name) for name in ("first", "second")]
    record = plan(jobs[0])
    number, predicted = at_once([Unit(item, "key") for item in record.usable], record, 2)
    assert number == 2
    resident = 0
    for job in jobs:  # the first loads what is not counted
        resident = forget_peak()
        run_stages(job, stages=["ingest", "extract"])
    return memory("VmHWM") - resident, predicted


def extracting(detector: str, backend: str, layers: int, side: int, wanted_side: int, blur: float) -> tuple[int, int]:
    """Measure the extraction of a square tile, of which a square is wanted; return the number of keypoints, too."""
    config = load_config(
        overrides={
            "regions.mode": "none", "ingest.clouds": False, "ingest.contrast": "none", "features.upright": True,
            "features.max_per_scene": 0, "features.threshold": 0.001, "features.detector": detector,
            "features.layers": layers, "features.upsample": 1,
        }
    )  # fmt: skip
    _extract(config, backend, 200, 200, 1.0)
    return _extract(config, backend, side, wanted_side, blur)


def _extract(config: Config, backend: str, side: int, wanted_side: int, blur: float) -> tuple[int, int]:
    patch = cv2.GaussianBlur(textured(np.random.default_rng(1), (1098, 1098)), (0, 0), blur)
    patch = cv2.normalize(patch, None, 1, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    mirrored = np.block([[patch, patch[:, ::-1]], [patch[::-1], patch[::-1, ::-1]]])
    times = -(-side // len(mirrored))

    def valid(rows: slice, columns: slice) -> np.ndarray:
        return (np.arange(rows.start, rows.stop) < wanted_side)[:, None] & (
            np.arange(columns.start, columns.stop) < wanted_side
        )

    resident = forget_peak()
    grey = np.tile(mirrored, (times, times))[:side, :side].copy()
    found = extract_scene(grey, valid, config, backend, 2).features
    return len(found), memory("VmHWM") - resident


def matching(folder: Path, mode: str, keypoints: int, side: int) -> int:
    """Measure a block of `side` x `side` pairs of scenes."""
    _match(folder, mode, 50, 1)
    return _match(folder, mode, keypoints, side)


def _match(parent: Path, mode: str, keypoints: int, side: int) -> int:
    folder = RunFolder(parent / f"{mode} {keypoints}")
    folder.create()
    for scene in range(2 * side):
        put_scene(folder, str(scene), random_features(np.random.default_rng(scene), keypoints))
    pairs = tuple(Pair(str(q), str(side + t), f"{q}-{t}") for q in range(side) for t in range(side))
    resident = forget_peak()
    # All that is a second neighbour away is good: as many matches as there can be.
    config = load_config(
        overrides={
            "matching.mode": mode, "matching.mutual": False, "matching.ratio": 1.0, "matching.max_distance_bits": 512,
        }
    )  # fmt: skip
    limit_threads(2)
    match_unit(pairs, MatchingRule(config.matching, "numba"), config.compute.budget_mb * MIB, folder.address)
    return memory("VmHWM") - resident
