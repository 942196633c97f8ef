"""Tables and summary of a finished run, from which all outputs are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd

from s2fast.files.arrow_memory import arrow_file
from s2fast.files.geoparquet import geoparquet
from s2fast.files.legible import counted, first_named
from s2fast.folder.record import NullRecord, RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.datum import add_network
from s2fast.geometry.nulls import NullRate, null_warning
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.geometry.placement import Placement, alike
from s2fast.masks.kinds import NOT_JUDGED, TOO_BRIGHT
from s2fast.model import Raster
from s2fast.report.shown_matches import ShownMatches
from s2fast.report.tables import clouds_by, pair_table, scene_table, without_metres
from s2fast.verdicts import is_verified
from s2fast.work.executors import Workplace

_MOST_SHEAR_DEG = 25.0
"""Greatest shear of a grid on which stated errors hold: at 20 degrees errors are within twice the stated one, at 45 up
to 2.7 times it (``python -m benchmarks resolutions --grids``)."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of a finished run."""

    counts: Mapping[str, int]
    """Numbers of scenes, pairs, keypoints, good matches, verified pairs and null trials."""
    null_rate: NullRecord | None
    """False-alarm rate of verification; None without null trials."""
    warnings: Sequence[str]
    """Warnings about the reliability of the results, one line each."""
    tables: Mapping[str, int] = field(default_factory=dict)
    """Checksums of the output files, by name."""


@dataclass(frozen=True, slots=True)
class Findings:
    """A finished run, as input of the output writers."""

    record: RunRecord
    """Settings, inputs and history of the run."""
    folder: RunFolder
    """The run folder, with tiles, features and matches."""
    workplace: Workplace
    """Workers that draw pictures."""
    pairs: pd.DataFrame
    """One row per pair, see `s2fast.report.tables.pair_table`, with the columns `STATISTICS` of its inliers."""
    scenes: geopandas.GeoDataFrame
    """One row per scene, see `s2fast.report.tables.scene_table`."""
    scenes_file: bytes
    """`scenes` as GeoParquet."""
    summary: Summary
    """Summary of the tables."""
    matches: ShownMatches
    """Samples of the pairs' matches."""
    clear: Mapping[str, npt.NDArray[np.uint8]]
    """Maps of the scenes' clear ground by scene id, see `s2fast.image.prepare.clear_cells`."""

    @classmethod
    def of(cls, record: RunRecord, folder: RunFolder, workplace: Workplace, keys: pd.DataFrame) -> Findings:
        """Create the tables and the summary from the stored results of a run.

        Parameters
        ----------
        record, folder, workplace
            The run.
        keys
            One row per pair of the run: ``query``, ``train``, and ``key``, the content key of the verdict.

        Raises
        ------
        RunFolderError
            A pair has no verdict under its key.
        """
        pairs, blocks, nulls = pair_table(record, folder, keys)
        summary = _summary(record, folder, pairs, nulls)
        scenes = [item.scene for item in record.usable]
        passes = pd.DataFrame(
            {
                "tile": [scene.tile for scene in scenes],
                "platform": [scene.platform for scene in scenes],
                "sensing_time": [scene.sensing_time for scene in scenes],
            },
            index=[scene.scene_id for scene in scenes],
        )
        network = add_network(passes, pairs, record.reference)
        scenes_table = scene_table(record, folder, network)
        file = geoparquet(without_metres(scenes_table, in_pixels=record.in_pixels))
        matches = ShownMatches.of(folder, pairs, blocks, [scene.scene_id for scene in scenes])
        pairs = pairs.join(matches.statistics)
        clear = {scene.scene_id: folder.clear(scene.scene_id) for scene in scenes}
        table = geopandas.read_parquet(arrow_file(file))
        for name in table if record.in_pixels else ():
            table[name] = scenes_table[name]
        return cls(record, folder, workplace, pairs, table, file, summary, matches, clear)


def _summary(record: RunRecord, folder: RunFolder, pairs: pd.DataFrame, nulls: Mapping[str, int]) -> Summary:
    verified = int(is_verified(pairs).sum())
    counts = {
        "scenes": len(record.usable),
        "pairs": len(pairs),
        "keypoints": sum(folder.keypoints(item.scene.scene_id) for item in record.usable),
        "good_matches": int(pairs["n_good"].sum()),
        "verified": verified,
        **nulls,
    }
    empty = [str(item) for item in record.usable if not folder.keypoints(item.scene.scene_id)]
    clouds = {str(item): clouds_by(record, folder, item) for item in record.usable if str(item) not in empty}
    bright = [name for name, found in clouds.items() if found == TOO_BRIGHT]
    unknown = [name for name, found in clouds.items() if found.startswith(f"{NOT_JUDGED}:") and name not in bright]
    warnings = [_warning_of_empty(empty)] if empty else []
    with_reference = pairs[is_verified(pairs) & (pairs[["query", "train"]] == record.reference).any(axis=1)]
    if record.reference and len(record.usable) > 1 and with_reference.empty:
        warnings.append(_warning_of_reference(record.reference))
    if bright:
        warnings.append(_warning_of_brightness(bright))
    if unknown:
        warnings.append(_warning_of_percentiles(unknown))
    away = {str(item): told for item in record.usable if (told := folder.tile(item.scene.scene_id).mask_elsewhere)}
    if away:
        warnings.append(_warning_of_masks_elsewhere(away))
    of_larger = [item.scene.scene_id for item in record.usable if folder.interpolated(item.scene.scene_id) > 1]
    if of_larger:
        placements = {name: folder.placement(name) for name in of_larger}
        warnings.append(_warning_of_interpolation(placements, len(record.usable)))
    warnings += warnings_of_grids({str(item): item.raster for item in record.usable})
    if not nulls["null_trials"]:
        return Summary(counts, None, warnings)
    null = NullRate(trials=nulls["null_trials"], verified=nulls["null_verified"])
    warning = null_warning(null, len(pairs), verified)
    return Summary(counts, NullRecord.of(null), [*filter(None, [warning]), *warnings])


def _warning_of_empty(scenes: Sequence[str]) -> str:
    """Return a line on the scenes without keypoints."""
    return (
        f"no keypoint was found in {counted(len(scenes), 'scene')}: {first_named(scenes)}; they have no data, or show "
        "nothing but clouds, smooth surfaces, or ground that masks or polygons exclude: see them in the report"
    )


def _warning_of_reference(reference: str) -> str:
    """Return a line on a reference with which no scene matches."""
    return (
        f"no pair with the reference {reference} is verified, so that no offset relative to it is known: see its "
        "picture and its pairs in the report, or name another reference"
    )


def _warning_of_brightness(scenes: Sequence[str]) -> str:
    """Return a line on the scenes in which the brightness rule gave up."""
    named = first_named(scenes)
    return (
        f"clouds were not judged in {counted(len(scenes), 'scene')}, over 60 % bright by snow, cloud or sand: {named}; "
        "their keypoints may lie on clouds: give them masks (ingest.mask)"
    )


def _warning_of_masks_elsewhere(told: Mapping[str, str]) -> str:
    """Return a line on the scenes whose masks lie elsewhere, with where those of the first lie."""
    named, first = first_named(list(told)), next(iter(told.values()))
    return (
        f"the polygons of clouds of {counted(len(told), 'scene')} lie elsewhere and mask nothing: {named}; {first}; "
        "check the CRS of the polygons, the order of their coordinates, and ingest.mask_file"
    )


def _warning_of_percentiles(scenes: Sequence[str]) -> str:
    """Return a line on the scenes whose percentiles say nothing of clouds."""
    named = first_named(scenes)
    return (
        f"clouds were not judged in {counted(len(scenes), 'scene')}, stretched by percentiles of a band that is not "
        f"visible or whose reflectances are unknown: {named}; their keypoints may lie on clouds: give them masks "
        "(ingest.mask), or, if the band is visible, one stretch of reflectances (ingest.stretch = [low, high])"
    )


def warnings_of_grids(rasters: Mapping[str, Raster]) -> list[str]:
    """Return lines on scenes that are mirrored or sheared as images, so that keypoints look different.

    Parameters
    ----------
    rasters
        Headers by scene id.
    """
    mirrored = [name for name, raster in rasters.items() if _is_mirrored(raster)]
    lines = []
    if 0 < len(mirrored) < len(rasters):
        lines.append(
            f"{counted(len(mirrored), 'scene')} stored as a mirror image, rows from south to north or columns from "
            f"east to west: {first_named(mirrored)}; few of their keypoints match those of the others: write them "
            "north-up, for example with gdalwarp IN.tif OUT.tif"
        )
    sheared = [name for name, raster in rasters.items() if _shear_deg(raster) > _MOST_SHEAR_DEG]
    if sheared:
        lines.append(
            f"{counted(len(sheared), 'scene')} on a sheared grid, rows and columns over {_MOST_SHEAR_DEG:g} degrees "
            f"from a right angle: {first_named(sheared)}; few of their keypoints match others, and shifts may be off "
            "by more than twice the stated error: write them north-up, for example with gdalwarp IN.tif OUT.tif"
        )
    return lines


def _is_mirrored(raster: Raster) -> bool:
    a, b, _, d, e, _ = raster.transform
    return a * e - b * d > 0


def _shear_deg(raster: Raster) -> float:
    """Return by how much the angle between rows and columns differs from a right one on the ground [deg]."""
    _, b, _, d, _, _ = raster.transform
    if b == d == 0:
        return 0.0
    along, down = PixelGrid.of_raster(raster).px_m.T
    sine = abs(float(along @ down)) / float(np.linalg.norm(along) * np.linalg.norm(down))
    return float(np.degrees(np.arcsin(min(1.0, sine))))


def _warning_of_interpolation(scenes: Mapping[str, Placement], of: int) -> str:
    """Return a line on the scenes, of a number of all, that lie on a finer grid than they were seen on."""
    text = (
        f"the pixels of {counted(len(scenes), 'scene')} were interpolated from larger ones: {first_named(list(scenes))}"
    )
    remedy = "resample them to their own resolution by averaging, for example with gdalwarp -tr 30 30 -r average"
    averaged = [placement.averaged for placement in scenes.values()]
    if not any(averaged):
        return f"{text}; their lattice pulls the shifts of pairs of them, whose stated errors are large: {remedy}"
    text += "; pairs of scenes with equally large ones are matched on means over them"
    seen_m = [placement.seen_m for placement in scenes.values()]
    if all(averaged) and alike(max(seen_m), min(seen_m)) and len(scenes) == of:
        return text
    return f"{text}, but with other scenes they match badly, if at all: {remedy}"
