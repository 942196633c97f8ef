"""The settings as immutable models: one class per section of a configuration."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
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

from s2fast.files.redaction import public
from s2fast.files.suffixes import shown

LEAST_DEVICE_MB = 256
"""Least value of ``compute.device_budget_mb``: the planes of one window of AKAZE take less."""


class _Section(BaseModel):
    # JSON has no infinity, so run.json could not hold it.
    # The text under a key is read by s2fast/tools/configuration_reference.py alone: pydantic would look for it at every
    # import of s2fast, through all modules that are loaded.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
    band: str | tuple[str, ...] = ""
    """Raster of each product that is matched, at its finest resolution: "tci", a band such as "B08", or its colour, as
    "red" or "nir", which each sensor numbers in its own way; or a list of bands of one size, which become grey by
    `band_weights`. With a band, `stretch` is "auto" unless set, for each band by itself. Files that are no product's
    are used as they are. Empty: the image of each product, or each band where it has none."""
    band_weights: tuple[float, ...] = ()
    """Weights of a list of bands; they are divided by their sum. Empty: equal."""
    stretch: Literal["none", "auto"] | tuple[int, int] | tuple[float, float] = "none"
    """Conversion of scenes with longer pixels (16 bits, floats) to 8 bits. [low, high]: map these values to 1 and 255
    in all scenes. auto: map the 2nd and 98th percentiles of each scene's valid values. none: refuse such scenes. 8-bit
    scenes are not changed."""
    max_px: int = Field(4 * 10980**2, ge=1)
    """Largest scene that is read [px]: four Sentinel-2 tiles; no side may be longer than 40,000 px."""
    max_block_mb: int = Field(1024, ge=1)
    """Largest block that is read, decoded with all its bands [MiB]; a block is decoded as a whole."""
    asset: str = "auto"
    """Which raster of a STAC item or a Zarr store is matched, by its name in it. auto: visual, TCI or B04, the first
    that there is."""
    trust: tuple[str, ...] = ()
    """Folders, on disk or on a server, that virtual rasters (``.vrt``) and STAC items may read besides their own and
    those of the scenes given; servers in your network (``http://HOST/``) that items may name, and that servers on the
    internet may redirect to."""
    halo_px: int = Field(512, ge=0)
    """Mode keep: width of the margin of real pixels read around the polygons, so that keypoints at their edges equal
    those of the unmasked scene [px of the reduced grid]."""
    clouds: bool = True
    """True: find clouds as `mask` says, fill them and all no-data pixels with the median of the scene's clear pixels,
    and allow no keypoints there. False: do not look for clouds or change the pixels."""
    mask: Literal["auto", "none", "bright", "scl", "clouds", "probability", "file"] = "auto"
    """What clouds are found by; the report names it for each scene. auto: the best of the product: scl, Fmask,
    probability, or clouds together with brightness, which cloud masks of level 1C need; else brightness. bright: areas
    much brighter than the scene's darkest quarter, unless they are over 60 % of it; with stretch = "auto" only in
    visible bands of products with known reflectances. scl: the scene classification of
    level 2A. clouds: the cloud mask of level 1C (MSK_CLASSI, or the polygons MSK_CLOUDS before 2022), or Fmask of HLS.
    probability: pixels of at least `mask_probability` in MSK_CLDPRB. file: your own `mask_file`. none: look for no
    clouds, only fill missing pixels."""
    mask_file: str = ""
    """With mask = "file", "scl" or "probability": the path of each scene's raster, in any resolution and CRS, or of its
    polygons, with the words {id}, {stem}, {folder}, {tile} and {date} of the scene, as in
    "{folder}/{stem}_cloud.tif"."""
    mask_values: Literal["auto"] | tuple[int, ...] = "auto"
    """Values of the raster of mask = "scl" or "file" that show no ground. auto: 0, 1, 3, 8, 9 and 10 of a scene
    classification (no data, defective, shadow, clouds, cirrus), anything but 0 of another file."""
    mask_probability: float = Field(40.0, gt=0, le=100)
    """Least probability of a cloud with mask = "probability" [%]."""
    mask_buffer_m: float = Field(50.0, ge=0)
    """Widen the clouds of a mask by this distance on the ground [m]; not those found by brightness."""
    contrast: Literal["none", "clahe"] = "clahe"
    """clahe: raise local contrast in 8 x 8 parts of the scene before detection, so that low-contrast fields on a hazy
    date yield the same keypoints as on a clear date. none: do not change the contrast."""
    clahe_clip: float = Field(8.0, gt=0)
    """Clip limit of CLAHE: each bin of a part's histogram is clipped at this multiple of the mean bin."""

    @model_validator(mode="before")
    @classmethod
    def _stretch_of_a_band(cls, data: Any) -> Any:
        """Stretch the 16 bits of a band without further settings."""
        wanted = data.get("band", "") if isinstance(data, Mapping) else ""
        if wanted and (not isinstance(wanted, str) or wanted.lower() not in ("tci", "visual")):
            return {"stretch": "auto", **data}
        return data

    @field_validator("trust", mode="before")
    @classmethod
    def _trust_without_secrets(cls, value: Any) -> Any:
        """Accept a single place, and drop signatures and passwords: only the server or folder matters."""
        places = (value,) if isinstance(value, str) else value
        strings = isinstance(places, list | tuple) and all(isinstance(place, str) for place in places)
        return tuple(public(place) for place in places) if strings else places

    @field_validator("band")
    @classmethod
    def _known_band(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, tuple):
            if len(value) < 2 or len(set(value)) < len(value) or "" in value:
                raise ValueError('write at least two different bands, or one without brackets, such as "B08"')
            return tuple(str(cls._known_band(name)) for name in value)
        if not re.fullmatch(
            r"|tci|visual|b0\d|b1[0-2]|b8a|coastal|blue|green|red|rededge\d?|nir\d*|swir\d*|pan|b\d|s[rt]_b\d{1,2}",
            value.lower(),
        ):
            raise ValueError('write "tci", a band such as "B08" or "B8A", or a name such as "nir"')
        return "TCI" if value.lower() == "visual" else value.upper()

    @model_validator(mode="after")
    def _weights_agree(self) -> Ingest:
        if self.band_weights and (isinstance(self.band, str) or len(self.band) != len(self.band_weights)):
            raise ValueError(
                f"ingest.band_weights has {len(self.band_weights)} weights: give one for each of a list of ingest.band"
            )
        if self.band_weights and (min(self.band_weights) < 0 or sum(self.band_weights) <= 0):
            raise ValueError("ingest.band_weights must be 0 or more, and one more than 0")
        return self

    @property
    def bands(self) -> tuple[str, ...]:
        """The names in `band`; none if it is empty."""
        return self.band if isinstance(self.band, tuple) else (self.band,) * bool(self.band)

    @model_validator(mode="after")
    def _masks_agree(self) -> Ingest:
        if not self.clouds and self.mask not in ("auto", "none"):
            raise ValueError(f"ingest.clouds = false looks for no clouds, and ingest.mask is {self.mask!r}: remove one")
        if self.mask == "file" and not self.mask_file:
            raise ValueError('ingest.mask = "file" needs ingest.mask_file, the path of each scene\'s mask')
        if self.mask_file and self.mask not in ("file", "scl", "probability"):
            raise ValueError(f'ingest.mask_file needs ingest.mask = "file", "scl" or "probability", not {self.mask!r}')
        if "://" in self.mask_file:
            raise ValueError(
                f"ingest.mask_file = {shown(self.mask_file)!r}: masks are read from files on this machine: download "
                "them, or let the masks of products be found with their scenes"
            )
        try:
            self.mask_file.format(**dict.fromkeys(("id", "stem", "folder", "tile", "date"), ""))
        except (LookupError, ValueError) as error:
            raise ValueError(
                f"ingest.mask_file = {shown(self.mask_file)!r}: words in braces are id, stem, folder, tile and date"
            ) from error
        return self

    @field_validator("stretch", mode="wrap")
    @classmethod
    def _stretch_in_one_line(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            stretch = check(value)
        except ValidationError:
            stretch = None
        if stretch is None or (isinstance(stretch, tuple) and not -math.inf < stretch[0] < stretch[1] < math.inf):
            raise ValueError('write "none", "auto" or [low, high] with low < high')
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
    zones, and in CRSs of which the grids are turned by at most 10 degrees against each other."""
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
    coarser: bool = True
    """True: search a scene beside scenes of the same ground with larger pixels (by over 5 %, as Landsat's beside
    Sentinel-2's) also on the means of its pixels over theirs, and match such pairs on the coarser grid; each grid has a
    budget `max_per_scene` of its own. It needs matching.mode = "windowed" and changes nothing among scenes of one
    resolution. Scenes that were interpolated from larger pixels are also searched on means over those pixels, in any
    mode, and pairs of such scenes are matched on them. False: match what is found on the scenes' own pixels."""


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
    error is unknown. At most 0.3 of the smaller scene's side: beyond it, too little ground overlaps."""
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
    scene for a shift or similarity transform (needs matching.mode = "exhaustive"); scenes without any are accepted."""
    second_look_px: int = Field(200, ge=0)
    """Where nothing is found near the expected position, with `matching.radius_m` = 0, look again within this distance
    [px of the pair's coarser grid]: for scenes that are off by more than their georeferencing promises. Such a pair has
    looks = 2. 0: do not."""
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
    [MiB]."""
    device_budget_mb: Literal["auto"] | int = "auto"
    """Memory of a GPU a worker may use; larger work is split [MiB]. auto: three quarters of what is free on the GPU,
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
            raise ValueError(f'write "auto" or a number of MiB, {LEAST_DEVICE_MB} or more')
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
