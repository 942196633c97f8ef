"""run.json: what a run was asked, on what, with what, and how it went."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

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
from s2fast.work.machine import processor, versions
from s2fast_kernels.machine import available_cores

RUN_JSON = "run.json"


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


class Asked(BaseModel):
    """What a run was asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Config
    places: list[str]
    """What --scenes named, absolute: with the regions file they identify the job."""
    regions: RegionFile | None
    strict: bool = Field(default=False, exclude=True)
    """Stop at the first scene or polygon that cannot be used, instead of leaving it out; not recorded."""

    @property
    def job(self) -> dict[str, object]:
        """Which job a run folder belongs to."""
        return {"places": self.places, "regions": self.regions.source.name if self.regions else None}


class Found(BaseModel):
    """What a run was asked comes to: the scenes and polygons found before the first stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region_rows: RegionRows | None = None
    """What became of every row of the regions file; None where whole scenes are matched."""
    scenes: list[SceneInput]
    superseded: dict[str, list[str]] = Field(default_factory=dict)
    """Products left out, and why, by the id of the scene of the same acquisition that is used instead."""

    @property
    def polygons_dropped(self) -> int:
        """How many rows of the regions file cannot be used."""
        return len(self.region_rows.dropped) if self.region_rows else 0


class History(BaseModel):
    """What happened; only the pipeline writes it."""

    model_config = ConfigDict(extra="forbid")

    problems: dict[str, str] = Field(default_factory=dict)
    """Scenes left out, and why."""
    stages: dict[str, StageRecord] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)
    """Scenes, pairs, keypoints, good matches of the finished run."""
    null_rate: NullRecord | None = None
    """How often verification was fooled in the finished run; None without a trial."""
    warnings: list[str] = Field(default_factory=list)
    """What to know before relying on the finished run, one line each."""
    noticed: list[str] = Field(default_factory=list)
    """Other warnings of the latest command, one line each."""
    tables_key: str = ""
    """Content key of the tables; empty until they are complete."""
    tables: dict[str, int] = Field(default_factory=dict)
    """Checksums of the tables' files, by name."""
    updated: str = ""
    """When the record was last written, UTC."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of Python and of packages."""
    machine: dict[str, str | int] = Field(default_factory=dict)
    """System, processor and cores."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What run.json holds: the fields of its three parts side by side."""

    asked: Asked
    """What was asked."""
    found: Found
    """What was found."""
    history: History
    """What happened."""

    @property
    def config(self) -> Config:
        """The run's settings."""
        return self.asked.config

    @property
    def regions(self) -> RegionFile | None:
        """The polygons; None: whole scenes are matched."""
        return self.asked.regions

    @property
    def usable(self) -> list[SceneInput]:
        """The scenes without a problem, in the run's order."""
        return [item for item in self.found.scenes if item.scene.scene_id not in self.history.problems]

    def save(self, folder: RunFolder) -> None:
        """Write run.json, with the versions and the machine of this process."""
        history = self.history
        history.updated = datetime.now(UTC).isoformat(timespec="seconds")
        history.versions = {"python": platform.python_version()} | versions()
        history.machine = {"system": platform.platform(), "processor": processor(), "cores": available_cores()}
        fields: dict[str, object] = {"format": FORMAT}
        for part in (self.asked, self.found, history):
            fields |= json.loads(part.model_dump_json(by_alias=True))
        folder.write(RUN_JSON, json.dumps(sealed(fields), indent=2, ensure_ascii=False).encode())

    @classmethod
    def from_json(cls, fields: Mapping[str, object]) -> RunRecord:
        """Make it from the fields of run.json; raises ValidationError if they are not those of this version."""
        asked, found = ({name: fields[name] for name in kind.model_fields if name in fields} for kind in (Asked, Found))
        rest = {name: fields[name] for name in fields if name not in ("format", *asked, *found)}
        return cls(
            Asked.model_validate_json(json.dumps(asked)),
            Found.model_validate_json(json.dumps(found)),
            History.model_validate_json(json.dumps(rest)),
        )


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
        return RunRecord.from_json(unsealed(json.loads(data)))
    except ValueError as error:  # pydantic's and json's own errors too
        why = "it was not written by this version of s2fast" if isinstance(error, ValidationError) else str(error)
        raise folder.damaged(RUN_JSON, why, RUN_JSON) from error
