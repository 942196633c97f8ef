"""Scenes on grids finer than they were seen: whether their lattice is told, and whether stated errors cover its pull.

Each scene is averaged over larger pixels, a part of such a pixel apart from scene to scene, and interpolated back onto
its own grid, as an archive does that holds Landsat at 10 m. A true shift is the ground's, not the lattices'.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import rasterio
from rasterio.transform import Affine

import s2fast
from s2fast.sweeps.quality import TRUE_PX

KERNELS = {"nearest": cv2.INTER_NEAREST_EXACT, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}

SIDES = (1.2, 1.5, 2, 3, 4, 6)
"""Sides of the larger pixels, in those of the files; those below 2 leave keypoints where they are."""

_SHARP = "sharp"
"""Name of the scenes as they are."""

_STEP_PX = 7
"""How far the windows of two scenes are apart, right and down: no multiple of most of `SIDES`."""

_MOVED_PX = (0.7, -0.4)
"""How far the georeferencing of each scene is moved against that of the one before, east and north."""

Image = tuple[npt.NDArray[np.uint8], Affine, str]
"""Grey pixels, transform and CRS."""


def interpolated_rows(images: Sequence[Image]) -> Iterator[dict[str, Any]]:
    """Yield verdicts and errors of scenes of one place, of which the true shift is 0."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "scenes"
        folder.mkdir()
        names = [_written(number, image, folder) for number, image in enumerate(images)]
        beside = {kind: [kind] if kind == _SHARP else [kind, _SHARP] for kind in names[0]}
        pairs = [
            (one[kind], other[second])
            for one, other in itertools.permutations(names, 2)
            for kind, others in beside.items()
            for second in others
            if second != kind or one[kind] < other[kind]
        ]
        wanted = Path(scratch) / "pairs.csv"
        pd.DataFrame(pairs, columns=["query", "train"]).to_csv(wanted, index=False)
        settings = {"matching.pairs": "file", "matching.pairs_file": str(wanted)}
        run = s2fast.run(scenes=folder, out=Path(scratch) / "run", overrides=settings)
        told = [(kind, run.folder.interpolated(name)) for scene in names for kind, name in scene.items()]
        for (kind, second), group in _judged(run.pairs(), images[0][1].a).groupby(["kind", "beside"], sort=False):
            yield {
                "scenes": kind,
                "beside": second,
                "pairs": len(group),
                "scenes told right": sum(side == _side(of) for of, side in told if _name(of) == kind),
                **_summary(group),
            }


def _side(kind: str) -> int:
    """Return the side of the larger pixels of a kind of scenes, as s2fast tells it [px]."""
    side = 1.0 if kind == _SHARP else float(kind.split()[1])
    return int(side) if side >= 2 else 1


def _name(kind: str) -> str:
    """Return a kind as it is written in scene ids."""
    return kind.replace(" ", "").replace(".", "p")


def _written(number: int, image: Image, folder: Path) -> dict[str, str]:
    """Write a scene as it is and interpolated in every way; return the scene ids by kind."""
    grey, transform, crs = image
    first = _STEP_PX * number
    side = (min(grey.shape) - 100) // 12 * 12  # a multiple of all larger pixels
    own = grey[first : first + side, first : first + side]
    moved = Affine.translation(*(number * transform.a * away for away in _MOVED_PX))
    kinds = {_SHARP: own}
    for factor in SIDES:
        larger = cv2.resize(own, (round(side / factor),) * 2, interpolation=cv2.INTER_AREA)
        for kernel, method in KERNELS.items():
            kinds[f"{kernel} {factor:g}"] = np.maximum(cv2.resize(larger, (side,) * 2, interpolation=method), own > 0)
    options = {"driver": "GTiff", "height": side, "width": side, "count": 1, "dtype": "uint8", "crs": crs}
    for kind, pixels in kinds.items():
        path = folder / f"scene{number}_{_name(kind)}.tif"
        with rasterio.open(
            path, "w", transform=moved @ transform @ Affine.translation(first, first), **options
        ) as file:
            file.write(pixels.astype(np.uint8), 1)
    return {kind: f"scene{number}_{_name(kind)}" for kind in kinds}


def _judged(pairs: pd.DataFrame, pixel_m: float) -> pd.DataFrame:
    """Return kinds, verdict, and error of every pair [px of the files, and stated errors]."""
    sides = [pairs[name].str.extract(r"scene(?P<number>\d+)_(?P<kind>[a-z]+[\dp]*)") for name in ("query", "train")]
    apart = sides[1]["number"].astype(int) - sides[0]["number"].astype(int)
    off = np.hypot(pairs["dx_m"] - apart * pixel_m * _MOVED_PX[0], pairs["dy_m"] - apart * pixel_m * _MOVED_PX[1])
    kinds = [side["kind"] for side in sides]
    return pd.DataFrame(
        {
            "kind": kinds[0].where(kinds[0] != _SHARP, kinds[1]),
            "beside": np.where(kinds[0] == kinds[1], "itself", _SHARP),
            "verified": pairs["verified"].to_numpy(bool),
            "off": off / pixel_m,
            "errors": off / pairs["shift_error_m"].to_numpy(float),
        }
    )


def _summary(group: pd.DataFrame) -> dict[str, Any]:
    verified = group[group["verified"]]
    right = verified[verified["off"] <= TRUE_PX]
    return {
        "right %": round(100 * len(right) / len(group), 1),
        "wrong": len(verified) - len(right),
        "error px, median": round(float(verified["off"].median()), 3) if len(verified) else None,
        "error px, largest": round(float(verified["off"].max()), 3) if len(verified) else None,
        "within twice the stated error %": round(100 * float((verified["errors"] <= 2).mean()), 1)
        if len(verified)
        else None,
    }
