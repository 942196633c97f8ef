"""The configuration: immutable models, loaded from TOML, with overrides of single keys."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
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

from s2fast.errors import ConfigError, option

LEAST_DEVICE_MB = 256
"""Least value of ``compute.device_budget_mb``: the planes of one window of AKAZE take less."""


class _Section(BaseModel):
    # JSON has no infinity, so run.json could not hold it.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Regions(_Section):
    """Polygons of interest and how they mask a scene."""

    mode: Literal["keep", "zero", "none"] = "keep"
    """keep: detect on the real pixels and keep the keypoints inside the polygons. zero: paint the pixels outside black
    before detection, as the notebook does; with `ingest.grey = "opencv"`, of a local JPEG 2000 file only the unpainted
    pixels are decoded. none: use the whole scene."""
    crs: str = "file"
    """CRS of the polygons: "file" uses the CRS that the file declares; a code such as "EPSG:4326" overrides it."""
    layer: str = ""
    """Name of the layer to read from a file with several layers, or from a folder or zip with several files; empty: all
    layers that may hold polygons."""
    buffer_m: float = Field(0.0, ge=0)
    """Widen the polygons of each row by this distance on the ground [m]."""
    where: str = ""
    """SQL condition on the polygons' columns, such as "tile = '36UYA'"; empty: use all rows."""
    max_polygons: int = Field(1_000_000, ge=1)
    """Largest number of rows that are read."""
    max_vertices: int = Field(50_000_000, ge=1)
    """Largest number of vertices of all rows together."""
    holes: bool = True
    """False: ignore holes and use exterior rings only, as the notebook does."""

    @field_validator("crs", mode="before")
    @classmethod
    def _epsg_code(cls, value: Any) -> Any:
        """Convert a bare number to an EPSG code."""
        return f"EPSG:{value}" if isinstance(value, int) and not isinstance(value, bool) else value


class Ingest(_Section):
    """How pixels are read and prepared for the detector."""

    reduction: Literal[1, 2, 4] = 1
    """Shrink the scene by this factor: each pixel becomes the mean of reduction x reduction pixels."""
    decode: Literal["full", "reduced"] = "full"
    """full: decode all pixels and average them, as the notebook does. reduced: decode the file's own coarser level of
    that factor (a JPEG 2000 wavelet level or an overview) and use its values, which takes half the work at 2 and a
    fifth at 4; VRTs, files with a palette, a mask or an alpha band, and files without such a level are still decoded in
    full."""
    grey: Literal["luma", "opencv"] = "luma"
    """luma: of a JPEG 2000 file with a colour transform, which Sentinel-2's colour images have, decode only the luma,
    which takes half the work: 0.299 R + 0.587 G + 0.114 B, or (R + 2 G + B) / 4 in a lossless file. opencv: decode all
    bands and apply the weights 0.299, 0.587 and 0.114, as the notebook does; files without a colour transform, with
    a mask or an alpha band, with 16 bits, and files that only GDAL reads (in compressed zips), always."""
    stretch: Literal["none", "auto"] | tuple[int, int] = "none"
    """Conversion of 16-bit scenes to 8 bits. [low, high]: map these values to 1 and 255 in all scenes. auto: map the
    2nd and 98th percentiles of each scene's valid values. none: refuse 16-bit scenes. 8-bit scenes are not changed."""
    max_px: int = Field(4 * 10980**2, ge=1)
    """Largest scene that is read [px]: four Sentinel-2 tiles; no side may be longer than 40,000 px."""
    trust: tuple[str, ...] = ()
    """Folders, on disk or on a server, that virtual rasters (``.vrt``) may read besides their own and those of
    the scenes given."""
    halo_px: int = Field(512, ge=0)
    """Mode keep: width of the margin of real pixels read around the polygons, so that keypoints at their edges equal
    those of the unmasked scene [px of the reduced grid]."""
    clouds: bool = True
    """True: detect bright clouds, fill them and all no-data pixels with the median of the scene's clear pixels, and
    allow no keypoints there. False: do not change the pixels."""
    contrast: Literal["none", "clahe"] = "clahe"
    """clahe: raise local contrast in 8 x 8 parts of the scene before detection, so that low-contrast fields on a hazy
    date yield the same keypoints as on a clear date. none: do not change the contrast."""
    clahe_clip: float = Field(8.0, gt=0)
    """Clip limit of CLAHE: each bin of a part's histogram is clipped at this multiple of the mean bin."""

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
    """"akaze": descriptors of 486 bits. "orb": descriptors of 256 bits, computed by OpenCV; set
    matching.max_distance_bits to 84 with it."""
    backend: str = "auto"
    """"auto", or a backend of the detector by name; `s2fast doctor` lists the usable ones of AKAZE, ORB has only
    "opencv"."""
    threshold: float = Field(0.0003, gt=0)
    """AKAZE: smallest determinant of the Hessian; lower values find more keypoints, OpenCV's default is 0.001."""
    octaves: int = Field(4, ge=1, le=8)
    """Octaves of the scale space, or of ORB's pyramid."""
    layers: int = Field(4, ge=1, le=8)
    """Levels per octave."""
    upright: Literal[True, False, "auto"] = "auto"
    """True: do not estimate keypoint orientations; auto: true if all scenes of the run are north-up, even in different
    zones."""
    upsample: Literal[1, 2, "auto"] = "auto"
    """2: detect on the image enlarged twice per side (cubic), which finds smaller keypoints and locates them more
    precisely, at four times the work; auto: 2 if neither side of the reduced scene is longer than 4096 px."""
    nodata_px: int = Field(8, ge=0)
    """Drop keypoints closer than this to a no-data pixel (modes keep and none) [px of the reduced grid]."""
    max_per_scene: int = Field(20_000, ge=0)
    """Keep at most this many keypoints per scene, the strongest; 0: keep all."""
    cell_px: int = Field(64, ge=0)
    """With max_per_scene: distribute the budget over square ground cells of this side, the strongest keypoints of each
    cell first [px of the reduced grid]; 0: no cells."""


class Matching(_Section):
    """Which pairs are matched, and which matches are good."""

    backend: str = "auto"
    """"auto", or a Hamming backend by name; all backends return identical results."""
    mode: Literal["exhaustive", "windowed"] = "windowed"
    """exhaustive: compare with all keypoints of the other scene, as in the notebook. windowed: compare only with those
    within a radius of the same map position, and of the same size on the ground; a keypoint with a single such
    neighbour is exempt from the ratio test."""
    radius_m: Literal["auto"] | float = 0.0
    """Mode windowed, and verification: largest expected offset between two scenes [m]; 0: five pixels of the pair's
    coarser grid. Matches are searched up to twice this distance, so that a shift just beyond it is detected and
    reported. auto: five pixels, then 15, 45 and 135, until the shift found lies within; for scenes whose georeferencing
    error is unknown."""
    ratio: float = Field(0.9, gt=0, le=1)
    """Good: best distance < ratio x second-best distance."""
    mutual: bool = True
    """True: the train keypoint's own best neighbour must be the query keypoint."""
    max_distance_bits: int = Field(160, ge=0, le=512)
    """Good: at most this Hamming distance [bits]; 512: any. The default is a third of AKAZE's bits; a third of ORB's
    is 84."""
    pairs: Literal["all", "overlapping", "reference", "similar", "file"] = "all"
    """all: every pair. overlapping: pairs whose clear ground overlaps. reference: each scene with the reference only
    (--reference). similar: each scene with the `similar` scenes that its keypoints resemble most, wherever they lie.
    file: the pairs listed in `pairs_file`."""
    similar: int = Field(10, ge=1)
    """With pairs = "similar": number of scenes that each scene is compared with; a pair is compared if either scene
    chooses the other."""
    pairs_file: str = ""
    """With pairs = "file": a CSV file with columns query and train, which hold a pair's scene ids in either order."""

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
    """Geometric verification of the matches."""

    enabled: bool = True
    """False: compute no shift, inliers or verdict."""
    prior: Literal["map", "none"] = "map"
    """map: trust the scenes' georeferencing to within `matching.radius_m`. none: do not trust it, and search the whole
    scene for a shift or similarity transform (needs matching.mode = "exhaustive")."""
    nulls: int = Field(1, ge=0, le=100)
    """Trials per pair at wrong offsets or, without a prior, on shuffled matches, to measure the false-positive rate."""


class Output(_Section):
    """Which results a run keeps."""

    keep_matches: Literal["inliers", "good", "none"] = "good"
    """good: write every good match to matches/*.parquet. inliers: write only matches that agree with the pair's shift.
    none: write no matches."""
    keep_pixels: bool = True
    """False: keep no pixels of a scene, only its features, mask, map of clear ground and a thumbnail; `s2fast show`
    then reads the scene's file."""


class Compute(_Section):
    """Resources; they do not change results, apart from single bits of AKAZE's descriptors on another device."""

    device: str = "auto"
    """Where keypoints are extracted and matched. auto: on a GPU that torch can use, else on the CPU; several workers
    take turns with the GPUs. "cpu", "cuda" (the first GPU), or "cuda:1". `features.backend` and `matching.backend` take
    precedence if they name a backend of the CPU."""
    budget_mb: int = Field(2048, ge=128)
    """Memory a worker may use for a unit of work, beyond that of the idle process; work that needs more is refused
    [MB]."""
    device_budget_mb: Literal["auto"] | int = "auto"
    """Memory of a GPU a worker may use; larger work is split [MB]. auto: three quarters of what is free on the GPU,
    shared between the workers that use it."""
    threads: int = Field(0, ge=0)
    """Threads per worker; 0: all cores, shared between local workers."""

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            raise ValueError('write "auto", "cpu", "cuda" or "cuda:1"')
        return value

    @field_validator("device_budget_mb", mode="wrap")
    @classmethod
    def _device_budget_in_one_line(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            budget = check(value)
        except ValidationError:
            budget = 0
        if budget != "auto" and budget < LEAST_DEVICE_MB:
            raise ValueError(f'write "auto" or a number of megabytes, {LEAST_DEVICE_MB} or more')
        return budget


class Config(_Section):
    """The settings of one run."""

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


PROFILES = ("default", "fast", "notebook")
"""Names of the settings that come with s2fast, as files in ``profiles/``."""


def profile_text(name: str) -> str:
    """Return the TOML text of a profile; raise ConfigError if there is none of this name."""
    if name not in PROFILES:
        raise ConfigError(f"no profile {name!r}: write {', '.join(PROFILES[:-1])} or {PROFILES[-1]}")
    return (files("s2fast") / "profiles" / f"{name}.toml").read_text("utf-8")


def load_config(
    config: Path | str | Mapping[str, Any] | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    profile: str = "default",
) -> Config:
    """Return the settings of a profile, changed by a file or a mapping, and by overrides.

    Parameters
    ----------
    config
        A TOML file, or its content: ``{"matching": {"ratio": 0.8}}`` or ``{"matching.ratio": 0.8}``; None: change
        nothing.
    overrides
        ``["section.key=value", ...]`` with values in TOML syntax (bare words are strings), or a mapping like `config`.
        Later overrides take precedence.
    profile
        One of `PROFILES`.

    Raises
    ------
    ConfigError
        The file cannot be read, or a key or value is invalid; the message names the key and the nearest valid one.

    Examples
    --------
    >>> load_config(overrides=["ingest.reduction=2", "regions.crs=EPSG:4326"]).ingest.reduction
    2
    >>> load_config({"matching": {"ratio": 0.8}}, profile="fast").matching.ratio
    0.8
    """
    # The first profile holds the defaults.
    data: dict[str, Any] = {} if profile == PROFILES[0] else tomllib.loads(profile_text(profile))
    _change(data, config if config is None or isinstance(config, Mapping) else _read(config))
    for dotted, value in _parsed(overrides):
        section, _, key = dotted.partition(".")
        table = data.setdefault(section, {})
        if not key or not isinstance(table, dict):
            raise ConfigError(f"unknown key {dotted!r} in an override; {_nearest(dotted)}")
        table[key] = value
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        given = [] if config is None else ["config" if isinstance(config, Mapping) else str(config)]
        given += ["overrides"] if overrides else []
        raise ConfigError(_explain(error, " with ".join(given) or profile)) from error


def _read(path: Path | str) -> dict[str, Any]:
    """Read a TOML file."""
    try:
        return tomllib.loads(Path(path).read_text("utf-8-sig"))
    except OSError as error:
        hint = f"; it is a profile: write {option('profile')} {path}" if str(path) in PROFILES else ""
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}{hint}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _change(data: dict[str, Any], changes: Mapping[str, Any] | None) -> None:
    """Replace settings by others; their keys may be nested or dotted."""
    for name, value in (changes or {}).items():
        section, dot, key = str(name).partition(".")
        table = {key: value} if dot else value
        if isinstance(table, Mapping) and isinstance(data.get(section, {}), dict):
            data.setdefault(section, {}).update(table)
        else:
            data[section] = table


def _parsed(overrides: Sequence[str] | Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(overrides, Mapping):
        for name, value in overrides.items():
            if isinstance(value, Mapping):
                yield from ((f"{name}.{key}", inner) for key, inner in value.items())
            else:
                yield name, value
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
            raise ConfigError(f"override {text!r} sets more than one key: write one override for each")
        yield dotted.strip(), parsed["value"]


def dotted_keys() -> list[str]:
    """Return all keys of the configuration as ``section.key``."""
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
    """Return one line that describes all errors."""
    messages = []
    for problem in error.errors():
        dotted = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            messages.append(f"unknown key {dotted!r}; {_nearest(dotted)}")
        elif isinstance(problem["input"], Mapping):  # contradictory keys
            messages.append(str(problem.get("ctx", {}).get("error", problem["msg"])))
        else:
            messages.append(f"{dotted} = {problem['input']!r}: {problem['msg'].lower()}")
    return f"{where}: {'; '.join(messages)}"
