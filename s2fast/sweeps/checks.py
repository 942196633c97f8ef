"""Check a sweep before its first case: settings, plots, scenes, polygons, truth; and forecast how long it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shapely

from s2fast import detectors
from s2fast.errors import ConfigError, InputError, S2FastError
from s2fast.files.suffixes import check_path
from s2fast.folder.record import RunRecord, SceneInput
from s2fast.geometry.antimeridian import footprint
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.planning import Job, plan
from s2fast.regions.check import check_regions
from s2fast.stages.matching_rule import MatchingRule
from s2fast.stages.pairs import pairs_from_file
from s2fast.sweeps.columns import check_plots
from s2fast.sweeps.data import Dataset, load_truth
from s2fast.sweeps.grid import Case, SweepFile, cases_of
from s2fast.truth.copies import copied_scenes
from s2fast.work.progress import duration_text
from s2fast_kernels.machine import available_cores

_READ_S, _EXTRACT_S = 0.18, 0.11
"""CPU seconds per megapixel to read, and to extract; from the table of docs/cost.md."""

_PAIR_S, _COMPARISONS_S = 0.01, 0.65e-9
"""CPU seconds per pair matched and verified with windows, and per comparison of an exhaustive search."""

_CASE_S, _SCENE_S = 4.0, 0.3
"""Seconds to start the process of a case, and per scene of its report."""

_SMALL_PX = 4096
"""Scenes up to this side are enlarged twice per side with ``features.upsample = "auto"``."""

_USUAL_KEYPOINTS = 20_000
"""Keypoints of a scene without a limit, to predict the time of exhaustive matching."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A sweep that can be run."""

    sweep: SweepFile
    """The sweep."""
    cases: list[Case]
    """Its cases, in the order they run."""
    dataset: Dataset
    """The inputs of every case."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Description of the inputs, for the rows."""
    identity: object = None
    """What identifies the inputs: names, sizes and times of the files."""
    pixels: Sequence[tuple[int, int]] = ()
    """Rows and columns of each scene, and of each copy that is made."""
    scenes: Sequence[SceneInput] = ()
    """The scenes."""

    def forecast(self, cases: Sequence[Case]) -> str:
        """Return how long cases will take, roughly, as the end of a line; empty if it is not known."""
        if not self.pixels or not cases:
            return ""
        once_s, repeats = self._seconds(cases), self.sweep.repeats
        most = f", up to {duration_text(_rounded(repeats * once_s))} with the repeats" if repeats > 1 else ""
        return f"; roughly {duration_text(_rounded(once_s))} to go{most}"

    def _seconds(self, cases: Sequence[Case]) -> float:
        """Predict the wall time of cases from rates of two cores; right within a factor of three, as first told."""
        seconds = 0.0
        read: set[tuple[str, ...]] = set()
        extracted: set[tuple[str, ...]] = set()
        for case in cases:
            config, own = case.config, (case.folder_name, *case.stages)
            reduced = config.ingest.reduction
            mpx = sum(rows * cols for rows, cols in self.pixels) / 1e6
            cpu_s = 0.0
            if own[:2] not in read:
                cpu_s += _READ_S * mpx
            if own[:3] not in extracted:
                small = max(max(shape) for shape in self.pixels) / reduced <= _SMALL_PX
                up = {1: 1, 2: 2, "auto": 2 if small else 1}[config.features.upsample]
                cpu_s += _EXTRACT_S * mpx / reduced**2 * up**2
            read.add(own[:2])
            extracted.add(own[:3])
            pairs = len(self.pixels) * (len(self.pixels) - 1) / 2
            cpu_s += pairs * _PAIR_S
            if config.matching.mode == "exhaustive":
                cpu_s += pairs * (config.features.max_per_scene or _USUAL_KEYPOINTS) ** 2 * _COMPARISONS_S
            seconds += _CASE_S + _SCENE_S * len(self.pixels) + cpu_s / max(1, available_cores())
        return seconds


def _rounded(seconds: float) -> float:
    """Round to what a rough figure deserves: seconds, tens of seconds, minutes, tens of minutes."""
    step = next(
        step for least, step in ((36_000, 3_600), (3_600, 600), (600, 60), (60, 10), (0, 1)) if seconds >= least
    )
    return max(step, round(seconds / step) * step)


def check_cases(sweep: SweepFile) -> list[Case]:
    """Return the cases of a sweep; raise ConfigError if a key, a value or a plot is wrong, or a backend cannot run."""
    check_plots(sweep)
    cases = cases_of(sweep)
    for case in cases if sweep.shares_stages else ():
        try:
            detectors.check(case.config)
            MatchingRule.of(case.config.matching)
        except S2FastError as error:
            raise ConfigError(f"sweep {sweep.name}, case {case.label}: {error}") from error
    return cases


def check_sweep(sweep: SweepFile, dataset: Dataset) -> Checked:
    """Check everything that a sweep needs; read the scenes' headers, but no pixels.

    Raises
    ------
    S2FastError
        Something is wrong; the message is one line.
    """
    cases = check_cases(sweep)
    if not sweep.shares_stages:
        return Checked(sweep, cases, dataset, {"kind": sweep.data.kind})
    record = plan(Job(cases[0].config, dataset.scenes, dataset.regions, "."))
    _check_scenes(record, cases, dataset)
    data = {"scenes": record.asked.places, "regions": record.regions.source.name if record.regions else None}
    identity: dict[str, Any] = {
        "scenes": [item.identity for item in record.found.scenes],
        "regions": record.regions.content if record.regions else None,
        "truth": repr(load_truth(dataset.truth)) if dataset.truth else None,
    }
    pixels = [item.raster.shape for item in record.found.scenes]
    if sweep.truth:
        # Each copied scene is matched again, moved and as two halves.
        pixels += [item.raster.shape for item in copied_scenes(record.found.scenes, sweep.truth)[0] for _ in range(3)]
        identity["injected"] = sweep.truth.model_dump()
    return Checked(sweep, cases, dataset, data, identity, pixels, record.found.scenes)


def _check_scenes(record: RunRecord, cases: Sequence[Case], dataset: Dataset) -> None:
    scenes, where = record.found.scenes, ", ".join(record.asked.places[:3])
    if len(scenes) < 2:
        left_out = "".join(f"; left out: {name}: {why}" for name, why in list(record.history.problems.items())[:1])
        raise InputError(f"{where}: a sweep compares pairs and needs two scenes or more, got {len(scenes)}{left_out}")
    trusting = any(case.config.verification.prior == "map" or case.config.matching.mode == "windowed" for case in cases)
    if trusting and not _some_share_ground(record):
        raise InputError(
            f"{where}: no two of the {len(scenes)} scenes show common ground, so that no pair can be verified: add "
            "scenes of the same ground"
        )
    if record.regions is not None:
        rasters = [item.raster for item in scenes]
        for settings in {case.config.regions for case in cases if case.config.regions.mode != "none"}:
            check_regions(record.regions, settings, rasters)
    names = [item.scene.scene_id for item in scenes]
    for file in {case.config.matching.pairs_file for case in cases} - {""}:
        check_path(file)
        pairs_from_file(Path(file), names)
    if dataset.truth:
        shifts = load_truth(dataset.truth).shifts_m
        unknown = [name for name in names if shifts is not None and name not in shifts]
        if unknown:
            raise InputError(
                f"{dataset.truth} has no displacement of {unknown[0]} ({len(unknown)} of {len(scenes)} scenes): add it "
                "or remove the file"
            )


def _some_share_ground(record: RunRecord) -> bool:
    """Return whether the footprints of any two scenes overlap."""
    outlines = [footprint(PixelGrid.of_raster(item.raster)) for item in record.found.scenes]
    tree = shapely.STRtree(outlines)
    left, right = tree.query(outlines, predicate="intersects")
    return any(outlines[a].intersection(outlines[b]).area > 0 for a, b in zip(left, right, strict=True) if a < b)
