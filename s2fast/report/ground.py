"""GIS layers of the ground that was compared: each scene's clear ground, and the regions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence, Sized

import geopandas
import numpy as np
import numpy.typing as npt
import rasterio.features
import shapely
from rasterio.transform import Affine

from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.image.prepare import cell_px
from s2fast.model import TileInfo
from s2fast.raster.windows import reduced_shape
from s2fast.regions.rows import load_regions

_CLEAR_PCT = 50
"""Least share of clear pixels of a cell that counts as clear [%]."""


def ground_layers(
    record: RunRecord,
    folder: RunFolder,
    scenes: geopandas.GeoDataFrame,
    clear: Mapping[str, npt.NDArray[np.uint8]],
    crs: str,
) -> dict[str, geopandas.GeoDataFrame]:
    """Return the layers by name; "regions" only if the run uses some.

    Parameters
    ----------
    record, folder
        The run.
    scenes
        Its table of scenes.
    clear
        Maps of the scenes' clear ground, see `s2fast.report.findings.Findings.clear`.
    crs
        CRS of the layers, see `s2fast.report.layers.map_crs`.
    """
    layers = {"clear_ground": clear_ground(folder, scenes, clear, crs)}
    if record.regions is not None and record.uses_regions:
        rows = load_regions(record.regions, record.config.regions)
        layers["regions"] = geopandas.GeoDataFrame({"row": rows.shapes.index}, geometry=rows.shapes.to_numpy()).set_crs(
            rows.shapes.crs
        )
        layers["regions"] = layers["regions"].to_crs(crs)
    return layers


def clear_ground(
    folder: RunFolder, scenes: geopandas.GeoDataFrame, clear: Mapping[str, npt.NDArray[np.uint8]], crs: str
) -> geopandas.GeoDataFrame:
    """Return the ground of every scene on which keypoints may lie, as polygons of whole cells.

    See `s2fast.image.prepare.clear_cells`; scenes without clear ground have no row.
    """
    ground: dict[str, shapely.Geometry] = {}
    by_crs: dict[str, list[str]] = {}
    for scene_id in scenes["scene_id"]:
        shape = _clear_cells(clear[scene_id], folder.tile(scene_id))
        if not shape.is_empty:
            ground[scene_id] = shape
            by_crs.setdefault(folder.tile(scene_id).crs, []).append(scene_id)
    for own, names in by_crs.items():
        if not own:
            continue
        moved = geopandas.GeoSeries([ground[name] for name in names], crs=own).to_crs(crs)
        ground.update(zip(names, moved, strict=True))
    wanted = [name for name in ("scene_id", "tile", "sensing_time", "clear_pct") if name in scenes]
    table = scenes.loc[scenes["scene_id"].isin(list(ground)), wanted].reset_index(drop=True)
    shapes = [ground[name] for name in table["scene_id"]]
    return geopandas.GeoDataFrame(table, geometry=geopandas.GeoSeries(shapes, crs=crs or None))


def _clear_cells(share: npt.NDArray[np.uint8], tile: TileInfo) -> shapely.Geometry:
    """Return a scene's clear cells as one shape of several polygons, on its own map."""
    grid = PixelGrid.of_tile(tile)
    side = cell_px(reduced_shape(tile.full_shape, tile.reduction)) * tile.reduction
    clear = (share >= _CLEAR_PCT).astype(np.uint8)
    if not clear.any():
        return shapely.MultiPolygon()
    placed = Affine(*grid.transform) @ Affine.scale(side)
    found = rasterio.features.shapes(clear, mask=clear.astype(bool), transform=placed)
    of_parts = [shape["coordinates"] for shape, _ in found]
    rings = list(itertools.chain(*of_parts))
    outlines = shapely.linearrings(np.concatenate(rings), indices=_owners(rings))
    parts = shapely.polygons(outlines, indices=_owners(of_parts))
    rows, cols = tile.full_shape
    corners = [Affine(*grid.transform) @ corner for corner in ((0, 0), (cols, 0), (cols, rows), (0, rows))]
    inside = shapely.intersection(parts, shapely.Polygon(corners))
    polygons = [part for part in shapely.get_parts(inside) if part.geom_type == "Polygon"]
    return shapely.MultiPolygon(polygons)


def _owners(groups: Sequence[Sized]) -> npt.NDArray[np.intp]:
    """Return the number of the group to which each member of the groups, one after another, belongs."""
    return np.repeat(np.arange(len(groups)), list(map(len, groups)))
