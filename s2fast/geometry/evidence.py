"""Input and output of the judgement of a pair: its matches on the map, and the shift that was estimated from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2fast.geometry.affinity import Affinity
from s2fast.geometry.standard_errors import SQUARE_PX
from s2fast.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Evidence:
    """Good matches of two scenes, as input of verification."""

    query_m: npt.NDArray[np.float64]
    """(k, 2) positions in the query on the map [m]."""
    train_m: npt.NDArray[np.float64]
    """(k, 2) positions in the train on the same map [m]."""
    size: npt.NDArray[np.float64]
    """(k,) diameters of the query's keypoints [m]."""
    distance: npt.NDArray[np.uint16]
    """(k,) Hamming distances [bits]."""
    on_ground: npt.NDArray[np.bool_]
    """(k,) False for matches that painted, filled or missing pixels explain: they are no evidence."""
    grid: float
    """Pixel size of the coarser scene [m]: the scale of a true match's error."""
    centre: Callable[[], npt.NDArray[np.float64]]
    """Returns the centre of the common ground on the map: (2,) [m]; only affinities need it."""
    square_px: float = SQUARE_PX
    """Side of the squares whose residuals are correlated, see `standard_errors` [px of the coarser grid]."""

    def __len__(self) -> int:
        """Return the number of matches."""
        return len(self.query_m)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Estimated shift of the train relative to the query, and the verdict on it."""

    verdict: Verdict
    """See `PairVerdict.verdict`; only the shift of a ``verified`` pair is reliable."""
    inlier: npt.NDArray[np.bool_]
    """(k,) matches that agree with the model."""
    dx: float = math.nan
    """Shift to the east [m]; NaN if no model was found."""
    dy: float = math.nan
    """Shift to the north [m]."""
    error: float = math.nan
    """Error of `dx` and of `dy` [m]; the 95 % confidence interval is twice this to either side."""
    witnesses: float = 0.0
    """Effective number of independent matches among the inliers."""
    model: str = ""
    """``shift``, ``similarity`` or ``affinity``."""
    affinity: Affinity | None = None
    """Rotation, scale and shear; None if the model is a shift."""
    rival: npt.NDArray[np.float64] | None = None
    """(2,) second shift of an ambiguous pair, east and north [m]."""

    @classmethod
    def not_found(cls, matches: int, verdict: Verdict = Verdict.NOT_VERIFIED) -> Judgement:
        """Return the judgement without a model: chance explains the matches."""
        return cls(verdict, np.zeros(matches, np.bool_))

    @property
    def verified(self) -> bool:
        """Whether the verdict is ``verified``."""
        return self.verdict == Verdict.VERIFIED
