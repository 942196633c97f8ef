"""Matches as displacement vectors on the ground: convert feature rows to positions in metres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.pixel_grid import PixelGrid, reprojected, to_ground
from s2fast.report.match_columns import MatchColumns


@dataclass(frozen=True, slots=True)
class Displacements:
    """Displacement vectors of matches, each on its query's metric map (see `PixelGrid.metric`)."""

    start: npt.NDArray[np.float64]
    """(n, 2) positions in the query, east and north [m]."""
    end: npt.NDArray[np.float64]
    """(n, 2) positions in the train, east and north [m]."""

    @property
    def shift(self) -> npt.NDArray[np.float64]:
        """(n, 2) train minus query, east and north [m]."""
        return self.end - self.start


class KeypointPositions:
    """Positions of the keypoints of scenes; each scene is read once.

    Parameters
    ----------
    folder
        The run folder.
    scene_ids
        Ids of the scenes, in the order of their numbers.
    """

    def __init__(self, folder: RunFolder, scene_ids: Sequence[str]) -> None:
        # Scenes of one tile share one grid, and what it has computed.
        distinct: dict[PixelGrid, PixelGrid] = {}
        grids = [PixelGrid.of_tile(folder.tile(scene_id)) for scene_id in scene_ids]
        self.grids = [distinct.setdefault(grid, grid) for grid in grids]
        pixels = [folder.positions(scene_id) for scene_id in scene_ids]
        self._first = np.concatenate([[0], np.cumsum([len(xy) for xy in pixels])[:-1]]).astype(np.intp)
        self._pixels = np.concatenate(pixels)
        self._transform = np.array([grid.transform for grid in self.grids], np.float64).T.copy()
        self._shape = np.array([grid.shape for grid in self.grids], np.float64)
        self._maps = list(dict.fromkeys(wkt for grid in self.grids for wkt in (grid.crs_wkt, grid.metric)))
        self._own_map = np.array([self._maps.index(grid.crs_wkt) for grid in self.grids])
        self._metric_map = np.array([self._maps.index(grid.metric) for grid in self.grids])

    def displacements(self, matches: MatchColumns) -> Displacements:
        """Return the displacement vectors of matches."""
        target = self._metric_map[matches.query]
        ends = ((matches.query, matches.query_row), (matches.train, matches.train_row))
        return Displacements(*(self._on_maps(self._ground(*end), self._own_map[end[0]], target) for end in ends))

    def on_map(
        self, points: npt.NDArray[np.float64], query: npt.NDArray[np.intp], crs_wkt: str
    ) -> npt.NDArray[np.float64]:
        """Convert points on the metric maps of query scenes to one CRS: (n, 2) x and y."""
        converted = points.copy()
        source = self._metric_map[query]
        for number in np.unique(source):
            rows = source == number
            converted[rows] = reprojected(points[rows], self._maps[number], crs_wkt)
        return converted

    def share(self, scenes: npt.NDArray[np.intp], rows: npt.NDArray[np.integer]) -> npt.NDArray[np.uint16]:
        """Return positions as shares of the scenes' width and height: (n, 2) uint16, where 65535 is the far edge."""
        share = (self._pixels[self._first[scenes] + rows] + 0.5) / self._shape[scenes, ::-1]
        counts: npt.NDArray[np.uint16] = np.clip(np.rint(share * 65535), 0, 65535).astype("<u2")
        return counts

    def _ground(self, scenes: npt.NDArray[np.intp], rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Return positions in their scenes' own CRS: (n, 2)."""
        return to_ground(self._pixels[self._first[scenes] + rows], self._transform[:, scenes])

    def _on_maps(
        self, points: npt.NDArray[np.float64], source: npt.NDArray[np.intp], target: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        """Reproject points, given the numbers of their maps before and after."""
        count = len(self._maps)
        apart = source != target
        for code in np.unique((source * count + target)[apart]):
            before, after = divmod(int(code), count)
            rows = (source == before) & (target == after)
            points[rows] = reprojected(points[rows], self._maps[before], self._maps[after])
        return points


def with_positions(matches: pd.DataFrame, folder: RunFolder, query: str, train: str) -> pd.DataFrame:
    """Return a pair's matches with the positions of both ends and their displacement.

    Parameters
    ----------
    matches
        Matches of the pair, see `s2fast.folder.pair_blocks.PairBlocks.matches`.
    folder, query, train
        The run folder, and the scenes.

    Returns
    -------
    DataFrame
        `matches`, and the columns described at `s2fast.results.Run.matches`.
    """
    if "query_row" not in matches:  # no matches are kept
        return matches
    positions = KeypointPositions(folder, [query, train])
    table = matches.copy()
    for side, scene_id, grid in zip(("query", "train"), (query, train), positions.grids, strict=True):
        xy = folder.positions(scene_id)[matches[f"{side}_row"].to_numpy()].astype(np.float64)
        table[f"{side}_x_px"], table[f"{side}_y_px"] = xy.T
        table[f"{side}_map_x"], table[f"{side}_map_y"] = to_ground(xy, grid.transform).T
    columns = MatchColumns.of_table(pa.Table.from_pandas(matches, preserve_index=False), {query: 0, train: 1})
    table["dx_m"], table["dy_m"] = positions.displacements(columns).shift.T
    if not positions.grids[0].crs_wkt:
        empty = [name for name in map(str, table) if name.endswith(("_m", "_map_x", "_map_y"))]
        table = table.assign(**dict.fromkeys(empty, np.nan))
    return table
