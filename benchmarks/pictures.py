"""Pictures for `python -m benchmarks find`: disguised parts of real scenes, and pictures of nothing in the archive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import rasterio

Pixels = npt.NDArray[np.uint8]

JPEG_QUALITY = 30
SCALES = (0.7, 1.4)
"""Least and greatest factor by which a picture is enlarged."""

_MOST_MISSING = 0.2
"""Largest share of a cut picture that may be missing in the scene."""


@dataclass(frozen=True)
class Cut:
    """A part of a scene, disguised."""

    pixels: Pixels
    """(rows, cols, 3) blue, green, red."""
    to_scene: npt.NDArray[np.float64]
    """(2, 3) affine from its pixels to those of the scene, pixel centres at integers."""


def cut(grey: Pixels, side: int, rng: np.random.Generator, columns: tuple[float, float] | None = None) -> Cut | None:
    """Cut a square from a scene, turned by any angle, enlarged or reduced, with other colours, as a JPEG.

    Parameters
    ----------
    grey : (rows, cols) uint8
        The scene.
    side
        Side of the picture [px].
    rng
        Chooses everything.
    columns
        Range of columns within which the picture lies; None: the whole scene.

    Returns
    -------
    Cut or None
        None if too much of it is missing in the scene.
    """
    factor, angle = rng.uniform(*SCALES), rng.uniform(0, 2 * np.pi)
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / factor
    reach = np.abs(turned).sum(axis=1) * side / 2
    low, high = columns or (0, grey.shape[1])
    if 2 * reach[0] >= high - low or 2 * reach[1] >= grey.shape[0]:
        return None
    centre = rng.uniform((low + reach[0], reach[1]), (high - reach[0], grey.shape[0] - reach[1]))
    middle = (side - 1) / 2
    matrix = np.column_stack([turned, centre - turned @ (middle, middle)])
    # Cubic interpolation of a reduced picture would alias: smooth it first.
    seen = cv2.GaussianBlur(grey, (0, 0), 0.5 / factor) if factor < 1 else grey
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    part = cv2.warpAffine(seen, matrix, (side, side), flags=flags)
    if np.mean(part == 0) > _MOST_MISSING:
        return None
    return Cut(disguised(part, rng), matrix)


def disguised(grey: Pixels, rng: np.random.Generator) -> Pixels:
    """Change contrast and colours of a picture, and store it as a JPEG of quality 30: (rows, cols, 3) uint8."""
    share = grey / np.float32(255)
    bands = []
    for _ in range(3):
        low, high, gamma = rng.uniform(0, 60), rng.uniform(160, 255), rng.uniform(0.6, 1.6)
        bands.append(low + (high - low) * share**gamma)
    colours = np.clip(np.stack(bands, axis=2), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", colours, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def noise(rng: np.random.Generator) -> Pixels:
    """Draw white noise, or smooth noise of several sizes."""
    side = int(rng.integers(128, 400))
    image = np.zeros((side, side), np.float32)
    for sigma in rng.choice([0.0, 1.0, 2.0, 4.0, 8.0, 16.0], int(rng.integers(1, 5)), replace=False):
        drawn = rng.standard_normal((side, side)).astype(np.float32)
        drawn = cv2.GaussianBlur(drawn, (0, 0), float(sigma)) if sigma else drawn
        image += drawn / drawn.std()
    return disguised(np.clip(image * 30 + 128, 0, 255).astype(np.uint8), rng)


def drawn_map(rng: np.random.Generator) -> Pixels:
    """Draw a map: coloured areas, roads, a grid and names."""
    side = int(rng.integers(200, 500))
    image = np.full((side, side, 3), rng.integers(200, 256, 3), np.uint8)
    for _ in range(int(rng.integers(5, 40))):
        points = rng.normal(rng.uniform(0, side, 2), rng.uniform(10, 80), (int(rng.integers(3, 9)), 2)).astype(np.int32)
        cv2.fillPoly(image, [points], rng.integers(80, 256, 3).tolist())
    for _ in range(int(rng.integers(3, 30))):
        line = np.cumsum(rng.normal(0, 30, (12, 2)), axis=0) + rng.uniform(0, side, 2)
        cv2.polylines(image, [line.astype(np.int32)], False, rng.integers(0, 200, 3).tolist(), int(rng.integers(1, 4)))
    if rng.random() < 0.5:
        step = int(rng.integers(25, 90))
        image[::step], image[:, ::step] = 90, 90
    _names(image, rng, int(rng.integers(3, 15)))
    return image


def text(rng: np.random.Generator) -> Pixels:
    """Draw a page of text."""
    side = int(rng.integers(200, 500))
    image = np.full((side, side, 3), 255, np.uint8)
    for row in range(14, side, int(rng.integers(14, 30))):
        letters = "".join(chr(97 + int(letter)) if letter < 26 else " " for letter in rng.integers(0, 31, 80))
        cv2.putText(image, letters, (4, row), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return image


def _names(image: Pixels, rng: np.random.Generator, count: int) -> None:
    for _ in range(count):
        name = "".join(chr(97 + int(letter)) for letter in rng.integers(0, 26, int(rng.integers(4, 10))))
        at = tuple(rng.integers(0, len(image), 2).tolist())
        cv2.putText(image, name, at, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.3, 0.9), (0, 0, 0), 1, cv2.LINE_AA)


def other_places(data: Path) -> list[Pixels]:
    """Read the scenes of other places in grey, 8 bits."""
    found = []
    for path in sorted(path for site in ("arosics", "lebanon", "paris") for path in (data / site).glob("*.jp2")):
        with rasterio.open(path) as dataset:
            bands = dataset.read()
        grey = bands.mean(axis=0)
        if bands.dtype != np.uint8:
            low, high = np.percentile(grey[grey > 0], (2, 98))
            grey = np.where(grey > 0, np.clip((grey - low) / (high - low), 0.004, 1) * 255, 0)
        found.append(grey.astype(np.uint8))
    return found


def part_of(scenes: Sequence[Pixels], columns: tuple[float, float] | None = None) -> Callable[..., Pixels]:
    """Return a function that cuts a picture of 128 to 400 px from one of the scenes."""

    def drawn(rng: np.random.Generator) -> Pixels:
        while True:
            made = cut(scenes[int(rng.integers(len(scenes)))], int(rng.integers(128, 400)), rng, columns)
            if made is not None:
                return made.pixels

    return drawn
