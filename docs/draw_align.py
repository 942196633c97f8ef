"""Draw the figure of docs/align.md: `python docs/draw_align.py FOLDER`.

FOLDER is that of ``python -m benchmarks align --keep FOLDER``, whose synthetic series it shows.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

import s2fast

TILE = "36UXA"
PART = Window(1000, 900, 110, 110)
"""Part of the tile that is shown: columns, rows."""


def median(paths: list[Path], like: Path) -> npt.NDArray[np.float64]:
    """Return the median over time of a part of the scenes, each pixel read where its georeferencing says."""
    with rasterio.open(like) as grid:
        options = {"crs": grid.crs, "transform": grid.transform, "width": grid.width, "height": grid.height}
    parts = []
    for path in paths:
        with rasterio.open(path) as scene, WarpedVRT(scene, **options) as warped:
            parts.append(np.moveaxis(warped.read([1, 2, 3], window=PART), 0, 2).astype(np.float64))
    return np.median(parts, axis=0)


def draw(folder: Path, picture: Path) -> None:
    """Draw the offsets of a tile's scenes, and the median of the series before and after alignment."""
    run = s2fast.open_run(folder / "synth_out")
    with tempfile.TemporaryDirectory() as aligned:
        table = run.align(aligned, form="resampled", resampling="cubic").merge(run.scenes()[["scene_id", "source"]])
        table = table[(table["tile"] == TILE) & table["aligned"]]
        before = [Path(source) for source in table["source"]]
        after = [Path(aligned) / name for name in table["files"]]
        images = [median(paths, after[0]) for paths in (before, after)]
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.4))
    figure.subplots_adjust(left=0.06, right=0.995, top=0.92, bottom=0.24, wspace=0.06)
    x, y = table["offset_x_m"], table["offset_y_m"]
    axes[0].axhline(0, color="#999999", linewidth=0.8)
    axes[0].axvline(0, color="#999999", linewidth=0.8)
    for at_x, at_y in zip(x, y, strict=True):
        arrow = {"arrowstyle": "-|>", "color": "#009e73", "shrinkA": 4, "shrinkB": 1}
        axes[0].annotate("", (0, 0), (at_x, at_y), arrowprops=arrow)
    axes[0].plot(x, y, "o", color="#0072b2", label="offset_x_m, offset_y_m")
    axes[0].plot([], [], "-", color="#009e73", label="add_x_m, add_y_m")
    axes[0].plot(0, 0, "k+", markersize=12, markeredgewidth=2, label="datum: median of all scenes")
    axes[0].set(xlabel="east [m]", ylabel="north [m]", title=f"{len(table)} scenes of tile {TILE}", aspect="equal")
    axes[0].margins(0.12)
    figure.legend(loc="lower left", bbox_to_anchor=(0.05, 0.0), fontsize=8)
    low, high = np.percentile(images[1], (1, 99))
    for panel, image, title in zip(axes[1:], images, ("before", "after"), strict=True):
        panel.imshow(np.clip((image - low) / (high - low), 0, 1), interpolation="nearest")
        panel.set(title=f"median of the dates, {title}", xticks=[], yticks=[])
    figure.savefig(picture, dpi=90, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(__file__).with_name("align.jpg"))
