"""run.json: a run's settings, inputs, outcome, software versions and machine."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from s2fast.archive.identity import scene_identity
from s2fast.config import Config
from s2fast.errors import SceneError
from s2fast.files.legible import legible_json
from s2fast.files.source import Source
from s2fast.folder.checksums import sealed, unsealed
from s2fast.folder.content_key import FORMAT
from s2fast.folder.job import JobInputs
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.nulls import NullRate
from s2fast.masks.lookup import FoundMask
from s2fast.model import Raster, Scene
from s2fast.regions.file import RegionFile, RegionRows
from s2fast.work.machine import processor, versions
from s2fast_kernels.machine import available_cores

RUN_JSON = "run.json"


class SceneInput(BaseModel):
    """One input scene of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scene: Scene
    """Metadata from the scene's name."""
    raster: Raster
    """Metadata from the file's header."""
    identity: str
    """Name, size and modification time of the file."""
    mask: FoundMask | None = None
    """The mask of its clouds; None: they are found by brightness, or not at all."""

    @property
    def sources(self) -> list[Source]:
        """All its files: of the scene, of its other bands, and of its mask."""
        return [self.scene.source, *self.scene.others, *([self.mask.source] if self.mask else [])]

    @property
    def masked(self) -> bool:
        """Whether missing pixels are declared: by the file, see `Raster.masked`, or by the mask."""
        return self.raster.masked or self.mask is not None

    @property
    def mask_kind(self) -> str:
        """Name of the mask's `s2fast.masks.kinds.Kind`; empty if there is none."""
        return self.mask.kind if self.mask else ""

    def __str__(self) -> str:
        return self.scene.scene_id


def check_unchanged(item: SceneInput) -> None:
    """Raise SceneError if the scene's file, or its mask, has changed since the run began."""
    if scene_identity(item.scene) != item.identity:
        raise SceneError(f"{item.scene.source} has changed since the run began: run again")
    if item.mask:
        item.mask.check_unchanged()


class StageRecord(BaseModel):
    """Statistics of a stage's latest execution that computed anything."""

    model_config = ConfigDict(extra="forbid")

    seconds: float
    """Wall time [s]."""
    done: int
    """Units computed."""
    kept: int
    """Units reused from earlier runs."""
    backend: str = ""
    """The backend used; empty if the stage has no backends."""
    device: str = ""
    """Where it ran, "cpu" or "cuda:0"; empty if the stage has no backends."""
    prepared: str = ""
    """How pixels were prepared, "opencv" or "torch"; empty if the stage prepares none."""

    @property
    def ran(self) -> str:
        """The backend and, unless it is the CPU, the device and the preparation: "torch on cuda:0, pixels by torch"."""
        if self.device in ("", "cpu"):
            return self.backend
        pixels = f", pixels by {self.prepared}" if self.prepared else ""
        return f"{self.backend} on {self.device}{pixels}"


class NullRecord(BaseModel):
    """False-positive rate of verification; see `s2fast.geometry.nulls`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int
    """Trials at deliberately wrong offsets."""
    verified: int
    """Trials that were verified, all of them wrongly."""
    rate: float
    """Share of the trials that were verified, 0 to 1."""
    low: float
    """Lower end of the rate's 95 % confidence interval."""
    high: float
    """Upper end."""

    @classmethod
    def of(cls, null: NullRate) -> NullRecord:
        """Return the record of a null rate."""
        low, high = null.interval
        return cls(trials=null.trials, verified=null.verified, rate=null.rate, low=low, high=high)

    @property
    def null(self) -> NullRate:
        """Return the recorded null rate."""
        return NullRate(trials=self.trials, verified=self.verified)


class Asked(BaseModel):
    """The settings and inputs a run was started with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Config
    """The settings."""
    places: list[str]
    """The values of --scenes, as absolute paths or addresses; with the regions file they identify the job."""
    regions: RegionFile | None
    """The file of polygons; None: whole scenes are matched."""
    strict: bool = Field(default=False, exclude=True)
    """Stop at the first scene or polygon that cannot be used, instead of leaving it out; not recorded."""

    @property
    def inputs(self) -> JobInputs:
        """The inputs that identify the job."""
        return JobInputs(places=self.places, regions=self.regions.source.name if self.regions else None)


class Found(BaseModel):
    """The scenes and polygons found before the first stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region_rows: RegionRows | None = None
    """How each row of the regions file is used; None: whole scenes are matched."""
    scenes: list[SceneInput]
    """The scenes that can be used, in the run's order."""
    superseded: dict[str, list[str]] = Field(default_factory=dict)
    """Omitted products, with reasons, by the id of the scene used instead for the same acquisition."""
    reference: str = ""
    """Id of the scene that is held fixed; empty if there is none."""
    outside: bool = False
    """Whether the reference is not one of the scenes found at ``places``: it is matched, but no part of the series."""

    @property
    def polygons_dropped(self) -> int:
        """The number of rows of the regions file that cannot be used."""
        return len(self.region_rows.dropped) if self.region_rows else 0


class History(BaseModel):
    """What the run's stages did and found; written by the pipeline only."""

    model_config = ConfigDict(extra="forbid")

    problems: dict[str, str] = Field(default_factory=dict)
    """Reasons why scenes were left out, by scene id."""
    stages: dict[str, StageRecord] = Field(default_factory=dict)
    """Outcome of every stage, by name."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Totals of the finished run: scenes, pairs, keypoints, good matches and so on."""
    null_rate: NullRecord | None = None
    """False-positive rate of verification in the finished run; None: no trials were made."""
    warnings: list[str] = Field(default_factory=list)
    """Warnings about the reliability of the finished run's results, one line each."""
    noticed: list[str] = Field(default_factory=list)
    """Other warnings of the latest command, one line each."""
    tables_key: str = ""
    """Content key of the tables; empty until they are complete."""
    tables: dict[str, int] = Field(default_factory=dict)
    """Checksums of the table files, by name."""
    updated: str = ""
    """When the record was last written (UTC, ISO 8601)."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of Python and of the packages used."""
    machine: dict[str, str | int] = Field(default_factory=dict)
    """System, processor and cores."""

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if self.tables_key and not {"pairs", "verified"} <= self.counts.keys():
            raise ValueError("the tables are not counted")
        return self


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The content of run.json, which stores the fields of these three parts in one flat object."""

    asked: Asked
    """Settings and inputs."""
    found: Found
    """Scenes and polygons found."""
    history: History
    """Progress and outcome."""

    @property
    def config(self) -> Config:
        """The run's settings."""
        return self.asked.config

    @property
    def regions(self) -> RegionFile | None:
        """The regions file; None: whole scenes are matched."""
        return self.asked.regions

    @property
    def reference(self) -> str:
        """Id of the scene that is held fixed; empty if there is none."""
        return self.found.reference

    @property
    def uses_regions(self) -> bool:
        """Whether scenes are masked by polygons of interest."""
        return self.regions is not None and self.config.regions.mode != "none"

    @property
    def in_pixels(self) -> bool:
        """Whether the scenes have no CRS: lengths are in pixels, up and to the right, and columns of metres empty."""
        return any(not item.raster.crs_wkt for item in self.found.scenes)

    @property
    def usable(self) -> list[SceneInput]:
        """The scenes without a problem, in the run's order."""
        return [item for item in self.found.scenes if item.scene.scene_id not in self.history.problems]

    def save(self, folder: RunFolder) -> None:
        """Write run.json, with the software versions and machine of this process."""
        history = self.history
        history.updated = datetime.now(UTC).isoformat(timespec="seconds")
        history.versions = {"python": platform.python_version(), **versions()}
        history.machine = {"system": platform.platform(), "processor": processor(), "cores": available_cores()}
        fields: dict[str, object] = {"format": FORMAT}
        for part in (self.asked, self.found, history):
            fields |= json.loads(part.model_dump_json(by_alias=True))
        folder.write(RUN_JSON, legible_json(json.dumps(sealed(fields), indent=2, ensure_ascii=False)).encode())

    @classmethod
    def from_json(cls, fields: Mapping[str, object]) -> RunRecord:
        """Return the record held in the fields of run.json; raise ValidationError if another version wrote them."""
        asked, found = ({name: fields[name] for name in kind.model_fields if name in fields} for kind in (Asked, Found))
        rest = {name: fields[name] for name in fields if name not in ("format", *asked, *found)}
        return cls(
            Asked.model_validate_json(json.dumps(asked)),
            Found.model_validate_json(json.dumps(found)),
            History.model_validate_json(json.dumps(rest)),
        )


def load_record(folder: RunFolder) -> RunRecord | None:
    """Read run.json; return None if it does not exist.

    Raises
    ------
    DamageError
        The file is damaged, or another version of s2fast wrote it.
    """
    try:
        data = folder.read(RUN_JSON)
    except FileNotFoundError:
        return None
    try:
        return RunRecord.from_json(unsealed(json.loads(data)))
    except ValueError as error:  # base class of pydantic's and json's errors
        why = "another version of s2fast wrote it" if isinstance(error, ValidationError) else str(error)
        raise folder.damaged(RUN_JSON, why, RUN_JSON) from error


def with_trust(record: RunRecord, trusted: Sequence[str]) -> RunRecord:
    """Return a record whose virtual rasters may read the local folders that they might in the run, and those trusted.

    A stranger's record may name any folder: what is read there is used only if its size and time are those recorded,
    see `check_unchanged`. Servers are asked only if `trusted` names them, see `s2fast.files.trusted.check_servers`.
    """
    local = filter(lambda place: Source.parsed(place).is_local, (*record.asked.places, *record.config.ingest.trust))
    folders = (*local, *trusted)
    return with_sources(
        record, {item.scene.source.name: item.scene.source.trusting(folders) for item in record.found.scenes}
    )


def with_sources(record: RunRecord, sources: Mapping[str, Source]) -> RunRecord:
    """Return a record whose scenes have the sources of these names, which hold what run.json cannot."""
    scenes = [
        item.model_copy(
            update={"scene": replace(item.scene, source=sources.get(item.scene.source.name, item.scene.source))}
        )
        for item in record.found.scenes
    ]
    return RunRecord(record.asked, record.found.model_copy(update={"scenes": scenes}), record.history)
