"""Correct the scenes of a run, and record what was done with each in alignment.csv, .parquet and .html."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
from rasterio.errors import RasterioError

from s2fast.align import page
from s2fast.align.check_windows import Image
from s2fast.align.correction import Correction, corrected_items, corrections, reference_id
from s2fast.align.local import field_raster, with_fields
from s2fast.align.output import Form, Target, corrected_transform, grid_of, scaled_grid, write
from s2fast.align.output_folder import FIELD, KEY, SCENE, TABLE, open_folder, remove_outputs, tags_of, write_file
from s2fast.align.picture import before_after
from s2fast.align.proof import NOT_CHECKED, Proof, prove
from s2fast.align.report_note import note_in_report
from s2fast.align.settings import Settings
from s2fast.archive.identity import identity
from s2fast.archive.siblings import is_mask, selected
from s2fast.errors import InputError, SceneError, option
from s2fast.files.geoparquet import geoparquet
from s2fast.files.replacing import replacing
from s2fast.files.source import Source
from s2fast.files.trusted import check_servers
from s2fast.folder.content_key import content_key
from s2fast.folder.record import RunRecord, SceneInput, check_unchanged
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.raster.dataset import gdal_settings, opener
from s2fast.report.rounding import csv_bytes
from s2fast.work.machine import versions
from s2fast.work.progress import Progress

_LOCAL = {
    True: "subtracted displacements that vary linearly over the scene, by the geotransform",
    False: "subtracted the displacements in the file that ends in _displacement.tif",
}
"""Description of a correction that varies over the scene, by whether it does so linearly."""

_NOTHING_WRITTEN: Mapping[str, object] = {
    "files": "", "model": "", "held_out_shift_m": np.nan, "held_out_m": np.nan, "gain_m": np.nan
}  # fmt: skip
"""Columns of the table that describe what was written, of a scene that is left out."""

log = logging.getLogger(__name__)


def align(
    run: RunFolder,
    record: RunRecord,
    scenes: pd.DataFrame,
    pairs: pd.DataFrame,
    to: Path | str,
    settings: Settings,
    progress: Progress | None = None,
) -> geopandas.GeoDataFrame:
    """Write a corrected product for every scene whose offset can be relied on.

    Outputs that exist already are kept. A scene's rasters appear together when all are complete.

    Parameters
    ----------
    run, record, scenes, pairs
        The folder of a finished run, its record and its tables.
    to
        Output folder on disk; created if missing.
    settings
        What to write.
    progress
        Shows how many scenes are done.

    Returns
    -------
    GeoDataFrame
        One row per scene, except a reference from outside, as in alignment.parquet: ``aligned``; ``reason`` if it is
        not; ``offset_x_m``, ``offset_y_m`` relative to the reference and ``offset_error_m``; ``add_x_m``, ``add_y_m``,
        the correction; ``reference``; ``files``, separated by blanks; ``model``; ``held_out_shift_m`` and
        ``held_out_m``, root mean square of what a shift and the model leave of matches that were held out, and their
        difference ``gain_m``, if local displacements were looked for; ``note``, why a wanted model is not used. With
        `Settings.check` also the columns of `s2fast.align.proof.Proof.row`.

    Raises
    ------
    InputError
        The settings do not fit the run, a scene lies on a server that `run` does not trust, the folder cannot be
        written, or a file in it is not an output of this function.
    """
    if record.in_pixels:
        raise InputError(
            f"the scenes of {run} have no CRS, so they have no georeferencing to correct; scenes.csv says how many "
            "pixels to move each (correction)"
        )
    try:
        check_servers((source for item in record.usable for source in item.sources), run.trusted)
    except SceneError as error:
        raise InputError(str(error)) from error
    reference = reference_id(record, settings.reference)
    planned = corrections(
        record, scenes, pairs, reference=reference, max_error_m=settings.max_error_m, plain_only=not settings.is_local
    )
    if settings.is_local:
        planned = with_fields(planned, run, record, pairs, settings.models, reference)
    items = corrected_items(record)
    grids = _grids(items, reference)
    folder = open_folder(to)
    rows, images = [], _outside(record) if settings.check else {}
    progress = progress or Progress()
    with gdal_settings(), progress.stage("align", len(planned), 0) as bar:
        for item, correction in zip(items, planned, strict=True):
            files, reason = _written(item, correction, grids[item.scene.tile], folder, settings, record)
            if not reason and settings.check and opener(item.scene.source).version is None:
                image = _checked_image(item, correction, files)
                if image is not None:
                    images[item.scene.scene_id] = image
            rows.append(_row(item, correction, reason, list(files)))
            bar.advance()
    if settings.check:
        checked = sum(image.after is not None for image in images.values())
        with gdal_settings(), progress.stage("check", checked, 0) as bar:
            proofs = prove(images, pairs, reference, bar.advance)
        _check(items, rows, proofs, reference, folder, settings)
    series = scenes["scene_id"].isin([item.scene.scene_id for item in items])
    footprints = geopandas.GeoSeries(scenes.loc[series, "geometry"])
    table = geopandas.GeoDataFrame(rows, geometry=footprints.to_numpy(), crs=footprints.crs)
    _write_summary(table, items, folder, settings)
    note_in_report(run, table, folder / page.NAME)
    return table


def _write_summary(
    table: geopandas.GeoDataFrame, items: Sequence[SceneInput], folder: Path, settings: Settings
) -> None:
    """Write the table of scenes, the page and, if they were checked, the picture of the displacements that are left."""
    write_file(folder / f"{TABLE}.parquet", geoparquet(table))
    write_file(folder / f"{TABLE}.csv", csv_bytes(table.drop(columns="geometry"), index=False))
    picture = folder / f"{TABLE}.svg"
    drawing = None
    if settings.check:
        drawing = before_after(table, pd.Series([item.scene.sensing_time for item in items]))
        write_file(picture, drawing)
    else:
        picture.unlink(missing_ok=True)  # it would show another table
    write_file(folder / page.NAME, page.page(table.drop(columns="geometry"), drawing).encode())


def _outside(record: RunRecord) -> dict[str, Image]:
    """Return the reference from outside by its id, if the run has one; raise InputError if it has changed since."""
    outside = [item for item in record.usable if record.found.outside and item.scene.scene_id == record.reference]
    for item in outside:
        try:
            check_unchanged(item)
        except SceneError as error:
            raise InputError(f"the reference cannot be compared with aligned scenes: {error}") from error
    return {item.scene.scene_id: Image(item.scene.source, None, 0.0) for item in outside}


def _checked_image(item: SceneInput, correction: Correction, files: Mapping[Path, tuple[str, Source]]) -> Image | None:
    """Return the raster by which a scene is checked: the one that was matched or else its first image, if any."""
    images = {name: (path, source) for path, (name, source) in files.items() if not is_mask(name)}
    for name in (item.scene.asset, *images):
        if name in images:
            path, source = images[name]
            return Image(source, path, correction.error_m)
    return None


def _check(
    items: Sequence[SceneInput],
    rows: Sequence[dict[str, object]],
    proofs: Mapping[str, Proof],
    reference: str,
    folder: Path,
    settings: Settings,
) -> None:
    """Add what the check has found, and withdraw scenes that got worse or cannot be read.

    The reference stays where it is.
    """
    for item, row in zip(items, rows, strict=True):
        scene_id = item.scene.scene_id
        proof = proofs.get(scene_id, NOT_CHECKED)
        row.update(proof.row)
        problem = proof.unreadable if scene_id == reference else proof.problem
        if row["aligned"] and not problem and not proof.partners:
            problem = _change_of(item)
        if problem:
            remove_outputs(folder, scene_id)
            row.update(_NOTHING_WRITTEN, aligned=False, reason=problem)
        elif row["aligned"]:
            row["note"] = "; ".join(filter(None, [str(row["note"]), _note(proof, settings)]))
    for outside in proofs.keys() - {item.scene.scene_id for item in items}:
        log.warning("the reference %s; scenes were compared with each other", proofs[outside].unreadable)


def _change_of(item: SceneInput) -> str:
    """Return how a scene has changed since the run began; empty if it has not."""
    try:
        check_unchanged(item)
    except SceneError as error:
        return str(error)
    return ""


def _note(proof: Proof, settings: Settings) -> str:
    """Return what a check has found about a scene that stays; empty if it simply fits."""
    if not proof.partners:
        return "not checked: no other corrected scene can be compared with it"
    if not proof.varies or settings.is_local:  # whose own notes say what remains
        return ""
    return (
        "displacements that vary over it, or over the scenes that it is compared with, remain: median length "
        f"{proof.after.median_m:.2f} m; try {option('model')} auto"
    )


def _grids(items: Sequence[SceneInput], reference: str) -> dict[str, PixelGrid]:
    """Return the common grid of each tile: the reference's, or that of the tile's first scene, as its file states."""
    grids: dict[str, PixelGrid] = {}
    for item in items:
        if item.scene.tile not in grids or item.scene.scene_id == reference:
            grids[item.scene.tile] = PixelGrid.of_raster(item.raster)
    return grids


def _row(item: SceneInput, correction: Correction, reason: str, files: Sequence[Path]) -> dict[str, object]:
    after_shift, after_model = correction.held_out_m
    row: dict[str, object] = {
        "scene_id": item.scene.scene_id,
        "tile": item.scene.tile,
        "aligned": not reason,
        "reason": reason,
        "offset_x_m": correction.offset_m[0],
        "offset_y_m": correction.offset_m[1],
        "offset_error_m": correction.error_m,
        "add_x_m": correction.add_m[0],
        "add_y_m": correction.add_m[1],
        "reference": correction.reference,
        "files": " ".join(path.name for path in files),
        "model": str(correction.model),
        "held_out_shift_m": after_shift,
        "held_out_m": after_model,
        "gain_m": after_shift - after_model,
        "note": correction.note,
    }
    return {**row, **_NOTHING_WRITTEN} if reason else row


def _written(
    item: SceneInput, correction: Correction, grid: PixelGrid, folder: Path, settings: Settings, record: RunRecord
) -> tuple[dict[Path, tuple[str, Source]], str]:
    """Write the rasters of one scene, or remove them if it cannot be aligned.

    Returns
    -------
    files : dict
        Name and source of each raster, by its path.
    reason : str
        Why the scene is not aligned; empty if it is.
    """
    files: dict[Path, tuple[str, Source]] = {}
    reason = correction.problem
    if not reason:
        try:
            check_unchanged(item)
            files = _write_scene(item, correction, grid, folder, settings, record)
        except SceneError as error:
            reason = str(error)
    if reason:
        remove_outputs(folder, item.scene.scene_id)
    return files, reason


def _write_scene(
    item: SceneInput, correction: Correction, grid: PixelGrid, folder: Path, settings: Settings, record: RunRecord
) -> dict[Path, tuple[str, Source]]:
    """Write the rasters of one scene that are not up to date; return name and source of all of them."""
    scene, files, run_id = item.scene, {}, record.history.tables_key
    try:
        with ExitStack() as written:  # they are renamed when all are complete
            for name, source in selected(scene, settings.bands).items():
                path = folder / f"{'_'.join(filter(None, (scene.scene_id, name)))}{settings.form.suffix}"
                files[path] = name, source
                own = grid_of(source)
                target = Target(
                    settings.form,
                    settings.kernel,
                    scaled_grid(grid, own.shape, item.raster.shape),
                    is_mask(name),
                    _tags(correction, source, own, grid, settings, run_id),
                    correction.field,
                    record.config,
                )
                if tags_of(path).get(KEY) != target.tags[KEY]:
                    write(source, correction.offset_m, target, written.enter_context(replacing(path)))
            path, matched = folder / f"{scene.scene_id}{FIELD}", PixelGrid.of_raster(item.raster)
            stored = tags_of(path)
            if correction.field is None or correction.field.model.is_affine or correction.cells is None:
                if stored:
                    path.unlink()
            else:
                tags = _tags(correction, scene.source, matched, grid, settings, run_id)
                if stored.get(KEY) != tags[KEY]:
                    partial = written.enter_context(replacing(path))
                    partial.write_bytes(field_raster(correction.field, correction.cells, matched, tags))
    except SceneError:
        raise
    except (RasterioError, OSError) as error:
        raise SceneError(f"{scene.source}: cannot be corrected: {scene.source.redacted(error)}") from error
    return files


def _tags(
    correction: Correction, source: Source, own: PixelGrid, grid: PixelGrid, settings: Settings, run_id: str
) -> Mapping[str, str]:
    """Return the metadata of an output; its key depends on everything that the output depends on."""
    (offset_x, offset_y), (add_x, add_y) = correction.offset_m, correction.add_m
    software = {name: version for name, version in versions().items() if name in ("s2fast", "rasterio")}
    resampled = settings.form is Form.RESAMPLED
    tags = {
        SCENE: correction.scene_id,
        "S2FAST_OFFSET_X_M": f"{offset_x:.4f}",
        "S2FAST_OFFSET_Y_M": f"{offset_y:.4f}",
        "S2FAST_OFFSET_ERROR_M": f"{correction.error_m:.4f}",
        "S2FAST_CORRECTION": f"added {add_x:.4f} m to x (east), {add_y:.4f} m to y (north)",
        "S2FAST_REFERENCE": correction.reference,
        "S2FAST_MODEL": correction.model.value,
        "S2FAST_RESAMPLING": settings.kernel.value if resampled else "none",
        "S2FAST_RUN": run_id,
        "S2FAST_VERSIONS": ", ".join(f"{name} {version}" for name, version in software.items()),
    }
    transform = tuple(corrected_transform(own, correction.offset_m, correction.field))[:6]
    if correction.field is not None:
        tags["S2FAST_CORRECTION"] = _LOCAL[correction.field.model.is_affine]
        transform += tuple(correction.field.coefficients.view(np.float64).tolist())
    onto = [grid.crs_wkt, grid.transform, grid.shape] if resampled else None
    return {**tags, KEY: content_key("align", settings.form, identity(source), transform, onto, tags)}
