"""Immutable value types shared by all modules: scenes, windows, features, results of pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, TypeAdapter

from s2fast.files.source import Source
from s2fast.verdicts import Verdict
from s2fast_kernels.features import Features

__all__ = [
    "PIXEL_TRANSFORM",
    "Features",
    "Naming",
    "PairResult",
    "PairVerdict",
    "Raster",
    "Scene",
    "TileInfo",
    "Transform",
    "Window",
    "columns_of",
    "transformed",
]


PIXEL_TRANSFORM = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
"""Transform of rasters without georeferencing: x to the right and y upwards from the upper left corner [px]."""


def _with_area(transform: tuple[float, ...]) -> tuple[float, ...]:
    a, b, c, d, e, f = transform
    area = a * e - b * d
    if not (area and math.isfinite(area + c + f)):
        raise ValueError("its pixels have no area")
    return transform


Transform: TypeAlias = Annotated[tuple[float, float, float, float, float, float], AfterValidator(_with_area)]
"""Affine a ... f of a grid, at pixel corners [CRS units]; what is read from a file is checked to have an inverse."""


@cache
def _tile_validator() -> TypeAdapter[TileInfo]:
    return TypeAdapter(TileInfo)


@dataclass(frozen=True, slots=True)
class Naming:
    """Acquisition, product and band of a raster, parsed from its name; see `s2fast.archive.names`."""

    scene_id: str
    """``S2A_20160830T083602_T36UYA``, or the file's stem if the name has no acquisition; unique within a run."""

    platform: str = ""
    """``S2A`` to ``S2D``, ``HLS.S30``, ``HLS.L30``, ``LC09``, or ``PS`` and a PlanetScope satellite; empty if
    unknown."""

    sensing_time: datetime | None = None
    """Start of sensing, UTC; midnight if the name contains only the date; None if unknown."""

    tile: str = ""
    """MGRS tile, ``36UYA``, or path and row of Landsat, ``177025``; empty if unknown."""

    baseline: int = 0
    """Processing baseline of the product, 207 for N0207; 0 if unknown."""

    product_time: str = ""
    """The product's discriminator, ``20160830T083600``; it orders products of one baseline."""

    level: str = ""
    """Processing level, ``L1C`` or ``L2A``, of Landsat ``L1TP``, ``L2SP`` and others; empty if unknown."""

    asset: str = ""
    """Name of the raster within its product, in capitals: ``TCI``, ``B04``; empty if unknown."""

    cloud_cover_pct: float | None = None
    """Share of the scene that clouds cover, as its catalogue says [%]; None if unknown."""


@dataclass(frozen=True, slots=True)
class Scene(Naming):
    """One acquisition of one MGRS tile: a raster, and the properties parsed from its name."""

    source: Annotated[Source, Field(alias="path")] = field(kw_only=True)
    """The raster; run.json stores its name as ``path``."""

    others: tuple[Source, ...] = field(default=(), kw_only=True)
    """Other bands of the product that become grey together with `source`."""

    @classmethod
    def of(cls, source: Source, naming: Naming) -> Scene:
        """Return the scene of a raster with the given properties."""
        return cls(**{entry.name: getattr(naming, entry.name) for entry in fields(Naming)}, source=source)

    @property
    def order(self) -> tuple[str, str, str]:
        """Sort key of the scene in a run: tile, then time, then id."""
        return (self.tile, self.sensing_time.isoformat() if self.sensing_time else "", self.scene_id)


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a raster's pixel grid."""

    row: int
    """First row."""

    col: int
    """First column."""

    height: int
    """Number of rows."""

    width: int
    """Number of columns."""

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices that index a (row, col) array."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Pixel edges x0, y0, x1, y1; the upper left corner of the grid's first pixel is (0, 0)."""
        return self.col, self.row, self.col + self.width, self.row + self.height

    def __bool__(self) -> bool:
        """Return whether the window contains a pixel."""
        return self.height > 0 and self.width > 0


@dataclass(frozen=True, slots=True)
class Raster:
    """A raster file's header."""

    shape: tuple[int, int]
    """Rows, columns."""

    block: tuple[int, int]
    """Rows and columns of a block of the level read, in full-resolution pixels. A block is decoded as a whole; reads
    aligned to blocks decode each block once."""

    crs_wkt: str
    """Coordinate reference system, as WKT; empty: the file has no usable georeferencing, and `transform` is
    `PIXEL_TRANSFORM`."""

    transform: Transform
    """Affine a, b, c, d, e, f: x = a col + b row + c, y = d col + e row + f, at pixel corners [CRS units]."""

    dtype: str = "uint8"
    """Type of the file's pixels, ``uint8``, ``uint16``, ``float32``, ...; for a palette, that of its colours."""

    level: int = 1
    """Side of a pixel of the level read, in full-resolution pixels; 1: the full resolution."""

    level_centre_px: float = 0.0
    """Centre of that level's first pixel on the full-resolution grid, whose pixel centres are at integers, in x and y
    [px]."""

    masked: bool = False
    """Whether the file declares missing pixels by a mask, an alpha band, a palette or a nonzero nodata value."""

    luma: bool = False
    """Whether grey is the luma that the file stores; else it is computed from the bands."""

    @property
    def north_up(self) -> bool:
        """Whether columns increase eastward and rows southward."""
        a, b, _, d, e, _ = self.transform
        return b == 0 and d == 0 and a > 0 > e

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return x and y of a point of the pixel grid [CRS units]; pixel edges are at integers."""
        return transformed(self.transform, x, y)

    def outline(self, window: Window | None = None) -> list[tuple[float, float]]:
        """Return the corners of a window, or of the whole raster, clockwise from the upper left: x, y [CRS units]."""
        x0, y0, x1, y1 = (window or Window(0, 0, *self.shape)).bounds
        return [self.at(x, y) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]


def transformed(transform: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Apply an affine a, b, c, d, e, f: return a x + b y + c and d x + e y + f, for numbers or arrays."""
    a, b, c, d, e, f = transform
    return a * x + b * y + c, d * x + e * y + f


@dataclass(frozen=True, slots=True)
class TileInfo:
    """Metadata stored with a scene's masked tile: provenance and georeferencing of its pixels.

    The tile's grid is the scene's grid, reduced; `transform` and `full_shape` describe the full-resolution grid.
    """

    source: str
    """Name of the raster file, without secrets of its address."""

    platform: str
    """See `Scene.platform`."""

    sensing_time: str | None
    """See `Scene.sensing_time`; ISO 8601."""

    tile: str
    """See `Scene.tile`."""

    crs: str
    """See `Raster.crs_wkt`."""

    transform: Transform
    """See `Raster.transform`."""

    full_shape: tuple[int, int]
    """Rows, columns at full resolution."""

    reduction: int
    """Side of a pixel of the tile, in full-resolution pixels."""

    decode: str
    """Resolution at which the file was decoded: ``full`` or ``reduced``."""

    centre_px: float
    """Centre of the tile's first pixel on the full-resolution grid, in x and y; pixel centres are at integers [px]."""

    stretch: tuple[float, float] | None
    """The values that became 1 and 255; None for 8-bit files, and if no window was read."""

    windows_read: int
    """Number of windows of the file that were decoded."""

    masked: bool = False
    """Whether missing pixels are stored: the file declares them, see `Raster.masked`, or there is a mask."""

    mask: str = ""
    """Kind of the mask by which pixels are missing, see `s2fast.masks.kinds.KINDS`; empty: none."""

    mask_unused: str = ""
    """Kind of the mask that the scene comes with, if it leaves too little of it to be used; empty: there is none."""

    mask_elsewhere: str = ""
    """File of polygons that lie elsewhere than the scene and mask nothing, and where both lie; empty: there is none."""

    reflectance: tuple[float, float] | None = None
    """Reflectances of the grey values 1 and 255 of a scene stretched by its own percentiles; None: unknown, or it is
    not stretched so."""

    not_by_brightness: str = ""
    """Why brightness says nothing of the clouds of such a scene; empty: it does."""

    def to_attributes(self) -> dict[str, Any]:
        """Return JSON values by field name; those of masks and clouds are omitted if there is none."""
        attributes = asdict(self)
        of_masks = ("masked", "mask", "mask_unused", "mask_elsewhere", "reflectance", "not_by_brightness")
        return {name: value for name, value in attributes.items() if value or name not in of_masks}

    @classmethod
    def from_attributes(cls, attributes: dict[str, Any]) -> TileInfo:
        """Return the metadata from the result of `to_attributes`; unknown keys are ignored.

        Raises
        ------
        ValueError
            A value is none that tiles have.
        """
        known = {item.name: attributes[item.name] for item in fields(cls) if item.name in attributes}
        return _tile_validator().validate_python(known)


@dataclass(frozen=True, slots=True)
class PairResult:
    """Result of matching one pair; a row of ``pairs/*.parquet``."""

    query: str
    """Scene id of the query, which precedes the train in the run's order."""

    train: str
    """Scene id of the train."""

    n_query: int
    """Number of keypoints of the query."""

    n_train: int
    """Number of keypoints of the train."""

    n_good: int
    """Number of query keypoints whose best neighbour passes the ratio test (and the mutual test if enabled)."""

    similarity_pct: float
    """``100 * n_good / max(n_query, 1)``, two decimals."""

    key: str
    """Content key of the features and settings from which this row was computed."""

    radius_m: float
    """Search radius [m]: ``matching.radius_m``, or the value determined for "auto"."""


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """Result of verifying one pair; together with a `PairResult` it is a row of ``verified/*.parquet``.

    Optional fields are None if verification is disabled; those of the shift are None if no shift was found.
    """

    overlap_pct: float
    """Clear ground that both scenes show, as a percentage of the smaller scene's raster [%]; NaN if unknown, because
    they have no CRS."""

    n_inliers: int | None = None
    """Number of matches that agree with the shift, or with the model if it is not a plain shift."""

    dx_m: float | None = None
    """Train minus query ground position of the same feature, east [m]; at the centre of the common ground if `model` is
    not a plain shift."""

    dy_m: float | None = None
    """The same, north [m]."""

    dx_px: float | None = None
    """The shift in the query's full-resolution pixels, right [px]."""

    dy_px: float | None = None
    """The same, down [px]."""

    shift_error_m: float | None = None
    """Standard error of `dx_m`, and of `dy_m` [m]."""

    verified: bool | None = None
    """Whether the inliers cannot be explained by chance."""

    verdict: Verdict | Literal[""] = ""
    """The verdict; empty if verification is disabled. Of a pair that is ``prior suspect``, `dx_m` and `dy_m` are the
    shift beyond the search radius."""

    n_witnesses: int | None = None
    """Number of independent inliers: matches on one structure count as one."""

    model: str = ""
    """Model of the transformation from query to train: ``shift``, ``similarity`` (also rotation and scale) or
    ``affinity`` (also shear); empty if none was found."""

    rotation_deg: float | None = None
    """Rotation of the train relative to the query, counter-clockwise on the map [deg]; None for a plain shift."""

    rotation_error_deg: float | None = None
    """Standard error of `rotation_deg` [deg]."""

    scale: float | None = None
    """Scale of the train's ground relative to the query's, 1 if equal; None for a plain shift."""

    scale_error: float | None = None
    """Standard error of `scale`."""

    shear: float | None = None
    """Deviation of an affinity from a similarity, 0 if none; None for the other models."""

    rival_dx_m: float | None = None
    """The second shift of an ambiguous pair, east [m]."""

    rival_dy_m: float | None = None
    """The same, north [m]."""

    searched_m: float | None = None
    """Maximum accepted distance of a shift from the expected position [m]."""

    null_trials: int = 0
    """Number of null trials: the same rule applied where it must not verify anything."""

    null_verified: int = 0
    """Number of null trials that were verified nevertheless."""

    looks: int = 1
    """2 if nothing was found near the expected position and the pair was looked at again; if that verified it,
    `searched_m` is the wide radius."""


def columns_of(rows: Sequence[PairResult] | Sequence[PairVerdict]) -> dict[str, list[Any]]:
    """Return the values of rows by column.

    Examples
    --------
    >>> columns_of([PairVerdict(99.5), PairVerdict(0.0)])["overlap_pct"]
    [99.5, 0.0]
    """
    return {entry.name: [getattr(row, entry.name) for row in rows] for entry in fields(rows[0])}
