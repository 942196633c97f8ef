"""Table of the output files of a finished run, one row per output; the report stage loops over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from s2fast.folder.pair_blocks import parquet
from s2fast.report import gis, page, sidecars
from s2fast.report.findings import Findings
from s2fast.report.ground import ground_layers
from s2fast.report.layers import map_crs
from s2fast.report.payload import payload
from s2fast.report.rounding import csv_bytes
from s2fast.report.tables import similarity_matrix, without_metres
from s2fast.report.thumbnails import thumbnails


@dataclass(frozen=True, slots=True)
class Output:
    """Files that are written together."""

    files: tuple[str, ...]
    """Names in the run folder, in the order in which the files are written."""
    write: Callable[[Findings], Iterable[tuple[str, bytes]]]
    """Function that returns name and content of each file; equal findings give equal bytes. A generator may yield more
    files, whose number depends on the run."""


def _pairs(found: Findings) -> Iterable[tuple[str, bytes]]:
    pairs = without_metres(found.pairs, in_pixels=found.record.in_pixels)
    table = pa.Table.from_pandas(pairs, preserve_index=False)
    return [("pairs.parquet", parquet(table)), ("pairs.csv", csv_bytes(pairs, index=False))]


def _similarity(found: Findings) -> Iterable[tuple[str, bytes]]:
    square = similarity_matrix(found.record, found.pairs)
    return [("similarity.csv", csv_bytes(square, float_format="%.2f"))]


def _scenes(found: Findings) -> Iterable[tuple[str, bytes]]:
    table = without_metres(pd.DataFrame(found.scenes.drop(columns="geometry")), in_pixels=found.record.in_pixels)
    return [("scenes.parquet", found.scenes_file), ("scenes.csv", csv_bytes(table, index=False))]


def page_files(found: Findings) -> Iterator[tuple[str, bytes]]:
    """Yield the files beside the page, and the page."""
    shown = thumbnails(found.record.usable, found.folder, found.workplace, masked=found.record.uses_regions)
    names: dict[str, dict[int, str]] = {"pairs": {}, "scenes": {}}
    for kind, files in (("pairs", sidecars.pair_files), ("scenes", sidecars.scene_files)):
        for number, name, data in files(found):
            names[kind][number] = name
            yield f"{sidecars.FOLDER}/{name}.js", data
    name, data = sidecars.alignment_file()
    yield f"{sidecars.FOLDER}/{name}.js", data
    names["alignment"] = {0: name}
    yield page.NAME, page.page(payload(found, shown, names)).encode()


def _layers(found: Findings) -> Iterable[tuple[str, bytes]]:
    crs = map_crs(found.matches.positions.grids)
    ground = ground_layers(found.record, found.folder, found.scenes, found.clear, crs)
    layers = gis.layer_files(found.pairs, found.scenes, found.matches, ground, in_pixels=found.record.in_pixels)
    return layers.items()


OUTPUTS = (
    Output(("pairs.parquet", "pairs.csv"), _pairs),
    Output(("similarity.csv",), _similarity),
    Output(("scenes.parquet", "scenes.csv"), _scenes),
    Output((page.NAME,), page_files),
    Output(gis.NAMES, _layers),
)
"""All outputs, in the order in which they are written. To add one, add a function and a row."""

FILES = tuple(name for output in OUTPUTS for name in output.files)
"""Names of all files."""
