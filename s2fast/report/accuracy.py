"""Accuracy of a run: how inliers scatter about the shift of their pair, over the run and over each pair's ground."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from s2fast.verdicts import is_verified

PARTS = 8
"""Parts of a query's rows and columns, for which each pair's mean residual is given."""

_MOST_RESIDUALS = 2_000_000
"""About how many inliers of all pairs together are kept for percentiles and the pictures: 16 MB."""

_MOST_PACKED = 16_000_000
"""About how many inliers of all pairs together are kept for the pictures of single pairs: 64 MB."""

_CLOUD_SIDE = 41
"""Cells per side of the picture of all residuals."""

_HISTOGRAM_BINS = 30
"""Bins of the histogram of the lengths of all residuals."""

_WITHIN_PCT = 98.0
"""Share of the residuals within the picture and the histogram [%]."""

_UNKNOWN = -32768
"""Mean residual of a part without inliers."""

_UNITS_PER_M = 100
"""Mean residuals of parts are stored as integers, this many per metre."""


@dataclass
class Accuracy:
    """Residuals of the inliers of verified pairs, added block by block."""

    pairs: pd.DataFrame
    """The table of pairs, with ``dx_m``, ``dy_m``, ``n_inliers`` and ``verified``."""
    count: int = 0
    """Number of inliers."""
    _sums: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 2)))
    """(2, 2) sums of the residuals and of their squares, east and north [m, m2]."""
    _kept: list[npt.NDArray[np.float32]] = field(default_factory=list)
    """(n, 2) residuals at even steps through all of them, per block of pairs [m]."""
    _profiles: dict[int, npt.NDArray[np.int16]] = field(default_factory=dict)
    """Mean residuals of the parts of a pair's query, by row of `pairs`."""
    _packed: dict[int, bytes] = field(default_factory=dict)
    """Residuals that the picture of a pair shows, see `_packed`, by row of `pairs`."""

    def add(self, pair: npt.NDArray[np.intp], shift: npt.NDArray[np.float64], share: npt.NDArray[np.uint16]) -> None:
        """Add the inliers of some verified pairs.

        Parameters
        ----------
        pair
            (n,) rows of the table of pairs, ascending; no pair is added twice.
        shift
            (n, 2) train minus query, east and north [m].
        share
            (n, 2) positions in the query as shares of its width and height, 65535: the far edge.
        """
        if not len(pair):
            return
        residual = shift - self._shifts[pair]
        self.count += len(pair)
        self._sums += residual.sum(axis=0), (residual**2).sum(axis=0)
        self._kept.append(residual[-(self.count - len(pair)) % self._step :: self._step].astype(np.float32))
        members, counts = np.unique(pair, return_counts=True)
        member = np.repeat(np.arange(len(members)), counts)
        profiles = np.concatenate([self._means(residual, member, len(members), share[:, axis]) for axis in (1, 0)], 1)
        ends = np.cumsum(counts)
        for number, profile, start, end in zip(members.tolist(), profiles, ends - counts, ends, strict=True):
            self._profiles[number] = profile
            self._packed[number] = _packed(residual[start : end : self._step_of_pairs])

    @cached_property
    def _shifts(self) -> npt.NDArray[np.float64]:
        """Shift of each pair, east and north [m]."""
        return self.pairs[["dx_m", "dy_m"]].to_numpy(np.float64)

    @cached_property
    def _step(self) -> int:
        """Every how many-th inlier is kept, the same for all pairs."""
        return self._step_for(_MOST_RESIDUALS)

    @cached_property
    def _step_of_pairs(self) -> int:
        """Every how many-th inlier of each pair is kept."""
        return self._step_for(_MOST_PACKED)

    def _step_for(self, most: int) -> int:
        verified = is_verified(self.pairs).to_numpy()
        return max(1, -(-int(self.pairs["n_inliers"][verified].sum()) // most))

    @staticmethod
    def _means(
        residual: npt.NDArray[np.float64], member: npt.NDArray[np.intp], members: int, share: npt.NDArray[np.uint16]
    ) -> npt.NDArray[np.int16]:
        """Return (members, 2, PARTS) mean residuals, east and north, of parts of the ground [cm]."""
        cell = member * PARTS + share.astype(np.intp) * PARTS // 65536
        number = np.bincount(cell, minlength=members * PARTS)
        sums = np.stack([np.bincount(cell, weights=axis, minlength=members * PARTS) for axis in residual.T])
        means = np.clip(np.rint(sums / np.maximum(number, 1) * _UNITS_PER_M), -32767, 32767)
        known: npt.NDArray[np.int16] = np.where(number > 0, means, _UNKNOWN).astype("<i2")
        return known.reshape(2, members, PARTS).transpose(1, 0, 2)

    def profiles(self) -> list[str | None]:
        """Return each pair's profile as base64 of int16 [cm]; None without one.

        Each has 4 x `PARTS` mean residuals: by parts of the query's rows from the top, east and north, then by parts of
        its columns from the left, east and north; -32768 where there are no inliers.
        """
        packed = {pair: base64.b64encode(profile.tobytes()).decode() for pair, profile in self._profiles.items()}
        return [packed.get(pair) for pair in range(len(self.pairs))]

    def residuals(self) -> list[str | None]:
        """Return each pair's residuals as base64; None without inliers.

        First the largest residual in either direction, float32 [m]; then all to the east, then all to the north, int16,
        as shares of it, 32767: all of it. Of very many inliers of all pairs together, each pair has every n-th.
        """
        packed = {pair: base64.b64encode(data).decode() for pair, data in self._packed.items()}
        return [packed.get(pair) for pair in range(len(self.pairs))]

    def summary(self) -> dict[str, Any] | None:
        """Return the accuracy of the run as JSON values, lengths in metres; None without verified pairs.

        ``pairs`` and ``inliers`` are the numbers of verified pairs and of their inliers. ``between`` describes the
        shifts of the pairs, ``within`` the inliers about the shift of their pair: mean, standard deviation and root
        mean square to the east and to the north, and the radii that hold 90 and 95 %. ``histogram`` has the number of
        residuals by length, ``cloud`` by east (column) and north (row, the first one northernmost), within a square.
        """
        verified = self.pairs[is_verified(self.pairs)]
        if not self.count or not len(verified):
            return None
        residuals = np.concatenate(self._kept)
        lengths = np.hypot(*residuals.T)
        mean, square = self._sums / self.count
        limit = max(float(np.percentile(lengths, _WITHIN_PCT)), 1e-6)
        counts, _ = np.histogram(lengths, _HISTOGRAM_BINS, (0, limit))
        cloud, _, _ = np.histogram2d(-residuals[:, 1], residuals[:, 0], _CLOUD_SIDE, [[-limit, limit]] * 2)
        shifts = verified[["dx_m", "dy_m"]].to_numpy(np.float64)
        return {
            "pairs": len(verified),
            "inliers": self.count,
            "drawn": len(residuals),
            "between": _described(shifts.mean(axis=0), (shifts**2).mean(axis=0), np.hypot(*shifts.T)),
            "within": _described(mean, square, lengths),
            "histogram": {"limit_m": round(limit, 4), "counts": counts.tolist()},
            "cloud": {"limit_m": round(limit, 4), "counts": cloud.astype(int).tolist()},
        }


def _described(
    mean: npt.NDArray[np.float64], square: npt.NDArray[np.float64], lengths: npt.NDArray[np.floating]
) -> dict[str, Any]:
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    ce90, ce95 = np.percentile(lengths, [90, 95]).tolist()
    values = {"mean": mean, "std": spread, "rmse": np.sqrt(square)}
    return {
        **{name: [round(float(axis), 4) for axis in axes] for name, axes in values.items()},
        "ce90": round(ce90, 4),
        "ce95": round(ce95, 4),
    }


def _packed(residual: npt.NDArray[np.float64]) -> bytes:
    """Pack the residuals of one pair, see `Accuracy.residuals`."""
    most = max(float(np.abs(residual).max()), 1e-6)
    return np.float32(most).tobytes() + np.rint(residual.T / most * 32767).astype("<i2").tobytes()
