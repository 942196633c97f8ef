"""The values that travel between modules: scenes, windows, features, pair results. All frozen."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from s2fast.files.source import Source
from s2fast_kernels.features import Features

__all__ = ["Features", "Naming", "PairResult", "PairVerdict", "Raster", "Scene", "TileInfo", "Window"]


@dataclass(frozen=True, slots=True)
class Naming:
    """What names a raster: its acquisition, product and band, without opening it; see `s2fast.archive.names`."""

    scene_id: str
    """``S2A_20160830T083602_T36UYA``, or the file's stem where the name says less; unique among a run's scenes."""

    platform: str = ""
    """``S2A`` to ``S2D``, or ``HLS.S30``, ``HLS.L30``; empty if unknown."""

    sensing_time: datetime | None = None
    """Start of sensing, UTC, midnight if the name says only the day; None if unknown."""

    tile: str = ""
    """MGRS tile, ``36UYA``, empty if unknown."""

    baseline: int = 0
    """Processing baseline of the product, 207 for N0207; 0 if unknown."""

    product_time: str = ""
    """The product's discriminator, ``20160830T083600``; orders products of one baseline."""

    level: str = ""
    """Processing level, ``L1C`` or ``L2A``, empty if unknown."""

    asset: str = ""
    """Which raster of its product, in capitals: ``TCI``, ``B04``; empty if the name does not say."""


@dataclass(frozen=True, slots=True)
class Scene(Naming):
    """One acquisition of one MGRS tile: a raster, and what its name says of it; nothing is opened."""

    source: Annotated[Source, Field(alias="path")] = field(kw_only=True)
    """The raster; in run.json its name, under ``path``."""

    @classmethod
    def of(cls, source: Source, naming: Naming) -> Scene:
        """Return the scene of a raster, named by its file or by anything else."""
        return cls(**{entry.name: getattr(naming, entry.name) for entry in fields(Naming)}, source=source)

    @property
    def order(self) -> tuple[str, str, str]:
        """Where the scene stands in a run: by tile, then time, then name."""
        return (self.tile, self.sensing_time.isoformat() if self.sensing_time else "", self.scene_id)


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a raster's pixel grid, half open."""

    row: int
    """First row."""

    col: int
    """First column."""

    height: int
    """Rows."""

    width: int
    """Columns."""

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slice, to index a (row, col) array."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Pixel edges x0, y0, x1, y1: the corner of the grid's first pixel is (0, 0)."""
        return self.col, self.row, self.col + self.width, self.row + self.height

    def __bool__(self) -> bool:
        """Whether the window holds a pixel."""
        return self.height > 0 and self.width > 0


@dataclass(frozen=True, slots=True)
class Raster:
    """A raster file's header."""

    shape: tuple[int, int]
    """Rows, columns."""

    block: tuple[int, int]
    """Rows and columns, at full resolution, that are decoded together at the level read; reads aligned to it decode
    nothing twice."""

    crs_wkt: str
    """Coordinate reference system, as WKT."""

    transform: tuple[float, float, float, float, float, float]
    """Affine a, b, c, d, e, f: x = a col + b row + c, y = d col + e row + f, at pixel corners [CRS units]."""

    dtype: str = "uint8"
    """Type of the file's pixels, ``uint8`` or ``uint16``; of a palette's colours, not of its indices."""

    level: int = 1
    """Full-resolution pixels a side of one pixel of the file's own level that is read; 1: the full resolution."""

    level_centre_px: float = 0.0
    """Where that level's first pixel has its centre on the full-resolution grid, in x and y, pixel centres at integers
    [px]."""

    masked: bool = False
    """Whether the file itself says which pixels are missing: by a mask, an alpha band, a palette or a nodata value that
    is not 0."""

    @property
    def north_up(self) -> bool:
        """Whether rows run east and columns south."""
        a, b, _, d, e, _ = self.transform
        return b == 0 and d == 0 and a > 0 > e

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Map a point of the pixel grid, in pixel edges, to x and y [CRS units]."""
        a, b, c, d, e, f = self.transform
        return a * x + b * y + c, d * x + e * y + f

    def outline(self, window: Window | None = None) -> list[tuple[float, float]]:
        """Corners of a window, or of the whole raster, x and y [CRS units], upper left first, clockwise."""
        x0, y0, x1, y1 = (window or Window(0, 0, *self.shape)).bounds
        return [self.at(x, y) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]


@dataclass(frozen=True, slots=True)
class TileInfo:
    """What is stored beside a scene's masked tile: where its pixels come from and where they lie.

    The tile's grid is the scene's, reduced; `transform` and `full_shape` are of the full-resolution grid.
    """

    source: str
    """The raster file, without what is secret in its address."""

    platform: str
    """See `Scene.platform`."""

    sensing_time: str | None
    """See `Scene.sensing_time`; ISO 8601."""

    tile: str
    """See `Scene.tile`."""

    crs: str
    """Coordinate reference system, as WKT."""

    transform: tuple[float, float, float, float, float, float]
    """See `Raster.transform`."""

    full_shape: tuple[int, int]
    """Rows, columns at full resolution."""

    reduction: int
    """Full-resolution pixels per side of a pixel of the tile."""

    decode: str
    """``full`` or ``reduced``: at which resolution the file was decoded."""

    centre_px: float
    """Where the tile's first pixel has its centre on the full-resolution grid, in x and y, pixel centres at integers
    [px]."""

    stretch: tuple[int, int] | None
    """The 16-bit values that became 1 and 255; None for 8-bit files, and where no window was read."""

    windows_read: int
    """Windows of the file that were decoded."""

    masked: bool = False
    """See `Raster.masked`."""

    def to_attributes(self) -> dict[str, Any]:
        """Return JSON values by field name; `masked` only where it is True."""
        attributes = asdict(self)
        return attributes if self.masked else {name: attributes[name] for name in attributes if name != "masked"}

    @classmethod
    def from_attributes(cls, attributes: dict[str, Any]) -> TileInfo:
        """Make it from `to_attributes`; other keys are ignored."""
        known = {item.name: attributes[item.name] for item in fields(cls) if item.name in attributes}
        for name in ("transform", "full_shape", "stretch"):
            known[name] = None if known[name] is None else tuple(known[name])
        return cls(**known)


@dataclass(frozen=True, slots=True)
class PairResult:
    """What matching found for one pair; a row of ``pairs/*.parquet``."""

    query: str
    """Scene id of the query, first in the run's order."""

    train: str
    """Scene id of the train."""

    n_query: int
    """Keypoints of the query."""

    n_train: int
    """Keypoints of the train."""

    n_good: int
    """Query keypoints whose best neighbour passes the ratio test (and the mutual test where it is on)."""

    similarity_pct: float
    """``100 * n_good / max(n_query, 1)``, two decimals."""

    key: str
    """Content key: the features and settings this row was computed from."""

    radius_m: float
    """How far apart the same ground may lie [m]: what was asked for, or what ``matching.radius_m = "auto"`` came to."""


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """What verification found for one pair; with a `PairResult` it is a row of ``verified/*.parquet``.

    None throughout where verification is off, and for the shift where none was found.
    """

    overlap_pct: float
    """Clear ground that both scenes show, as a share of the smaller scene's raster [%]."""

    n_inliers: int | None = None
    """Matches that agree with the shift, or with the model where it is not a plain shift."""

    dx_m: float | None = None
    """Train minus query ground position of the same feature, east [m]; at the centre of the common ground where `model`
    is not a plain shift."""

    dy_m: float | None = None
    """The same, north [m]."""

    dx_px: float | None = None
    """The shift in the query's full-resolution pixels, right [px]."""

    dy_px: float | None = None
    """The same, down [px]."""

    shift_error_m: float | None = None
    """Standard error of `dx_m`, and of `dy_m` [m]."""

    verified: bool | None = None
    """Whether chance cannot explain the inliers."""

    verdict: str = ""
    """One of

    - ``verified``;
    - ``not verified``: chance explains the matches;
    - ``prior suspect``: the matches point to a shift outside what was searched, which `dx_m` and `dy_m` give;
    - ``ambiguous``: two shifts explain the matches about equally well, as on ground that repeats itself;
      `rival_dx_m` and `rival_dy_m` give the second;
    - ``not enough ground``: what is neither painted, filled nor missing in both scenes is too little to judge;
    - ``no common ground``."""

    n_witnesses: int | None = None
    """Independent matches among the inliers: those of one structure count as one."""

    model: str = ""
    """How the train lies against the query: ``shift``, ``similarity`` (also rotation and scale) or ``affinity`` (also
    shear); empty where nothing was found."""

    rotation_deg: float | None = None
    """Rotation of the train against the query, counter-clockwise on the map [deg]; None for a plain shift."""

    rotation_error_deg: float | None = None
    """Standard error of `rotation_deg` [deg]."""

    scale: float | None = None
    """Scale of the train's ground to the query's, 1 if equal; None for a plain shift."""

    scale_error: float | None = None
    """Standard error of `scale`."""

    shear: float | None = None
    """Departure of an affinity from a similarity, 0 if none; None for the other models."""

    rival_dx_m: float | None = None
    """The second shift of an ambiguous pair, east [m]."""

    rival_dy_m: float | None = None
    """The same, north [m]."""

    searched_m: float | None = None
    """How far from the expected position a shift was accepted [m]."""

    null_trials: int = 0
    """Times the same rule was tried where it must find nothing."""

    null_verified: int = 0
    """Times it found something there."""
