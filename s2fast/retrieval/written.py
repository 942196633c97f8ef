"""Write what was found: outlines as GeoJSON, a georeferenced copy, and a picture of picture and scene side by side."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.transform import Affine

from s2fast.errors import InputError, S2FastError, SceneError
from s2fast.files.source import Source
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Window
from s2fast.pictures.titles import plain
from s2fast.raster.bands import Picture
from s2fast.raster.dataset import gdal_settings, open_dataset
from s2fast.raster.windows import grid
from s2fast.report.imagery import original, stretched, whole_scene
from s2fast.retrieval.find import Finding
from s2fast.retrieval.index import Entry
from s2fast.retrieval.place import Place

PICTURES = (".png", ".pdf", ".svg")
"""Endings of files that are pictures."""

ENDINGS = (".tif", ".tiff", ".geojson", *PICTURES)
"""Endings of the files that can be written."""

_SIDE_PX = 700
_INLIER, _OUTLINE = "#2fc3c3", "#ffcc33"
_BLOCK_PX = 1024
_MARGIN = 0.2
"""Ground shown around the place in the scene, as a share of its sides."""


def write_geojson(findings: Sequence[Finding], file: Path) -> None:
    """Write a feature per picture, in longitude and latitude; pictures that were not found have no geometry."""
    collection = {"type": "FeatureCollection", "features": [finding.feature() for finding in findings]}
    with _replacing(file) as partial:
        partial.write_text(json.dumps(collection, indent=1), "utf-8")


def write_located(finding: Finding, file: Path) -> None:
    """Write a copy of a picture with the georeferencing that was found, as a GeoTIFF.

    Raises
    ------
    InputError
        The picture was not found in one place, the scene has no CRS, or the file cannot be written.
    """
    if not finding.found or finding.grid is None:
        why = finding.verdict if not finding.found else "its scene has no CRS"
        raise InputError(f"{finding.image.name}: {why}: no georeferenced copy is written")
    profile: dict[str, Any] = {
        "driver": "GTiff", "crs": finding.grid.crs_wkt, "transform": Affine(*finding.grid.transform),
        "height": finding.image.shape[0], "width": finding.image.shape[1], "tiled": True, "compress": "deflate",
        "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    source = Source.of(finding.image.name)
    try:
        with gdal_settings(), _replacing(file) as partial:
            try:
                opened = open_dataset(source)
            except SceneError:
                _write_grey(finding, partial, profile)
                return
            with opened as dataset:
                _copy(dataset, partial, profile, source.name)
    except RasterioError as error:
        raise InputError(f"cannot write {file}: {error}") from error


def _write_grey(finding: Finding, file: Path, profile: dict[str, Any]) -> None:
    """Write a picture that GDAL may not open in grey, as it was searched."""
    rows, columns = finding.image.shape
    grey = cv2.resize(finding.image.grey, (columns, rows), interpolation=cv2.INTER_LINEAR)
    with rasterio.open(file, "w", **profile, count=1, dtype="uint8") as out:
        out.write(grey, 1)


def _copy(dataset: rasterio.DatasetReader, file: Path, profile: dict[str, Any], name: str) -> None:
    """Copy all bands of a dataset block by block, with their meaning."""
    Picture.of(dataset, name)
    bands = {"count": dataset.count, "dtype": dataset.dtypes[0], "nodata": dataset.nodata}
    with rasterio.open(file, "w", **profile, **bands) as out:
        meaning = dataset.colorinterp
        if ColorInterp.palette in meaning:
            out.write_colormap(1, dataset.colormap(1))
        else:
            out.colorinterp = meaning
        for part in grid(dataset.shape, (_BLOCK_PX, _BLOCK_PX)):
            window = rasterio.windows.Window(part.col, part.row, part.width, part.height)
            out.write(dataset.read(window=window), window=window)


def draw(finding: Finding, dpi: float = 150.0, trusted: Sequence[str] = ()) -> Figure:
    """Draw a picture, its outline in the scene, and the scene in the frame of the picture.

    Raises
    ------
    InputError
        The picture was not found, or the run folder with the scene is gone.
    """
    if finding.place is None or finding.entry is None:
        raise InputError(f"{finding.image.name}: {finding.verdict}: there is no place to draw")
    place, entry = finding.place, finding.entry
    folder = RunFolder(finding.out, trusted)
    try:
        whole = original(folder, entry.scene_id, whole_scene(folder, entry.scene_id), _SIDE_PX)
        ground = _ground(folder, finding, place, entry)
    except (S2FastError, OSError) as error:
        raise InputError(f"{entry.scene_id} cannot be drawn, from the run {finding.out}: {error}") from error
    rows, columns = finding.image.shape
    tall = max(rows / columns, entry.shape[0] / entry.shape[1])
    figure = Figure(figsize=(7.2, 2.4 * min(tall, 2.0) + 0.5), dpi=dpi)
    left, middle, right = figure.subplots(1, 3)
    frame = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    _show(left, stretched(finding.image.grey), frame, "the picture")
    inlier = place.judgement.inlier
    left.scatter(*place.picture_xy[inlier].T, s=7, facecolors="none", edgecolors=_INLIER, linewidths=0.7)
    _show(middle, ground, frame, "the scene in its frame")
    middle.scatter(*_back(place, place.scene_xy[inlier]).T, s=7, facecolors="none", edgecolors=_INLIER, linewidths=0.7)
    high, wide = entry.shape
    _show(right, whole, (-0.5, wide - 0.5, high - 0.5, -0.5), "the whole scene")
    outline = place.outline(finding.image.shape)
    right.plot(*np.vstack([outline, outline[:1]]).T, color=_OUTLINE, linewidth=1.2)
    right.plot(*outline[:2].T, color=_INLIER, linewidth=1.2)
    figure.suptitle(plain(f"{entry.scene_id}: {described(place)}"), fontsize=8)
    figure.tight_layout(pad=0.4)
    return figure


def described(place: Place) -> str:
    """Return scale, rotation and error as text."""
    return (
        f"scale {place.scale:.3f}, rotated by {place.rotation_deg:.1f} degrees, to {place.judgement.error:.2f} px, "
        f"{place.inliers} matches agree"
    )


def _back(place: Place, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Convert positions in the scene to the picture."""
    return np.asarray(np.linalg.solve(place.to_scene[:, :2], (xy - place.to_scene[:, 2]).T).T)


def _ground(folder: RunFolder, finding: Finding, place: Place, entry: Entry) -> npt.NDArray[np.uint8]:
    """Return the scene's pixels in the frame of the picture."""
    outline, shape = place.outline(finding.image.shape), entry.shape
    spread = np.ptp(outline, axis=0) * _MARGIN + 2
    low = np.clip(np.floor(outline.min(axis=0) - spread), 0, np.array(shape[::-1]) - 1).astype(int)
    high = np.clip(np.ceil(outline.max(axis=0) + spread), low + 1, shape[::-1]).astype(int)
    window = Window(int(low[1]), int(low[0]), int(high[1] - low[1]), int(high[0] - low[0]))
    pixels = original(folder, entry.scene_id, window, 2 * _SIDE_PX)
    step = np.array([window.width / pixels.shape[1], window.height / pixels.shape[0]])
    frame = np.array(finding.image.shape[::-1])
    factor = min(1.0, _SIDE_PX / frame.max())
    size = np.maximum(1, np.rint(frame * factor)).astype(int)
    # Pixel centres are at integers in each of the grids: drawn picture, picture, scene, drawn window of the scene.
    picture = Affine.translation(-0.5, -0.5) * Affine.scale(*(frame / size)) * Affine.translation(0.5, 0.5)
    (a, b, c), (d, e, f) = place.to_scene.tolist()
    drawn = Affine.translation(-0.5, -0.5) * Affine.scale(*(1 / step)) * Affine.translation(0.5 - low[0], 0.5 - low[1])
    matrix = np.array((drawn * Affine(a, b, c, d, e, f) * picture)[:6]).reshape(2, 3)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(pixels, matrix, size.tolist(), flags=flags), np.uint8)


def _show(axes: Axes, pixels: npt.NDArray[np.uint8], frame: tuple[float, float, float, float], title: str) -> None:
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=frame)
    axes.set_title(title, fontsize=7)
    axes.set_axis_off()


@contextmanager
def _replacing(file: Path) -> Iterator[Path]:
    """Yield a file beside another that takes its place at the end."""
    partial = file.with_name(f".{secrets.token_hex(4)}{file.suffix}")
    try:
        yield partial
        partial.replace(file)
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write(finding: Finding, file: Path, trusted: Sequence[str] = ()) -> None:
    """Write one picture's result in the format of the file's ending.

    Raises
    ------
    InputError
        The ending is none of `ENDINGS`, or there is nothing to write.
    """
    ending = file.suffix.lower()
    if ending in (".tif", ".tiff"):
        write_located(finding, file)
    elif ending == ".geojson":
        write_geojson([finding], file)
    else:
        figure = draw(finding, trusted=trusted)
        with _replacing(file) as partial:
            figure.savefig(partial)
