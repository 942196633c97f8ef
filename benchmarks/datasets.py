"""Data sets by name and what is known of them: the real set beside the repository, synthetic ones, folders."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.meter import alone
from s2fast.errors import InputError
from s2fast.synth import synth

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "ukraine"
"""48 acquisitions of two neighbouring tiles; they are no part of the repository."""

REGIONS = ("regions.geojson", "deforestation_labels.geojson")
"""Polygons that a data set's folder may hold."""


class DataSpec(BaseModel):
    """A data set as a sweep's file names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["real", "synth", "folder", "none"] = "real"
    """none: operations that need no scenes."""
    folder: str = ""
    """Where the scenes of kind "folder" lie; a truth.json there is taken for their truth."""
    pattern: list[str] = ["**/*TCI*.jp2"]
    """Which files of kind "real" or "folder" to take."""
    with_regions: bool = True
    """False: do not use the folder's polygons."""
    size: int = Field(2048, ge=256)
    """Kind "synth": side of a tile [px]."""
    tiles: list[str] = ["36UXA", "36UYA"]
    """Kind "synth": MGRS tiles."""
    dates: int = Field(3, ge=1)
    """Kind "synth": acquisitions."""
    seed: int = Field(0, ge=0)
    """Kind "synth": which ground, weather and shifts."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Where every scene really lies."""

    shifts_m: Mapping[str, tuple[float, float]] | None
    """East and north [m] at which a scene shows ground, less where its header says, by scene id; None: all 0."""

    def shift_m(self, query: str, train: str) -> tuple[float, float]:
        """Displacement of one pair, train minus query, east and north [m]."""
        if self.shifts_m is None:
            return 0.0, 0.0
        (east, north), (to_east, to_north) = self.shifts_m[query], self.shifts_m[train]
        return to_east - east, to_north - north


@dataclass(frozen=True, slots=True)
class Dataset:
    """Scenes ready to run on."""

    scenes: list[Path]
    """Files."""
    regions: Path | None
    """Polygons; None: whole scenes."""
    truth: Path | None
    """truth.json, or the real set's folder, whose truth is 0; None: not known."""


def open_dataset(spec: DataSpec, cache: Path) -> Dataset:
    """Find a data set, or make it where it is synthetic: once, in the cache folder.

    Raises
    ------
    InputError
        It is not there.
    """
    if spec.kind == "none":
        return Dataset([], None, None)
    places = {"synth": lambda: _synthetic(spec, cache), "real": lambda: REAL, "folder": lambda: Path(spec.folder)}
    folder = places[spec.kind]()
    if not folder.is_dir():
        raise InputError(f"no data set at {folder}: put it there, or name another in the sweep's [data]")
    scenes = sorted({path for pattern in spec.pattern for path in folder.glob(pattern)})
    if not scenes:
        raise InputError(f"{folder} holds no scene that matches {', '.join(spec.pattern)}")
    regions = next((folder / name for name in REGIONS if (folder / name).exists()), None)
    truth = folder if spec.kind == "real" else folder / "truth.json"
    return Dataset(scenes, regions if spec.with_regions else None, truth if truth.exists() else None)


def made(folder: Path, **recipe: Any) -> Path:
    """Make a synthetic archive unless it is there, by the arguments of `s2fast.synth.synth`; return its folder.

    It is made in a process of its own, whose memory is not inherited by what is measured.
    """
    if not folder.exists():
        # What is there is whole: it is made elsewhere and moved.
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        alone(synth, partial, **recipe)
        partial.rename(folder)
    return folder


def _synthetic(spec: DataSpec, cache: Path) -> Path:
    recipe = {"size": spec.size, "tiles": spec.tiles, "dates": spec.dates, "seed": spec.seed}
    name = f"synth-{hashlib.blake2b(json.dumps(recipe).encode(), digest_size=6).hexdigest()}"
    return made(cache / name, **recipe)


def load_truth(place: Path | str) -> Truth:
    """Read what `Dataset.truth` names."""
    if Path(place).is_dir():
        return Truth(None)
    told: dict[str, Any] = json.loads(Path(place).read_text("utf-8"))
    return Truth({scene["scene_id"]: (scene["shift_m"][0], scene["shift_m"][1]) for scene in told["scenes"]})
