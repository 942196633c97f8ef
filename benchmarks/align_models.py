"""Models of displacement fields chosen for scenes that were warped by known fields."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import rasterio

import s2fast
from s2fast.align.correction import MEDIAN, Correction, corrections, reference_id
from s2fast.align.field_model import CELLS, Cells, Model, choose
from s2fast.align.local import with_fields
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.results import Run
from s2fast.synth import synth

_ROTATION_DEG, _SCALE, _AMPLITUDE_PX = 0.01, 1e-4, 1.5

_KINDS = ("nothing", "nothing", "shift", "nothing", "affinity", "nothing", "field")
"""Warps of the dates of a tile."""

_CLEAR = ("20160621", "20160830", "20190427", "20190606", "20190611", "20190825", "20190904")
"""Clear dates of the real tile 36UYA."""

_RIGHT = {"nothing": ("shift",), "shift": ("shift",), "affinity": ("similarity", "affine"), "field": ("grid",)}
"""Models that are right for each warp."""

_Positions: TypeAlias = npt.NDArray[np.float64]

Warp: TypeAlias = Callable[[_Positions, tuple[int, ...]], _Positions]
"""Takes (n, 2) shares of width and height, and these [px]; returns displacements, right and down [px]."""


def warps(rng: np.random.Generator) -> dict[str, Warp]:
    """Return one warp of each kind, with random phases and shifts."""
    shift, phase = rng.uniform(-2, 2, 2), rng.uniform(0, 2 * np.pi, 4)
    angle = np.radians(_ROTATION_DEG) * rng.choice([-1, 1])
    change = np.array([[_SCALE, -angle], [angle, _SCALE]])

    def field(share: _Positions, _: tuple[int, ...]) -> _Positions:
        x, y = 2 * np.pi * share.T
        waves = np.column_stack([np.sin(x + phase[0]) * np.cos(y / 2 + phase[1]), np.sin(y + phase[2])])
        return np.asarray(_AMPLITUDE_PX * waves * [1, np.cos(phase[3])])

    return {
        "nothing": lambda share, _: np.zeros_like(share),
        "shift": lambda share, _: np.tile(shift, (len(share), 1)),
        "affinity": lambda share, size_px: (share - 0.5) * np.array(size_px) @ change.T,
        "field": field,
    }


def models(folder: Path, size: int, rounds: int, seed: int, reference: bool) -> Iterator[dict[str, Any]]:
    """Warp scenes of synthetic series, align them with ``auto``, and yield a record per kind of warp.

    Parameters
    ----------
    folder
        Folder for archives and runs.
    size
        Side of a tile [px].
    rounds
        Number of series: in each, one scene of either tile is warped by each kind, and four are not warped.
    seed
        Seed of the first series.
    reference
        Whether the first scene is held fixed; else offsets are relative to the median.
    """
    datum = {"datum": "a reference" if reference else "the median"}
    rows = [row for number in range(rounds) for row in
            _synthetic(folder / f"models_{seed + number}", size, seed + number, reference)]  # fmt: skip
    yield from (datum | record for record in _by_kind(rows))


def real_models(folder: Path, data: Path, pair: Path, rounds: int, seed: int) -> Iterator[dict[str, Any]]:
    """Warp real scenes, align them with ``auto``, and yield a record per kind of warp.

    Parameters
    ----------
    folder
        Folder for copies and runs.
    data
        Folder with scenes of `_CLEAR`: in each round the dates take other warps; relative to their median.
    pair
        Folder with one file ``ref*`` and one file ``tgt*``: four warped copies of the latter, relative to the former.
    rounds
        Number of rounds of each.
    seed
        Seed of the first round.
    """
    for name, place, function in (("dates of one tile", data, _dates), ("10 m pair", pair, _copies)):
        if not place.is_dir():
            yield {"scenes": name, "skipped": f"{place} does not exist"}
            continue
        rows = [row for number in range(rounds) for row in
                function(folder / f"{place.name}_{seed + number}", place, seed + number)]  # fmt: skip
        yield from ({"scenes": name} | record for record in _by_kind(rows))


def _by_kind(scenes: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield a record per kind of warp."""
    for kind, right in _RIGHT.items():
        of_kind = [row for row in scenes if row["warp"] == kind]
        rows = [row for row in of_kind if "model" in row]
        names = [row["model"] for row in rows]
        left = [row["left_px"] for row in rows]
        yield {
            "warp": kind,
            "number": len(of_kind),
            "left out": [row["problem"] for row in of_kind if "problem" in row],
            "right": sum(name in right for name in names),
            "chosen": {name: names.count(name) for name in sorted(set(names))},
            "notes": [row["note"] for row in rows if row["note"]],
            "warp px median": _median(rows, "warp_px"),
            "after a shift px median": _median(rows, "shift_left_px"),
            "left px median": _median(rows, "left_px"),
            "left px most": round(max(left), 3) if left else None,
            "gain px median": _median(rows, "gain_px"),
            "matches median": _median(rows, "matches"),
        }


def simulated(matches: int, trials: int, seed: int) -> Iterator[dict[str, Any]]:
    """Choose models for simulated matches of a 2048 px scene; yield a record per kind of warp.

    A match scatters by 0.35 px along each axis, and those of a ground cell by another 0.08 px that they share.
    """
    side, pixel_m = 2048, 10.0
    for kind in _RIGHT:
        rng, names, left = np.random.default_rng(seed), [], []
        for _ in range(trials):
            share, warp = rng.uniform(size=(matches, 2)), warps(rng)[kind]
            true = warp(share, (side, side)) * [pixel_m, -pixel_m]
            at = np.minimum((share * CELLS).astype(np.intp), CELLS - 1)
            common = rng.normal(0, 0.08 * pixel_m, (CELLS, CELLS, 2))[at[:, 1], at[:, 0]]
            seen = true + common + rng.normal(0, 0.35 * pixel_m, true.shape)
            _, cell, count = np.unique(at @ (1, CELLS), return_inverse=True, return_counts=True)
            means = [np.column_stack([np.bincount(cell, axis) / count for axis in part.T]) for part in (share, seen)]
            sides_m = np.diag([side * pixel_m, -side * pixel_m])
            choice = choose(Cells(means[0], means[1], count.astype(np.float64), sides_m, pixel_m))
            names.append(choice.model.value)
            left.append(float(np.sqrt(((choice.field.at(share) - true) ** 2).sum(axis=1).mean())) / pixel_m)
        yield {
            "warp": kind,
            "matches": matches,
            "trials": trials,
            "right": sum(name in _RIGHT[kind] for name in names),
            "left px RMS median": round(float(np.median(left)), 3),
            "left px RMS 95 %": round(float(np.quantile(left, 0.95)), 3),
        }


def _median(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return round(float(np.median([row[name] for row in rows])), 3) if rows else None


@dataclass(frozen=True, slots=True)
class _Warped:
    """A warped scene."""

    kind: str
    """Its kind of warp, of `_RIGHT`."""
    warp: Warp
    """The warp."""
    own_m: tuple[float, float]
    """Its own offset, east and north [m]."""


def _synthetic(folder: Path, size: int, seed: int, reference: bool) -> Iterator[dict[str, Any]]:
    """Make, warp and match one series; yield a row per scene."""
    truth = json.loads(synth(folder / "synth", size=size, dates=len(_KINDS), seed=seed).read_text("utf-8"))
    rng = np.random.default_rng(seed)
    warped: dict[str, _Warped] = {}
    tiles: dict[str, int] = {}
    for scene in truth["scenes"]:
        number = tiles.get(scene["tile"], 0)
        tiles[scene["tile"]] = number + 1
        one = _Warped(_KINDS[number], warps(rng)[_KINDS[number]], tuple(scene["shift_m"]))
        warped[scene["scene_id"]] = one
        path = Path(scene["path"])
        write_warped(folder / "synth" / path, folder / "warped" / path.with_suffix(".tif"), one.warp)
    first = truth["scenes"][0]["scene_id"] if reference else MEDIAN
    run = s2fast.run(scenes=folder / "warped", out=folder / "out")
    yield from _rows(run, first, warped)


def _dates(folder: Path, data: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Warp the clear dates of a real tile, whose own offsets are at most 0.16 px; yield a row per scene."""
    rng, warped = np.random.default_rng(seed), {}
    for number, clear in enumerate(_CLEAR):
        (path,) = data.glob(f"**/T36UYA_{clear}*TCI.jp2")
        kind = _KINDS[(number + seed) % len(_KINDS)]
        warped[clear] = _Warped(kind, warps(rng)[kind], (0.0, 0.0))
        write_warped(path, folder / "warped" / path.relative_to(data).with_suffix(".tif"), warped[clear].warp)
    run = s2fast.run(scenes=folder / "warped", out=folder / "out")
    names = {item.scene.scene_id: item.scene.source.posix.stem for item in run.record.usable}
    yield from _rows(run, MEDIAN, {scene: warped[name.split("_")[1][:8]] for scene, name in names.items()})


def _copies(folder: Path, pair: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Warp copies of the target of a real pair, each matched with the reference alone; yield a row per copy."""
    (reference,), (target,) = pair.glob("ref*"), pair.glob("tgt*")
    drawn = warps(np.random.default_rng(seed))
    for kind, warp in drawn.items():
        write_warped(target, folder / "warped" / f"{kind}.tif", warp)
    settings = {"ingest.stretch": "auto", "matching.pairs": "reference"}
    run = s2fast.run(settings, scenes=folder / "warped", out=folder / "out", reference=reference)
    yield from _rows(run, None, {kind: _Warped(kind, warp, (0.0, 0.0)) for kind, warp in drawn.items()})


def _rows(run: Run, reference: str | None, warped: Mapping[str, _Warped]) -> Iterator[dict[str, Any]]:
    """Yield a row per warped scene: what was chosen, and what is left of its warp; or why it is left out."""
    fixed = reference_id(run.record, reference)
    planned = corrections(run.record, run.scenes(), run.pairs(), reference=fixed, plain_only=False)
    grids = {item.scene.scene_id: PixelGrid.of_raster(item.raster) for item in run.record.usable}
    for one in with_fields(planned, run.folder, run.record, run.pairs(), tuple(Model), fixed):
        scene = warped[one.scene_id]
        if one.problem:
            yield {"warp": scene.kind, "problem": one.problem}
        elif one.scene_id != fixed:
            yield {"warp": scene.kind, "note": one.note, **_left(one, scene, grids[one.scene_id])}


def _left(one: Correction, scene: _Warped, grid: PixelGrid) -> dict[str, Any]:
    """Compare a correction with the truth over the whole scene.

    What a scene has in common with its datum is not known, so the median over the ground is taken off.
    """
    share = np.stack(np.meshgrid(*[np.linspace(0.02, 0.98, 33)] * 2), axis=-1).reshape(-1, 2)
    warp_m = scene.warp(share, grid.shape[::-1]) @ grid.px_m.T
    true = warp_m + scene.own_m
    found = np.tile(one.offset_m, (len(share), 1)) if one.field is None else one.field.at(share)

    def length(values: _Positions) -> float:
        return float(np.median(np.hypot(*(values - np.median(values, axis=0)).T))) / grid.pixel_m

    return {
        "model": one.model.value,
        "warp_px": float(np.median(np.hypot(*warp_m.T))) / grid.pixel_m,
        "shift_left_px": length(true),
        "left_px": length(true - found),
        "gain_px": (one.held_out_m[0] - one.held_out_m[1]) / grid.pixel_m,
        "matches": 0 if one.cells is None else float(one.cells.count.sum()),
    }


def write_warped(path: Path, to: Path, warp: Warp) -> None:
    """Write a copy whose pixels show the ground where it lies in the original plus the warp."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path) as source:
        pixels = source.read()
        profile = {**source.profile, "driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256}
        if source.count > 1:
            profile |= {"photometric": "RGB", "interleave": "pixel"}
    shape = pixels.shape[1:]
    right, down = np.meshgrid(*[np.arange(side, dtype=np.float64) for side in shape[::-1]])
    share = (np.column_stack([right.ravel(), down.ravel()]) + 0.5) / shape[::-1]
    moved = warp(share, shape[::-1]).reshape(*shape, 2)
    at = [(axis - moved[..., number]).astype(np.float32) for number, axis in enumerate((right, down))]
    missing = (pixels == 0).all(axis=0).astype(np.uint8)
    empty = cv2.remap(missing, at[0], at[1], cv2.INTER_NEAREST, borderValue=1)
    bent = np.stack([cv2.remap(band, at[0], at[1], cv2.INTER_LANCZOS4) for band in pixels])
    bent = np.where(empty, 0, np.maximum(bent, 1)).astype(pixels.dtype) if moved.any() else pixels
    with rasterio.open(to, "w", **profile) as copy:
        copy.write(bent)
