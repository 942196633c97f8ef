"""Reflectance of the ground: fields, woods, streams, roads and villages, as a function of map position and seed.

Each position is computed independently and without stored state, so it looks the same in any window of any tile. What
changes between dates is passed as arguments: the palette, the crop year and the clearings.

Each pixel is one sample. Edges are softened over a pixel's width here; the sensor's blur is applied later.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .noise import cell, compiled, compiled_for, cut_line, draw, fractal_noise, hashed, ramp, unit, value_noise
from .plan import PIXEL_M
from .season import (
    BROADLEAF,
    CLEARING,
    CONIFER,
    CROPS,
    GARDEN,
    MEADOW,
    ROAD,
    ROOF,
    SCRUB,
    TRACK,
    WATER,
)
from .terrain import forest_at, river_distance, settlement_at

_BLOCK_M = 1_150.0
_ROAD_CELL_M = 5_600.0
_TREE_CELL_M = 130.0

Colour = tuple[float, float, float]


@compiled
def _mix(under: Colour, over: Colour, cover: float) -> Colour:
    rest = 1.0 - cover
    return rest * under[0] + cover * over[0], rest * under[1] + cover * over[1], rest * under[2] + cover * over[2]


@compiled
def _material(palette: NDArray[np.float64], index: int, brightness: float) -> Colour:
    return palette[index, 0] * brightness, palette[index, 1] * brightness, palette[index, 2] * brightness


@compiled
def _line_cover(distance: float, width: float) -> float:
    """Return the share of a pixel covered by a line of this width, at this distance from the pixel's centre."""
    far_side = min(0.5 * PIXEL_M, distance + 0.5 * width)
    near_side = max(-0.5 * PIXEL_M, distance - 0.5 * width)
    return max(0.0, (far_side - near_side) / PIXEL_M)


@compiled
def _field(
    x: float,
    y: float,
    block: int,
    site_x: float,
    site_y: float,
    year: int,
    palette: NDArray[np.float64],
    seed: int,
) -> Colour:
    """Return the colour of a block of farmland: fields with a crop each, plant rows and soil patches."""
    # The direction of the strips as a slope; every third block is turned by 90 degrees.
    slope = 0.9 * value_noise(site_x / 9000.0, site_y / 9000.0, seed + 401) + 0.5 * (draw(block, 0) - 0.5)
    c = 1.0 / math.sqrt(1.0 + slope * slope)
    s = slope * c
    if draw(block, 3) < 0.35:
        c, s = -s, c
    u, v = c * (x - site_x) + s * (y - site_y), c * (y - site_y) - s * (x - site_x)
    size = draw(block, 1)
    strip, _, to_side = cut_line(u, 140.0 + 520.0 * size * size, block)
    piece, _, to_end = cut_line(v, 420.0 + 800.0 * draw(block, 2), hashed(block, strip, 3))
    field = hashed(hashed(block, strip, 4), piece, 5)
    # Some fields change their crop every year, most keep the same one.
    crop = int(CROPS * draw(field, year if draw(field, 903) < 0.4 else 0))
    tone = 0.72 + 0.46 * draw(field, 900) + 0.14 * draw(field, 1000 + year)
    soil = fractal_noise(x / 310.0, y / 310.0, 4, seed + 411)
    # Plant rows and wet spots are aligned with the field, not with the map's axes.
    rows = value_noise(u / 21.0, v / 620.0, hashed(field, year, 6))
    grain = value_noise(u / 19.0, v / 19.0, block + 1) + 0.7 * value_noise(u / 43.0, v / 43.0, block + 2)
    spots = ramp(value_noise((u + 30.0 * soil) / 66.0, (v - 30.0 * grain) / 66.0, block + 3), 0.45, 0.75)
    roughness = 0.4 + 1.2 * draw(field, 901)
    bright = tone * (1.0 + roughness * (0.30 * soil + 0.05 * rows + 0.10 * grain + 0.32 * spots))
    colour = _material(palette, crop, bright)
    # A strip of grass or bare earth between two fields.
    balk = 0.55 * _line_cover(min(to_side, to_end), 7.0)
    return _mix(colour, _material(palette, TRACK if draw(field, 902) < 0.35 else MEADOW, 0.9), balk)


@compiled
def _farmland(x: float, y: float, year: int, palette: NDArray[np.float64], seed: int) -> Colour:
    """Return the colour of farmland: blocks of fields, tracks and shelterbelts between them, and single trees."""
    block, to_border, border, site_x, site_y = cell(x, y, _BLOCK_M, 0.7, seed + 431)
    colour = _field(x, y, block, site_x, site_y, year, palette, seed)
    kind = unit(border)
    if to_border < 30.0 and kind < 0.45:
        gaps = ramp(value_noise(x / 75.0, y / 75.0, seed + 432), -0.75, -0.35)
        canopy = 1.15 + 0.3 * value_noise(x / 14.0, y / 14.0, seed + 433)
        belt = gaps * _line_cover(to_border, 22.0 + 14.0 * kind)
        colour = _mix(colour, _material(palette, BROADLEAF, canopy), belt)
    elif to_border < 30.0:
        colour = _mix(colour, _material(palette, TRACK, 0.75 + 0.5 * kind), _line_cover(to_border, 4.0 + 5.0 * kind))
    i, j = math.floor(x / _TREE_CELL_M), math.floor(y / _TREE_CELL_M)
    tree = hashed(i, j, seed + 434)
    if draw(tree, 0) < 0.26:
        dx = x - (i + 0.2 + 0.6 * draw(tree, 1)) * _TREE_CELL_M
        dy = y - (j + 0.2 + 0.6 * draw(tree, 2)) * _TREE_CELL_M
        radius = 5.0 + 16.0 * draw(tree, 3) ** 2
        crown = 0.9 * ramp(math.sqrt(dx * dx + dy * dy), radius + 6.0, radius - 4.0)
        colour = _mix(colour, _material(palette, BROADLEAF, 1.1), crown)
    return colour


@compiled
def _forest(x: float, y: float, palette: NDArray[np.float64], seed: int) -> Colour:
    """Return the colour of forest: stands of one species and age, their canopy, and the lanes between them."""
    stand, to_border, border, _, _ = cell(x, y, 430.0, 0.55, seed + 501)
    canopy = value_noise(x / 13.0, y / 13.0, seed + 502) + 0.8 * value_noise(x / 31.0, y / 31.0, seed + 503)
    patch = fractal_noise(x / 260.0, y / 260.0, 3, seed + 504)
    species = ramp(value_noise(x / 1900.0, y / 1900.0, seed + 505) + 0.9 * (draw(stand, 0) - 0.5), -0.1, 0.1)
    colour = _mix(_material(palette, BROADLEAF, 1.0), _material(palette, CONIFER, 1.0), species)
    bright = (0.84 + 0.34 * draw(stand, 1)) * (1.0 + 0.16 * canopy + 0.24 * patch)
    colour = (colour[0] * bright, colour[1] * bright, colour[2] * bright)
    glade = ramp(value_noise(x / 170.0, y / 170.0, seed + 506) + 0.8 * patch, 0.98, 1.06)
    colour = _mix(colour, _material(palette, MEADOW, 0.95), 0.8 * glade)
    if unit(border) < 0.5:
        colour = _mix(colour, _material(palette, MEADOW, 0.9), 0.7 * _line_cover(to_border, 8.0))
    return colour


@compiled
def _settlement(x: float, y: float, depth: float, village: int, palette: NDArray[np.float64], seed: int) -> Colour:
    """Return the colour of a settlement: streets, plots with houses and gardens, and large industrial roofs."""
    slope = 4.0 * draw(village, 10) - 2.0
    c = 1.0 / math.sqrt(1.0 + slope * slope)
    s = slope * c
    u, v = c * x + s * y, c * y - s * x
    row, _, to_street = cut_line(u, 125.0, village)
    line, _, to_lane = cut_line(v, 210.0, hashed(village, row, 7))
    # Quarters differ in density: terraced houses, allotments, parks.
    quarter = draw(hashed(row, line, village), 5)
    dense = ramp(depth, -200.0, 1200.0) * quarter + 0.25 * quarter
    plot = hashed(math.floor(v / 26.0), math.floor(u / 34.0), hashed(row, line, village))
    garden = 0.72 + 0.55 * draw(plot, 0) + 0.25 * value_noise(u / 15.0, v / 15.0, seed + 601)
    colour = _material(palette, GARDEN, garden)
    trees = ramp(value_noise(x / 52.0, y / 52.0, seed + 602) + 0.5 - quarter, 0.05, 0.45)
    colour = _mix(colour, _material(palette, BROADLEAF, 1.25), 0.65 * trees)
    if draw(plot, 1) < 0.50 + 0.25 * dense:
        fu, fv = u / 34.0 - math.floor(u / 34.0), v / 26.0 - math.floor(v / 26.0)
        house = ramp(abs(fu - 0.5), 0.48, 0.18) * ramp(abs(fv - 0.5), 0.5, 0.2)
        colour = _mix(colour, _material(palette, ROOF, 0.40 + 0.95 * draw(plot, 2) ** 2), (0.55 + 0.35 * dense) * house)
    street = max(_line_cover(to_street, 9.0), _line_cover(to_lane, 7.0))
    colour = _mix(colour, _material(palette, ROAD, 0.95), 0.8 * street)
    yard = hashed(math.floor(u / 115.0), math.floor(v / 80.0), village)
    if draw(yard, 3) < 0.05 + 0.06 * dense:
        fu, fv = u / 115.0 - math.floor(u / 115.0), v / 80.0 - math.floor(v / 80.0)
        shed = ramp(abs(fu - 0.5), 0.40, 0.32) * ramp(abs(fv - 0.5), 0.36, 0.26)
        colour = _mix(colour, _material(palette, ROOF, 0.8 + 0.9 * draw(yard, 4)), shed)
    return colour


@compiled
def _wild(x: float, y: float, palette: NDArray[np.float64], wild: float, seed: int) -> Colour:
    """Return the colour of a floodplain: meadows and groves."""
    damp = 1.0 + 0.3 * wild + 0.10 * value_noise(x / 19.0, y / 19.0, seed + 702)
    # On a lattice of 60 m along the map's axes, edges would repeat every 6 pixels, as if these had been interpolated.
    groves = ramp(
        wild + 0.5 * value_noise((0.8 * x - 0.6 * y) / 57.0, (0.6 * x + 0.8 * y) / 57.0, seed + 703), 0.12, 0.26
    )
    canopy = 1.05 + 0.25 * value_noise(x / 16.0, y / 16.0, seed + 704)
    return _mix(_material(palette, MEADOW, damp), _material(palette, BROADLEAF, canopy), groves)


@compiled
def _felled(x: float, y: float, palette: NDArray[np.float64], growth: float, seed: int) -> Colour:
    """Return the colour of a clearing: litter and debris, greener with growing scrub."""
    litter = (
        1.0 + 0.25 * value_noise(x / 24.0, y / 24.0, seed + 711) + 0.2 * value_noise(x / 70.0, y / 70.0, seed + 712)
    )
    return _mix(_material(palette, CLEARING, litter), _material(palette, SCRUB, litter), growth)


@compiled
def _surface(
    x: float, y: float, clearing: float, growth: float, year: int, palette: NDArray[np.float64], seed: int
) -> Colour:
    """Return the reflectance at a position; land covers are layered, and fully hidden layers are not computed."""
    to_water, width = river_distance(x, y, seed)
    forest_depth = forest_at(x, y, seed)
    depth, village = settlement_at(x, y, seed)
    settled = ramp(depth, -30.0, 20.0)
    wild = 0.0
    if to_water < 5.0 * width + 150.0 or abs(forest_depth) < 0.12:
        wild = fractal_noise(x / 380.0, y / 380.0, 5, seed + 701)
    floodplain = ramp(to_water, 3.4 * width + 50.0 + 90.0 * wild, 3.0 * width + 35.0 + 90.0 * wild)
    if width <= 0.5:
        floodplain = 0.0
    forest = ramp(forest_depth + 0.09 * wild, -0.008, 0.012) * (1.0 - floodplain)
    colour = (0.0, 0.0, 0.0)
    if settled < 1.0:
        if forest < 1.0 and floodplain < 1.0:
            colour = _farmland(x, y, year, palette, seed)
        if floodplain > 0.0:
            colour = _mix(colour, _wild(x, y, palette, wild, seed), floodplain)
        if forest > 0.0:
            colour = _mix(colour, _forest(x, y, palette, seed), forest)
        if clearing > 0.0:
            colour = _mix(colour, _felled(x, y, palette, growth, seed), clearing)
    if settled > 0.0:
        colour = _mix(colour, _settlement(x, y, depth, village, palette, seed), settled)
    if width > 0.5 and to_water < width + 30.0:
        ripple = 1.0 + 0.10 * value_noise(x / 140.0, y / 140.0, seed + 721)
        bank = 0.6 * _line_cover(to_water - 0.5 * width - 8.0, 12.0) * ramp(wild, -0.3, 0.2)
        colour = _mix(colour, _material(palette, BROADLEAF, 1.0), bank)
        colour = _mix(colour, _material(palette, WATER, ripple), _line_cover(to_water, width))
    bend = 60.0 * value_noise(x / 900.0, y / 900.0, seed + 731)
    _, to_road, highway, _, _ = cell(x + bend, y - bend, _ROAD_CELL_M, 0.8, seed + 732)
    return _mix(colour, _material(palette, ROAD, 1.0), 0.9 * _line_cover(to_road, 9.0 + 9.0 * unit(highway)))


@compiled_for("f8, f8, f8, f8, f4[:, ::1], f4[:, ::1], i8, f8[:, ::1], i8")
def render_ground(
    left: float,
    top: float,
    shift_x: float,
    shift_y: float,
    clearing: NDArray[np.float32],
    growth: NDArray[np.float32],
    year: int,
    palette: NDArray[np.float64],
    seed: int,
) -> NDArray[np.float32]:
    """Compute the reflectance of a window.

    Parameters
    ----------
    left, top
        Map position of the centre of the window's first pixel [m]. Whole metres, so that the same pixel has the same
        position in every window, to the last bit.
    shift_x, shift_y
        Offset of the image from the ground, east and north [m].
    clearing, growth
        Share of each pixel that is cleared, and its regrowth, shape (rows, cols), 0 to 1.
    year
        Year of the crops.
    palette
        From `season.palette`, shape (17, 3).
    seed
        Seed of the ground, from `noise.salt_of`.

    Returns
    -------
    ndarray, shape (rows, cols, 3), float32
        Red, green, blue reflectance.
    """
    rows, cols = clearing.shape
    image = np.empty((rows, cols, 3), np.float32)
    for row in range(rows):
        y = (top - PIXEL_M * row) - shift_y
        for col in range(cols):
            x = (left + PIXEL_M * col) - shift_x
            colour = _surface(x, y, clearing[row, col], growth[row, col], year, palette, seed)
            image[row, col, 0], image[row, col, 1], image[row, col, 2] = colour
    return image
