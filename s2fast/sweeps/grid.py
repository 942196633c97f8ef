"""Read a sweep's file: grids and lists of cases over any configuration keys, ordered so that cases share work."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from s2fast.config import Config, load_config
from s2fast.errors import ConfigError
from s2fast.files.legible import shortened
from s2fast.files.limited import read_text
from s2fast.files.suffixes import shown
from s2fast.sweeps.data import DataSpec
from s2fast.sweeps.rows import MOST_RUNS
from s2fast.truth.settings import Injected

_PREPARATION_KEYS = ("clouds", "contrast", "clahe_clip")
"""Settings of [ingest] that affect only extraction."""

_PATHS = ("matching.pairs_file",)
"""Settings that are paths, relative to the sweep's file."""

_LONGEST_NAME_BYTES = 200
"""Length of the name of a sweep, to which the names of its files add suffixes."""

Settings = Mapping[str, Any]


class Plot(BaseModel):
    """One plot of gain against cost; both are columns of the Parquet file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cost: str = "seconds"
    """Column for which less is better."""
    gain: str = "found.verified_pairs"
    """Column for which more is better."""


class SweepFile(BaseModel):
    """Content of the TOML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    RUN_KEYS: ClassVar[Settings] = {"run.workers": 1}
    """Keys of a run outside the configuration, and their defaults: local processes."""

    CHILD: ClassVar[str] = "s2fast.sweeps.case_process"
    """Module whose function `main` runs one case in a process of its own."""

    name: str
    """Name of the results; default: that of the file."""
    data: DataSpec = DataSpec()
    """Scenes and polygons on which the cases run."""
    truth: Injected | None = None
    """Copies of the scenes, of which the answer is known; None: none are made."""
    base: dict[str, Any] = {}
    """Settings of every case."""
    grid: list[dict[str, list[Any]]] = []
    """Every combination of the values listed, grid after grid."""
    case: list[dict[str, Any]] = []
    """Single cases."""
    max_cases: int = Field(10_000, ge=1)
    """Most cases; more are refused before any of them is checked. Each takes seconds at least."""
    plot: list[Plot] = [Plot()]
    """Plots of the page."""
    repeats: int = Field(1, ge=1, le=MOST_RUNS)
    """Runs of each case that competes for a place on a front over time; they take turns. From three on, seconds have
    intervals."""
    limit_s: float = Field(600.0, gt=0)
    """Time limit of a case [s]; a longer case is killed and recorded as failed."""
    limit_mb: float = Field(0.0, ge=0)
    """Memory limit of a case, with its workers [MiB]; a case that needs more is killed and recorded as failed. 0: none,
    or with cases side by side, an equal share of the machine's free memory."""

    @field_validator("name")
    @classmethod
    def _a_file_name(cls, name: str) -> str:
        if not re.fullmatch(r"\w[\w .-]*", name):
            raise ValueError(f"{shortened(repr(name))} is not a file name: use letters, digits, '_' and '-'")
        if len(name.encode()) > _LONGEST_NAME_BYTES:  # suffixes are added
            raise ValueError(f"{shortened(repr(name))} is longer than the name of a file: use at most 200 letters")
        return name

    @field_validator("base", "grid", "case", mode="before")
    @classmethod
    def _dotted(cls, value: Any) -> Any:
        """Write ``matching.ratio = ...`` and ``"matching.ratio" = ...`` alike: TOML makes a table of the former."""
        if isinstance(value, list):
            return [_flat(part) if isinstance(part, Mapping) else part for part in value]
        return _flat(value) if isinstance(value, Mapping) else value

    @field_validator("grid", "case", "plot", mode="before")
    @classmethod
    def _tables(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, Mapping):
            raise ValueError(f"one table, wanted a list of tables: write [[{info.field_name}]]")
        return value

    @field_validator("grid")
    @classmethod
    def _with_values(cls, grids: list[dict[str, list[Any]]]) -> list[dict[str, list[Any]]]:
        for key in (key for grid in grids for key, values in grid.items() if not values):
            raise ValueError(f"{key} has no values: write [first, second, ...]")
        return grids

    @property
    def shares_stages(self) -> bool:
        """Whether cases are runs of all stages, in run folders that they share."""
        return True

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """Columns that its cases have besides those of `s2fast.sweeps.columns.KNOWN`."""
        return ()

    def made(self, settings: Settings) -> Case:
        """Return the case with these settings.

        Raises
        ------
        ConfigError
            A key or a value is wrong.
        """
        resolved = {**self.base, **settings}
        overrides = {key: value for key, value in resolved.items() if key not in self.RUN_KEYS}
        run = {key: resolved.get(key, default) for key, default in self.RUN_KEYS.items()}
        for key, value in run.items():
            if type(value) is not int or value < 0:
                raise ConfigError(f"sweep {self.name}: {key} = {value!r}: write a whole number")
        try:
            return Case(settings, load_config(overrides=overrides), run)
        except ConfigError as error:
            raise ConfigError(f"sweep {self.name}: {str(error).removeprefix('overrides: ')}") from error

    def job(self, case: Case) -> dict[str, Any]:
        """Return what the process of a case needs to know besides the scenes."""
        return {"config": case.config.model_dump(mode="json"), "workers": case.run["run.workers"]}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


@dataclass(frozen=True, slots=True)
class Case:
    """One run of a sweep."""

    settings: Settings
    """Settings of this case in the file, without the base."""
    config: Config
    """The configuration, of base and settings together; unused defaults for cases that are not runs."""
    run: Settings
    """The settings outside the configuration."""

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
        return _hash({**cost, **self.run})

    def identity(self, data: object, source: str) -> str:
        """Return the id of the run: equal for equal settings, data and sources."""
        settings = {"config": self.config.model_dump(), **self.run}
        return _hash({"settings": settings, "data": data, "source": source})


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


File = TypeVar("File", bound=SweepFile)


def load_sweep(path: Path, kind: type[File] = SweepFile) -> File:  # type: ignore[assignment]  # the bound is the default
    """Read a sweep's file; paths in it are relative to it.

    Raises
    ------
    ConfigError
        The file cannot be read, or is not valid.
    """
    try:
        content = tomllib.loads(read_text(path))
    except OSError as error:
        raise ConfigError(f"cannot read the sweep {shown(path)}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of huge numbers
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return sweep_of({"name": path.stem, **content}, str(path), kind, path.parent)


def sweep_of(content: Mapping[str, Any], where: str, kind: type[File], folder: Path = Path()) -> File:
    """Return a sweep from the content of its file; paths are relative to the folder.

    Raises
    ------
    ConfigError
        The content is not valid.
    """
    try:
        sweep = kind.model_validate(content)
    except ValidationError as error:
        told = (
            f"{'.'.join(map(str, part['loc']))}: {part['msg'].removeprefix('Value error, ')}" for part in error.errors()
        )
        raise ConfigError(f"{where}: {'; '.join(told)}") from error

    def placed(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {key: _placed(folder, value) if key in _PATHS else value for key, value in settings.items()}

    data = sweep.data.model_copy(update={"folder": _placed(folder, sweep.data.folder)})
    parts = {"grid": list(map(placed, sweep.grid)), "case": list(map(placed, sweep.case))}
    return sweep.model_copy(update={"data": data, "base": placed(sweep.base), **parts})


def _placed(folder: Path, value: Any) -> Any:
    """Return a path, or each of a list of paths, relative to a folder; an empty one stays empty."""
    if isinstance(value, list):
        return [_placed(folder, path) for path in value]
    return str(folder / value) if isinstance(value, str) and value else value


def cases_of(sweep: SweepFile) -> list[Case]:
    """Expand a sweep: grids, then single cases, without duplicates.

    Returns
    -------
    list[Case]
        For runs sorted by the settings of the first stages, then in the file's order, so that every result of a stage
        is computed once.

    Raises
    ------
    ConfigError
        A key or a value is wrong, or there are too many cases.
    """
    number = sum(math.prod(map(len, grid.values())) for grid in sweep.grid) + len(sweep.case)
    if number > sweep.max_cases:
        raise ConfigError(
            f"sweep {sweep.name}: {number:,} cases are more than max_cases = {sweep.max_cases}: list fewer values, "
            "make several small grids of one large one, or raise max_cases"
        )
    wanted = [
        dict(zip(grid, values, strict=True)) for grid in sweep.grid for values in itertools.product(*grid.values())
    ]
    wanted += sweep.case
    found: dict[str, Case] = {}
    for settings in wanted or [{}]:
        case = sweep.made(settings)
        found.setdefault(case.identity("", ""), case)
    cases = list(found.values())
    if not sweep.shares_stages:
        return cases
    first_seen: list[dict[str, int]] = [{}, {}, {}, {}]

    def order(case: Case) -> Sequence[int]:
        # Sort by first appearance, not by text: 5000 should follow 500.
        return [seen.setdefault(part, len(seen)) for seen, part in zip(first_seen, case.stages, strict=True)]

    folders: dict[str, int] = {}
    return sorted(cases, key=lambda case: [folders.setdefault(case.folder_name, len(folders)), *order(case)])
