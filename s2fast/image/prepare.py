"""Preparation of tiles for the detector: fill clouds and missing data, raise contrast, upscale; map clear ground."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from s2fast.config import Ingest

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
    clear = np.ones(grey.shape, np.bool_) if outside is not None else ~without_data(grey, nodata_px)
    if missing is not None:
        clear &= ~(missing | without_data((~(missing & (grey == 0))).view(np.uint8), nodata_px))
        if outside is not None:
            outside &= ~missing
    judged = outside is None and by_brightness(settings)
    if judged and clear.any():
        found = clouds(grey, clear, reflectance)
        judged = found is not None
        if found is not None:
            clear &= ~found
    if missing is not None or (outside is None and settings.clouds):
        _fill(grey, clear, outside)
    if settings.contrast == "clahe":
        grey = cv2.createCLAHE(settings.clahe_clip, (CLAHE_TILES, CLAHE_TILES)).apply(grey)
    if outside is not None:
        grey[outside] = 0
    return Prepared(grey, clear, judged)


def by_brightness(settings: Ingest) -> bool:
    """Return whether the settings, of one scene, look for bright clouds."""
    return settings.clouds and settings.mask in ("auto", "bright")


def _fill(grey: npt.NDArray[np.uint8], clear: npt.NDArray[np.bool_], outside: npt.NDArray[np.bool_] | None) -> None:
    """Fill pixels that are not clear with the median of the clear, unpainted pixels, in place."""
    ground = clear if outside is None else clear & ~outside
    if ground.any():
        grey[~clear] = _quantile(grey, ground, 0.5)


def without_data(grey: npt.NDArray[np.uint8], nodata_px: int) -> npt.NDArray[np.bool_]:
    """Return a mask of areas without data and of pixels within `nodata_px` of them; empty if `nodata_px` is 0.

    Black areas smaller than a speck are not missing data.
    """
    if nodata_px == 0:
        return np.zeros(grey.shape, np.bool_)
    black = _opened((grey == 0).view(np.uint8))
    near = cv2.dilate(black, np.ones((2 * nodata_px + 1, 2 * nodata_px + 1), np.uint8))
    return np.asarray(near.view(np.bool_))


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
    darker_quarter = _quantile(grey, valid, 0.25)
    bright = _opened(((grey > least_bright(darker_quarter, reflectance)) & valid).view(np.uint8))
    found = cv2.dilate(bright, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * CLOUD_PX + 1, 2 * CLOUD_PX + 1)))
    if np.count_nonzero(found) > MOST_CLOUD * np.count_nonzero(valid):
        return None
    return np.asarray(found.view(np.bool_))


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
    shape = (-(-clear.shape[0] // side), -(-clear.shape[1] // side))
    if not clear.size:
        return np.zeros(shape, np.uint8)
    padded = np.zeros((shape[0] * side, shape[1] * side), np.uint8)
    padded[: clear.shape[0], : clear.shape[1]] = clear
    share = padded.reshape(shape[0], side, shape[1], side).sum(axis=(1, 3), dtype=np.int64)
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


def _quantile(grey: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], share: float) -> int:
    counts = cv2.calcHist([grey], [0], mask.view(np.uint8), [256], [0, 256])
    return quantile(counts.ravel().astype(np.int64), share)


def _opened(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((SPECK_PX, SPECK_PX), np.uint8)))
