"""What processing, sensors and viewers leave on two images at the same pixels."""

from __future__ import annotations

import cv2
import numpy as np

from benchmarks.traps.scenes import PRIOR, Grey
from benchmarks.traps.shapes import Paint, Shape, compressed, pixels

_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
"""Thresholds of ordered dither, sixteenths."""


def _reduced(factor: int, enlarge: int) -> Paint:
    """Return a painter that reduces the picture and enlarges it again."""

    def paint(grey: Grey, rng: np.random.Generator) -> Grey:
        del rng
        small = cv2.resize(grey, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        return np.asarray(np.maximum(cv2.resize(small, grey.shape[::-1], interpolation=enlarge), 1))

    return paint


def _strongly_compressed(quality: int) -> Paint:
    return lambda grey, _rng: np.maximum(compressed(grey, quality), 1)


def _strongly_compressed_in_wavelets(grey: Grey, rng: np.random.Generator) -> Grey:
    del rng
    coded = cv2.imencode(".jp2", grey, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 20])[1]
    return np.asarray(np.maximum(np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)), 1))


def _seams(grey: Grey, rng: np.random.Generator) -> Grey:
    """Join five pictures of unequal brightness along crooked lines."""
    row, column = np.mgrid[: grey.shape[0], : grey.shape[1]]
    step = np.zeros(grey.shape)
    for _ in range(5):
        angle, at = rng.uniform(0, np.pi), rng.uniform(0.2, 0.8) * grey.shape[0]
        crooked = 8 * np.cumsum(rng.normal(size=grey.shape[1] + grey.shape[0]))[row + column] / 20
        step += rng.uniform(-25, 25) * (np.cos(angle) * row + np.sin(angle) * column + crooked > at)
    return pixels(grey + step)


def _tiles(grey: Grey, rng: np.random.Generator) -> Grey:
    """Stretch the tiles of a map one by one."""
    gain = rng.uniform(0.75, 1.25, (8, 8))
    return pixels(grey * cv2.resize(gain, grey.shape[::-1], interpolation=cv2.INTER_NEAREST))


def _detectors(grey: Grey, rng: np.random.Generator) -> Grey:
    """Read the lines by sixteen detectors in turn, whose gains differ."""
    gain = 1 + rng.normal(0, 0.06, 16)
    return pixels(grey * gain[np.arange(grey.shape[0]) % 16][:, None])


def _dead_pixels(grey: Grey, rng: np.random.Generator) -> Grey:
    found = grey.copy()
    found[tuple(rng.integers(0, grey.shape[0], (2, 800)))] = rng.choice([1, 255], 800)
    return found


def _dead_columns(grey: Grey, rng: np.random.Generator) -> Grey:
    found = grey.copy()
    columns = rng.integers(1, grey.shape[1] - 1, 12)
    found[:, columns] = (grey[:, columns - 1].astype(int) + grey[:, columns + 1]) // 2 + rng.integers(-20, 20, 12)
    return np.asarray(np.maximum(found, 1))


def _filled_gaps(grey: Grey, rng: np.random.Generator) -> Grey:
    """Fill gaps that widen towards the edges, as of a broken scan line corrector."""
    row, column = np.mgrid[: grey.shape[0], : grey.shape[1]]
    gap = (row + 0.2 * column + rng.uniform(0, 40)) % 40 < 8 * np.abs(column / grey.shape[1] - 0.5) * 2
    return np.asarray(np.maximum(cv2.inpaint(grey, gap.astype(np.uint8), 3, cv2.INPAINT_TELEA), 1))


def _gaps(grey: Grey, rng: np.random.Generator) -> Grey:
    row, column = np.mgrid[: grey.shape[0], : grey.shape[1]]
    gap = (row + 0.2 * column + rng.uniform(0, 40)) % 40 < 8 * np.abs(column / grey.shape[1] - 0.5) * 2
    return np.asarray(np.where(gap, 0, grey), np.uint8)


def _graticule(grey: Grey, rng: np.random.Generator) -> Grey:
    drawn = grey.copy()
    first, step = int(rng.integers(5, 25)), int(rng.integers(40, 70))
    drawn[first::step], drawn[:, first::step] = 255, 255
    return np.asarray(np.maximum(compressed(drawn, 80), 1))


def _crosses(grey: Grey, rng: np.random.Generator) -> Grey:
    """Draw fiducial marks."""
    drawn = grey.copy()
    for row in range(30, grey.shape[0], 70):
        for column in range(30, grey.shape[1], 70):
            cv2.drawMarker(drawn, (column, row), 255, cv2.MARKER_CROSS, int(rng.integers(9, 15)), 1)
    return np.asarray(np.maximum(compressed(drawn, 85), 1))


def _captions(grey: Grey, rng: np.random.Generator) -> Grey:
    drawn = grey.copy()
    for row in range(25, grey.shape[0], 45):
        text = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz 0123456789"), 26))
        cv2.putText(drawn, text, (6, row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
    return np.asarray(np.maximum(compressed(drawn, 80), 1))


def _vignette(grey: Grey, rng: np.random.Generator) -> Grey:
    row, column = np.mgrid[: grey.shape[0], : grey.shape[1]] / grey.shape[0] - rng.uniform(0.4, 0.6, 2)[:, None, None]
    return pixels(grey * np.clip(1.1 - 1.6 * (row**2 + column**2), 0.1, 1))


def _few_levels(grey: Grey, rng: np.random.Generator) -> Grey:
    del rng
    return np.asarray(grey // 32 * 32 + 16, np.uint8)


def _dithered(grey: Grey, rng: np.random.Generator) -> Grey:
    del rng
    threshold = np.tile(_BAYER, [-(-side // 4) for side in grey.shape])[: grey.shape[0], : grey.shape[1]]
    return pixels((grey / 255 * 4 + threshold / 16).astype(int) * 63.0)


def _repeated_lines(grey: Grey, rng: np.random.Generator) -> Grey:
    """Resample to a slightly finer grid by the nearest neighbour: every tenth row and column occurs twice."""
    first = int(rng.integers(10))
    rows, columns = (np.arange(side) - (np.arange(side) + first) // 11 for side in grey.shape)
    return np.asarray(grey[rows][:, columns])


def _contrast_of_tiles(grey: Grey, rng: np.random.Generator) -> Grey:
    del rng
    return np.asarray(np.maximum(cv2.createCLAHE(40.0, (8, 8)).apply(grey), 1))


def _equal_part(grey: Grey, rng: np.random.Generator) -> Grey:
    """Replace a twentieth of the ground by one and the same basemap, as clouds are."""
    drawn = grey.copy()
    row, column = rng.integers(20, 260, 2)
    other = cv2.GaussianBlur(rng.normal(size=(90, 90)), (0, 0), 1.2)
    drawn[row : row + 90, column : column + 90] = pixels(110 + 25 * other / other.std())
    return drawn


def _speckled(grey: Grey, rng: np.random.Generator) -> Grey:
    """Multiply each picture by noise of its own, as in radar images."""
    own = np.random.default_rng(int(grey.sum()) + int(rng.integers(1 << 20)))
    return pixels(grey * own.gamma(4, 0.25, grey.shape))


def _inverted(grey: Grey, rng: np.random.Generator) -> Grey:
    del rng
    return np.asarray(256 - grey.astype(np.int16)).clip(1, 255).astype(np.uint8)


def _saturated(low: float, gain: float) -> Paint:
    return lambda grey, _rng: pixels((grey - low) * gain)


ARTEFACTS: tuple[Shape, ...] = tuple(
    (name, PRIOR, paint)
    for name, paint in (
        ("JPEG, quality 5", _strongly_compressed(5)),
        ("JPEG, quality 20", _strongly_compressed(20)),
        ("JPEG 2000, 1:50", _strongly_compressed_in_wavelets),
        ("enlarged 2 x, nearest", _reduced(2, cv2.INTER_NEAREST)),
        ("enlarged 4 x, nearest", _reduced(4, cv2.INTER_NEAREST)),
        ("enlarged 4 x, linear", _reduced(4, cv2.INTER_LINEAR)),
        ("enlarged 3 x, cubic", _reduced(3, cv2.INTER_CUBIC)),
        ("repeated lines", _repeated_lines),
        ("seams of a mosaic", _seams),
        ("tiles of a map", _tiles),
        ("contrast per tile", _contrast_of_tiles),
        ("a part replaced", _equal_part),
        ("sixteen detectors", _detectors),
        ("dead pixels", _dead_pixels),
        ("dead columns", _dead_columns),
        ("gaps", _gaps),
        ("filled gaps", _filled_gaps),
        ("graticule", _graticule),
        ("crosses", _crosses),
        ("captions", _captions),
        ("vignette", _vignette),
        ("eight levels", _few_levels),
        ("ordered dither", _dithered),
        ("speckle", _speckled),
        ("inverted", _inverted),
        ("saturated", _saturated(60, 5)),
    )
)
"""Processing and artefacts; all but the speckle are alike in both scenes."""
