"""A sweep's file: grids and lists of cases over any configuration keys, in the order that shares most work."""

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

OF_RUN = {"run.workers": 1, "kernel.core_px": 0}
"""Keys of a run that no configuration has, and their defaults: local processes; the side of the windows AKAZE computes
[px], 0 being its own."""

OF_SEARCH = ("backend", "n", "m", "segments")
"""Keys of a search: the backend, query rows, train rows, and how many scenes these are cut into."""

_PREPARES = ("clouds", "contrast", "clahe_clip")
"""Settings of [ingest] that only extraction depends on."""

Settings = Mapping[str, Any]


class Plot(BaseModel):
    """One picture: what costs against what it gives; the columns are those of the Parquet file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cost: str = "seconds"
    """Less is better."""
    gain: str = "quality.true_matches"
    """More is better."""


class SweepFile(BaseModel):
    """What the TOML file holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["run", "hamming"] = "run"
    """run: the whole job on a data set. hamming: one call of the search on random descriptors."""
    data: DataSpec = DataSpec()
    base: dict[str, Any] = {}
    """Settings of every case."""
    grid: list[dict[str, list[Any]]] = []
    """Every combination of the values listed, grid after grid."""
    case: list[dict[str, Any]] = []
    """Single cases."""
    plot: list[Plot] = [Plot()]
    limit_s: float = 600.0
    """A case that takes longer is ended, and its row says so [s]."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run of a sweep."""

    settings: Settings
    """What the file says of this case, beside its base."""
    resolved: Settings
    """Base and settings together."""
    config: Config
    """The configuration; of kind "hamming" the defaults, which it does not use."""

    @property
    def label(self) -> str:
        """The settings in a few words."""
        named = (f"{key.rpartition('.')[2]} {_word(value)}" for key, value in self.settings.items())
        return ", ".join(named) or "base"

    @property
    def stages(self) -> tuple[str, ...]:
        """What the stages' results depend on, first stages first: cases that agree on a first part share it."""
        dump = self.config.model_dump()
        read = {key: value for key, value in dump["ingest"].items() if key not in _PREPARES}
        extracted = [dump["ingest"], dump["features"]]
        parts = ([dump["regions"], read], extracted, dump["matching"], dump)
        return tuple(json.dumps(part, sort_keys=True, default=str) for part in parts)

    @property
    def place(self) -> str:
        """Name of the run folder: settings that change what a stage costs, but not what it gives, do not share it."""
        cost = {"compute": self.config.compute.model_dump(), "matching": self.config.matching.backend}
        return _hash({**cost, **self.of_run})

    @property
    def of_run(self) -> dict[str, Any]:
        """The settings that no configuration has; of kind "hamming" all of them."""
        return {**OF_RUN, **{key: value for key, value in self.resolved.items() if key in (*OF_RUN, *OF_SEARCH)}}

    def identity(self, data: DataSpec, source: str) -> str:
        """Say which run this is: the same settings on the same data with the same sources."""
        settings = {"config": self.config.model_dump(), **self.of_run}
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
        It cannot be read, or holds what no sweep has.
    """
    try:
        return SweepFile.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read the sweep {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise ConfigError(f"{path}: {told}") from error


def cases_of(sweep: SweepFile) -> list[Case]:
    """Expand a sweep: grids, then single cases; doubles are left out.

    Returns
    -------
    list[Case]
        Of kind "run" in the order in which every stage's results are computed once: by what the first stages depend
        on, in the file's order where that is the same.

    Raises
    ------
    ConfigError
        A key or a value is wrong: before anything runs.
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
        # In the order of first appearance, not of the text: 5000 after 500 reads better than before 0.
        return [seen.setdefault(part, len(seen)) for seen, part in zip(first_seen, case.stages, strict=True)]

    places: dict[str, int] = {}
    return sorted(cases, key=lambda case: [places.setdefault(case.place, len(places)), *order(case)])


def _case(sweep: SweepFile, settings: Settings) -> Case:
    resolved = {**sweep.base, **settings}
    if sweep.kind == "hamming":
        unknown = set(resolved) - set(OF_SEARCH)
        if unknown:
            raise ConfigError(
                f"sweep {sweep.name}: unknown {', '.join(sorted(unknown))}; known: {', '.join(OF_SEARCH)}"
            )
        return Case(settings, resolved, Config())
    overrides = {key: value for key, value in resolved.items() if key not in OF_RUN}
    return Case(settings, resolved, load_config(overrides=overrides))
