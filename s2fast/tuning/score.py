"""How good a setting is, and by how much two settings differ beyond chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

POINTS_PER_PX = 50.0
"""A median error of a fiftieth of a pixel counts as much as one pair in a hundred."""

_RESAMPLED = 1000
"""Number of bootstrap samples."""

Outcome = Sequence[tuple[bool, float | None]]
"""For each pair with a moved scene, both ways one after the other: whether it was verified rightly, and its error."""


def score(outcome: Outcome) -> float:
    """Return the share of rightly verified pairs [%] less 50 points per pixel of their median error.

    Examples
    --------
    >>> score([(True, 0.02), (True, 0.04), (False, None), (False, None)])
    48.5
    """
    return float(_scores(_table(outcome)[None])[0])


def difference(one: Outcome, other: Outcome) -> tuple[float, float, float]:
    """Return by how much the first score exceeds the second, with a 95 % interval over resampled pairs.

    Both are of the same pairs, in the same order; a pair's two directions are drawn together.
    """
    tables = [_table(outcome) for outcome in (one, other)]
    pairs = len(one) // 2
    draw = np.random.default_rng(0).integers(0, pairs, (_RESAMPLED, pairs))
    rows = (2 * draw[:, :, None] + np.arange(2)).reshape(_RESAMPLED, -1)
    gains = _scores(tables[0][rows]) - _scores(tables[1][rows])
    low, high = np.percentile(gains, [2.5, 97.5])
    return score(one) - score(other), float(low), float(high)


def flaw(answer: Mapping[str, Any]) -> str:
    """Return why a setting must not be used: it verified what is known to be false; empty if it did not."""
    found = []
    if answer["unrelated_verified"]:
        found.append(f"{answer['unrelated_verified']} of {answer['unrelated']} pairs of different ground")
    if answer["wrong_shifts"]:
        found.append(f"{answer['wrong_shifts']} moved pairs with a wrong shift")
    if answer["null_verified"]:
        found.append(f"{answer['null_verified']} of {answer['null_trials']} trials at wrong offsets")
    return f"verified {' and '.join(found)}" if found else ""


def _table(outcome: Outcome) -> npt.NDArray[np.float64]:
    """Return (pairs, ) errors [px], NaN where not rightly verified."""
    return np.array([error if right and error is not None else np.nan for right, error in outcome])


def _scores(errors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the scores of rows of errors."""
    right = ~np.isnan(errors)
    # NaN sorts last: the median of the first `count` of each row.
    ordered, count = np.sort(errors, axis=1), right.sum(axis=1)
    at = np.maximum(count - 1, 0)
    lower, upper = (np.take_along_axis(ordered, index[:, None], 1)[:, 0] for index in (at // 2, (at + 1) // 2))
    median = np.where(count > 0, (lower + upper) / 2, 0.0)
    return np.asarray(100 * right.mean(axis=1) - POINTS_PER_PX * median)
