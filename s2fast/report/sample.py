"""Which matches of a pair a picture shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2fast.errors import RunFolderError
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Features, Window
from s2fast.report.displacements import inliers
from s2fast_kernels.hamming_top2_both import hamming_top2_both


@dataclass(frozen=True, slots=True)
class CrossMatches:
    """Matches that are each other's best, nearest first."""

    query_row: npt.NDArray[np.intp]
    """(k,) rows of the query's features."""
    train_row: npt.NDArray[np.intp]
    """(k,) rows of the train's features."""
    distance: npt.NDArray[np.uint16]
    """(k,) Hamming distance [bits], rising."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Matches to draw, nearest descriptors first."""

    query_xy: npt.NDArray[np.float32]
    """(k, 2) where they begin, on the query's full-resolution grid [px]."""
    train_xy: npt.NDArray[np.float32]
    """(k, 2) where they end, on the train's [px]."""
    inlier: npt.NDArray[np.bool_] | None
    """(k,) whether they agree with the pair's shift; None: nobody has checked."""

    def __len__(self) -> int:
        return len(self.query_xy)


def cross_matches(query: Features, train: Features, most: int | None = None) -> CrossMatches:
    """Find the nearest matches that are best in both directions, as BFMatcher's crossCheck does.

    Returns
    -------
    CrossMatches
        At most `most`, by distance, then query row.
    """
    there, back = hamming_top2_both(query.descriptors, train.descriptors, np.array([0, len(train)], np.int64))
    if not len(query) or not len(train):
        return CrossMatches(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.uint16))
    chosen = there.index[:, 0]
    rows = np.flatnonzero(back.index[chosen, 0] == np.arange(len(query)))
    rows = rows[np.argsort(there.best[rows, 0], kind="stable")][:most]
    return CrossMatches(rows, chosen[rows].astype(np.intp), there.best[rows, 0])


def lines_to_draw(
    folder: RunFolder, query: str, train: str, most: int, windows: tuple[Window, Window], *, inliers_only: bool
) -> Lines:
    """Choose the `most` nearest matches of a pair with both ends in sight.

    The stored matches where verification has judged them; else, as the notebook, those that are best in both
    directions.

    Raises
    ------
    RunFolderError
        Only inliers are wanted and none are known.
    """
    features = folder.features(query), folder.features(train)
    matches = folder.verified.matches(query, train)
    judged = "inlier" in matches and bool(matches["inlier"].notna().any())
    if judged:
        matches = matches.sort_values("distance", kind="stable")
        rows = matches["query_row"].to_numpy(), matches["train_row"].to_numpy()
        agree = inliers(matches)
        wanted = agree if inliers_only else np.ones(len(matches), np.bool_)
    elif inliers_only:
        raise RunFolderError(f"{folder} knows no inliers of {query} and {train}: run verify first")
    else:
        found = cross_matches(*features)
        rows = found.query_row, found.train_row
        wanted = np.ones(len(rows[0]), np.bool_)
    ends = features[0].xy[rows[0]], features[1].xy[rows[1]]
    for points, window in zip(ends, windows, strict=True):
        wanted = wanted & in_window(points, window)
    kept = np.flatnonzero(wanted)[:most]
    return Lines(ends[0][kept], ends[1][kept], agree[kept] if judged else None)


def in_window(points: npt.NDArray[np.float32], window: Window) -> npt.NDArray[np.bool_]:
    """Say which points, pixel centres at integers, lie in a window: (k,) bool."""
    x0, y0, x1, y1 = window.bounds
    x, y = points.T + 0.5
    inside: npt.NDArray[np.bool_] = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    return inside
