"""Select the matches of a pair that a picture shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2fast.errors import RunFolderError
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Features, Window
from s2fast.report.match_columns import inliers
from s2fast_kernels.hamming_top2_both import hamming_top2_both


@dataclass(frozen=True, slots=True)
class CrossMatches:
    """Mutual nearest neighbours, nearest first."""

    query_row: npt.NDArray[np.intp]
    """(k,) rows of the query's features."""
    train_row: npt.NDArray[np.intp]
    """(k,) rows of the train's features."""
    distance: npt.NDArray[np.uint16]
    """(k,) Hamming distance [bits], ascending."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Matches to draw, nearest descriptors first."""

    query_xy: npt.NDArray[np.float32]
    """(k, 2) positions on the query's full-resolution grid [px]."""
    train_xy: npt.NDArray[np.float32]
    """(k, 2) positions on the train's full-resolution grid [px]."""
    inlier: npt.NDArray[np.bool_] | None
    """(k,) True for inliers; None: not verified."""

    def __len__(self) -> int:
        return len(self.query_xy)


def cross_matches(query: Features, train: Features, most: int | None = None) -> CrossMatches:
    """Find mutual nearest neighbours, as BFMatcher's crossCheck does.

    Returns
    -------
    CrossMatches
        At most `most` matches, in ascending order of distance, then query row.
    """
    there, back = hamming_top2_both(query.descriptors, train.descriptors, np.array([0, len(train)], np.int64))
    if not len(query) or not len(train):
        return CrossMatches(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.uint16))
    nearest = there.index[:, 0]
    rows = np.flatnonzero(back.index[nearest, 0] == np.arange(len(query)))
    rows = rows[np.argsort(there.best[rows, 0], kind="stable")][:most]
    return CrossMatches(rows, nearest[rows].astype(np.intp), there.best[rows, 0])


def lines_to_draw(
    folder: RunFolder, query: str, train: str, most: int, windows: tuple[Window, Window], *, inliers_only: bool
) -> Lines:
    """Return the `most` nearest matches of a pair with both ends inside the windows.

    They are taken from the stored matches if the pair is verified, else from the mutual nearest neighbours, as in the
    notebook.

    Raises
    ------
    RunFolderError
        Only inliers are wanted, but the matches are not verified.
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
        raise RunFolderError(f"{folder} has no inliers of {query} and {train}: run verify first")
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
    """Return which points, pixel centres at integers, are inside a window: (k,) bool."""
    x0, y0, x1, y1 = window.bounds
    x, y = points.T + 0.5
    inside: npt.NDArray[np.bool_] = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    return inside
