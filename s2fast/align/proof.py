"""Check corrected rasters by correlating windows of the files as written, independently of keypoints and matches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from s2fast.align.check_windows import Files, Image, UnreadableError, displacements
from s2fast.align.phase_correlation import MOST_PX
from s2fast.verdicts import is_verified

MOST_PARTNERS = 3
"""Greatest number of other scenes with which a scene is compared."""

_LEAST_WINDOWS = 4
"""Least number of windows in which a pair of scenes must correlate; with fewer, it says nothing."""

_MOST_LEFT_PX = 0.5
"""Greatest displacement of a corrected scene as a whole [px]: more contradicts its offset. If half of its windows are
displaced by more, though the scene as a whole is not, the displacements vary over the scene."""


@dataclass(frozen=True, slots=True)
class Left:
    """Displacements between a scene and others."""

    median_m: float
    """Median length [m]."""
    ce90_m: float
    """90 % of the windows are displaced by less [m]."""
    rmse_x_m: float
    """Root mean square, east [m]."""
    rmse_y_m: float
    """Root mean square, north [m]."""


@dataclass(frozen=True, slots=True)
class Proof:
    """How a scene fits others before and after its correction: of each number the median over those scenes."""

    before: Left
    """The scene as delivered against the corrected other scenes."""
    after: Left
    """The corrected scene against the corrected other scenes."""
    partners: tuple[str, ...]
    """Ids of the other scenes; empty: none can be compared, and the numbers are NaN."""
    n_windows: int
    """Number of windows that correlate after the correction."""
    excess_m: float
    """By how much a limit is exceeded [m], the larger one: the growth of the median length beyond its error, or what is
    left of the scene's displacement as a whole beyond `_MOST_LEFT_PX`. Positive: the scene must be withdrawn."""
    varies: bool = False
    """Whether more than half of the windows are displaced by more than `_MOST_LEFT_PX` after the correction."""
    unreadable: str = ""
    """Why one of the scene's files cannot be read; empty if they can be."""

    @property
    def row(self) -> dict[str, object]:
        """Return the columns of the table."""
        sides = (("before", self.before), ("after", self.after))
        found = {f"{side}_{name}": getattr(left, name) for name in Left.__slots__ for side, left in sides}
        return {"checked_with": " ".join(self.partners), "n_windows": self.n_windows, **found}

    @property
    def problem(self) -> str:
        """Return why the scene must be withdrawn unless it is the reference; empty if it need not be."""
        if self.unreadable:
            return self.unreadable
        if not self.excess_m > 0:
            return ""
        if np.isnan(self.after.median_m):
            return "got worse: it correlates with the other scenes before the correction, but not after it"
        grown = self.after.median_m > self.before.median_m
        told = "got worse" if grown else "the correction does not fit the image"
        return f"{told}: median displacement {self.before.median_m:.2f} m before, {self.after.median_m:.2f} m after"


_NOTHING = Left(np.nan, np.nan, np.nan, np.nan)

NOT_CHECKED = Proof(_NOTHING, _NOTHING, (), 0, np.nan)
"""Of a scene that cannot be compared with any other."""


@dataclass(frozen=True, slots=True)
class _Compared:
    """One scene compared with one other."""

    before: Left
    """Displacements of the scene as delivered."""
    after: Left
    """Those of the corrected scene."""
    n_windows: int
    """Number of windows that correlate after the correction."""
    excess_m: float
    """See `Proof`."""
    varies: bool = False
    """See `Proof`."""


def prove(
    images: Mapping[str, Image],
    pairs: pd.DataFrame,
    reference: str = "",
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Proof]:
    """Compare each corrected scene with the reference or, where that is not possible, others: before and after.

    Scenes that cannot be read are set aside. So are wrong ones, one by one, the worst first, so that they do not make
    their partners look wrong. If a scene has no other partner, it cannot be told which of the two is wrong: both are.

    Parameters
    ----------
    images
        The corrected scenes, and a reference from outside, by id.
    pairs
        The run's pairs; verified ones are compared, those with the most inliers first.
    reference
        Id of the scene that is held fixed; empty: there is none.
    advance
        Called after each corrected scene.

    Returns
    -------
    dict
        Scene id to proof, of every corrected scene, and of a reference from outside if it cannot be read.
    """
    found: dict[str, dict[str, _Compared]] = {}
    unreadable: dict[str, str] = {}
    with Files() as files:
        for scene_id, partners in _partners(images, pairs, reference).items():
            if scene_id not in unreadable:
                try:
                    found[scene_id] = _compared_with(partners, images[scene_id], images, unreadable, files, reference)
                except UnreadableError as error:
                    unreadable[scene_id] = str(error)
            advance()
    wrong = set(unreadable)
    proofs = {name: replace(NOT_CHECKED, unreadable=told) for name, told in unreadable.items()}
    while True:
        for scene_id, compared in found.items():
            kept = {other: result for other, result in compared.items() if other not in wrong}
            if scene_id not in wrong and (kept or scene_id not in proofs):
                proofs[scene_id] = _proof(kept or compared)
        worse = {name: proof.excess_m for name, proof in proofs.items() if proof.problem and name not in wrong}
        worse.pop(reference, None)  # it stays where it is
        if not worse:
            return proofs
        wrong.add(max(worse, key=lambda name: worse[name]))


def _compared_with(
    partners: Sequence[str], image: Image, images: Mapping[str, Image], unreadable: dict[str, str], files: Files,
    reference: str,
) -> dict[str, _Compared]:  # fmt: skip
    """Compare a scene with the first of its partners that can be read, and add those that cannot to `unreadable`.

    Raises
    ------
    UnreadableError
        The scene itself cannot be read.
    """
    found: dict[str, _Compared] = {}
    tried = 0
    for other in partners:
        if other in unreadable:
            continue
        try:
            result = _compared(image, images[other], files)
        except UnreadableError as error:
            if error.image is image:
                raise
            unreadable[other] = str(error)
            continue
        tried += 1
        if result is not None:
            found[other] = result
        if tried == MOST_PARTNERS or (other == reference and result is not None):
            break
    return found


def _partners(images: Mapping[str, Image], pairs: pd.DataFrame, reference: str) -> dict[str, list[str]]:
    """Return the scenes with which each corrected scene can be compared; the reference comes first."""
    used = pairs[is_verified(pairs)]
    used = used[used["query"].isin(images.keys()) & used["train"].isin(images.keys())]
    both = pd.concat([used, used.rename(columns={"query": "train", "train": "query"})])
    both["fixed"] = both["train"] == reference
    both = both.sort_values(["fixed", "n_inliers"], ascending=False, kind="stable")
    chosen = both.groupby("query")["train"].apply(list).to_dict()
    return {name: chosen.get(name, []) for name, image in images.items() if image.after is not None}


def _proof(compared: Mapping[str, _Compared]) -> Proof:
    if not compared:
        return NOT_CHECKED
    results = list(compared.values())
    return Proof(
        _median([result.before for result in results]),
        _median([result.after for result in results]),
        tuple(compared),
        sum(result.n_windows for result in results),
        float(np.median([result.excess_m for result in results])),
        sum(result.varies for result in results) > len(results) / 2,
    )


def _median(found: Sequence[Left]) -> Left:
    values = np.array([[getattr(left, name) for name in Left.__slots__] for left in found])
    known = values[~np.isnan(values).any(axis=1)]
    return Left(*np.median(known, axis=0).tolist()) if len(known) else _NOTHING


def _compared(image: Image, other: Image, files: Files) -> _Compared | None:
    """Compare a scene with another in windows; None if too few of them correlate."""
    before, after, px_m = displacements(image, other, files)
    if max(len(before), len(after)) < _LEAST_WINDOWS:
        return None
    if len(after) < max(_LEAST_WINDOWS, len(before) / 2):
        return _Compared(_left(before), _NOTHING, len(after), MOST_PX * px_m)
    excess_m = float(np.hypot(*np.median(after, axis=0))) - _MOST_LEFT_PX * px_m
    if len(before) < max(_LEAST_WINDOWS, len(after) / 2):
        return _Compared(_NOTHING, _left(after), len(after), excess_m)
    left = _left(after)
    grown_m = left.median_m - _left(before).median_m
    error_m = np.hypot(_median_error(before), _median_error(after))
    excess_m = max(excess_m, float(grown_m - max(3 * error_m, 2 * image.error_m)))
    return _Compared(_left(before), left, len(after), excess_m, left.median_m > _MOST_LEFT_PX * px_m)


def _left(shifts: npt.NDArray[np.float64]) -> Left:
    """Summarise (n, 2) displacements east and north [m]."""
    if not len(shifts):
        return _NOTHING
    length = np.hypot(*shifts.T)
    rmse_x, rmse_y = np.sqrt((shifts**2).mean(axis=0))
    return Left(float(np.median(length)), float(np.quantile(length, 0.9)), float(rmse_x), float(rmse_y))


def _median_error(shifts: npt.NDArray[np.float64]) -> float:
    """Return the standard error of the median length, from its median deviation."""
    length = np.hypot(*shifts.T)
    spread = 1.4826 * np.median(np.abs(length - np.median(length)))
    return float(np.sqrt(np.pi / 2) * spread / np.sqrt(len(length)))
