"""Clear-cuts: polygons in the forest with the date each is first visible, and the share of each pixel they cover."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import shapely
import shapely.affinity
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry import MultiPolygon, Polygon, mapping

from .noise import compiled, compiled_for, salt_of
from .plan import ANCHOR, EPSG, PIXEL_M, Acquisition, Tile
from .terrain import forest_at, river_distance

_CELL_M = 420.0
_SHARE, _LEAST_SHARE = 0.85, 0.10  # share of forest cells with a clear-cut: near the archives' corner, and far away
_DISTRICT_M = 26_000.0
_REACH_M = 300.0  # a tile's labels extend this far beyond its edges


@dataclass(frozen=True, slots=True)
class Clearing:
    """One felled area."""

    name: int
    """Unique number within the archive."""
    geometry: Polygon | MultiPolygon
    """Outline on the true ground, map coordinates [m]."""
    seen_from: int
    """Index of the first acquisition that shows it."""


def clearings_in(tiles: Iterable[Tile], dates: int, seed: int) -> list[Clearing]:
    """Return all clearings on or near the given tiles.

    Each cell of a fixed lattice contains at most one clearing, entirely inside it, so clearings never overlap. They do
    not depend on the selection of tiles, except for their numbers.
    """
    salt = salt_of(seed)
    found: list[Clearing] = []
    for column, row in sorted({cell for tile in tiles for cell in _cells_around(tile)}):
        draw = np.random.default_rng((seed, column, row))
        if draw.random() > _felled_share((column + 0.5) * _CELL_M, (row + 0.5) * _CELL_M):
            continue
        outline, reach = _outline(draw)
        x, y = np.array([column, row]) * _CELL_M + draw.uniform(reach, _CELL_M - reach, 2)
        if forest_at(x, y, salt) > 0.02 and river_distance(x, y, salt)[0] > 250.0:
            geometry = shapely.affinity.translate(outline, x, y)
            found.append(Clearing(len(found), geometry, int(draw.integers(0, dates))))
    return found


def _cells_around(tile: Tile) -> Iterator[tuple[int, int]]:
    left, bottom, right, top = tile.bounds
    columns = range(math.floor((left - _REACH_M) / _CELL_M), math.floor((right + _REACH_M) / _CELL_M) + 1)
    rows = range(math.floor((bottom - _REACH_M) / _CELL_M), math.floor((top + _REACH_M) / _CELL_M) + 1)
    return itertools.product(columns, rows)


def _felled_share(x: float, y: float) -> float:
    """Return the share of cells with a clear-cut; highest at small archives, so that their masks contain features."""
    distance = math.hypot(x - ANCHOR[0], y - ANCHOR[1])
    return max(_LEAST_SHARE, _SHARE * math.exp(-((distance / _DISTRICT_M) ** 2)))


def _outline(draw: np.random.Generator) -> tuple[Polygon | MultiPolygon, float]:
    """Draw a felled area around the origin: usually one oblong, sometimes with a hole or in several parts.

    Returns
    -------
    tuple
        The outline, and an upper bound of its extent from the origin along either axis [m].
    """
    if draw.random() < 0.15:
        centres = draw.permutation([(-75.0, -75.0), (75.0, -75.0), (-75.0, 75.0), (75.0, 75.0)])[: draw.integers(2, 4)]
        # With radii below 62 m a part extends at most 75 m, so it touches neither another part nor another cell.
        parts = [Polygon(_ring(draw.uniform(30.0, 62.0), draw) + centre) for centre in centres]
        return MultiPolygon(parts), 150.0
    radius = float(np.clip(draw.lognormal(math.log(95.0), 0.4), 30.0, 165.0))
    ring = _ring(radius, draw)
    holes = [0.32 * ring] if radius > 90.0 and draw.random() < 0.25 else []
    return Polygon(ring, holes), 1.2 * radius


def _ring(radius: float, draw: np.random.Generator) -> NDArray[np.float64]:
    """Draw corners around the origin, at most 1.2 radii away, sorted by direction so that no sides cross."""
    corners = int(draw.integers(5, 11))
    angle = (np.arange(corners) + draw.uniform(-0.3, 0.3, corners)) * (2 * math.pi / corners)
    reach = radius * draw.uniform(0.8, 1.2, corners)
    oblong, turn = draw.uniform(0.55, 1.0), draw.uniform(0, math.pi)
    u, v = reach * np.cos(angle), oblong * reach * np.sin(angle)
    return np.column_stack([math.cos(turn) * u - math.sin(turn) * v, math.sin(turn) * u + math.cos(turn) * v])


def on_tile(clearings: Iterable[Clearing], tile: Tile) -> list[Clearing]:
    """Return the clearings in a tile's labels: all within 300 m of it, including some partly or entirely outside."""
    left, bottom, right, top = tile.bounds
    area = shapely.box(left - _REACH_M, bottom - _REACH_M, right + _REACH_M, top + _REACH_M)
    return [clearing for clearing in clearings if area.intersects(clearing.geometry)]


def write_regions(
    path: Path, tiles: Sequence[Tile], acquisitions: Sequence[Acquisition], clearings: Sequence[Clearing]
) -> None:
    """Write the labels like the real file: EPSG:4326, columns `img_date` and `tile`, one row per clearing and tile."""
    to_degrees = Transformer.from_crs(EPSG, 4326, always_xy=True)
    rows = []
    for tile in tiles:
        for clearing in on_tile(clearings, tile):
            geometry = shapely.transform(
                clearing.geometry, lambda xy: np.column_stack(to_degrees.transform(xy[:, 0], xy[:, 1])).round(8)
            )
            day = acquisitions[clearing.seen_from].day
            properties = {"img_date": day.isoformat(), "tile": tile.name}
            rows.append(json.dumps({"type": "Feature", "properties": properties, "geometry": mapping(geometry)}))
    text = '{\n"type": "FeatureCollection",\n"features": [\n' + ",\n".join(rows) + "\n]\n}\n"
    path.write_text(text, encoding="utf-8")


class ClearingMap:
    """The clearings visible in one acquisition, which can be rasterised in any window."""

    def __init__(self, clearings: Iterable[Clearing], acquisitions: Sequence[Acquisition], shown: Acquisition) -> None:
        visible = [clearing for clearing in clearings if clearing.seen_from <= shown.index]
        self._shift = np.array([shown.shift_x, shown.shift_y])
        self._growth = np.array([_growth(shown.day, acquisitions[c.seen_from].day) for c in visible], np.float64)
        self._boxes = np.array([c.geometry.bounds for c in visible], np.float64).reshape(-1, 4)
        sides = [_sides(clearing.geometry) for clearing in visible]
        self._offsets = np.cumsum([0, *map(len, sides)], dtype=np.int64)
        self._sides = np.concatenate([np.empty((0, 4)), *sides])

    def window(self, left: float, top: float, rows: int, cols: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the cleared share of each pixel, and its regrowth: (rows, cols) float32, 0 to 1, each.

        `left` and `top` are the map position of the first pixel's centre [m].
        """
        return _draw(
            left, top, rows, cols, self._shift[0], self._shift[1], self._boxes, self._offsets, self._sides, self._growth
        )


def _growth(day: date, felled: date) -> float:
    return min(1.0, (day - felled).days / 1500.0)


def _sides(geometry: Polygon | MultiPolygon) -> NDArray[np.float64]:
    """Return all sides of all rings, shape (n, 4): x and y of both ends."""
    rings = []
    for part in getattr(geometry, "geoms", [geometry]):
        for ring in (part.exterior, *part.interiors):
            xy = np.asarray(ring.coords)
            rings.append(np.hstack([xy[:-1], xy[1:]]))
    return np.concatenate(rings)


@compiled
def _cover(x: float, y: float, sides: NDArray[np.float64]) -> float:
    """Return the share of a pixel inside an outline (even-odd rule), estimated from its centre's signed distance."""
    inside = False
    nearest = 1e30
    for k in range(len(sides)):
        ax, ay, bx, by = sides[k, 0], sides[k, 1], sides[k, 2], sides[k, 3]
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            inside = not inside
        dx, dy = bx - ax, by - ay
        t = min(1.0, max(0.0, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)))
        nearest = min(nearest, (ax + t * dx - x) ** 2 + (ay + t * dy - y) ** 2)
    distance = math.sqrt(nearest) if inside else -math.sqrt(nearest)
    return min(1.0, max(0.0, 0.5 + distance / PIXEL_M))


@compiled_for("f8, f8, i8, i8, f8, f8, f8[:, ::1], i8[::1], f8[:, ::1], f8[::1]")
def _draw(
    left: float,
    top: float,
    rows: int,
    cols: int,
    shift_x: float,
    shift_y: float,
    boxes: NDArray[np.float64],
    offsets: NDArray[np.int64],
    sides: NDArray[np.float64],
    growth: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    cover = np.zeros((rows, cols), np.float32)
    grown = np.zeros((rows, cols), np.float32)
    for k in range(len(boxes)):
        first_col = max(0, math.floor((boxes[k, 0] + shift_x - left) / PIXEL_M) - 1)
        last_col = min(cols - 1, math.ceil((boxes[k, 2] + shift_x - left) / PIXEL_M) + 1)
        first_row = max(0, math.floor((top - boxes[k, 3] - shift_y) / PIXEL_M) - 1)
        last_row = min(rows - 1, math.ceil((top - boxes[k, 1] - shift_y) / PIXEL_M) + 1)
        for row in range(first_row, last_row + 1):
            for col in range(first_col, last_col + 1):
                x, y = (left + PIXEL_M * col) - shift_x, (top - PIXEL_M * row) - shift_y
                share = _cover(x, y, sides[offsets[k] : offsets[k + 1]])
                if share > cover[row, col]:
                    cover[row, col] = share
                    grown[row, col] = growth[k]
    return cover, grown
