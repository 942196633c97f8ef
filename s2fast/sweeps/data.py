"""The scenes of a sweep, and their true displacements if they are known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, field_validator

from s2fast.errors import InputError, option
from s2fast.files.legible import shortened
from s2fast.files.limited import read_text
from s2fast.files.places import exists, is_file, is_folder
from s2fast.files.suffixes import check_path, shown

REGIONS = ("regions.geojson", "deforestation_labels.geojson")
"""File names of polygons in a data set's folder."""

TRUTH = "truth.json"
"""File name of the true displacements in a folder of scenes; `s2fast synth` writes one."""


_BENCHMARKED = ("real", "synth", "none")
"""Kinds of data that only the sweeps of the repository's benchmarks have."""


class DataSpec(BaseModel):
    """The section ``[data]`` of a sweep's file; ``--scenes`` and ``--regions`` replace it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    KINDS: ClassVar[tuple[str, ...]] = ("folder",)
    """Values of `kind`."""

    kind: str = "folder"
    """folder: scenes in a folder."""
    folder: str = ""
    """The folder, relative to the sweep's file; a truth.json in it holds the true displacements."""
    pattern: list[str] = []
    """Glob patterns of the files to use; empty: all scenes in the folder."""
    with_regions: bool = True
    """False: do not use the polygons in the folder (regions.geojson)."""

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in cls.KINDS:
            elsewhere = "; `python -m benchmarks sweep`, in a clone of the repository, knows it"
            more = elsewhere if kind in _BENCHMARKED else ""
            raise ValueError(f"unknown kind {shortened(repr(kind))}; known: {', '.join(cls.KINDS)}{more}")
        return kind


@dataclass(frozen=True, slots=True)
class Dataset:
    """The inputs of every case of a sweep."""

    scenes: Sequence[str]
    """Folders, files or addresses of scenes."""
    regions: str | None = None
    """Polygons; None: whole scenes."""
    truth: str | None = None
    """A truth.json, or a folder of scenes whose displacements are all 0; None: unknown."""


def dataset_of(spec: DataSpec, scenes: Sequence[str] = (), regions: str | None = None) -> Dataset:
    """Return the inputs of a sweep.

    Parameters
    ----------
    spec
        The section ``[data]`` of the sweep's file.
    scenes, regions
        As given by the user; with scenes, `spec` is not used.

    Raises
    ------
    InputError
        There are no scenes, or the folder cannot be read.
    """
    if scenes:
        beside = [Path(place, TRUTH) for place in scenes] if len(scenes) == 1 else []
        return Dataset(list(scenes), regions, next((str(path) for path in beside if is_file(path)), None))
    if not spec.folder:
        raise InputError(
            f'no scenes given: name a folder with {option("scenes")}, or as folder = "..." in the sweep\'s [data]'
        )
    check_path(spec.folder)
    folder = Path(spec.folder)
    if not is_folder(folder):
        raise InputError(
            f"no folder {folder}: name the folder of the scenes with {option('scenes')}, or in the sweep's [data]"
        )
    return in_folder(folder, spec, regions)


def in_folder(folder: Path, spec: DataSpec, regions: str | None = None) -> Dataset:
    """Return the scenes in a folder, with the polygons and the truth beside them."""
    patterns = shortened(", ".join(spec.pattern))
    try:
        found = sorted({path for pattern in spec.pattern for path in folder.glob(pattern)})
    except (OSError, ValueError, NotImplementedError, RecursionError) as error:
        raise InputError(f"[data] pattern = {patterns}: wanted patterns of files below {folder}, *.tif") from error
    if spec.pattern and not found:
        raise InputError(f"{folder} contains no scene that matches {patterns}")
    own = next((str(folder / name) for name in REGIONS if exists(folder / name)), None)
    truth = folder / TRUTH
    return Dataset(
        [str(path) for path in found] or [str(folder)],
        regions or (own if spec.with_regions else None),
        str(truth) if exists(truth) else None,
    )


@dataclass(frozen=True, slots=True)
class Truth:
    """The true displacements of the scenes."""

    shifts_m: Mapping[str, tuple[float, float]] | None
    """By scene id: position of the ground in the scene minus its true position, east and north [m]; None: all 0."""

    def shift_m(self, query: str, train: str) -> tuple[float, float]:
        """Return the displacement of a pair, train minus query, east and north [m]."""
        if self.shifts_m is None:
            return 0.0, 0.0
        (east, north), (to_east, to_north) = self.shifts_m[query], self.shifts_m[train]
        return to_east - east, to_north - north


def load_truth(source: Path | str) -> Truth:
    """Read the true displacements that `Dataset.truth` names.

    Raises
    ------
    InputError
        The file cannot be read, or is no truth.json.
    """
    if is_folder(source):
        return Truth(None)
    try:
        content: dict[str, Any] = json.loads(read_text(source))
        shifts = {
            scene["scene_id"]: (float(scene["shift_m"][0]), float(scene["shift_m"][1])) for scene in content["scenes"]
        }
    except OSError as error:
        raise InputError(f"cannot read the true displacements {shown(source)}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f'{shown(source)} must hold {{"scenes": [{{"scene_id": ..., "shift_m": [east, north]}}, ...]}}: '
            "correct or remove it"
        ) from error
    return Truth(shifts)
