"""Positions of water courses, forests and settlements, as distances and depths at any map position."""

from __future__ import annotations

import math

from .noise import compiled, cut_line, draw, fractal_noise, hashed, unit, value_noise

_RIVER_SPACING_M = 31_000.0
_STREAM_SPACING_M = 6_300.0
_VILLAGE_CELL_M = 3_700.0
_TOWN_CELL_M = 23_000.0


@compiled
def _water_courses(x: float, y: float, seed: int) -> tuple[float, float]:
    """Return the distance to the nearest water course without meanders, and that course's width [m]."""
    # Watersheds lie at whole multiples of the spacing, so a river never leaves its column.
    column = math.floor((x - 594_000.0) / _RIVER_SPACING_M)
    middle = 594_000.0 + (column + 0.5) * _RIVER_SPACING_M
    course = middle + 4200.0 * value_noise(y / 14_000.0, column + 0.5, seed + 105)
    to_river = abs(x - course)
    divide = to_river / (0.62 * _RIVER_SPACING_M)
    side = 2 * column + (1 if x > course else 0)
    # Streams join the river at an angle, like tributaries.
    along = y - 0.45 * to_river + 900.0 * value_noise(x / 3100.0, y / 9000.0, seed + 106)
    _, stream, to_stream = cut_line(along, _STREAM_SPACING_M, seed + 107 + 13 * side)
    stream_width = 16.0 * max(0.0, 0.95 - divide - 0.3 * unit(hashed(stream, side, seed)))
    river_width = 58.0 + 26.0 * value_noise(y / 2300.0, 0.5, seed + 108)
    if to_river - 0.5 * river_width < to_stream - 0.5 * stream_width:
        return to_river, river_width
    return to_stream, stream_width


@compiled
def river_distance(x: float, y: float, seed: int) -> tuple[float, float]:
    """Return the distance to the nearest water course, and that course's width [m].

    Rivers run south about every 31 km and meander; streams join them from both sides and narrow towards the watershed.
    The distance is exact only near the water; beyond about a kilometre meanders are ignored.
    """
    distance, width = _water_courses(x, y, seed)
    if distance > 1600.0:
        return distance, width
    bend_x = value_noise(x / 1700.0, y / 1700.0, seed + 101) + 0.3 * value_noise(x / 520.0, y / 520.0, seed + 102)
    bend_y = value_noise(x / 1700.0, y / 1700.0, seed + 103) + 0.3 * value_noise(x / 520.0, y / 520.0, seed + 104)
    return _water_courses(x + 420.0 * bend_x, y + 420.0 * bend_y, seed)


@compiled
def forest_at(x: float, y: float, seed: int) -> float:
    """Return the depth of a position in forest: positive inside, negative outside; it changes by 1 in 1 to 2 km."""
    depth = fractal_noise(x / 5600.0, y / 5600.0, 3, seed + 201) - 0.10
    if abs(depth) > 0.34:  # the ragged edge does not extend this far
        return depth
    return depth + 0.30 * fractal_noise(x / 1500.0, y / 1500.0, 5, seed + 211)


@compiled
def settlement_at(x: float, y: float, seed: int) -> tuple[float, int]:
    """Return the depth of a position in a settlement [m, positive inside], and the settlement's hash."""
    i, j = math.floor(x / _VILLAGE_CELL_M), math.floor(y / _VILLAGE_CELL_M)
    h = hashed(i, j, seed + 302)
    radius, distance = 0.0, 1e9
    if draw(h, 0) < 0.55:
        # Centre and radius keep a village inside its cell, so neighbouring cells need not be checked.
        dx = x - (i + 0.5 + 0.3 * (draw(h, 1) - 0.5)) * _VILLAGE_CELL_M
        dy = y - (j + 0.5 + 0.3 * (draw(h, 2) - 0.5)) * _VILLAGE_CELL_M
        stretch = 0.75 + 0.5 * draw(h, 3)
        radius = 180.0 + 360.0 * draw(h, 4) ** 2
        distance = math.sqrt((dx * stretch) ** 2 + (dy / stretch) ** 2)
    i, j = math.floor(x / _TOWN_CELL_M), math.floor(y / _TOWN_CELL_M)
    town = hashed(i, j, seed + 303)
    dx = x - (i + 0.5 + 0.4 * (draw(town, 1) - 0.5)) * _TOWN_CELL_M
    dy = y - (j + 0.5 + 0.4 * (draw(town, 2) - 0.5)) * _TOWN_CELL_M
    town_radius, town_distance = 1100.0 + 2200.0 * draw(town, 4), math.sqrt(dx * dx + dy * dy)
    if town_radius - town_distance > radius - distance:
        h, radius, distance = town, town_radius, town_distance
    if distance > 1.6 * radius + 50.0:
        return radius - distance, h
    return radius * (1.0 + 0.55 * fractal_noise(x / 600.0, y / 600.0, 4, seed + 301)) - distance, h
