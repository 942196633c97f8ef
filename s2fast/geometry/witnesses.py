"""Independent evidence among matches, and how much of it chance would bring to agree.

Matches are not independent: one structure on the ground gives keypoints at several scales, and neighbours share pixels.
Each match therefore counts as a share of a witness, and the binomial law is applied to witnesses.

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

VOTE_PX = 1.0
"""Radius of the spot in which displacements are counted [px of the coarser grid]."""

MAX_LOG_NFA = -5.0
"""A model is significant if chance gives as many witnesses for one less than once in 100,000 pairs (log10)."""

LEAST_WITNESSES = 5.5
"""Fewer witnesses than this are never enough: the law's tail is not known from so few."""

_KINSHIP = 1.25
"""Distance at which the correlation of two wrong matches falls to one half [mean diameter of their keypoints].
Chosen so that wrong matches of tile 36UYA follow the binomial law."""

_FARTHEST_KIN = 6.0
"""Beyond this distance matches are independent [mean diameter of all keypoints]."""

_BIN_PX = 0.25
"""Side of a bin of the map of displacements [px of the coarser grid]."""

_LOG_SPOTS = 1.0
"""Spots that are tried as if independent, per disjoint spot of the search area (log10): neighbouring spots overlap."""

_BLOCKS = 8
"""Parts of the ground, with equally many witnesses, over which agreement must hold."""

_UNNEEDED = 2
"""Blocks without which a model must still be more than chance: agreement in a quarter of the ground is no model of
the scene."""

_MAX_LOG_REST = -1.3
"""What chance may give the other blocks (log10)."""


@dataclass(frozen=True, slots=True)
class Kinship:
    """How much matches that lie near each other depend on each other."""

    count: int
    """Matches."""
    pair: npt.NDArray[np.intp]
    """(p, 2) matches near each other."""
    kin: npt.NDArray[np.float64]
    """(p,) correlation of the two, 1 for one structure."""

    @classmethod
    def of(cls, at: npt.NDArray[np.float64], size: npt.NDArray[np.float64]) -> Kinship:
        """Compare matches by position and size.

        Parameters
        ----------
        at : (k, 2) float64
            Positions on the map [m].
        size : (k,) float64
            Diameters of the keypoints [m].
        """
        if len(at) < 2:
            return cls(len(at), np.zeros((0, 2), np.intp), np.zeros(0))
        tree = KDTree(at, balanced_tree=False, compact_nodes=False)  # quicker made, as quickly searched
        pair = tree.query_pairs(_FARTHEST_KIN * float(size.mean()), output_type="ndarray")
        one, other = pair.T
        squared = ((at[one] - at[other]) ** 2).sum(axis=1)
        return cls(len(at), pair, 1 / (1 + squared / (_KINSHIP**2 * size[one] * size[other])))

    def shares(self, chosen: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.float64]:
        """Return the share of an independent witness that each match is.

        Parameters
        ----------
        chosen : (k,) bool or None
            Matches that count; None: all.

        Returns
        -------
        (k,) float64
            1 for a match far from all others, less the more matches are near compared with their size; 0 for those
            that do not count.
        """
        one, other = self.pair.T
        kin = self.kin if chosen is None else self.kin * (chosen[one] & chosen[other])
        share = 1 / (1 + np.bincount(one, kin, self.count) + np.bincount(other, kin, self.count))
        return np.asarray(share if chosen is None else np.where(chosen, share, 0.0))


def log_tail(witnesses: float, votes: float, chance: float) -> float:
    """Return log10 of the probability that chance makes so many witnesses agree.

    Parameters
    ----------
    witnesses
        Witnesses in all; need not be whole.
    votes
        Those that agree.
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
class Spot:
    """A place among the displacements where more lie than elsewhere."""

    at: npt.NDArray[np.float64]
    """(2,) displacement [px of the coarser grid]."""
    votes: float
    """Witnesses within `VOTE_PX`."""
    log_nfa: float
    """log10 of how many spots with so many votes chance would give."""


def densest_spots(
    moved: npt.NDArray[np.float64], share: npt.NDArray[np.float64], searched: float, apart: float
) -> tuple[Spot, Spot]:
    """Return the densest spot of displacements and the densest one outside its reach.

    Parameters
    ----------
    moved : (k, 2) float64
        Displacements within the search area [px of the coarser grid].
    share : (k,) float64
        What each is worth, see `Kinship.shares`.
    searched
        Radius of the search area [px of the coarser grid].
    apart
        How far the second spot must be from the first [px of the coarser grid].
    """
    half = math.ceil(searched / _BIN_PX)
    side = 2 * half + 1
    bins = np.rint(moved / _BIN_PX).astype(np.intp) + half
    counts = np.bincount(bins[:, 1] * side + bins[:, 0], share, side * side).astype(np.float32).reshape(side, side)
    votes = cv2.filter2D(counts, -1, _DISC, borderType=cv2.BORDER_CONSTANT)
    axis = _BIN_PX * (np.arange(side) - half)
    witnesses, chance = float(share.sum()), (VOTE_PX / searched) ** 2
    log_spots = _LOG_SPOTS - math.log10(chance)

    def spot() -> Spot:
        row, column = divmod(int(votes.argmax()), side)
        most = float(votes[row, column])
        return Spot(np.array([axis[column], axis[row]]), most, log_spots + log_tail(witnesses, most, chance))

    first = spot()
    votes[(axis[:, None] - first.at[1]) ** 2 + (axis - first.at[0]) ** 2 < apart**2] = 0
    return first, spot()


def _disc() -> npt.NDArray[np.float32]:
    reach = int(VOTE_PX / _BIN_PX)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(x**2 + y**2 <= reach**2, np.float32)


_DISC = _disc()
"""Bins within `VOTE_PX`."""


def holds_everywhere(
    at: npt.NDArray[np.float64], share: npt.NDArray[np.float64], agrees: npt.NDArray[np.bool_], chance: float
) -> bool:
    """Return whether agreement is spread over the ground rather than confined to a part of it.

    Parameters
    ----------
    at : (k, 2) float64
        Positions of all matches on the map [m].
    share : (k,) float64
        What each is worth, see `Kinship.shares`.
    agrees : (k,) bool
        Matches that agree with the model.
    chance
        Probability that a wrong match agrees.

    Returns
    -------
    bool
        True if, without the quarter of the ground that agrees most, more agree than chance explains.
    """
    votes = []
    witnesses = []
    for block in _blocks(at, np.arange(len(at)), _BLOCKS):
        witnesses.append(float(share[block].sum()))
        votes.append(float(share[block][agrees[block]].sum()))
    rest = np.argsort(votes)[: _BLOCKS - _UNNEEDED]
    return log_tail(sum(np.take(witnesses, rest)), sum(np.take(votes, rest)), chance) <= _MAX_LOG_REST


def _blocks(at: npt.NDArray[np.float64], rows: npt.NDArray[np.intp], count: int) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the rows of `count` (a power of 2) parts of the ground with equally many matches, by halving."""
    if count == 1:
        yield rows
        return
    points = at[rows]
    axis = int(np.argmax(np.ptp(points, axis=0))) if len(rows) else 0
    order = rows[np.argsort(points[:, axis], kind="stable")]
    middle = len(order) // 2
    yield from _blocks(at, order[:middle], count // 2)
    yield from _blocks(at, order[middle:], count // 2)
