"""Check corrected rasters by correlating windows of the files as written, independently of keypoints and matches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window, from_bounds

from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.geometry.placement import PixelGrid
from s2fast.raster.dataset import open_dataset

MOST_PARTNERS = 3
"""Greatest number of other scenes with which a scene is compared."""

_SIDE_PX = 96
"""Side of a window [px]."""

_MOST_WINDOWS = 8
"""Greatest number of windows of a pair along each axis."""

_LEAST_WINDOWS = 4
"""Least number of windows in which a pair of scenes must correlate; with fewer, it says nothing."""

_LEAST_VALID = 0.9
"""Least share of a window's pixels that both images show."""

_MOST_PX = 24
"""Greatest displacement that is found [px]."""

_LEAST_PEAK = 8.0
"""Least height of a correlation's peak [standard deviations of the correlation]."""

_MOST_SCATTER_PX = 3.0
"""Greatest distance of a window's displacement from the median of its pair [px]; others are false peaks."""

_MOST_LEFT_PX = 0.5
"""Greatest displacement of a corrected scene as a whole [px]: more contradicts its offset."""

_LOW_PASS = 0.2
"""Width of the Gaussian that weights frequencies [cycles per pixel]: higher ones are mostly noise."""

_STEPS_PX, _TRIED = (0.2, 0.02, 0.002), 10
"""A peak is refined in these steps [px], with so many positions on either side."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a scene, before and after its correction."""

    before: Source
    """The image as delivered."""
    after: Path | None
    """The corrected file; None for a reference from outside, which is not corrected."""
    error_m: float
    """Stated error of the correction [m]."""


@dataclass(frozen=True, slots=True)
class Left:
    """Displacements between a scene and others."""

    median_m: float
    """Median length [m]."""
    ce90_m: float
    """90 % of the windows are displaced by less [m]."""
    rmse_x_m: float
    """Root mean square, east [m]."""
    rmse_y_m: float
    """Root mean square, north [m]."""


@dataclass(frozen=True, slots=True)
class Proof:
    """How a scene fits others before and after its correction: of each number the median over those scenes."""

    before: Left
    """The scene as delivered against the corrected other scenes."""
    after: Left
    """The corrected scene against the corrected other scenes."""
    partners: tuple[str, ...]
    """Ids of the other scenes; empty: none can be compared, and the numbers are NaN."""
    n_windows: int
    """Number of windows that correlate after the correction."""
    excess_m: float
    """By how much a limit is exceeded [m], the larger one: the growth of the median length beyond its error, or what is
    left of the scene's displacement as a whole beyond `_MOST_LEFT_PX`. Positive: the scene must be withdrawn."""

    @property
    def row(self) -> dict[str, object]:
        """Return the columns of the table."""
        sides = (("before", self.before), ("after", self.after))
        found = {f"{side}_{name}": getattr(left, name) for name in Left.__slots__ for side, left in sides}
        return {"checked_with": " ".join(self.partners), "n_windows": self.n_windows, **found}

    @property
    def problem(self) -> str:
        """Return why the scene must be withdrawn unless it is the reference; empty if it need not be."""
        if not self.excess_m > 0:
            return ""
        if np.isnan(self.after.median_m):
            return "got worse: it correlates with the other scenes before the correction, but not after it"
        grown = self.after.median_m > self.before.median_m
        told = "got worse" if grown else "the correction does not fit the image"
        return f"{told}: median displacement {self.before.median_m:.2f} m before, {self.after.median_m:.2f} m after"


_NOTHING = Left(np.nan, np.nan, np.nan, np.nan)

NOT_CHECKED = Proof(_NOTHING, _NOTHING, (), 0, np.nan)
"""Of a scene that cannot be compared with any other."""


@dataclass(frozen=True, slots=True)
class _Compared:
    """One scene compared with one other."""

    before: Left
    after: Left
    n_windows: int
    excess_m: float
    """See `Proof`."""


def prove(
    images: Mapping[str, Image],
    pairs: pd.DataFrame,
    reference: str = "",
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Proof]:
    """Compare each corrected scene with the reference or, where that is not possible, others: before and after.

    Wrong scenes are set aside one by one, the worst first, so that they do not make their partners look wrong. If a
    scene has no other partner, it cannot be told which of the two is wrong: both are.

    Parameters
    ----------
    images
        The corrected scenes, and a reference from outside, by id.
    pairs
        The run's pairs; verified ones are compared, those with the most inliers first.
    reference
        Id of the scene that is held fixed; empty: there is none.
    advance
        Called after each corrected scene.

    Returns
    -------
    dict
        Scene id to proof, of every corrected scene.

    Raises
    ------
    SceneError
        A file cannot be read.
    """
    found: dict[str, dict[str, _Compared]] = {}
    for scene_id, partners in _partners(images, pairs, reference).items():
        found[scene_id] = {}
        for other in partners:
            result = _compared(images[scene_id], images[other])
            if result is not None:
                found[scene_id][other] = result
                if other == reference:
                    break
        advance()
    proofs = {scene_id: _proof(compared) for scene_id, compared in found.items()}
    wrong: set[str] = set()
    while True:
        worse = {name: proof.excess_m for name, proof in proofs.items() if proof.problem and name not in wrong}
        worse.pop(reference, None)  # it stays where it is
        if not worse:
            return proofs
        wrong.add(max(worse, key=lambda name: worse[name]))
        for scene_id, compared in found.items():
            kept = {other: result for other, result in compared.items() if other not in wrong}
            if scene_id not in wrong and kept:
                proofs[scene_id] = _proof(kept)


def _partners(images: Mapping[str, Image], pairs: pd.DataFrame, reference: str) -> dict[str, list[str]]:
    """Return the scenes with which each corrected scene is compared; the reference comes first."""
    used = pairs[pairs["verified"].fillna(value=False).astype(bool)]
    used = used[used["query"].isin(images.keys()) & used["train"].isin(images.keys())]
    both = pd.concat([used, used.rename(columns={"query": "train", "train": "query"})])
    both["fixed"] = both["train"] == reference
    both = both.sort_values(["fixed", "n_inliers"], ascending=False, kind="stable")
    chosen = both.groupby("query")["train"].apply(lambda names: list(names)[:MOST_PARTNERS]).to_dict()
    return {name: chosen.get(name, []) for name, image in images.items() if image.after is not None}


def _proof(compared: Mapping[str, _Compared]) -> Proof:
    if not compared:
        return NOT_CHECKED
    results = list(compared.values())
    return Proof(
        _median([result.before for result in results]),
        _median([result.after for result in results]),
        tuple(compared),
        sum(result.n_windows for result in results),
        float(np.median([result.excess_m for result in results])),
    )


def _median(found: Sequence[Left]) -> Left:
    values = np.array([[getattr(left, name) for name in Left.__slots__] for left in found])
    known = values[~np.isnan(values).any(axis=1)]
    return Left(*np.median(known, axis=0).tolist()) if len(known) else _NOTHING


def _compared(image: Image, other: Image) -> _Compared | None:
    """Compare a scene with another in windows; None if too few of them correlate."""
    before, after, px_m = displacements(image, other)
    if max(len(before), len(after)) < _LEAST_WINDOWS:
        return None
    if len(after) < max(_LEAST_WINDOWS, len(before) / 2):
        return _Compared(_left(before), _NOTHING, len(after), _MOST_PX * px_m)
    excess_m = float(np.hypot(*np.median(after, axis=0))) - _MOST_LEFT_PX * px_m
    if len(before) < max(_LEAST_WINDOWS, len(after) / 2):
        return _Compared(_NOTHING, _left(after), len(after), excess_m)
    grown_m = _left(after).median_m - _left(before).median_m
    error_m = np.hypot(_median_error(before), _median_error(after))
    excess_m = max(excess_m, float(grown_m - max(3 * error_m, 2 * image.error_m)))
    return _Compared(_left(before), _left(after), len(after), excess_m)


def _left(shifts: npt.NDArray[np.float64]) -> Left:
    """Summarise (n, 2) displacements east and north [m]."""
    if not len(shifts):
        return _NOTHING
    length = np.hypot(*shifts.T)
    rmse_x, rmse_y = np.sqrt((shifts**2).mean(axis=0))
    return Left(float(np.median(length)), float(np.quantile(length, 0.9)), float(rmse_x), float(rmse_y))


def _median_error(shifts: npt.NDArray[np.float64]) -> float:
    """Return the standard error of the median length, from its median deviation."""
    length = np.hypot(*shifts.T)
    spread = 1.4826 * np.median(np.abs(length - np.median(length)))
    return float(np.sqrt(np.pi / 2) * spread / np.sqrt(len(length)))


def displacements(image: Image, other: Image) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Return how far a scene lies from another in the windows that correlate and agree, before and after.

    Parameters
    ----------
    image
        The scene.
    other
        Another one; its corrected file is compared with both.

    Returns
    -------
    tuple
        (n, 2) and (m, 2) float64, position in the scene minus position in the other, east and north [m]; the size of
        the other's pixels [m].
    """
    try:
        with ExitStack() as stack:
            fixed = stack.enter_context(_open(other))
            grid = PixelGrid(fixed.crs.to_wkt(), tuple(fixed.transform)[:6], fixed.shape)
            opened = [open_dataset(image.before), _open(image)]
            for dataset in opened:
                stack.enter_context(dataset)
            sides = [stack.enter_context(_on_grid(dataset, fixed)) for dataset in opened]
            found: tuple[list[Any], list[Any]] = [], []
            for window in _windows(fixed, opened[1]):
                still = _pixels(fixed, window)
                for shifts, side in zip(found, sides, strict=True):
                    shift = phase_shift(_pixels(side, window), still)
                    if shift is not None:
                        shifts.append(grid.px_m @ shift)
    except (RasterioError, OSError) as error:
        raise SceneError(f"{image.before}: cannot be checked: {image.before.redacted(error)}") from error
    px_m = float(np.sqrt(abs(np.linalg.det(grid.px_m))))
    before, after = (_agreeing(np.array(shifts, np.float64).reshape(-1, 2), px_m) for shifts in found)
    return before, after, px_m


def _agreeing(shifts: npt.NDArray[np.float64], px_m: float) -> npt.NDArray[np.float64]:
    """Return those of (n, 2) displacements that lie near the median of all [m]; none unless they are most of them."""
    if not len(shifts):
        return shifts
    near = np.hypot(*(shifts - np.median(shifts, axis=0)).T) < _MOST_SCATTER_PX * px_m
    return np.asarray(shifts[near & (near.mean() > 0.5)])


def _open(image: Image) -> rasterio.DatasetReader:
    if image.after is None or image.after.suffix != ".vrt":
        return open_dataset(image.before if image.after is None else Source.local(image.after))
    return rasterio.open(image.after, driver="VRT")  # ours, which may read what the run read


def _on_grid(dataset: rasterio.DatasetReader, fixed: rasterio.DatasetReader) -> WarpedVRT:
    """Return a view of a dataset on the grid of another."""
    empty = 0 if dataset.nodata is None else dataset.nodata
    return WarpedVRT(
        dataset, crs=fixed.crs, transform=fixed.transform, width=fixed.width, height=fixed.height,
        resampling=Resampling.cubic, src_nodata=empty, nodata=empty,
    )  # fmt: skip


def _windows(fixed: rasterio.DatasetReader, other: rasterio.DatasetReader) -> Iterator[Window]:
    """Yield windows spread evenly over the ground that both show, on the grid of the first."""
    bounds = transform_bounds(other.crs, fixed.crs, *other.bounds)
    corners = [from_bounds(*box, fixed.transform) for box in (bounds, fixed.bounds)]
    low = [max(int(np.ceil(getattr(box, name))) for box in corners) for name in ("row_off", "col_off")]
    high = [
        min(int(np.floor(getattr(box, start) + getattr(box, side))) for box in corners)
        for start, side in (("row_off", "height"), ("col_off", "width"))
    ]
    rows, cols = (_starts(*ends) for ends in zip(low, high, strict=True))
    for row in rows:
        for col in cols:
            yield Window(col, row, _SIDE_PX, _SIDE_PX)


def _starts(low: int, high: int) -> list[int]:
    """Return where windows begin that lie within a range, evenly and without overlap.

    Examples
    --------
    >>> _starts(10, 220), _starts(0, 90)
    ([10, 124], [])
    """
    count = min(_MOST_WINDOWS, max(high - low, 0) // _SIDE_PX)
    return [int(start) for start in np.linspace(low, max(high - _SIDE_PX, low), count)]


def _pixels(dataset: rasterio.DatasetReader, window: Window) -> npt.NDArray[np.float64]:
    """Read a window of the first band as float64; NaN where there is no data."""
    pixels: npt.NDArray[np.float64] = dataset.read(1, window=window).astype(np.float64)
    pixels[pixels == (0 if dataset.nodata is None else dataset.nodata)] = np.nan
    return pixels


def phase_shift(moved: npt.NDArray[np.float64], still: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Return how far right and down `moved` shows what `still` shows [px], by phase correlation; None if unclear.

    Parameters
    ----------
    moved, still
        (side, side) float64, NaN where there is no data: it is replaced by the mean.

    References
    ----------
    Kuglin, Hines: The phase correlation image alignment method (1975). Guizar-Sicairos, Thurman, Fienup: Efficient
    subpixel image registration algorithms. Optics Letters 33 (2008).
    """
    valid = np.isfinite(moved) & np.isfinite(still)
    if valid.mean() < _LEAST_VALID:
        return None
    side = len(still)
    frequencies = np.fft.fftfreq(side)
    taper = np.outer(np.hanning(side), np.hanning(side))
    a, b = (np.fft.fft2(np.where(valid, image - image[valid].mean(), 0) * taper) for image in (moved, still))
    product = a * b.conj()
    weight = np.exp(-np.add.outer(frequencies**2, frequencies**2) / (2 * _LOW_PASS**2))
    product *= weight / np.maximum(np.abs(product), np.finfo(np.float64).tiny)
    surface = np.fft.ifft2(product).real
    at = np.fft.fftfreq(side, 1 / side)
    near = np.where(np.maximum.outer(np.abs(at), np.abs(at)) <= _MOST_PX, surface, -np.inf)
    row, col = np.unravel_index(near.argmax(), near.shape)
    if not surface[row, col] > _LEAST_PEAK * surface.std():
        return None
    best = np.array([at[row], at[col]])
    for step in _STEPS_PX:
        fine = step * np.arange(-_TRIED, _TRIED + 1)
        rows, cols = (np.exp(2j * np.pi * np.outer(centre + fine, frequencies)) for centre in best)
        # einsum, unlike @, does not start threads, which cost more than they save on matrices as small as these
        height = np.einsum("ij,kj->ik", np.einsum("ij,jk->ik", rows, product), cols).real
        best += fine[list(np.unravel_index(height.argmax(), height.shape))]
    return best[::-1]
