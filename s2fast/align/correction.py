"""Decide which scenes can be corrected, by how much, and relative to what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from s2fast.align.field_model import Cells, Choice, Field, Model
from s2fast.archive.fragments import scene_named
from s2fast.errors import InputError, option
from s2fast.files.places import exists
from s2fast.files.source import Source
from s2fast.folder.record import RunRecord, SceneInput
from s2fast.geometry.datum import OFFSET_COLUMNS, offsets
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.geometry.scene_verdict import SceneVerdict, scene_verdicts

MEDIAN = "median"
"""Reference: the median of the scenes that pairs connect; see `s2fast.geometry.datum.offsets`."""

MOST_ERROR_PX = 0.1
"""Default limit of an offset's error [px of the scene]."""


@dataclass(frozen=True, slots=True)
class Correction:
    """The correction of one scene."""

    scene_id: str
    """The scene."""
    offset_m: tuple[float, float]
    """How far the scene shows the ground from where the reference shows it, east and north [m]; NaN if unknown. The
    mean over the ground, if that varies."""
    error_m: float
    """Standard error of each component [m]; NaN if unknown."""
    reference: str
    """What the offset is relative to: ``median of 36UXA, 36UYA``, or the id of a scene."""
    problem: str
    """Why the scene is not corrected; empty if it is."""
    limit_m: float
    """Limit of the error [m]."""
    scatters: bool
    """Whether the problem is that the scene's shifts contradict each other or scatter, which local displacements may
    explain."""
    field: Field | None = None
    """Displacements that vary over the scene and replace the offset; None: the scene is moved as a whole."""
    cells: Cells | None = None
    """Displacements by ground cells; None: only the offset is known."""
    choice: Choice | None = None
    """Which models were tried on `cells`."""
    note: str = ""
    """Why a wanted model is not used."""

    @property
    def model(self) -> Model:
        """What the correction is."""
        return Model.SHIFT if self.field is None else self.field.model

    @property
    def held_out_m(self) -> tuple[float, float]:
        """Root mean square of held-out residuals, after a shift and after the model [m]; NaN if none was tried."""
        if self.choice is None:
            return np.nan, np.nan
        return self.choice.held_out_m[Model.SHIFT], self.choice.held_out_m[self.model]

    @property
    def add_m(self) -> tuple[float, float]:
        """What to add to the scene's coordinates, east and north [m]."""
        east, north = self.offset_m
        return 0.0 - east, 0.0 - north


def reference_id(record: RunRecord, asked: str | None) -> str:
    """Return the id of the scene that is held fixed; empty: none is, offsets are relative to the median.

    Parameters
    ----------
    record
        The run.
    asked
        `MEDIAN`; the id of a scene or a fragment of it, or the path or address of its raster; None: the run's own
        reference, if it has one.

    Raises
    ------
    InputError
        The reference is no scene of the run.
    """
    if asked is None:
        return record.reference
    names = [item.scene.scene_id for item in record.usable]
    if asked == MEDIAN or asked in names:
        return "" if asked == MEDIAN else asked
    place = Source.of(asked).resolved()
    for item in record.usable:
        if item.scene.source.resolved() == place:
            return item.scene.scene_id
    if place.path and not exists(place.path):
        return scene_named(asked, names, record.history.problems)
    raise InputError(
        f"{place} was not matched in this run: repeat the command `s2fast run` with --reference {place}, which adds "
        "only its pairs, then align"
    )


def corrected_items(record: RunRecord) -> list[SceneInput]:
    """Return the scenes of the series: a reference from outside is matched, but not corrected."""
    outside = record.reference if record.found.outside else ""
    return [item for item in record.usable if item.scene.scene_id != outside]


def corrections(
    record: RunRecord,
    scenes: pd.DataFrame,
    pairs: pd.DataFrame,
    *,
    reference: str,
    max_error_m: float | None = None,
    plain_only: bool,
) -> list[Correction]:
    """Return the correction of each of `corrected_items`, in the same order.

    Parameters
    ----------
    record, scenes, pairs
        The run and its tables.
    reference
        Id of the scene that stays where it is; only scenes that pairs connect to it are corrected. Empty: the median.
    max_error_m
        Limit of an offset's error [m]; None: `MOST_ERROR_PX`.
    plain_only
        See `s2fast.geometry.datum.offsets`; False if scenes with rotation or scale are corrected as well.

    Raises
    ------
    InputError
        The reference's own offset cannot be relied on.
    """
    items = corrected_items(record)
    table = scenes.set_index("scene_id")
    if reference:
        _check_reference(reference, str(table["verdict"][reference]))
    used = {reference, *(item.scene.scene_id for item in items)}
    table = table[table.index.isin(used)]
    own = pairs[pairs["query"].isin(used) & pairs["train"].isin(used)]
    found, _ = offsets(table, own, reference, plain_only=plain_only)
    table = table.drop(columns=found.columns, errors="ignore").join(found)
    table["verdict"] = scene_verdicts(table.reset_index(), reference)
    by_models = set(table.index[table["verdict"] == SceneVerdict.NOT_CONNECTED]) if plain_only else set()
    if by_models:
        others, _ = offsets(table, own, reference, plain_only=False)
        by_models &= set(others.index[others["offset_x_m"].notna()])
    result = []
    for item in items:
        scene_id = item.scene.scene_id
        x_m, y_m, error_m = (float(table[name][scene_id]) for name in OFFSET_COLUMNS)
        limit_m = MOST_ERROR_PX * PixelGrid.of_raster(item.raster).pixel_m if max_error_m is None else max_error_m
        problem = str(table["verdict"][scene_id])
        scatters = problem == SceneVerdict.DISAGREES or (problem == SceneVerdict.VERIFIED and error_m > limit_m)
        if problem in (SceneVerdict.VERIFIED, SceneVerdict.REFERENCE):
            problem = f"error {_metres(error_m)} above the limit {_metres(limit_m)}" if error_m > limit_m else ""
        elif problem == SceneVerdict.NOT_CONNECTED:
            problem += f" to the reference {reference}" if reference else ""
            if scene_id in by_models:
                problem += f": its pairs have rotation or scale, which {option('model')} auto corrects"
        datum = str(table["datum"][scene_id]) or reference or MEDIAN
        result.append(Correction(scene_id, (x_m, y_m), error_m, datum, problem, limit_m, scatters))
    return result


def _check_reference(reference: str, verdict: str) -> None:
    if verdict not in (SceneVerdict.VERIFIED, SceneVerdict.REFERENCE):
        raise InputError(f"{reference} cannot be the reference: {verdict}; choose a verified scene of `s2fast scenes`")


def _metres(length: float) -> str:
    """Return a length for a message, short ones with two digits that are not 0.

    Examples
    --------
    >>> _metres(12.345), _metres(0.00123), _metres(0.0)
    ('12.35 m', '0.0012 m', '0 m')
    """
    return f"{length:.2f} m" if length >= 0.1 else f"{length:.2g} m"
