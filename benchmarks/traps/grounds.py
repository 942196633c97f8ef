"""Synthetic ground whose kind two places have in common, though not the place: lattices, waves, dunes, cloud, snow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.traps.scenes import Grey
from benchmarks.traps.shapes import pixels

SIDE_PX = 560
"""Side of a picture."""

Values = npt.NDArray[np.float64]

Draw = Callable[[float, float, np.random.Generator], Grey]
"""Function of a period [px], a direction [rad] and the generator of a place."""

Ground = Callable[[np.random.Generator, np.random.Generator], Grey]
"""Function of two generators, the first of the kind (period, direction), the second of the place."""


def _blurred(rng: np.random.Generator, sigma_px: float) -> Values:
    """Return smooth noise with a standard deviation of 1."""
    noise = cv2.GaussianBlur(rng.normal(size=(SIDE_PX, SIDE_PX)), (0, 0), sigma_px)
    return np.asarray((noise - noise.mean()) / noise.std())


def _grid() -> tuple[Values, Values]:
    row, column = np.mgrid[:SIDE_PX, :SIDE_PX].astype(np.float64)
    return row, column


def _turned(angle: float) -> tuple[Values, Values]:
    """Return coordinates along and across a direction [px]."""
    row, column = _grid()
    return column * np.cos(angle) + row * np.sin(angle), row * np.cos(angle) - column * np.sin(angle)


@dataclass(frozen=True, slots=True)
class Lattice:
    """Ground that repeats itself."""

    name: str
    """What it is."""
    period_px: tuple[float, float]
    """Least and greatest period [px]."""
    turned_rad: tuple[float, float]
    """Least and greatest angle [rad]."""
    draw: Draw
    """How it is drawn."""

    def ground(self, kind: np.random.Generator, place: np.random.Generator) -> Grey:
        """Return a picture of one place."""
        return self.draw(kind.uniform(*self.period_px), kind.uniform(*self.turned_rad), place)


def _pivots(period: float, angle: float, place: np.random.Generator) -> Grey:
    """Draw round fields on a square lattice, each with a crop of its own."""
    along, across = (part + place.uniform(0, period) for part in _turned(angle))
    number = (np.floor(along / period) % 64 + 64 * (np.floor(across / period) % 64)).astype(int)
    away = np.hypot(along % period - period / 2, across % period - period / 2)
    crop = place.uniform(50, 190, 64 * 64)[number]
    sector = np.arctan2(across % period - period / 2, along % period - period / 2) > place.uniform(-3, 3, 4096)[number]
    return pixels(np.where(away < 0.47 * period, crop + 20 * sector, 120) + 4 * _blurred(place, 1))


def _plants(period: float, angle: float, place: np.random.Generator) -> Grey:
    along, across = (part + place.uniform(0, period) for part in _turned(angle))
    plants = np.cos(2 * np.pi * along / period) + np.cos(2 * np.pi * across / period)
    return pixels(110 + 20 * plants + 15 * _blurred(place, 30) + 5 * _blurred(place, 1))


def _rows_of_crops(period: float, angle: float, place: np.random.Generator) -> Grey:
    along, _ = _turned(angle)
    return pixels(110 + 25 * np.cos(2 * np.pi * along / period + place.uniform(0, 6)) + 8 * _blurred(place, 2))


def _streets(period: float, angle: float, place: np.random.Generator) -> Grey:
    """Draw blocks of equal size, whose houses differ."""
    along, across = (part + place.uniform(0, period) for part in _turned(angle))
    street = np.minimum(along % period, across % (2 * period)) < 3
    return pixels(np.where(street, 170, 100 + 22 * _blurred(place, 1.2)) + 3 * _blurred(place, 0.8))


def _waves(spread: float, sharp: float) -> Ground:
    """Return a sea: waves of many directions about one, of nearly one length."""

    def ground(kind: np.random.Generator, place: np.random.Generator) -> Grey:
        period, angle = kind.uniform(6, 25), kind.uniform(0, np.pi)
        sea = np.zeros((SIDE_PX, SIDE_PX))
        for _ in range(60):
            along, _ = _turned(angle + spread * place.normal())
            sea += np.cos(2 * np.pi * along / (period * np.exp(0.1 * place.normal())) + place.uniform(0, 6.3))
        return pixels(60 + 90 / (1 + np.exp(-sharp * sea / sea.std())) + 3 * _blurred(place, 0.7))

    return ground


def _dunes(kind: np.random.Generator, place: np.random.Generator) -> Grey:
    period, angle = kind.uniform(12, 40), kind.uniform(0, np.pi)
    along, _ = _turned(angle)
    phase = 2 * np.pi * along / period + 1.5 * _blurred(place, 25)
    return pixels(140 + 40 * (phase / np.pi % 2 - 1) + 4 * _blurred(place, 1))


def _clouds(kind: np.random.Generator, place: np.random.Generator) -> Grey:
    """Draw a closed deck of cells."""
    size = kind.uniform(4, 14)
    return pixels(205 + 25 * np.abs(_blurred(place, size)) - 20 + 6 * _blurred(place, 2))


def _cloud_streets(kind: np.random.Generator, place: np.random.Generator) -> Grey:
    period, angle = kind.uniform(15, 40), kind.uniform(0, np.pi)
    along, _ = _turned(angle)
    cover = np.cos(2 * np.pi * along / period + _blurred(place, 20) + place.uniform(0, 6)) + 0.7 * _blurred(place, 3)
    return pixels(70 + 150 * np.clip(cover, 0, 1) + 5 * _blurred(place, 1))


def _snow(kind: np.random.Generator, place: np.random.Generator) -> Grey:
    """Light white ground in relief from one side."""
    slope = np.diff(_blurred(place, kind.uniform(2, 6)), axis=1, append=0)
    return pixels(232 + 9 * slope / slope.std() + 1.5 * _blurred(place, 0.7))


def _relief(kind: np.random.Generator, place: np.random.Generator) -> Grey:
    slope = np.diff(_blurred(place, kind.uniform(3, 8)), axis=0, append=0)
    return pixels(120 + 40 * slope / slope.std())


def _contours(kind: np.random.Generator, place: np.random.Generator) -> Grey:
    height = _blurred(place, kind.uniform(20, 40)) * 6
    return pixels(np.where(np.abs(height - np.rint(height)) < 0.08, 40, 200) + 3 * _blurred(place, 1))


def _fields(kind: np.random.Generator, place: np.random.Generator) -> Grey:
    """Draw rectangular strips in one direction."""
    width, angle = kind.uniform(6, 14), kind.uniform(0, np.pi)
    along, across = _turned(angle)
    length = 8 * width
    shifted = across + place.uniform(0, length, 200)[(np.floor(along / width) % 200).astype(int)]
    number = ((np.floor(along / width) % 200) * 31 + np.floor(shifted / length) * 7).astype(int) % 997
    return pixels(place.uniform(60, 180, 997)[number] + 4 * _blurred(place, 1))


def _speckle(kind: np.random.Generator, place: np.random.Generator) -> Grey:
    del kind
    return pixels(90 * place.gamma(3, 1 / 3, (SIDE_PX, SIDE_PX)))


def _ramp(kind: np.random.Generator, place: np.random.Generator) -> Grey:
    """Draw a smooth slope of brightness with a little noise."""
    row, column = _grid()
    return pixels(60 + kind.uniform(0.1, 0.3) * row + kind.uniform(0.1, 0.2) * column + place.normal(size=row.shape))


def _chessboard(period: float, angle: float, place: np.random.Generator) -> Grey:
    along, across = (part + place.uniform(0, period) for part in _turned(angle))
    return pixels(60.0 + 120 * ((along // period + across // period) % 2) + 3 * _blurred(place, 1))


LATTICES = (
    Lattice("round fields", (36, 80), (-0.1, 0.1), _pivots),
    Lattice("orchards", (3, 9), (0, np.pi), _plants),
    Lattice("plantations", (9, 24), (0, np.pi), _plants),
    Lattice("rows of crops", (3, 9), (0, np.pi), _rows_of_crops),
    Lattice("streets", (18, 40), (0, np.pi), _streets),
    Lattice("chessboard", (12, 40), (0, 0), _chessboard),
)
"""Ground on a lattice."""

GROUNDS: tuple[tuple[str, Ground], ...] = (
    *((lattice.name, lattice.ground) for lattice in LATTICES),
    ("strips of fields", _fields),
    ("sea", _waves(0.35, 1.5)),
    ("swell", _waves(0.05, 1.0)),
    ("dunes", _dunes),
    ("cloud deck", _clouds),
    ("cloud streets", _cloud_streets),
    ("snow", _snow),
    ("relief", _relief),
    ("contours", _contours),
    ("speckle", _speckle),
    ("ramp", _ramp),
)
"""All kinds of ground."""
