"""Warnings of scenes whose grids make keypoints look different."""

from __future__ import annotations

import math

import pytest

from s2fast.model import Raster
from s2fast.report.findings import warnings_of_grids
from tests.archives import UTM36


def raster(*transform: float, crs: str = UTM36) -> Raster:
    return Raster((500, 500), (256, 256), crs, transform)  # type: ignore[arg-type]


UTM = raster(10, 0, 620_000, 0, -10, 5_580_000)


def test_scenes_that_are_mirror_images_beside_others_are_named() -> None:
    south_up = raster(10, 0, 620_000, 0, 10, 5_575_000)
    (line,) = warnings_of_grids({"a": UTM, "b": south_up})
    assert line.startswith("1 scene stored as a mirror image, rows from south to north or columns from east to west: b")
    westward = raster(-10, 0, 625_000, 0, -10, 5_580_000)
    assert "columns from east to west: b; " in warnings_of_grids({"a": UTM, "b": westward})[0]
    turned = raster(-10, 0, 625_000, 0, 10, 5_575_000)
    assert warnings_of_grids({"a": UTM, "b": turned}) == []
    assert warnings_of_grids({"a": south_up, "b": south_up}) == [], "these match each other"
    assert warnings_of_grids({}) == []


@pytest.mark.parametrize(("angle", "warned"), [(5, False), (20, False), (45, True), (-45, True)])
@pytest.mark.parametrize("turn", [0, 30, 90])
def test_sheared_scenes_are_named(angle: float, warned: bool, turn: float) -> None:
    cos, sin, lean = math.cos(math.radians(turn)), math.sin(math.radians(turn)), math.tan(math.radians(angle))
    # The second column of the turned grid leans against the first.
    b, e = 15 * (cos * lean + sin), 15 * (sin * lean - cos)
    sheared = raster(10 * cos, b, 620_000, 10 * sin, e, 5_580_000)
    lines = warnings_of_grids({"a": UTM, "b": sheared})
    assert len(lines) == warned
    for line in lines:
        assert line.startswith("1 scene on a sheared grid, rows and columns over 25 degrees from a right angle: b; ")
