"""Preparation of tiles for the detector: fill clouds and missing data, raise contrast, upscale; map clear ground."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from s2fast.config import Ingest
from s2fast.image.strips import Strip, in_strips, strips
from s2fast_kernels.threads import map_in_threads

SPECK_PX = 5
"""Black or bright areas narrower than this are water or roofs, not missing data or clouds."""

CLOUD_PX = 5
"""Width of the thin rim of a cloud around its bright part [px]."""

MOST_CLOUD = 0.6
"""Maximum share of cloud in a scene; a larger bright area is snow or bright ground."""

TCI_WHITE = 0.3558
"""Reflectance that the ground segment shows as 255 in a TCI, and 0 as 1."""

CLAHE_TILES = 8
"""Number of CLAHE tiles along each side: 13.7 km each on a Sentinel-2 tile."""

_MARGIN_PX = 2
"""Pixels around a window that cubic interpolation reads."""

CLEAR_CELLS = 128
"""Cells along the longer side of the map of clear ground."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A masked tile, prepared for the detector."""

    image: npt.NDArray[np.uint8]
    """(rows, cols) pixels, on the tile's own grid."""

    clear: npt.NDArray[np.bool_]
    """(rows, cols) True where the ground is visible: there is data and no cloud."""

    clouds_judged: bool = False
    """Whether bright clouds were looked for and told from ground; False where most of the scene is bright."""


def prepare(
    grey: npt.NDArray[np.uint8],
    settings: Ingest,
    nodata_px: int,
    *,
    painted: bool = False,
    missing: npt.NDArray[np.bool_] | None = None,
    reflectance: tuple[float, float] | None = None,
) -> Prepared:
    """Prepare a masked tile for the detector.

    Parameters
    ----------
    grey : (rows, cols) uint8
        The tile's pixels; 0 where there is no data. May be modified in place.
    settings
        ``clouds``, ``mask`` ("none": bright areas are not looked for), ``contrast`` and ``clahe_clip``.
    nodata_px
        Margin around areas without data, along rows and columns [px]. The edge of a swath is the strongest edge in a
        scene, has a different position on every date, and is blurred by lossy compression.
    painted
        True if the outside of polygons was painted black: it is not missing data, and stays black.
    missing : (rows, cols) bool or None
        True where the file marks a pixel as missing, which is black, or a mask as a cloud, which is not: it is filled,
        whatever the settings, and not clear, however small the area. Clouds have no margin besides their own. None:
        there is no such mask, and only black areas are missing.
    reflectance
        Reflectances of the grey values 1 and 255; None: those of a TCI.

    Returns
    -------
    Prepared
    """
    if not grey.size:
        return Prepared(grey, np.ones(grey.shape, np.bool_))
    outside = grey == 0 if painted else None
    clear = without_data(grey, 0 if painted else nodata_px)
    in_strips(grey.shape, lambda rows: np.logical_not(clear[rows], out=clear[rows]))
    if missing is not None:
        _exclude(clear, missing)
        _exclude(clear, _grown(grey.shape, lambda rows: missing[rows] & (grey[rows] == 0), _square(nodata_px)))
        if outside is not None:
            _exclude(outside, missing)
    judged = outside is None and by_brightness(settings)
    found = None
    if judged and clear.any():
        found = clouds(grey, clear, reflectance)
        judged = found is not None
        if found is not None:
            _exclude(clear, found)
    if missing is not None or (outside is None and settings.clouds):
        _fill(grey, clear, outside)
    if settings.contrast == "clahe":
        # The mask of clouds is not needed any more: its memory becomes that of the image.
        image = np.empty_like(grey) if found is None else found.view(np.uint8)
        grey = cv2.createCLAHE(settings.clahe_clip, (CLAHE_TILES, CLAHE_TILES)).apply(grey, image)
    if outside is not None:
        np.copyto(grey, 0, where=outside)
    return Prepared(grey, clear, judged)


def by_brightness(settings: Ingest) -> bool:
    """Return whether the settings, of one scene, look for bright clouds."""
    return settings.clouds and settings.mask in ("auto", "bright")


def _exclude(mask: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> None:
    """Set a mask to False where another is True, in place."""
    in_strips(mask.shape, lambda rows: np.greater(mask[rows], other[rows], out=mask[rows]))


def _fill(grey: npt.NDArray[np.uint8], clear: npt.NDArray[np.bool_], outside: npt.NDArray[np.bool_] | None) -> None:
    """Fill pixels that are not clear with the median of the clear, unpainted pixels, in place."""
    if clear.all():
        return
    counts = _counts(grey, clear, outside)
    if not counts.any():
        return
    median = np.uint8(quantile(counts, 0.5))
    in_strips(grey.shape, lambda rows: np.copyto(grey[rows], median, where=~clear[rows]))


def without_data(grey: npt.NDArray[np.uint8], nodata_px: int) -> npt.NDArray[np.bool_]:
    """Return a mask of areas without data and of pixels within `nodata_px` of them; empty if `nodata_px` is 0.

    Black areas smaller than a speck are not missing data.
    """
    return _grown(grey.shape, lambda rows: grey[rows] == 0, _square(nodata_px))


def _square(reach: int) -> npt.NDArray[np.uint8]:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def _grown(
    shape: tuple[int, ...], seeds: Callable[[slice], npt.NDArray[np.bool_]], rim: npt.NDArray[np.uint8]
) -> npt.NDArray[np.bool_]:
    """Return a mask without its specks, dilated with a rim of odd sides; empty if the rim is one pixel.

    Parameters
    ----------
    shape
        Rows and columns of the mask.
    seeds
        Function that returns rows of the mask.
    rim
        Kernel of the dilation.
    """
    found = np.zeros(shape, np.bool_)

    def grow(strip: Strip) -> None:
        # Most strips of most scenes have no seeds, or no more than specks.
        part = seeds(strip.around)
        if part.any() and (areas := _opened(part)).any():
            found[strip.rows] = strip.inner(cv2.dilate(areas, rim))

    if rim.size > 1:
        map_in_threads(grow, strips(shape, SPECK_PX - 1 + len(rim) // 2))
    return found


def clouds(
    grey: npt.NDArray[np.uint8], valid: npt.NDArray[np.bool_], reflectance: tuple[float, float] | None = None
) -> npt.NDArray[np.bool_] | None:
    """Find bright clouds.

    Parameters
    ----------
    grey : (rows, cols) uint8
        Pixels [DN].
    valid : (rows, cols) bool
        True where there is data.
    reflectance
        As for `prepare`.

    Returns
    -------
    (rows, cols) bool or None
        True on clouds and their rims: clearly brighter than the scene's darkest quarter, which is ground on nearly
        every date. None if that would be most of the scene, which is then covered by snow or cloud: the rule cannot
        tell which.
    """
    counts = _counts(grey, valid)
    # Compared as an integer: NumPy would convert the pixels to floating point.
    least = math.floor(least_bright(quantile(counts, 0.25), reflectance))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * CLOUD_PX + 1, 2 * CLOUD_PX + 1))
    found = _grown(grey.shape, lambda rows: (grey[rows] > least) & valid[rows], np.asarray(disc, np.uint8))
    return None if np.count_nonzero(found) > MOST_CLOUD * counts.sum() else found


def least_bright(darker_quarter: float, reflectance: tuple[float, float] | None = None) -> float:
    """Return the grey value that clouds exceed, by the value that the darkest quarter does not exceed [DN].

    Parameters
    ----------
    darker_quarter
        That value.
    reflectance
        As for `prepare`: the rule is that of a TCI, whatever the stretch of these pixels.

    Examples
    --------
    >>> least_bright(40), least_bright(40, (0.0, TCI_WHITE)), round(least_bright(79, (0.0, TCI_WHITE / 2)))
    (85.0, 85.0, 169)
    """
    if reflectance is not None:
        black, white = reflectance
        per_step, first = (white - black) / TCI_WHITE, 1 + 254 * black / TCI_WHITE
        return 1 + (least_bright(first + (darker_quarter - 1) * per_step) - first) / per_step
    return min(170.0, max(1.9 * darker_quarter, darker_quarter + 45.0))


def clear_cells(clear: npt.NDArray[np.bool_], shape: tuple[int, ...] | None = None) -> npt.NDArray[np.uint8]:
    """Reduce a map of clear ground to at most 128 cells per side: (rows, cols) uint8, share of clear pixels [%].

    `shape` is that of the tile over the same ground, whose pixels are those of the cells; None: that of the map.
    """
    if shape is not None and shape != clear.shape and clear.size:
        enlarged = cv2.resize(clear.view(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        clear = np.asarray(enlarged.view(np.bool_))
    side = cell_px(clear.shape)
    first_rows, first_columns = (np.arange(0, length, side) for length in clear.shape)
    share = np.zeros((len(first_rows), len(first_columns)), np.int64)
    if clear.size:
        for row, top in enumerate(first_rows):
            of_columns = cv2.reduce(clear[top : top + side].view(np.uint8), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
            share[row] = np.add.reduceat(of_columns[0], first_columns)
    return np.asarray(100 * share // side**2, np.uint8)


def cell_px(shape: tuple[int, ...]) -> int:
    """Return the side of a cell of `clear_cells` [px of the tile]."""
    return max(1, -(-max(shape) // CLEAR_CELLS))


def upscaled(image: npt.NDArray[np.uint8], rows: slice, columns: slice) -> npt.NDArray[np.uint8]:
    """Return a window of the image upscaled by 2 with cubic interpolation, without upscaling the whole image.

    Parameters
    ----------
    image : (rows, cols) uint8
        The image.
    rows, columns
        The window, on the upscaled grid and within it.

    Returns
    -------
    uint8
        The same pixels as in ``cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)``.
    """
    if not image.size:
        return np.zeros((0, 0), np.uint8)
    near = [halved(part, length) for part, length in zip((rows, columns), image.shape, strict=True)]
    large = cv2.resize(image[near[0], near[1]], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    inner = [
        slice(part.start - 2 * n.start, part.stop - 2 * n.start) for part, n in zip((rows, columns), near, strict=True)
    ]
    return np.asarray(large[inner[0], inner[1]])


def halved(part: slice, length: int) -> slice:
    """Return the part of an axis from which a window of the upscaled axis is interpolated."""
    return slice(max(0, part.start // 2 - _MARGIN_PX), min(length, -(-part.stop // 2) + _MARGIN_PX))


def quantile(counts: npt.NDArray[np.int64], share: float) -> int:
    """Return the smallest grey value [DN] that at least this share of a (256,) histogram's pixels does not exceed."""
    sums = np.cumsum(counts)
    return int(np.searchsorted(sums, share * sums[-1]))


def _counts(
    grey: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], excluded: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int64]:
    """Return the histogram of the pixels within a mask and outside another: (256,)."""

    def count(rows: slice) -> npt.NDArray[np.int64]:
        part, wanted = grey[rows], mask[rows]
        if excluded is not None:
            wanted = wanted & ~excluded[rows]
        counted = cv2.calcHist([part], [0], None if wanted.all() else wanted.view(np.uint8), [256], [0, 256])
        return np.asarray(counted).ravel().astype(np.int64)

    return np.asarray(sum(in_strips(grey.shape, count), np.zeros(256, np.int64)))


def _opened(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    square = np.ones((SPECK_PX, SPECK_PX), np.uint8)
    return np.asarray(cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_OPEN, square))
