"""Locate a picture in a scene, by the rule for pairs of scenes without a prior."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from s2fast.geometry.anywhere import find_anywhere
from s2fast.geometry.evidence import Evidence, Judgement
from s2fast.geometry.shift import INLIER_PX
from s2fast.geometry.standard_errors import SQUARE_PX
from s2fast.retrieval.cells import BINS, bins_of
from s2fast.retrieval.index import Keypoints
from s2fast_kernels.hamming_top2_both import hamming_top2_both
from s2fast_kernels.hamming_window_top2 import hamming_window_top2

RATIO = 0.9
"""A match's best distance is below this share of its second best, as by default in a run."""

MAX_BITS = 160
"""Largest distance of a match [bits]."""

_TRIED = 3
"""Number of bins of rotation and scale whose matches are judged."""

_LEAST_MATCHES = 6
"""With fewer matches no place is estimated."""

_SQUARES = 4
"""Squares along a small picture's side by which the error is estimated: fewer than four in all determine no affinity,
and squares of `SQUARE_PX` are so few in a picture of 128 px."""

_ALIKE_LOG2 = 0.3
"""Matches of keypoints whose sizes differ by less agree with a shift [octaves]."""

_ALIKE_RAD = 0.35
"""And whose orientations differ by less [rad]."""

_GUIDED_PX = 3.0
"""Distance from the predicted place within which a keypoint's match is looked for [px of the coarser grid]."""

_ROUNDS = 8
"""Iterations of an estimate."""

_MOST_SCALE = 16.0
_MOST_SHEAR = 0.3
"""A model beyond these is no picture of the ground."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture lies in a scene."""

    judgement: Judgement
    """The verdict, model and inliers."""
    to_scene: npt.NDArray[np.float64]
    """(2, 3) affine from pixels of the picture to pixels of the scene, pixel centres at integers."""
    picture_xy: npt.NDArray[np.float64]
    """(k, 2) matches in the picture [px]."""
    scene_xy: npt.NDArray[np.float64]
    """(k, 2) the same in the scene [px]."""

    @property
    def inliers(self) -> int:
        """Number of matches that agree with the model."""
        return int(np.count_nonzero(self.judgement.inlier))

    @property
    def scale(self) -> float:
        """Size of a pixel of the picture in pixels of the scene."""
        return math.sqrt(abs(float(np.linalg.det(self.to_scene[:, :2]))))

    @property
    def rotation_deg(self) -> float:
        """Rotation that takes the picture to the scene, clockwise as the picture is seen, 0 to 360 [deg]."""
        turned = self.to_scene[:, :2]
        return math.degrees(math.atan2(turned[1, 0] - turned[0, 1], turned[0, 0] + turned[1, 1])) % 360.0

    def at(self, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Convert (n, 2) positions in the picture to the scene."""
        return np.asarray(xy @ self.to_scene[:, :2].T + self.to_scene[:, 2])

    def outline(self, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
        """Return the corners of a picture of this shape in the scene, clockwise: (4, 2) [px], centres at integers."""
        rows, columns = shape
        return self.at(np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]]) - 0.5)


def find_place_near(
    query: Keypoints, train: Keypoints, query_shape: tuple[int, int], shape: tuple[int, int],
    at: npt.NDArray[np.float32], tried: float = 1.0,
) -> Place | None:  # fmt: skip
    """Find a picture near where votes agree that it lies, see `find_place`.

    Among fewer keypoints, more of a small picture's have their nearest neighbour at the right place, by a clear margin.
    The votes were cast by the same keypoints: so wrong matches are taken to be spread over the picture's ground only,
    not over the wider window, and the false alarms of all such grounds of the scene are counted.

    Parameters
    ----------
    query, train, query_shape, shape, tried
        See `find_place`.
    at : (3,) float32
        See `s2fast.retrieval.votes.Ballot.at`.
    """
    near = np.abs(train.xy - at[:2]).max(axis=1) <= at[2]
    ground, whole = float(at[2]) ** 2, float(shape[0] * shape[1])
    if near.all() or ground > whole:
        return None  # the whole scene has been compared
    return find_place(query, train.take(near), query_shape, ground, tried * whole / ground)


def find_place(
    query: Keypoints, train: Keypoints, query_shape: tuple[int, int], ground: float, tried: float
) -> Place | None:
    """Find the shift, similarity or affinity that takes a picture to a scene.

    Parameters
    ----------
    query, train
        Keypoints of the picture and of the scene.
    query_shape
        Rows and columns of the picture [px].
    ground, tried
        See `s2fast.geometry.anywhere.find_anywhere` [px2 of the scene].

    Returns
    -------
    Place or None
        None unless the place is verified: mutual matches whose rotation and scale agree are judged by
        `s2fast.geometry.anywhere.find_anywhere`, in the three fullest bins of rotation and scale.
    """
    if len(query) < _LEAST_MATCHES or len(train) < _LEAST_MATCHES:
        return None
    there, back = hamming_top2_both(query.descriptors, train.descriptors, np.array([0, len(train)], np.int64))
    nearest, best, second = there.index[:, 0], there.best[:, 0], there.second[:, 0]
    mutual = back.index[nearest, 0] == np.arange(len(query))
    row = np.flatnonzero(mutual & (best <= MAX_BITS) & (best < RATIO * second))
    match = nearest[row]
    bins = bins_of(query.size[row], query.angle[row], train.size[match], train.angle[match])
    for _ in range(_TRIED):
        counts = np.bincount(bins.ravel(), minlength=BINS)
        fullest = int(counts.argmax())
        if counts[fullest] < _LEAST_MATCHES:
            return None
        agree = (bins == fullest).any(axis=1)
        place = _judged(query, train, row[agree], match[agree], best[row[agree]], query_shape, ground, tried)
        if place is not None:
            return place
        row, match, bins = row[~agree], match[~agree], bins[~agree]
    return None


def _judged(
    query: Keypoints, train: Keypoints, row: npt.NDArray[np.intp], match: npt.NDArray[np.int32],
    distance: npt.NDArray[np.uint16], query_shape: tuple[int, int], ground: float, tried: float,
) -> Place | None:  # fmt: skip
    """Judge matches that agree on rotation and scale; see `find_place`."""
    ratio = train.size[match] / query.size[row]
    turn = np.abs((train.angle[match] - query.angle[row] + np.pi) % (2 * np.pi) - np.pi)
    alike = (np.abs(np.log2(ratio)) < _ALIKE_LOG2) & (turn < _ALIKE_RAD)
    here, there = query.xy[row].astype(np.float64), train.xy[match].astype(np.float64)
    grid = max(1.0, float(np.median(ratio)))
    centre = (np.array(query_shape[::-1]) - 1) / 2
    square_px = min(SQUARE_PX, min(query_shape) / grid / _SQUARES)
    evidence = Evidence(
        here,
        there,
        query.size[row].astype(np.float64),
        distance,
        np.ones(len(row), np.bool_),
        grid,
        lambda: centre,
        square_px,
    )
    judgement = find_anywhere(evidence, alike, ground, tried)
    if not judgement.verified:
        return None
    place = Place(judgement, _matrix(judgement, grid), here, there)
    turned = place.to_scene[:, :2]
    stretch = np.linalg.svd(turned, compute_uv=False)
    if np.linalg.det(turned) <= 0 or not 1 / _MOST_SCALE < stretch[1] <= stretch[0] < _MOST_SCALE:
        return None
    return place if stretch[0] / stretch[1] - 1 <= _MOST_SHEAR else None


def refined(place: Place, query: Keypoints, train: Keypoints) -> Place:
    """Return a verified place, estimated anew from all keypoints that match where it predicts them.

    Few of a picture's keypoints have their nearest neighbour of the whole scene at the right place, if the scene is of
    another date; more have that of its surroundings there. The verdict is not changed.
    """
    grid = max(1.0, place.scale)
    matrix = place.to_scene
    for reach in (_GUIDED_PX * grid, INLIER_PX * grid):
        predicted = query.xy.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
        near = hamming_window_top2(
            query.descriptors, predicted, train.descriptors, train.xy.astype(np.float64), float(reach)
        )
        match = near.index[:, 0]
        scale = math.log2(math.sqrt(abs(float(np.linalg.det(matrix[:, :2])))))
        of_size = np.abs(np.log2(train.size[match] / query.size) - scale) < _ALIKE_LOG2
        row = np.flatnonzero((match >= 0) & (near.best[:, 0] <= MAX_BITS) & of_size)
        if len(row) < place.inliers:
            return place
        here, there = query.xy[row].astype(np.float64), train.xy[match[row]].astype(np.float64)
        prior, estimate = 1 / query.size[row].astype(np.float64), _MODELS[place.judgement.model]
        for _ in range(_ROUNDS):
            off = np.hypot(*(there - here @ matrix[:, :2].T - matrix[:, 2]).T) / reach
            weight = prior * np.maximum(0.0, 1 - off**2) ** 2
            if np.count_nonzero(weight) < max(_LEAST_MATCHES, place.inliers / 2):
                return place
            matrix = estimate(here, there, weight)
    agrees = np.hypot(*(there - here @ matrix[:, :2].T - matrix[:, 2]).T) <= INLIER_PX * grid
    return Place(replace(place.judgement, inlier=agrees), matrix, here, there)


def _matrix(judgement: Judgement, grid: float) -> npt.NDArray[np.float64]:
    """Return a judgement's model as an affine of positions: (2, 3) [px]."""
    model = judgement.affinity
    if model is None:
        return np.array([[1.0, 0.0, judgement.dx], [0.0, 1.0, judgement.dy]])
    offset = grid * (model.shift - model.change @ model.centre)
    return np.column_stack([np.eye(2) + model.change, offset])


def _shift(
    here: npt.NDArray[np.float64], there: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the shift that fits best; see `_similarity`."""
    return np.column_stack([np.eye(2), weight @ (there - here) / weight.sum()])


def _affinity(
    here: npt.NDArray[np.float64], there: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the affinity that fits best; see `_similarity`."""
    design = np.column_stack([here, np.ones(len(here))])
    root = np.sqrt(weight)[:, None]
    solution: npt.NDArray[np.float64] = np.linalg.lstsq(root * design, root * there, rcond=None)[0]
    return solution.T


def _similarity(
    here: npt.NDArray[np.float64], there: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the rotation, scale and shift that fit best: (2, 3); four parameters place corners better than six.

    Parameters
    ----------
    here, there : (k, 2) float64
        Positions before and after.
    weight : (k,) float64
        Weight of each; 0: none.
    """
    centre, middle = weight @ here / weight.sum(), weight @ there / weight.sum()
    (x, y), (u, v) = (here - centre).T, (there - middle).T
    norm = float(weight @ (x**2 + y**2))
    cosine, sine = float(weight @ (x * u + y * v)) / norm, float(weight @ (x * v - y * u)) / norm
    turned = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([turned, middle - turned @ centre])


_MODELS = {"shift": _shift, "similarity": _similarity, "affinity": _affinity}
"""How each model is estimated."""
