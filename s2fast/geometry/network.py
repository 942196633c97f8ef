"""Adjustment of a network of scenes: one offset per scene, from the shifts of all verified pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_ROUNDS = 50
"""Maximum number of reweighting iterations."""

_HUBER = 1.345
"""Residuals beyond this many standard errors are downweighted (95 % efficiency for normal errors)."""

_MEDIAN_LENGTH = 1.1774
"""Median length of a 2-D residual whose components have standard deviation 1 (Rayleigh distribution)."""

_OUTLYING = 3.0
"""A pair is an outlier of the network if its residual exceeds this many robust standard deviations."""

_MOST_SCENES = 300
"""Maximum number of scenes of which all triangles are computed: 4.5 million."""


@dataclass(frozen=True, slots=True)
class Network:
    """Offsets of scenes that pairs connect."""

    offset: npt.NDArray[np.float64]
    """(n, 2) east and north, relative to the median of the scenes [m]; NaN for scenes outside the largest set that
    pairs connect."""
    error: npt.NDArray[np.float64]
    """(n,) standard error of an offset along each axis [m]."""
    residual: npt.NDArray[np.float64]
    """(pairs,) length of the shift minus the difference of offsets [m]; NaN outside the network."""
    disagrees: npt.NDArray[np.bool_]
    """(n,) True if most of the scene's pairs are outliers of the network."""
    covariance: npt.NDArray[np.float64]
    """(n, n) covariance of the offsets along each axis [m2]; NaN outside the network."""


def solve(
    scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp], shift: npt.NDArray[np.float64],
    error: npt.NDArray[np.float64],
) -> Network:  # fmt: skip
    """Estimate the offsets of scenes from the shifts of pairs by robust least squares (Huber, 1964).

    Parameters
    ----------
    scenes
        Number of scenes.
    query, train : (pairs,) intp
        Scene numbers of the verified pairs.
    shift : (pairs, 2) float64
        Train minus query, east and north [m].
    error : (pairs,) float64
        Standard error along each axis [m], positive.

    Returns
    -------
    Network
    """
    network = Network(
        np.full((scenes, 2), math.nan),
        np.full(scenes, math.nan),
        np.full(len(query), math.nan),
        np.zeros(scenes, np.bool_),
        np.full((scenes, scenes), math.nan),
    )
    member = _largest_component(scenes, query, train)
    pairs = np.flatnonzero(member[query])
    if not len(pairs):
        return network
    column = np.cumsum(member) - 1
    ends = column[query[pairs]], column[train[pairs]]
    offset, weight = _reweighted(int(member.sum()), *ends, shift[pairs], error[pairs])
    residual = shift[pairs] - offset[ends[1]] + offset[ends[0]]
    freedom = max(1, 2 * (len(pairs) - len(offset) + 1))
    scale = max(1.0, float((weight[:, None] * residual**2).sum()) / freedom)
    network.offset[member] = offset - np.median(offset, axis=0)
    network.covariance[np.ix_(member, member)] = scale * _pseudo_inverse(_normal(len(offset), *ends, weight))
    network.error[member] = np.sqrt(np.diag(network.covariance)[member])
    network.residual[pairs] = np.hypot(*residual.T)
    spread = 1.4826 * float(np.median(np.abs(residual)))
    outlying = network.residual[pairs] > _OUTLYING * max(spread, float(np.median(error[pairs])))
    both = np.concatenate(ends)
    share = np.bincount(both, np.tile(outlying, 2)) / np.bincount(both)
    network.disagrees[member] = share > 0.5
    return network


def _largest_component(scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Find the scenes of the largest connected component, the first of equally large ones: (scenes,) bool."""
    links = coo_array((np.ones(len(query)), (query, train)), shape=(scenes, scenes))
    _, label = connected_components(links, directed=False)
    counts = np.bincount(label, minlength=1)
    return np.asarray((label == counts.argmax()) & (counts.max() > 1))


def _reweighted(
    scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp], shift: npt.NDArray[np.float64],
    error: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:  # fmt: skip
    """Solve by iteratively reweighted least squares: (scenes, 2) offsets of sum 0, and (pairs,) weights [m-2]."""
    weight = 1 / error**2
    offset: npt.NDArray[np.float64] = np.zeros((scenes, 2))
    for _ in range(_ROUNDS):
        pull = weight[:, None] * shift
        right = np.zeros_like(offset)
        np.add.at(right, train, pull)
        np.subtract.at(right, query, pull)
        normal = _anchored(_normal(scenes, query, train, weight))
        before, offset = offset, np.asarray(scipy.linalg.solve(normal, right, assume_a="pos"))
        length = np.hypot(*(shift - offset[train] + offset[query]).T)
        # If the stated errors are too small, scale them up: not every pair may become an outlier.
        scale = np.maximum(error, float(np.median(length)) / _MEDIAN_LENGTH)
        weight = np.minimum(1, _HUBER * scale / np.maximum(length, 1e-12)) / scale**2
        if np.abs(offset - before).max() < 1e-6:
            break
    return offset, weight


def _normal(
    scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the normal matrix of the pairs' equations, the weighted Laplacian of their graph: (scenes, scenes)."""
    normal = np.zeros((scenes, scenes))
    np.add.at(normal, (query, train), -weight)
    normal = normal + normal.T
    np.fill_diagonal(normal, -normal.sum(axis=0))
    return normal


def _anchored(normal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Add the equation that the sum of the offsets is 0, without which any constant could be added to them."""
    return np.asarray(normal + np.trace(normal) / len(normal) ** 2)


def _pseudo_inverse(normal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the pseudo-inverse of a connected graph's Laplacian."""
    return np.asarray(np.linalg.inv(_anchored(normal)) - 1 / np.trace(normal))


def closures(
    scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp], shift: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Compute the closure errors of triangles of pairs: (scenes,) median over each scene's triangles [m]."""
    between = _between(scenes, query, train, shift)
    median = np.full(scenes, math.nan)
    for scene in range(scenes):
        # Sum of the shifts around the triangle: scene to b, b to c, c to scene.
        gap = between[scene, :, None] + between - between[scene, None, :]
        length = np.hypot(gap[..., 0], gap[..., 1])[np.triu_indices(scenes, 1)]
        if np.isfinite(length).any():
            median[scene] = np.nanmedian(length)
    return median


def triangle_gaps(
    scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp], shift: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Compute the closure error of every triangle of pairs: (triangles,) [m], each triangle once.

    Of many scenes, `_MOST_SCENES` evenly spaced ones are used: triangles grow with the cube of the scenes.
    """
    used = np.unique(np.linspace(0, scenes - 1, min(scenes, _MOST_SCENES)).astype(np.intp))
    between = _between(scenes, query, train, shift)[np.ix_(used, used)]
    found = [np.empty(0)]
    for scene in range(len(used) - 2):
        others = between[scene + 1 :, scene + 1 :]
        own = between[scene, scene + 1 :]
        gap = (own[:, None] + others - own[None])[np.triu_indices(len(own), 1)]
        length = np.hypot(gap[:, 0], gap[:, 1])
        found.append(length[np.isfinite(length)])
    return np.concatenate(found)


def _between(
    scenes: int, query: npt.NDArray[np.intp], train: npt.NDArray[np.intp], shift: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the shifts as (scenes, scenes, 2), from row to column; NaN without a pair."""
    between = np.full((scenes, scenes, 2), math.nan)
    between[query, train] = shift
    between[train, query] = -shift
    return between
