"""run.json: what a run was asked, on what, with what, and how it went."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s2fast.archive.identity import identity
from s2fast.config import Config
from s2fast.errors import SceneError
from s2fast.folder.checksums import sealed, unsealed
from s2fast.folder.content_key import FORMAT
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.nulls import NullRate
from s2fast.model import Raster, Scene
from s2fast.regions.check import RegionRows
from s2fast.regions.file import RegionFile
from s2fast.work.executors import available_cores

RUN_JSON = "run.json"

_PACKAGES = (
    "s2fast", "numpy", "opencv-python-headless", "faiss-cpu", "numba", "torch", "rasterio", "geopandas", "shapely",
    "pyproj", "zarr",
)  # fmt: skip


class SceneInput(BaseModel):
    """One scene a run works on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scene: Scene
    """What its name says."""
    raster: Raster
    """What its header says."""
    identity: str
    """Name, size and modification time of the file."""

    def __str__(self) -> str:
        return self.scene.scene_id


def check_unchanged(item: SceneInput) -> None:
    """Raise SceneError if the scene's file is no longer the one the run began with."""
    if identity(item.scene.source) != item.identity:
        raise SceneError(f"{item.scene.source} has changed since the run began: run again")


class StageRecord(BaseModel):
    """How a stage went the last time it had something to do."""

    model_config = ConfigDict(extra="forbid")

    seconds: float
    """Wall time [s]."""
    done: int
    """Units computed."""
    kept: int
    """Units that were there already."""
    backend: str = ""
    """The backend that ran, where the stage has several."""


class NullRecord(BaseModel):
    """How often verification was fooled; see `s2fast.geometry.nulls`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int
    """Trials at deliberately wrong places."""
    verified: int
    """Trials that were verified."""
    rate: float
    """Share of the trials that were verified, 0 to 1."""
    low: float
    """Lower end of the rate's 95 % confidence interval."""
    high: float
    """Upper end."""

    @classmethod
    def of(cls, null: NullRate) -> NullRecord:
        """Return the record of a rate."""
        low, high = null.interval
        return cls(trials=null.trials, verified=null.verified, rate=null.rate, low=low, high=high)

    @property
    def null(self) -> NullRate:
        """Return the rate that was recorded."""
        return NullRate(trials=self.trials, verified=self.verified)


class RunRecord(BaseModel):
    """What run.json holds."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    config: Config
    places: list[str]
    """What --scenes named, absolute: with the regions file they say whose run this is."""
    regions: RegionFile | None
    region_rows: RegionRows | None = None
    """What became of every row of the regions file; None where the whole scenes count."""
    scenes: list[SceneInput]
    superseded: dict[str, list[str]] = Field(default_factory=dict)
    """Products left out, and why, by the id of the scene of the same acquisition that is used instead."""
    problems: dict[str, str] = Field(default_factory=dict)
    """Scenes skipped, and why."""
    stages: dict[str, StageRecord] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)
    """Scenes, pairs, keypoints, good matches of the finished run."""
    null_rate: NullRecord | None = None
    """How often verification was fooled in the finished run; None without a trial."""
    warnings: list[str] = Field(default_factory=list)
    """What to know before relying on the finished run, one line each."""
    noticed: list[str] = Field(default_factory=list)
    """What else the latest command warned of, one line each."""
    tables_key: str = ""
    """Content key of the tables."""
    tables: dict[str, int] = Field(default_factory=dict)
    """Checksums of the tables' files, by name."""
    updated: str = ""
    """UTC."""
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str | int] = Field(default_factory=dict)

    @property
    def usable(self) -> list[SceneInput]:
        """The scenes without a problem, in the run's order."""
        return [item for item in self.scenes if item.scene.scene_id not in self.problems]

    @property
    def polygons_dropped(self) -> int:
        """How many rows of the regions file cannot be used."""
        return len(self.region_rows.dropped) if self.region_rows else 0

    def save(self, folder: RunFolder) -> None:
        """Write run.json, with today's versions and machine."""
        self.updated = datetime.now(UTC).isoformat(timespec="seconds")
        self.versions = {"python": platform.python_version()} | _installed()
        self.machine = {"system": platform.platform(), "processor": _processor(), "cores": available_cores()}
        fields = sealed(json.loads(self.model_dump_json(by_alias=True)))
        folder.write(RUN_JSON, json.dumps(fields, indent=2, ensure_ascii=False).encode())

    @property
    def job(self) -> dict[str, object]:
        """Whose run this is."""
        return {"places": self.places, "regions": self.regions.source.name if self.regions else None}


def load_record(folder: RunFolder) -> RunRecord | None:
    """Read run.json; None if there is none.

    Raises
    ------
    DamageError
        It is not as it was written, or another version of s2fast wrote it.
    """
    try:
        data = folder.read(RUN_JSON)
    except FileNotFoundError:
        return None
    try:
        return RunRecord.model_validate_json(json.dumps(unsealed(json.loads(data))))
    except ValueError as error:  # pydantic's and json's own errors too
        why = "it was not written by this version of s2fast" if isinstance(error, ValidationError) else str(error)
        raise folder.damaged(RUN_JSON, why, RUN_JSON) from error


def _installed() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
