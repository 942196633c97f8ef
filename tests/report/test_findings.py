"""Warnings of scenes whose grids make keypoints look different."""

from __future__ import annotations

from s2fast.model import Raster
from s2fast.report.findings import warnings_of_grids
from tests.archives import UTM36


def raster(*transform: float, crs: str = UTM36) -> Raster:
    return Raster((500, 500), (256, 256), crs, transform)  # type: ignore[arg-type]


UTM = raster(10, 0, 620_000, 0, -10, 5_580_000)


def test_scenes_whose_rows_run_north_beside_others_are_named() -> None:
    south_up = raster(10, 0, 620_000, 0, 10, 5_575_000)
    (line,) = warnings_of_grids({"a": UTM, "b": south_up})
    assert line.startswith("the rows of 1 scene run from south to north: b; ")
    turned = raster(-10, 0, 625_000, 0, 10, 5_575_000)
    assert warnings_of_grids({"a": UTM, "b": turned}) == []
    assert warnings_of_grids({"a": south_up, "b": south_up}) == [], "these match each other"
    assert warnings_of_grids({}) == []
