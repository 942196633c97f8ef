"""The displacements of one pair as a raster: a map of local misregistration."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import rasterio
from rasterio.transform import Affine

from s2fast.errors import InputError, RunFolderError
from s2fast.files.suffixes import RASTERS, check_suffix
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.report.displacements import Displacements, KeypointPositions
from s2fast.report.match_columns import MatchColumns, inliers

BANDS = ("dx_m: median shift to the east [m]", "dy_m: median shift to the north [m]", "count: inliers in the cell")


@dataclass(frozen=True, eq=False)
class Displacement:
    """A pair's displacements, train minus query, on a north-up grid of cells over the query's ground."""

    query: str
    """Scene id of the query."""
    train: str
    """Scene id of the train."""
    dx_m: npt.NDArray[np.float32]
    """(rows, cols) median shift to the east [m]; NaN in cells without inliers."""
    dy_m: npt.NDArray[np.float32]
    """(rows, cols) median shift to the north [m]; NaN in cells without inliers."""
    count: npt.NDArray[np.int32]
    """(rows, cols) number of inliers."""
    transform: tuple[float, float, float, float, float, float]
    """Affine a, b, c, d, e, f: x = a col + b row + c, y = d col + e row + f, at corners of cells [m]."""
    crs: str
    """Coordinate reference system of the grid, as WKT: the query's metric map."""

    @property
    def cell_m(self) -> float:
        """Side of a cell [m]."""
        return self.transform[0]

    def __repr__(self) -> str:
        rows, cols = self.count.shape
        return (
            f"<displacement of {self.train} against {self.query}: {rows} x {cols} cells of {self.cell_m:g} m, "
            f"{int(self.count.sum())} inliers>"
        )

    def __bytes__(self) -> bytes:
        """Return a Cloud-Optimised GeoTIFF of three float32 bands, see `BANDS`."""
        sink = io.BytesIO()
        rows, cols = self.count.shape
        with rasterio.open(
            sink, "w", driver="COG", height=rows, width=cols, count=3, dtype="float32", nodata=np.nan, crs=self.crs,
            transform=Affine(*self.transform), compress="deflate", overview_resampling="nearest",
        ) as raster:  # fmt: skip
            raster.write(np.stack([self.dx_m, self.dy_m, self.count.astype(np.float32)]))
            raster.descriptions = BANDS
            raster.update_tags(query=self.query, train=self.train, shift="train minus query")
        return sink.getvalue()

    def save(self, path: Path | str) -> None:
        """Write a Cloud-Optimised GeoTIFF, ``.tif`` or ``.tiff``; raise InputError if that is not possible."""
        check_suffix(path, RASTERS)
        try:
            Path(path).write_bytes(bytes(self))
        except OSError as error:
            raise InputError(f"cannot write the raster {path}: {error.strerror}") from error


def displacement_raster(folder: RunFolder, query: str, train: str, cell_m: float) -> Displacement:
    """Return a pair's displacements over the query's ground, on its metric map, see `PixelGrid.metric`.

    Parameters
    ----------
    folder
        The run folder.
    query, train
        Scene ids, in the run's order.
    cell_m
        Side of a cell [m].

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
            f"{folder} has no inliers of {query} and {train}: choose a verified pair, or run verify with "
            'output.keep_matches other than "none"'
        )
    positions = KeypointPositions(folder, [query, train])
    if not positions.grids[0].crs_wkt:
        raise InputError(f"{query} has no CRS: a raster of displacements in metres needs one; assign it and run again")
    shape, transform = cells(positions.grids[0], cell_m)
    columns = MatchColumns.of_table(pa.Table.from_pandas(agreeing, preserve_index=False), {query: 0, train: 1})
    dx_m, dy_m, count = gridded(positions.displacements(columns), shape, transform)
    return Displacement(
        query, train, dx_m, dy_m, count.astype(np.int32), tuple(transform)[:6], positions.grids[0].metric
    )


def cells(grid: PixelGrid, cell_m: float) -> tuple[tuple[int, int], Affine]:
    """Return the shape and transform of a north-up grid of cells on a scene's metric map, from the upper left corner.

    Examples
    --------
    >>> cells(PixelGrid("EPSG:32636", (10, 0, 500000, 0, -10, 900000), (512, 256)), 1000)[0]
    (6, 3)
    """
    (west, south), (east, north) = grid.box
    # Smaller cells would hold nothing more, and fill the memory; a pixel's size on the map may be a little rounded.
    if not (1 - 1e-6) * grid.pixel_m <= cell_m <= max(east - west, north - south):
        raise InputError(
            f"a cell of {cell_m:g} m does not fit: the scene is {east - west:.0f} x {north - south:.0f} m; the cell "
            f"must be at least as large as a pixel, {grid.pixel_m:.4g} m, and at most as large as the scene"
        )
    size = int(np.ceil((north - south) / cell_m)), int(np.ceil((east - west) / cell_m))
    return size, Affine(cell_m, 0, west, 0, -cell_m, north)


def gridded(found: Displacements, shape: tuple[int, int], transform: Affine) -> npt.NDArray[np.float32]:
    """Compute the median shift and the count of each cell: (3, rows, cols) float32."""
    cols, rows = np.floor(~transform @ found.start.T).astype(np.int64)
    bands = np.full((3, *shape), np.nan, np.float32)
    bands[2] = 0
    # Subpixel refinement can move a keypoint beyond the scene's edge: skip it.
    inside = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
    for row, col in np.unique(np.column_stack([rows, cols])[inside], axis=0):
        shifts = found.shift[(rows == row) & (cols == col)]
        bands[:, row, col] = *np.median(shifts, axis=0), len(shifts)
    return bands
