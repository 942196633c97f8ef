"""What is painted on, written on or blended with two scenes at the same pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.traps.scenes import NOTEBOOK, PAINTED, PRIOR, Grey
from s2fast.config import Config

Paint = Callable[[Grey, np.random.Generator], Grey]
"""Function that returns a picture with something on it; equal generators draw the same."""

Shape = tuple[str, Config, Paint]
"""What is drawn, the settings, and how."""


def _polygons(shape: tuple[int, ...], rng: np.random.Generator, count: int = 40) -> Grey:
    """Return a mask of random polygons, 1 inside."""
    mask = np.zeros(shape, np.uint8)
    for _ in range(count):
        middle, reach = rng.uniform(0, shape[0], 2), rng.uniform(6, 30)
        angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
        corners = middle + reach * rng.uniform(0.5, 1, (7, 1)) * np.column_stack([np.cos(angles), np.sin(angles)])
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    return mask


def _polygons_of(inside: int | None, outside: int | None) -> Paint:
    """Return a painter of random polygons: one value inside and one outside; None: the picture."""

    def paint(grey: Grey, rng: np.random.Generator) -> Grey:
        pair = (grey if value is None else value for value in (inside, outside))
        return np.asarray(np.where(_polygons(grey.shape, rng) > 0, *pair), np.uint8)

    return paint


def _swath(grey: Grey, rng: np.random.Generator) -> Grey:
    column = np.arange(grey.shape[1]) - 0.2 * np.arange(grey.shape[0])[:, None] - rng.uniform(100, 200)
    return np.asarray(np.where(column > 0, grey, 0), np.uint8)


def _frame(grey: Grey, rng: np.random.Generator) -> Grey:
    framed = grey.copy()
    width = int(rng.integers(3, 8))
    cv2.rectangle(framed, (12, 12), (grey.shape[1] - 12, grey.shape[0] - 12), 255, width)
    return framed


def _text(grey: Grey, rng: np.random.Generator) -> Grey:
    written = grey.copy()
    for line in range(6):
        text = "".join(rng.choice(list("ABCDEFGHKLMNPRSTXYZ0123456789"), 18))
        cv2.putText(written, text, (10, 40 + 60 * line), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 2)
    return written


def pixels(values: npt.NDArray[np.floating[Any]]) -> Grey:
    """Return a picture without the value that means no data."""
    return np.asarray(np.clip(values, 1, 255), np.uint8)


def _noise(grey: Grey, rng: np.random.Generator) -> Grey:
    return pixels(grey + rng.normal(0, 12, grey.shape))


def _stripes(grey: Grey, rng: np.random.Generator) -> Grey:
    return pixels(grey + rng.normal(0, 12, (1, grey.shape[1])))


SHAPES: tuple[Shape, ...] = (
    ("polygons black", PAINTED, _polygons_of(None, 0)),
    ("polygons black, notebook", NOTEBOOK, _polygons_of(None, 0)),
    ("flat clouds", PRIOR, _polygons_of(255, None)),
    ("hole", PRIOR, _polygons_of(0, None)),
    ("swath edge", PRIOR, _swath),
    ("frame", PRIOR, _frame),
    ("text", PRIOR, _text),
    ("fixed noise", PRIOR, _noise),
    ("stripes", PRIOR, _stripes),
)
"""What covers the ground, or lies on every pixel."""


def _soft(
    grey: npt.NDArray[np.generic], opacity: npt.NDArray[np.floating[Any]], value: float | npt.NDArray[np.float32]
) -> Grey:
    """Blend a value with the picture."""
    return pixels(grey.astype(np.float32) * (1 - opacity) + value * opacity)


def _blurred(image: npt.NDArray[np.generic], sigma: float) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma))


def compressed(grey: Grey, quality: int = 75) -> Grey:
    """Return the picture after lossy compression (JPEG)."""
    coded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE))


def _soft_polygons(grey: Grey, rng: np.random.Generator) -> Grey:
    # Each picture has a grain of its own; without it the inside would be flat, as in SHAPES.
    grain = np.random.default_rng(int(grey.sum())).normal(0, 1, grey.shape).astype(np.float32)
    return _soft(grey + grain, _blurred(_polygons(grey.shape, rng), 0.9), 20 + grain)


def _brighter_polygons(grey: Grey, rng: np.random.Generator) -> Grey:
    return pixels(grey + 35 * _blurred(_polygons(grey.shape, rng), 0.7))


def _compressed_holes(grey: Grey, rng: np.random.Generator) -> Grey:
    return compressed(np.where(_polygons(grey.shape, rng) > 0, 0, grey).astype(np.uint8))


def _outlines(grey: Grey, rng: np.random.Generator) -> Grey:
    lines, _ = cv2.findContours(_polygons(grey.shape, rng), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(grey.copy(), lines, -1, 255, 1, cv2.LINE_AA))


def _compressed_outlines(grey: Grey, rng: np.random.Generator) -> Grey:
    return compressed(_outlines(grey, rng))


def _watermark(grey: Grey, rng: np.random.Generator) -> Grey:
    return _soft(grey, 0.35 * _text(np.zeros_like(grey), rng).astype(np.float32) / 255, 255)


def _dust(grey: Grey, rng: np.random.Generator) -> Grey:
    spots = np.zeros(grey.shape, np.float32)
    for row, column in rng.integers(8, grey.shape[0] - 8, (120, 2)):
        cv2.circle(spots, (int(column), int(row)), int(rng.integers(2, 6)), float(rng.uniform(15, 45)), -1)
    return pixels(grey - _blurred(spots, 1.2))


def _inset_maps(grey: Grey, rng: np.random.Generator) -> Grey:
    drawn = grey.copy()
    for row, column in ((20, 20), (260, 220)):
        layers = [_blurred(rng.normal(size=(120, 160)), sigma) for sigma in (12, 4, 1.5, 0.8)]
        drawn[row : row + 120, column : column + 160] = np.clip(110 + sum(15 * x / x.std() for x in layers), 1, 255)
    return compressed(drawn, 90)


def _rings(grey: Grey, rng: np.random.Generator) -> Grey:
    row, column = np.mgrid[: grey.shape[0], : grey.shape[1]] / grey.shape[0] - 0.5
    away = np.hypot(row, column)
    return pixels(grey * (1.2 - away) + 8 * np.sin(90 * away + rng.uniform(0, 6)))


def _clouds(grey: Grey, rng: np.random.Generator) -> Grey:
    cover = _blurred(rng.normal(size=grey.shape), 8)
    opacity = np.clip(4 * (cover - cover.min()) / np.ptp(cover) - 2, 0, 1)
    texture = _blurred(rng.normal(size=grey.shape), 2)
    return np.asarray(_soft(grey, opacity, 1) + (opacity * (200 + 20 * texture / texture.std())).astype(np.uint8))


def _smooth_noise(sigma: float) -> Paint:
    def paint(grey: Grey, rng: np.random.Generator) -> Grey:
        noise = _blurred(rng.normal(size=grey.shape), sigma)
        return pixels(grey + 14 * noise / noise.std())

    return paint


def _relief(grey: Grey, rng: np.random.Generator) -> Grey:
    slope = np.diff(_blurred(rng.normal(size=grey.shape), 4), axis=1, append=0)
    return pixels(0.75 * grey + 60 + 25 * slope / slope.std())


OVERLAYS: tuple[Shape, ...] = (
    ("polygons with soft edges", PRIOR, _soft_polygons),
    ("brighter polygons", PRIOR, _brighter_polygons),
    ("holes, compressed", PRIOR, _compressed_holes),
    ("outlines", PRIOR, _outlines),
    ("outlines, compressed", PRIOR, _compressed_outlines),
    ("watermark", PRIOR, _watermark),
    ("dust", PRIOR, _dust),
)
"""Drawings blended with the ground, or blurred by compression."""

TEXTURES: tuple[Shape, ...] = (
    ("inset maps", PRIOR, _inset_maps),
    ("rings", PRIOR, _rings),
    ("clouds", PRIOR, _clouds),
    ("noise of 1.5 px", PRIOR, _smooth_noise(1.5)),
    ("noise of 3 px", PRIOR, _smooth_noise(3)),
    ("relief", PRIOR, _relief),
)
"""What covers large parts of the ground, or all of it, and is smooth over more than a pixel."""


def _own_noise(grey: Grey, sigma: float) -> npt.NDArray[np.float64]:
    """Return white noise that differs from picture to picture."""
    return np.random.default_rng(int(grey.sum(dtype=np.int64))).normal(0, sigma, grey.shape)


def _noisy_outside(sigma: float, *, count: int = 40, slope: float = 0.0, quality: int | None = None) -> Paint:
    """Return a painter of the outside of polygons with a noise of each picture's own, which is then halved.

    Parameters
    ----------
    sigma
        Standard deviation of the noise [DN].
    count
        Number of polygons.
    slope
        Rise of the paint from the left to the right [DN].
    quality
        Of JPEG compression after painting; None: none.
    """

    def paint(grey: Grey, rng: np.random.Generator) -> Grey:
        inside = _polygons(grey.shape, rng, count) > 0
        level = rng.uniform(40, 200) + slope * np.linspace(-0.5, 0.5, grey.shape[1])
        painted = pixels(np.where(inside, grey, level + _own_noise(grey, sigma)))
        if quality is not None:
            _, data = cv2.imencode(".jpg", painted, [cv2.IMWRITE_JPEG_QUALITY, quality])
            painted = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
        return np.asarray(cv2.resize(painted, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)

    return paint


NOISY_AREAS: tuple[tuple[str, Paint], ...] = (
    ("noise of 1 DN", _noisy_outside(1)),
    ("noise of 2 DN", _noisy_outside(2)),
    ("noise of 4 DN", _noisy_outside(4)),
    ("90 polygons", _noisy_outside(2, count=90)),
    ("12 polygons", _noisy_outside(2, count=12)),
    ("a slope", _noisy_outside(2, slope=40)),
    ("compressed", _noisy_outside(2, quality=75)),
)
"""Areas of one outline whose pixels are not equal."""


def _noisy_lakes(sigma: float, share: float, width_px: float, *, quality: int | None = None) -> Paint:
    """Return a painter of round areas, such as a mask of water or of clouds, with a noise of each picture's own.

    Parameters
    ----------
    sigma
        Standard deviation of the noise [DN].
    share
        Share of the picture that is painted.
    width_px
        Standard deviation of the blur that gives the areas their size [px].
    quality
        Of JPEG compression after painting; None: none.
    """

    def paint(grey: Grey, rng: np.random.Generator) -> Grey:
        height = _blurred(rng.normal(size=grey.shape), width_px)
        painted = pixels(np.where(height > np.quantile(height, 1 - share), 30 + _own_noise(grey, sigma), grey))
        return painted if quality is None else np.maximum(compressed(painted, quality), 1)

    return paint


NOISY_LAKES: tuple[tuple[str, Paint], ...] = (
    ("noise of 0.7 DN, compressed", _noisy_lakes(0.7, 0.3, 8, quality=75)),
    ("noise of 1 DN", _noisy_lakes(1, 0.3, 8)),
    ("noise of 2 DN", _noisy_lakes(2, 0.3, 8)),
    ("noise of 4 DN", _noisy_lakes(4, 0.3, 8)),
    ("small", _noisy_lakes(2, 0.3, 5)),
    ("large", _noisy_lakes(2, 0.3, 14)),
    ("few", _noisy_lakes(2, 0.1, 8)),
)
"""Small painted areas between which most of the ground is left."""
