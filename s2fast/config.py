"""The configuration: frozen models, loaded from TOML, overridable key by key."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from s2fast.errors import ConfigError


class _Section(BaseModel):
    # An infinite number has no place in run.json, nor in any setting.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Regions(_Section):
    """Polygons of interest and what they do to a scene."""

    mode: Literal["keep", "zero", "none"] = "keep"
    """keep: detect on the real pixels, keep keypoints inside the polygons. zero: paint the outside black before
    detection, as the notebook does; of a JPEG 2000 file on disk only what is not painted is decoded. none: the whole
    scene counts."""
    crs: str = "file"
    """The polygons' CRS: "file" takes what the file says, "EPSG:4326" and the like overrule it."""
    layer: str = ""
    """Of a file with several layers, or of a folder or zip with several files, the one to read, by name; empty: all
    that may hold polygons."""
    buffer_m: float = Field(0.0, ge=0)
    """Widen each polygon row by this much on the ground [m]."""
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
    """How pixels are read, and prepared for the detector."""

    reduction: Literal[1, 2, 4] = 1
    """Shrink by this factor, each pixel the mean of reduction x reduction."""
    decode: Literal["full", "reduced"] = "full"
    """full: decode all pixels and take their means, as the notebook does. reduced: decode the file's own coarser level
    of that factor (a JPEG 2000 wavelet level, an overview), at 2 half the work, at 4 a fifth, with that level's own
    values; a VRT, and a file with a palette, a mask or an alpha band, or without
    such a level, are decoded in full."""
    stretch: Literal["none", "auto"] | tuple[int, int] = "none"
    """16-bit scenes: [low, high] maps these values to 1 and 255, the same for all scenes; auto: for each scene those
    that 2 % and 98 % of its valid values reach up to; none: such scenes are refused. 8-bit scenes stay as they are."""
    halo_px: int = Field(512, ge=0)
    """Mode keep: real pixels read around the polygons, so that keypoints at their rim are those of the unmasked
    scene [px of the reduced grid]."""
    clouds: bool = True
    """True: find bright clouds and fill them, with all that has no data, with the scene's clear median; no keypoint may
    lie there. False: the pixels as they are."""
    contrast: Literal["none", "clahe"] = "clahe"
    """clahe: raise local contrast in 8 x 8 parts of the scene before detection, so that dull fields of a hazy date
    give the keypoints they give on a clear one."""
    clahe_clip: float = Field(8.0, gt=0)
    """How far CLAHE may raise contrast: a grey value's share of a part is cut at this times the even share."""

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

    detector: str = "akaze"
    """"akaze": 486 bits. "orb": 256 bits, through OpenCV; set matching.max_distance_bits to 84 with it."""
    backend: str = "auto"
    """"auto", or a backend of the detector by name: `s2fast doctor` lists AKAZE's that can run, ORB has "opencv"."""
    threshold: float = Field(0.0003, gt=0)
    """AKAZE: least determinant of the Hessian; lower finds more keypoints, OpenCV's default is 0.001."""
    octaves: int = Field(4, ge=1, le=8)
    """Octaves of the scale space, or of ORB's pyramid."""
    layers: int = Field(4, ge=1, le=8)
    """Levels an octave."""
    upright: Literal[True, False, "auto"] = "auto"
    """True: do not estimate an orientation; auto: true where all scenes of the run are north-up, in whatever zones."""
    upsample: Literal[1, 2, "auto"] = "auto"
    """2: detect on twice the pixels (cubic), which finds smaller keypoints and places them better at four times the
    work; auto: 2 where neither side of the reduced scene is longer than 4096 px."""
    nodata_px: int = Field(8, ge=0)
    """Drop keypoints nearer than this to a no-data pixel (modes keep and none) [px of the reduced grid]."""
    max_per_scene: int = Field(20_000, ge=0)
    """Keep at most this many keypoints a scene, the strongest; 0: all."""
    cell_px: int = Field(64, ge=0)
    """With max_per_scene: share the budget over square ground cells of this side, strongest of each cell first
    [px of the reduced grid]; 0: no cells."""


class Matching(_Section):
    """Which pairs are matched, and which matches are good."""

    backend: str = "auto"
    """"auto", or a Hamming backend by name; all give the same bits."""
    mode: Literal["exhaustive", "windowed"] = "windowed"
    """exhaustive: all keypoints of the other scene compete, as in the notebook. windowed: only those within a radius of
    the same map position, and of the same size on the ground; a single such neighbour need not pass the ratio test."""
    radius_m: Literal["auto"] | float = 0.0
    """Mode windowed, and verification: how far the same ground may lie in two scenes [m]; 0: five pixels of the pair's
    coarser grid. Matches are sought twice as far, so that a shift just outside is seen and named. auto: five pixels,
    then 15, 45 and 135, until a shift is found within; for scenes whose georeferencing is off by an unknown amount."""
    ratio: float = Field(0.9, gt=0, le=1)
    """Good: best distance < ratio x second-best distance."""
    mutual: bool = True
    """True: the train keypoint's own best neighbour must be the query keypoint."""
    max_distance_bits: int = Field(160, ge=0, le=512)
    """Good: at most this Hamming distance [bits]; 512: any. The default is a third of AKAZE's bits; a third of ORB's
    is 84."""
    pairs: Literal["all", "overlapping", "file"] = "all"
    """all: every pair. overlapping: pairs whose clear ground meets. file: those `pairs_file` lists."""
    pairs_file: str = ""
    """pairs = "file": a CSV file with columns query and train, scene ids in either order."""

    @field_validator("radius_m", mode="wrap")
    @classmethod
    def _radius_in_one_line(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            radius = check(value)
        except ValidationError:
            radius = -1
        if radius != "auto" and radius < 0:
            raise ValueError('write "auto" or a number of metres, 0 or more')
        return radius

    @model_validator(mode="after")
    def _file_for_pairs(self) -> Matching:
        if (self.pairs == "file") != bool(self.pairs_file):
            raise ValueError('matching.pairs = "file" and matching.pairs_file go together: set both or neither')
        return self


class Verification(_Section):
    """Which matches are geometrically real."""

    enabled: bool = True
    """False: no shift, no inliers, no verdict."""
    prior: Literal["map", "none"] = "map"
    """map: scenes lie where their georeferencing says, give or take `matching.radius_m`. none: it is not trusted;
    the shift, or a similarity, is sought over the whole scene (wants matching.mode = "exhaustive")."""
    nulls: int = Field(1, ge=0, le=100)
    """How often each pair is tried at a place that is wrong on purpose, to know how often chance is taken for truth."""


class Output(_Section):
    """What a run keeps."""

    keep_matches: Literal["inliers", "good", "none"] = "good"
    """good: write every good match to matches/*.parquet. inliers: only those that agree with the pair's shift."""


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
    verification: Verification = Verification()
    output: Output = Output()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _sections_agree(self) -> Config:
        if self.verification.prior == "none" and self.verification.enabled and self.matching.mode == "windowed":
            raise ValueError('verification.prior = "none" needs matching.mode = "exhaustive"')
        if self.matching.radius_m == "auto" and self.matching.mode == "exhaustive":
            raise ValueError('matching.radius_m = "auto" needs matching.mode = "windowed"')
        if self.output.keep_matches == "inliers" and not self.verification.enabled:
            raise ValueError('output.keep_matches = "inliers" needs verification.enabled = true')
        return self


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
    section = difflib.get_close_matches(dotted, Config.model_fields, n=1, cutoff=0.7)
    if section and "." not in dotted:
        return f"did you mean {section[0]!r}?"
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
        elif isinstance(problem["input"], Mapping):  # keys that contradict each other
            told.append(str(problem.get("ctx", {}).get("error", problem["msg"])))
        else:
            told.append(f"{dotted} = {problem['input']!r}: {problem['msg'].lower()}")
    return f"{where}: {'; '.join(told)}"
