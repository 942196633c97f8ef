"""The configuration: frozen models, loaded from TOML, overridable key by key."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, field_validator

from s2fast.errors import ConfigError


class _Section(BaseModel):
    # An infinite number has no place in run.json, nor in any setting.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Regions(_Section):
    """Polygons of interest and what they do to a scene."""

    mode: Literal["keep", "zero", "none"] = "keep"
    """keep: detect on the real pixels, keep keypoints inside the polygons. zero: paint the outside black before
    detection, as the notebook does. none: the whole scene counts."""
    crs: str = "file"
    """The polygons' CRS: "file" takes what the file says, "EPSG:4326" and the like overrule it."""
    buffer_m: float = Field(0.0, ge=0)
    """Widen each polygon row by this much in the scene's CRS [m]."""
    where: str = ""
    """SQL condition on the polygons' columns, such as "tile = '36UYA'"; empty: all rows."""
    holes: bool = True
    """False: take exterior rings only, as the notebook does."""

    @field_validator("crs", mode="before")
    @classmethod
    def _epsg_code(cls, value: Any) -> Any:
        """Take a bare number for an EPSG code."""
        return f"EPSG:{value}" if isinstance(value, int) and not isinstance(value, bool) else value


class Ingest(_Section):
    """How pixels are read."""

    reduction: Literal[1, 2, 4] = 1
    """Shrink by this factor, each pixel the mean of reduction x reduction."""
    decode: Literal["full", "reduced"] = "full"
    """full: decode all pixels and take their means, as the notebook does. reduced: decode the file's own coarser level
    of that factor (a JPEG 2000 wavelet level, an overview), at 2 half the work, at 4 a fifth, with that level's own
    values; a VRT, or a file without such a level, is decoded in full."""
    stretch: Literal["none", "auto"] | tuple[int, int] = "none"
    """16-bit scenes: [low, high] maps these values to 1 and 255, the same for all scenes; auto: for each scene those
    that 2 % and 98 % of its valid values reach up to; none: such scenes are refused. 8-bit scenes stay as they are."""
    halo_px: int = Field(512, ge=0)
    """Mode keep: real pixels read around the polygons, so that keypoints at their rim are those of the unmasked
    scene [px of the reduced grid]."""

    @field_validator("stretch", mode="wrap")
    @classmethod
    def _stretch_in_one_line(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            stretch = check(value)
        except ValidationError:
            stretch = None
        if stretch is None or (isinstance(stretch, tuple) and not 0 <= stretch[0] < stretch[1] <= 65535):
            raise ValueError('write "none", "auto" or [low, high] with 0 <= low < high <= 65535')
        return stretch


class FeatureSettings(_Section):
    """Keypoints and descriptors."""

    backend: str = "auto"
    """"auto", or an AKAZE backend by name; `s2fast doctor` lists those that can run."""
    threshold: float = Field(0.0003, gt=0)
    """Least determinant of the Hessian; lower finds more keypoints, OpenCV's default is 0.001."""
    octaves: int = Field(4, ge=1, le=8)
    """Octaves of the scale space."""
    layers: int = Field(4, ge=1, le=8)
    """Levels an octave."""
    upright: bool = True
    """True: do not estimate an orientation; right where scenes are north-up."""
    nodata_px: int = Field(8, ge=0)
    """Drop keypoints nearer than this to a no-data pixel (modes keep and none) [px of the reduced grid]."""
    max_per_scene: int = Field(5000, ge=0)
    """Keep at most this many keypoints a scene, the strongest; 0: all."""
    cell_px: int = Field(64, ge=0)
    """With max_per_scene: share the budget over square ground cells of this side, strongest of each cell first
    [px of the reduced grid]; 0: no cells."""


class Matching(_Section):
    """Which matches are good."""

    backend: str = "auto"
    """"auto", or a Hamming backend by name; all give the same bits."""
    ratio: float = Field(0.85, gt=0, le=1)
    """Good: best distance < ratio x second-best distance."""
    mutual: bool = True
    """True: the train keypoint's own best neighbour must be the query keypoint."""


class Output(_Section):
    """What a run keeps."""

    keep_matches: Literal["good", "none"] = "good"
    """good: write every good match to matches/*.parquet."""


class Compute(_Section):
    """Resources; none of these changes a result."""

    budget_mb: int = Field(2048, ge=128)
    """Memory a worker may take for a unit of work, beyond what is loaded; what would not fit is refused [MB]."""
    threads: int = Field(0, ge=0)
    """Threads a worker uses; 0: all cores, shared between local workers."""


class Config(_Section):
    """One run's settings."""

    regions: Regions = Regions()
    ingest: Ingest = Ingest()
    features: FeatureSettings = FeatureSettings()
    matching: Matching = Matching()
    output: Output = Output()
    compute: Compute = Compute()


def load_config(path: Path | str | None = None, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Config:
    """Read a TOML file and apply overrides.

    Parameters
    ----------
    path
        The TOML file; None: the defaults.
    overrides
        ``["section.key=value", ...]`` with values as TOML writes them (bare words are strings), or a mapping from
        dotted key to value. Later ones win.

    Raises
    ------
    ConfigError
        The file cannot be read, or a key or value is wrong; the message names the key and the nearest valid one.

    Examples
    --------
    >>> load_config(overrides=["ingest.reduction=2", "regions.crs=EPSG:4326"]).ingest.reduction
    2
    """
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(Path(path).read_text("utf-8-sig"))
        except OSError as error:
            raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for dotted, value in _parsed(overrides):
        section, _, key = dotted.partition(".")
        table = data.setdefault(section, {})
        if not key or not isinstance(table, dict):
            raise ConfigError(f"unknown key {dotted!r} in an override; {_nearest(dotted)}")
        table[key] = value
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        given = ([str(path)] if path is not None else []) + (["overrides"] if overrides else [])
        raise ConfigError(_explain(error, " with ".join(given) or "the API")) from error


def _parsed(overrides: Sequence[str] | Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(overrides, Mapping):
        yield from overrides.items()
        return
    for text in overrides:
        dotted, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"override {text!r} has no value: write section.key=value")
        try:
            parsed = tomllib.loads(f"value = {value}")
        except tomllib.TOMLDecodeError:
            parsed = {"value": value.strip()}
        if len(parsed) > 1:
            raise ConfigError(f"override {text!r} sets more than one key: write one --set for each")
        yield dotted.strip(), parsed["value"]


def dotted_keys() -> list[str]:
    """Every key of the configuration, ``section.key``."""
    return [
        f"{section}.{key}"
        for section, field in Config.model_fields.items()
        for key in field.annotation.model_fields  # type: ignore[union-attr]  # every section is a model
    ]


def _nearest(dotted: str) -> str:
    keys = dotted_keys()
    close = difflib.get_close_matches(dotted, keys, n=1, cutoff=0.4)
    if not close:
        same_key = [key for key in keys if key.split(".")[1] == dotted.rpartition(".")[2]]
        close = same_key or keys
        return f"did you mean {close[0]!r}?" if same_key else f"sections are {', '.join(Config.model_fields)}"
    return f"did you mean {close[0]!r}?"


def _explain(error: ValidationError, where: str) -> str:
    """One line for all that is wrong."""
    told = []
    for problem in error.errors():
        dotted = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            told.append(f"unknown key {dotted!r}; {_nearest(dotted)}")
        else:
            told.append(f"{dotted} = {problem['input']!r}: {problem['msg'].lower()}")
    return f"{where}: {'; '.join(told)}"
