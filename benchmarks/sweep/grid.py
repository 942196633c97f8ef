"""Read a sweep's file: grids and lists of cases over any configuration keys, ordered so that cases share work."""

from __future__ import annotations

import hashlib
import itertools
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.datasets import DataSpec
from s2fast.config import Config, load_config
from s2fast.errors import ConfigError

RUN_KEYS = {"run.workers": 1, "kernel.core_px": 0}
"""Keys of a run outside the configuration, and their defaults: local processes; side of AKAZE's windows [px], 0: its
default."""

SEARCH_KEYS = ("backend", "n", "m", "segments")
"""Keys of a search: the backend, query rows, train rows, and the number of train scenes."""

_PREPARATION_KEYS = ("clouds", "contrast", "clahe_clip")
"""Settings of [ingest] that affect only extraction."""

Settings = Mapping[str, Any]


class Plot(BaseModel):
    """One plot of gain against cost; both are columns of the Parquet file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cost: str = "seconds"
    """Column for which less is better."""
    gain: str = "quality.true_matches"
    """Column for which more is better."""


class SweepFile(BaseModel):
    """Content of the TOML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["run", "hamming"] = "run"
    """run: all stages on a data set. hamming: one call of the search on random descriptors."""
    data: DataSpec = DataSpec()
    base: dict[str, Any] = {}
    """Settings of every case."""
    grid: list[dict[str, list[Any]]] = []
    """Every combination of the values listed, grid after grid."""
    case: list[dict[str, Any]] = []
    """Single cases."""
    plot: list[Plot] = [Plot()]
    limit_s: float = 600.0
    """Time limit of a case [s]; a longer case is killed and recorded as failed."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run of a sweep."""

    settings: Settings
    """Settings of this case in the file, without the base."""
    resolved: Settings
    """Base and settings together."""
    config: Config
    """The configuration; for kind "hamming" the unused defaults."""

    @property
    def label(self) -> str:
        """Short text of the settings."""
        named = (f"{key.rpartition('.')[2]} {_word(value)}" for key, value in self.settings.items())
        return ", ".join(named) or "base"

    @property
    def stages(self) -> tuple[str, ...]:
        """Settings that affect each stage, in stage order: cases with equal first entries share these stages."""
        dump = self.config.model_dump()
        read = {key: value for key, value in dump["ingest"].items() if key not in _PREPARATION_KEYS}
        extracted = [dump["ingest"], dump["features"]]
        parts = ([dump["regions"], read], extracted, dump["matching"], dump)
        return tuple(json.dumps(part, sort_keys=True, default=str) for part in parts)

    @property
    def folder_name(self) -> str:
        """Name of the run folder; settings that change the cost of a stage but not its result give another folder."""
        cost = {"compute": self.config.compute.model_dump(), "matching": self.config.matching.backend}
        return _hash({**cost, **self.run_settings})

    @property
    def run_settings(self) -> dict[str, Any]:
        """The settings outside the configuration; for kind "hamming" all settings."""
        return {**RUN_KEYS, **{key: value for key, value in self.resolved.items() if key in (*RUN_KEYS, *SEARCH_KEYS)}}

    def identity(self, data: DataSpec, source: str) -> str:
        """Return the id of the run: equal for equal settings, data and sources."""
        settings = {"config": self.config.model_dump(), **self.run_settings}
        return _hash({"settings": settings, "data": data.model_dump(), "source": source})


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def load_sweep(path: Path) -> SweepFile:
    """Read a sweep's file.

    Raises
    ------
    ConfigError
        The file cannot be read, or is not valid.
    """
    try:
        return SweepFile.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read the sweep {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise ConfigError(f"{path}: {problems}") from error


def cases_of(sweep: SweepFile) -> list[Case]:
    """Expand a sweep: grids, then single cases, without duplicates.

    Returns
    -------
    list[Case]
        For kind "run" sorted by the settings of the first stages, then in the file's order, so that every result of a
        stage is computed once.

    Raises
    ------
    ConfigError
        A key or a value is wrong.
    """
    wanted = [
        dict(zip(grid, values, strict=True)) for grid in sweep.grid for values in itertools.product(*grid.values())
    ]
    wanted += sweep.case
    found: dict[str, Case] = {}
    for settings in wanted or [{}]:
        case = _case(sweep, settings)
        found.setdefault(case.identity(sweep.data, ""), case)
    cases = list(found.values())
    if sweep.kind == "hamming":
        return cases
    first_seen: list[dict[str, int]] = [{}, {}, {}, {}]

    def order(case: Case) -> Sequence[int]:
        # Sort by first appearance, not by text: 5000 should follow 500.
        return [seen.setdefault(part, len(seen)) for seen, part in zip(first_seen, case.stages, strict=True)]

    folders: dict[str, int] = {}
    return sorted(cases, key=lambda case: [folders.setdefault(case.folder_name, len(folders)), *order(case)])


def _case(sweep: SweepFile, settings: Settings) -> Case:
    resolved = {**sweep.base, **settings}
    if sweep.kind == "hamming":
        unknown = set(resolved) - set(SEARCH_KEYS)
        if unknown:
            raise ConfigError(
                f"sweep {sweep.name}: unknown {', '.join(sorted(unknown))}; known: {', '.join(SEARCH_KEYS)}"
            )
        return Case(settings, resolved, Config())
    overrides = {key: value for key, value in resolved.items() if key not in RUN_KEYS}
    return Case(settings, resolved, load_config(overrides=overrides))
