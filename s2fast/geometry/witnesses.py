"""Witnesses: the effective number of independent matches, and the probability that they agree by chance.

Matches are not independent: one structure on the ground gives keypoints at several scales, and neighbours share pixels.
Each match therefore counts as a fraction of a witness, and the binomial distribution is applied to witnesses.

References
----------
Desolneux, Moisan, Morel: From Gestalt Theory to Image Analysis: A Probabilistic Approach. Springer, 2008 (the number of
false alarms). Kish: Survey Sampling. Wiley, 1965 (effective sample size under correlation).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree
from scipy.special import betainc

from s2fast.geometry.evidence import Evidence

VOTE_PX = 1.0
"""Radius of the disc in which the votes of a peak are counted [px of the coarser grid]."""

MAX_LOG_NFA = -5.0
"""A model is significant if the expected number of chance models with as many votes is at most 1e-5 per pair
(log10)."""

LEAST_WITNESSES = 5.5
"""Minimum number of witnesses for a verdict: for fewer, the tail of the distribution is not reliable."""

HALF_CORRELATION = 1.25
"""Distance at which the correlation of two wrong matches falls to one half [mean diameter of their keypoints].
Calibrated so that wrong matches of tile 36UYA follow the binomial distribution."""

CORRELATION_REACH = 6.0
"""Matches farther apart than this are independent [mean diameter of all keypoints]."""

BIN_PX = 0.25
"""Side of a bin of the histogram of displacements [px of the coarser grid]."""

APART_PX = 2.5
"""A second peak nearer than this to the first is part of it [px of the coarser grid]."""

_LOG_TESTS_PER_DISC = 1.0
"""Effective number of independent tests per disjoint disc of the search area (log10): neighbouring discs overlap."""

BLOCKS = 8
"""Number of blocks of the ground, with equally many matches each, over which agreement is tested."""

_IGNORED_BLOCKS = 2
"""Number of blocks with most votes to ignore: a model must also be significant outside a quarter of the ground."""

_MAX_LOG_REST = -1.3
"""Largest probability that chance explains the votes in the other blocks (log10)."""


@dataclass(frozen=True, slots=True)
class NeighbourCorrelation:
    """Correlation of matches near each other."""

    count: int
    """Number of matches."""
    pair: npt.NDArray[np.intp]
    """(p, 2) pairs of matches near each other."""
    correlation: npt.NDArray[np.float64]
    """(p,) correlation of the two, 1 for one structure."""

    @classmethod
    def of(cls, at: npt.NDArray[np.float64], size: npt.NDArray[np.float64]) -> NeighbourCorrelation:
        """Compute the correlations from positions and sizes.

        Parameters
        ----------
        at : (k, 2) float64
            Positions on the map [m].
        size : (k,) float64
            Diameters of the keypoints [m].
        """
        if len(at) < 2:
            return cls(len(at), np.zeros((0, 2), np.intp), np.zeros(0))
        tree = KDTree(at, balanced_tree=False, compact_nodes=False)  # faster to build, as fast to search
        pair = tree.query_pairs(CORRELATION_REACH * float(size.mean()), output_type="ndarray")
        one, other = pair.T
        squared = ((at[one] - at[other]) ** 2).sum(axis=1)
        return cls(len(at), pair, 1 / (1 + squared / (HALF_CORRELATION**2 * size[one] * size[other])))

    def shares(self, counted: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.float64]:
        """Return the fraction of an independent witness that each match counts.

        Parameters
        ----------
        counted : (k,) bool or None
            Matches that count; None: all.

        Returns
        -------
        (k,) float64
            1 for a match far from all others, less the more matches are near relative to their size; 0 for those
            that do not count.
        """
        one, other = self.pair.T
        both = self.correlation if counted is None else self.correlation * (counted[one] & counted[other])
        share = 1 / (1 + np.bincount(one, both, self.count) + np.bincount(other, both, self.count))
        return np.asarray(share if counted is None else np.where(counted, share, 0.0))


def log_tail(witnesses: float, votes: float, chance: float) -> float:
    """Return log10 of the probability that at least `votes` of the witnesses agree by chance (binomial tail).

    Parameters
    ----------
    witnesses
        Number of witnesses, not necessarily an integer.
    votes
        Number of witnesses that agree.
    chance
        Probability that a wrong match agrees.

    Examples
    --------
    >>> round(log_tail(100, 9, 0.01), 2)
    -6.08
    """
    if votes <= witnesses * chance:
        return 0.0
    if votes >= witnesses:
        return witnesses * math.log10(chance)
    tail = float(betainc(votes, witnesses - votes + 1, chance))
    return math.log10(tail) if tail > 0 else -300.0


@dataclass(frozen=True, slots=True)
class Peak:
    """A peak of the votes in the plane of displacements."""

    at: npt.NDArray[np.float64]
    """(2,) displacement [px of the coarser grid]."""
    votes: float
    """Number of witnesses within `VOTE_PX`."""
    log_nfa: float
    """log10 of the number of false alarms: the expected number of chance peaks with as many votes."""


def highest_peaks(
    moved: npt.NDArray[np.float64], share: npt.NDArray[np.float64], searched: float, apart: float
) -> tuple[Peak, Peak]:
    """Find the highest peak of the votes, and the highest one at least `apart` from it.

    Parameters
    ----------
    moved : (k, 2) float64
        Displacements within the search area [px of the coarser grid].
    share : (k,) float64
        Weight of each, see `NeighbourCorrelation.shares`.
    searched
        Radius of the search area [px of the coarser grid].
    apart
        Minimum distance of the second peak from the first [px of the coarser grid].
    """
    half = math.ceil(searched / BIN_PX)
    side = 2 * half + 1
    bins = np.rint(moved / BIN_PX).astype(np.intp) + half
    counts = np.bincount(bins[:, 1] * side + bins[:, 0], share, side * side).astype(np.float32).reshape(side, side)
    votes = cv2.filter2D(counts, -1, DISC, borderType=cv2.BORDER_CONSTANT)
    axis = BIN_PX * (np.arange(side) - half)
    witnesses = float(share.sum())

    def peak() -> Peak:
        row, column = divmod(int(votes.argmax()), side)
        return peak_of(np.array([axis[column], axis[row]]), float(votes[row, column]), witnesses, searched)

    first = peak()
    votes[(axis[:, None] - first.at[1]) ** 2 + (axis - first.at[0]) ** 2 < apart**2] = 0
    return first, peak()


def peaks_of_all(evidence: Evidence, unit: float, searched: float, away: npt.NDArray[np.float64]) -> tuple[Peak, Peak]:
    """Find the two highest peaks of the votes of all matches.

    Parameters
    ----------
    evidence
        The matches; those that are not on ground vote too.
    unit
        Pixel size in which displacements are counted [m].
    searched
        Radius of the search area [m].
    away : (2,) float64
        Expected displacement, east and north [m].

    Returns
    -------
    first, second : Peak
        See `highest_peaks`; relative to the expected displacement [units], at zero if there are no votes.
    """
    moved = (evidence.train_m - evidence.query_m - away) / unit
    rows = np.flatnonzero(np.hypot(*moved.T) <= searched / unit)
    if not len(rows):
        return (peak_of(np.zeros(2), 0.0, 0.0, searched / unit),) * 2
    share = NeighbourCorrelation.of(evidence.query_m[rows], evidence.size[rows]).shares()
    return highest_peaks(moved[rows], share, searched / unit, APART_PX)


def peak_of(at: npt.NDArray[np.float64], votes: float, witnesses: float, searched: float) -> Peak:
    """Return a peak with its number of false alarms.

    Parameters
    ----------
    at : (2,) float64
        Displacement [px of the coarser grid].
    votes
        Number of witnesses within `VOTE_PX`.
    witnesses
        Number of all witnesses.
    searched
        Radius of the search area [px of the coarser grid].
    """
    chance = (VOTE_PX / searched) ** 2
    return Peak(at, votes, _LOG_TESTS_PER_DISC - math.log10(chance) + log_tail(witnesses, votes, chance))


def _disc() -> npt.NDArray[np.float32]:
    reach = int(VOTE_PX / BIN_PX)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(x**2 + y**2 <= reach**2, np.float32)


DISC = _disc()
"""Kernel that sums the bins within `VOTE_PX`."""


def holds_everywhere(
    at: npt.NDArray[np.float64], share: npt.NDArray[np.float64], agrees: npt.NDArray[np.bool_], chance: float
) -> bool:
    """Return whether agreement is spread over the ground instead of confined to a part of it.

    Parameters
    ----------
    at : (k, 2) float64
        Positions of all matches on the map [m].
    share : (k,) float64
        Weight of each, see `NeighbourCorrelation.shares`.
    agrees : (k,) bool
        Matches that agree with the model.
    chance
        Probability that a wrong match agrees.

    Returns
    -------
    bool
        True if, outside the quarter of the ground with most votes, more witnesses agree than chance explains.
    """
    votes = []
    witnesses = []
    for block in _blocks(at, np.arange(len(at)), BLOCKS):
        witnesses.append(float(share[block].sum()))
        votes.append(float(share[block][agrees[block]].sum()))
    return rest_holds(votes, witnesses, chance)


def rest_holds(votes: list[float], witnesses: list[float], chance: float) -> bool:
    """Return whether more witnesses agree than chance explains, outside the blocks with most votes.

    Parameters
    ----------
    votes, witnesses
        Number of witnesses in every block that agree, and of all.
    chance
        Probability that a wrong match agrees.
    """
    rest = np.argsort(votes)[: BLOCKS - _IGNORED_BLOCKS]
    return log_tail(sum(np.take(witnesses, rest)), sum(np.take(votes, rest)), chance) <= _MAX_LOG_REST


def block_of(at: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return the number of the block of the ground, of `BLOCKS` with equally many matches, of each (k, 2) position."""
    block = np.empty(len(at), np.intp)
    for number, rows in enumerate(_blocks(at, np.arange(len(at)), BLOCKS)):
        block[rows] = number
    return block


def _blocks(at: npt.NDArray[np.float64], rows: npt.NDArray[np.intp], count: int) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the rows of each of `count` (a power of 2) blocks of equally many matches, by bisection of the ground.

    Of matches at one place, those with lower rows come first.
    """
    if count == 1:
        yield rows
        return
    points = at[rows]
    axis = int(np.argmax(np.ptp(points, axis=0))) if len(rows) else 0
    order = rows[np.lexsort((rows, points[:, axis]))]
    middle = len(order) // 2
    yield from _blocks(at, order[:middle], count // 2)
    yield from _blocks(at, order[middle:], count // 2)
