"""The displacements of one pair as a raster: a map of local misregistration."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import rasterio
from rasterio.transform import Affine

from s2fast.errors import InputError, RunFolderError
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.placement import PixelGrid
from s2fast.report.displacements import Displacements, KeypointPositions
from s2fast.report.match_columns import MatchColumns, inliers

BANDS = ("dx_m: median shift to the east [m]", "dy_m: median shift to the north [m]", "count: inliers in the cell")


def displacement_raster(folder: RunFolder, query: str, train: str, cell_m: float) -> bytes:
    """Return a pair's displacements, train minus query, as a GeoTIFF over the query's ground.

    Parameters
    ----------
    folder
        The run folder.
    query, train
        Scene ids, in the run's order.
    cell_m
        Side of a cell [m].

    Returns
    -------
    bytes
        Three float32 bands, see `BANDS`, on the query's metric map, see `PixelGrid.metric`. Cells without inliers have
        NaN shifts and a count of 0.

    Raises
    ------
    InputError
        The cell size is not positive, or larger than the scene.
    RunFolderError
        The run folder has no inliers of the pair.
    """
    matches = folder.verified.matches(query, train)
    agreeing = matches[inliers(matches)] if "inlier" in matches else matches
    if not len(agreeing):
        raise RunFolderError(
            f"{folder} has no inliers of {query} and {train}: choose a pair that `s2fast pairs --verified` lists, or "
            'run verify with output.keep_matches other than "none"'
        )
    positions = KeypointPositions(folder, [query, train])
    shape, transform = cells(positions.grids[0], cell_m)
    columns = MatchColumns.of_table(pa.Table.from_pandas(agreeing, preserve_index=False), {query: 0, train: 1})
    bands = gridded(positions.displacements(columns), shape, transform)
    sink = io.BytesIO()
    with rasterio.open(
        sink, "w", driver="GTiff", height=shape[0], width=shape[1], count=3, dtype="float32", nodata=np.nan,
        crs=positions.grids[0].metric, transform=transform, compress="deflate",
    ) as raster:  # fmt: skip
        raster.write(bands)
        raster.descriptions = BANDS
        raster.update_tags(query=query, train=train, shift="train minus query")
    return sink.getvalue()


def cells(grid: PixelGrid, cell_m: float) -> tuple[tuple[int, int], Affine]:
    """Return the shape and transform of a north-up grid of cells on a scene's metric map, from the upper left corner.

    Examples
    --------
    >>> cells(PixelGrid("EPSG:32636", (10, 0, 500000, 0, -10, 900000), (512, 256)), 1000)[0]
    (6, 3)
    """
    (west, south), (east, north) = grid.box
    if not 0 < cell_m <= max(east - west, north - south):
        raise InputError(
            f"a cell of {cell_m:g} m does not fit: the scene is {east - west:.0f} x {north - south:.0f} m; the cell "
            "must be larger than 0 and at most as large as the scene"
        )
    size = int(np.ceil((north - south) / cell_m)), int(np.ceil((east - west) / cell_m))
    return size, Affine(cell_m, 0, west, 0, -cell_m, north)


def gridded(found: Displacements, shape: tuple[int, int], transform: Affine) -> npt.NDArray[np.float32]:
    """Compute the median shift and the count of each cell: (3, rows, cols) float32."""
    cols, rows = np.floor(~transform * found.start.T).astype(np.int64)
    bands = np.full((3, *shape), np.nan, np.float32)
    bands[2] = 0
    # Subpixel refinement can move a keypoint beyond the scene's edge: skip it.
    inside = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
    for row, col in np.unique(np.column_stack([rows, cols])[inside], axis=0):
        shifts = found.shift[(rows == row) & (cols == col)]
        bands[:, row, col] = *np.median(shifts, axis=0), len(shifts)
    return bands
