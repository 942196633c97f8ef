"""Parts of scenes, disguised, as pictures to be found: how many are, and how far from the truth."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.find_archive import Archive, Pictures, kind_of
from benchmarks.pictures import Cut, cut
from s2fast.retrieval.finding import Finding

Record = dict[str, Any]
Made = list[tuple[str, Cut]]

SIDES_PX = (256, 128)
"""Sides of the pictures [px]."""

LEAST_CLEAR = 0.5
"""Share of a cut picture that shows clear ground."""

LOCATED_PX = 1.0
"""A picture is located if all of its corners lie this near to the truth [px]."""


def crops(data: Archive, count: int, seed: int) -> Iterator[Record]:
    """Cut pictures from clear scenes and find them, in the whole archive and without the scenes of their date."""
    clear = [name for name in data.scenes if kind_of(name) == "clear"]
    for side in SIDES_PX:
        made = _cut_from(data, clear, side, count, seed)
        yield _found(data, made, f"crops of {side} px, whole archive")
        yield _found(data, made, f"crops of {side} px, own date left out", own_date=False)


def places(data: Archive, count: int, seed: int) -> Iterator[Record]:
    """Do the same for places of whose scenes no constant was chosen, in an archive of theirs and others' scenes."""
    sites: dict[str, list[str]] = {}
    for name in data.scenes:
        if data.entries[name].run > 0:  # the first run is that of the scenes on which they were chosen
            sites.setdefault(data.entries[name].place, []).append(name)
    for side in SIDES_PX:
        for site, names in sites.items():
            made = _cut_from(data, names, side, count, seed)
            yield _found(data, made, f"crops of {side} px of {site}, whole archive")
            if len(names) > 1:
                yield _found(data, made, f"crops of {side} px of {site}, own date left out", own_date=False)


def _cut_from(data: Archive, names: Sequence[str], side: int, count: int, seed: int) -> Made:
    """Cut pictures that show enough clear ground from scenes."""
    rng = np.random.default_rng(seed)
    made: Made = []
    while len(made) < count:
        name = names[int(rng.integers(len(names)))]
        part = cut(data.grey(name), side, rng)
        if part is not None and clear_share(data, name, part) >= LEAST_CLEAR:
            made.append((name, part))
    return made


def _found(data: Archive, made: Made, measure: str, *, own_date: bool = True) -> Record:
    """Find pictures, and summarise how many were found and where."""
    off, first, twenty, spent = [], [], [], time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        pictures = Pictures(data, 2_000, Path(folder))
        for name, part in made:
            without: Set[str] = frozenset() if own_date else data.of_date(name)
            found = pictures.find(part.pixels, without)
            off.append(error_px(data, found, part.to_scene, name) if found.found else np.nan)
            shown = [_shows(data, other, name, part) for other in found.candidates[:20]]
            first.append(shown[:1] == [True])
            twenty.append(any(shown))
    spent = time.process_time() - spent
    return {
        "measure": measure, **_summary(np.array(off)), "right ground first": float(np.mean(first)),
        "among 20": float(np.mean(twenty)), "cpu_s each": spent / len(made),
    }  # fmt: skip


def _shows(data: Archive, other: str, name: str, part: Cut) -> bool:
    """Return whether the middle of a picture cut from a scene lies in another scene."""
    middle = part.to_scene @ (len(part.pixels) / 2, len(part.pixels) / 2, 1.0)
    column, row = data.moved(middle[None], name, other)[0]
    rows, columns = data.entries[other].shape
    return bool(0 <= column < columns and 0 <= row < rows)


def clear_share(data: Archive, name: str, part: Cut) -> float:
    """Return the share of a cut picture that shows clear ground in its scene, by the scene's map of it."""
    cells, shape = data.folder(name).clear(name), data.entries[name].shape
    side = len(part.pixels)
    at = np.stack(np.meshgrid(*[np.linspace(0, side - 1, 16)] * 2), axis=2).reshape(-1, 2)
    xy = at @ part.to_scene[:, :2].T + part.to_scene[:, 2]
    column, row = np.clip(xy / (np.array(shape[::-1]) / cells.shape[::-1]), 0, np.array(cells.shape[::-1]) - 1).T
    return float(cells[row.astype(int), column.astype(int)].mean() / 100)


def _summary(off: npt.NDArray[np.float64]) -> Record:
    """Summarise the errors of found pictures; NaN: not found."""
    found = off[np.isfinite(off)]
    near = found[found <= LOCATED_PX * 10]
    return {
        "pictures": len(off),
        "found": len(found),
        "located within 1 px": int(np.count_nonzero(found <= LOCATED_PX)),
        "error px, median": float(np.median(near)) if len(near) else np.nan,
        "error px, 95 %": float(np.quantile(near, 0.95)) if len(near) else np.nan,
        "elsewhere": len(found) - len(near),
    }


def error_px(data: Archive, found: Finding, to_scene: npt.NDArray[np.float64], name: str) -> float:
    """Return the largest error of a found picture's corners [px of the scene in which it was found]; NaN: none.

    Parameters
    ----------
    data
        The archive.
    found
        What was found.
    to_scene : (2, 3) float64
        Affine from the picture's pixels to those of the scene from which it was cut.
    name
        Id of that scene.
    """
    if found.place is None or found.entry is None:
        return float("nan")
    rows, columns = found.image.shape
    corners = np.array([[0.0, 0.0], [columns, 0.0], [columns, rows], [0.0, rows]]) - 0.5
    wanted = data.moved(corners @ to_scene[:, :2].T + to_scene[:, 2], name, found.entry.scene_id)
    return float(np.hypot(*(found.place.at(corners) - wanted).T).max())
