"""Replace the shift of scenes by a model of their local displacements, where that earns its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pandas as pd
import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from s2fast.align.correction import Correction
from s2fast.align.field_model import CELLS, LEAST_CELLS, Cells, Choice, Field, Model, choose
from s2fast.align.field_samples import Part, sampled, together
from s2fast.errors import option
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.pixel_grid import PixelGrid

AUTO = "auto"
"""The simplest model that no other beats."""

BANDS = (
    "dx_m: how far east the scene shows the ground [m]",
    "dy_m: how far north the scene shows the ground [m]",
    "error_m: standard error of each [m]",
    "count: matches in the ground cell",
)

LEAST_PARTNERS = 3
"""Number of partners whose median is a scene's own displacement, without a reference."""

_Offset: TypeAlias = tuple[float, float]

_REFINEMENTS = 3
"""How often the fields of distorted scenes are found again from those of the others."""

_SAMPLES = 4 * CELLS
"""Pixels along each side of a written field."""


def models_of(model: str, *, resampled: bool) -> tuple[Model, ...]:
    """Return the models to try.

    Parameters
    ----------
    model
        The name of one, which is tried beside a shift, or `AUTO`.
    resampled
        Whether pixels are resampled: else the correction must fit a geotransform.
    """
    if model != AUTO:
        return (Model(model),)
    return tuple(one for one in Model if resampled or one.is_affine)


def with_fields(
    corrections: Sequence[Correction],
    folder: RunFolder,
    record: RunRecord,
    pairs: pd.DataFrame,
    models: Sequence[Model],
    reference: str,
) -> list[Correction]:
    """Add the local displacements of scenes to their corrections, see `Correction.choice`.

    They may explain why the shifts of a scene contradict each other: such a scene is then corrected.

    Parameters
    ----------
    corrections
        The corrections.
    folder, record, pairs
        The run.
    models
        Models to try.
    reference
        Id of the scene that is held fixed; empty: there is none.
    """
    # Only a search for models needs it.
    from threadpoolctl import threadpool_limits

    wanted = [one.scene_id for one in corrections if _may_be_local(one) and one.scene_id != reference]
    offset_m = {one.scene_id: one.offset_m for one in corrections if not one.problem}
    offset_m |= {reference: (0.0, 0.0)} if reference else {}
    names = [item.scene.scene_id for item in record.usable]
    # Systems of a hundred unknowns take many times the CPU time on several threads, most of it waiting.
    with threadpool_limits(1, user_api="blas"):
        parts = sampled(folder, pairs, names, offset_m, wanted, reference)
        told = _told_apart(parts, offset_m, reference)
        return [_with_field(one, told, models, reference) if one.scene_id in wanted else one for one in corrections]


@dataclass(slots=True)
class _Told:
    """What is known of the scenes' own displacements."""

    cells: dict[str, Cells]
    """Displacements of each scene, without those of its partners."""
    fields: dict[str, Field]
    """Fields of the distorted ones."""
    problems: dict[str, str]
    """Why it cannot be told whether a scene is distorted or its partner."""


def _told_apart(parts: Mapping[str, Sequence[Part]], offset_m: Mapping[str, _Offset], reference: str) -> _Told:
    """Return the displacements of scenes without those of the scenes that they are compared with.

    The median over several partners is a scene's own. A scene that has fewer is compared with those that are told
    apart already; two scenes that differ by a shift alone are taken for undistorted. Of two others, either may be
    distorted.
    """
    many = {scene: of_scene for scene, of_scene in parts.items() if reference or len(of_scene) >= LEAST_PARTNERS}
    told = _disentangled(many, offset_m)
    waiting = {scene: of_scene for scene, of_scene in parts.items() if scene not in many}
    apart = {scene: [(part, choose(part.cells)) for part in of_scene] for scene, of_scene in waiting.items()}
    plain = {scene: [part for part, choice in of_scene if _is_plain(choice)] for scene, of_scene in apart.items()}
    while waiting:
        near = {scene: [part for part in of_scene if part.partner in told.cells] for scene, of_scene in waiting.items()}
        scene = next((one for one in waiting if near[one]), next((one for one in waiting if plain[one]), None))
        if scene is None:
            break
        told.cells[scene] = _own(near[scene] or plain[scene], told.fields, offset_m)
        choice = choose(told.cells[scene])
        if choice.model is not Model.SHIFT:
            told.fields[scene] = choice.field
        del waiting[scene]
    for scene, of_scene in waiting.items():
        told.cells[scene] = _own(of_scene, {}, offset_m)
        part, choice = max(apart[scene], key=lambda one: one[1].gain_m)
        if choice.model is not Model.SHIFT:
            told.problems[scene] = (
                f"displaced from {part.partner} by more than a shift: {_left(choice)}; which of the two is distorted "
                f"cannot be told without a third scene that is verified with both, or {option('reference')}"
            )
    return told


def _is_plain(choice: Choice) -> bool:
    """Return whether a shift suffices although every other model was tried."""
    return choice.model is Model.SHIFT and len(choice.held_out_m) == len(Model)


def _disentangled(parts: Mapping[str, Sequence[Part]], offset_m: Mapping[str, _Offset]) -> _Told:
    """Return the displacements of scenes as medians over their partners.

    A scene that is distorted makes its partners look distorted too, though less. So the scene whose model gains most is
    taken for distorted, its field is taken off its partners' displacements, and so on until all others are plain.
    """
    fields: dict[str, Field] = {}
    cells = {scene: _own(of_scene, fields, offset_m) for scene, of_scene in parts.items()}
    choices = {scene: choose(found) for scene, found in cells.items()}
    while True:
        gains = {scene: one.gain_m for scene, one in choices.items() if one.model is not Model.SHIFT}
        gains = {scene: gain for scene, gain in gains.items() if scene not in fields}
        if not gains:
            break
        worst = max(gains, key=lambda scene: gains[scene])
        fields[worst] = choices[worst].field
        for scene, of_scene in parts.items():
            if scene not in fields and any(part.partner == worst for part in of_scene):
                cells[scene] = _own(of_scene, fields, offset_m)
                choices[scene] = choose(cells[scene])
    # The first fields were found while others were not known yet.
    for _ in range(_REFINEMENTS):
        for scene in fields:
            cells[scene] = _own(parts[scene], fields, offset_m)
            fields[scene] = choose(cells[scene]).field
    return _Told(cells, fields, {})


def _own(parts: Sequence[Part], fields: Mapping[str, Field], offset_m: Mapping[str, _Offset]) -> Cells:
    """Return a scene's displacements, with the fields and offsets of its partners taken off."""
    found = []
    for part in parts:
        field = fields.get(part.partner)
        own = np.asarray(offset_m[part.partner]) if field is None else field.at(part.there)
        found.append(replace(part.cells, moved_m=part.cells.moved_m + own))
    return together(found)


def _may_be_local(correction: Correction) -> bool:
    return not correction.problem or correction.scatters


def _with_field(correction: Correction, told: _Told, models: Sequence[Model], reference: str) -> Correction:
    cells = told.cells.get(correction.scene_id)
    if cells is None:
        partner = reference or "another scene of its tile"
        return replace(correction, note=f"only a shift is known: no verified pair with {partner} has kept matches")
    problem = told.problems.get(correction.scene_id, "")
    if problem:
        return replace(correction, problem=correction.problem or problem)
    choice = choose(cells, models)
    tried = replace(correction, cells=cells, choice=choice, note=_note(choice, cells, models))
    if choice.model is Model.SHIFT:
        return tried
    east, north = np.average(choice.field.at(cells.share), axis=0, weights=cells.weight).tolist()
    error_m = float(np.median(choice.field.error_m(cells.share)))
    problem = (
        f"error {error_m:.2f} m above the limit {correction.limit_m:.2f} m" if error_m > correction.limit_m else ""
    )
    return replace(tried, field=choice.field, offset_m=(east, north), error_m=error_m, problem=problem)


def _note(choice: Choice, cells: Cells, models: Sequence[Model]) -> str:
    """Return why a wanted model was not used, or what displacements remain; empty if there is nothing to say."""
    best = choice if len(models) == len(Model) else choose(cells)
    if list(Model).index(best.model) > list(Model).index(choice.model):
        way = f"{option('form', 'as')} resampled, {option('model')} auto"
        return f"displacements within it remain: {_left(best, choice.model)} (with {way})"
    missing = [model for model in models if model not in choice.held_out_m]
    if missing:
        held, least = len(cells.count), min(LEAST_CELLS[model] for model in missing)
        return f"{', '.join(missing)} not tried: {held} ground cells have matches, {least} are needed, spread out"
    if len(models) == 1 and choice.model not in models:
        (model,) = models
        left, before = choice.held_out_m[model], choice.held_out_m[Model.SHIFT]
        return f"{model} gains nothing: held-out matches are {left:.2f} m off, {before:.2f} m after a shift"
    return ""


def _left(choice: Choice, than: Model = Model.SHIFT) -> str:
    """Return what models leave of held-out matches, in words."""
    left, more = choice.held_out_m[choice.model], choice.held_out_m[than]
    return f"held-out matches are {more:.2f} m off with {than}, {left:.2f} m with {choice.model}"


def field_raster(field: Field, cells: Cells, grid: PixelGrid, tags: Mapping[str, str]) -> bytes:
    """Return a displacement field as a GeoTIFF over the scene as delivered, see `BANDS`.

    Parameters
    ----------
    field, cells
        The field, and the displacements to which it was fitted.
    grid
        The scene's grid.
    tags
        Metadata to add.
    """
    centres = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    share = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
    count = np.zeros((CELLS, CELLS))
    at = np.clip((cells.share * CELLS).astype(np.intp), 0, CELLS - 1)
    count[at[:, 1], at[:, 0]] = cells.count
    bands = np.concatenate([field.at(share).T, field.error_m(share)[None]]).reshape(3, _SAMPLES, _SAMPLES)
    count = np.repeat(np.repeat(count, _SAMPLES // CELLS, axis=0), _SAMPLES // CELLS, axis=1)
    scale = Affine.scale(grid.shape[1] / _SAMPLES, grid.shape[0] / _SAMPLES)
    with MemoryFile() as memory:
        with rasterio.Env(), memory.open(
            driver="GTiff", height=_SAMPLES, width=_SAMPLES, count=4, dtype="float32", crs=grid.crs_wkt,
            transform=Affine(*grid.transform) @ scale, compress="deflate",
        ) as raster:  # fmt: skip
            raster.write(np.concatenate([bands, count[None]]).astype(np.float32))
            raster.descriptions = BANDS
            raster.update_tags(**tags)
        return bytes(memory.read())
