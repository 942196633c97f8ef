"""Write what was found: outlines as GeoJSON, a georeferenced copy, and a picture of picture and scene side by side."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from s2fast.files.replacing import replacing
from s2fast.files.source import Source
from s2fast.files.suffixes import PICTURES, RASTERS
from s2fast.files.writing import writing
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.model import Window
from s2fast.pictures.titles import plain
from s2fast.raster.bands import Picture
from s2fast.raster.dataset import gdal_settings, open_dataset
from s2fast.raster.whole import check_whole
from s2fast.raster.windows import grid
from s2fast.report.imagery import original, stretched, whole_scene
from s2fast.retrieval.index import Entry
from s2fast.retrieval.picture import Image
from s2fast.retrieval.place import Place

SUFFIXES = (".geojson", *RASTERS, *PICTURES)
"""Suffixes of the files that can be written."""

_SIDE_PX = 700
"""Longest side of a panel [px]."""
_INLIER, _OUTLINE = "#2fc3c3", "#ffcc33"
_BLOCK_PX = 1024
_MARGIN = 0.2
"""Ground shown around the place in the scene, as a share of its sides."""


def write_geojson(features: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Write a collection of features, see `s2fast.retrieval.finding.Finding.feature`."""
    collection = {"type": "FeatureCollection", "features": list(features)}
    with _replacing(file) as partial:
        partial.write_text(json.dumps(collection, indent=1), "utf-8")


def write_located(image: Image, grid: PixelGrid, file: Path) -> None:
    """Write a copy of a picture with georeferencing, as a GeoTIFF.

    Raises
    ------
    InputError
        The picture came as an array, or the file cannot be written.
    """
    if not image.is_file:
        raise InputError(
            f"{image.name} is no file that could be copied: write the array with the CRS and transform of its grid"
        )
    profile: dict[str, Any] = {
        "driver": "GTiff", "crs": grid.crs_wkt, "transform": Affine(*grid.transform), "height": image.shape[0],
        "width": image.shape[1], "tiled": True, "compress": "deflate", "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    source = Source.of(image.name)
    try:
        with gdal_settings(), _replacing(file) as partial, writing(file.parent):
            try:
                opened = open_dataset(source)
            except SceneError:
                _write_grey(image, partial, profile)
            else:
                with opened as dataset:
                    _copy(dataset, partial, profile, str(source))
            check_whole(partial)
    except RasterioError as error:
        raise InputError(f"cannot write {file}: {error}") from error


def _write_grey(image: Image, file: Path, profile: dict[str, Any]) -> None:
    """Write a picture that GDAL may not open in grey, as it was searched."""
    rows, columns = image.shape
    grey = cv2.resize(image.grey, (columns, rows), interpolation=cv2.INTER_LINEAR)
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


def draw(image: Image, place: Place, entry: Entry, folder: RunFolder, dpi: float) -> Figure:
    """Draw a picture, the scene in its frame, and its outline in the scene.

    Parameters
    ----------
    image
        The picture.
    place, entry
        Where it lies in which scene.
    folder
        The run folder of the scene.
    dpi
        Resolution [1/inch].

    Raises
    ------
    InputError
        The run folder with the scene is gone.
    """
    try:
        whole = original(folder, entry.scene_id, whole_scene(folder, entry.scene_id), _SIDE_PX)
        ground = _ground(folder, image, place, entry)
    except (S2FastError, OSError) as error:
        raise InputError(f"{entry.scene_id} cannot be drawn, from the run {folder.address}: {error}") from error
    rows, columns = image.shape
    tall = max(rows / columns, entry.shape[0] / entry.shape[1])
    figure = Figure(figsize=(7.2, 2.4 * min(tall, 2.0) + 0.5), dpi=dpi)
    left, middle, right = figure.subplots(1, 3)
    frame = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    _show(left, stretched(image.grey), frame, "the picture")
    inlier = place.judgement.inlier
    left.scatter(*place.picture_xy[inlier].T, s=7, facecolors="none", edgecolors=_INLIER, linewidths=0.7)
    _show(middle, ground, frame, "the scene in its frame")
    middle.scatter(*_back(place, place.scene_xy[inlier]).T, s=7, facecolors="none", edgecolors=_INLIER, linewidths=0.7)
    high, wide = entry.shape
    _show(right, whole, (-0.5, wide - 0.5, high - 0.5, -0.5), "the whole scene")
    outline = place.outline(image.shape)
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


def _ground(folder: RunFolder, image: Image, place: Place, entry: Entry) -> npt.NDArray[np.uint8]:
    """Return the scene's pixels in the frame of the picture."""
    outline, shape = place.outline(image.shape), entry.shape
    spread = np.ptp(outline, axis=0) * _MARGIN + 2
    low = np.clip(np.floor(outline.min(axis=0) - spread), 0, np.array(shape[::-1]) - 1).astype(int)
    high = np.clip(np.ceil(outline.max(axis=0) + spread), low + 1, shape[::-1]).astype(int)
    window = Window(int(low[1]), int(low[0]), int(high[1] - low[1]), int(high[0] - low[0]))
    pixels = original(folder, entry.scene_id, window, 2 * _SIDE_PX)
    step = np.array([window.width / pixels.shape[1], window.height / pixels.shape[0]])
    frame = np.array(image.shape[::-1])
    factor = min(1.0, _SIDE_PX / frame.max())
    size = np.maximum(1, np.rint(frame * factor)).astype(int)
    # Pixel centres are at integers in each of the grids: drawn picture, picture, scene, drawn window of the scene.
    picture = Affine.translation(-0.5, -0.5) @ Affine.scale(*(frame / size)) @ Affine.translation(0.5, 0.5)
    (a, b, c), (d, e, f) = place.to_scene.tolist()
    drawn = Affine.translation(-0.5, -0.5) @ Affine.scale(*(1 / step)) @ Affine.translation(0.5 - low[0], 0.5 - low[1])
    matrix = np.array((drawn @ Affine(a, b, c, d, e, f) @ picture)[:6]).reshape(2, 3)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(pixels, matrix, size.tolist(), flags=flags), np.uint8)


def _show(axes: Axes, pixels: npt.NDArray[np.uint8], frame: tuple[float, float, float, float], title: str) -> None:
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=frame)
    axes.set_title(title, fontsize=7)
    axes.set_axis_off()


@contextmanager
def _replacing(file: Path) -> Iterator[Path]:
    """Yield a partial file that replaces another at the end; raise InputError if that is not possible."""
    try:
        with replacing(file) as partial:
            yield partial
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror or error}") from error


def write_figure(figure: Figure, file: Path) -> None:
    """Write a figure in the format of the file's ending."""
    drawn = io.BytesIO()  # Matplotlib's PDF cannot end on a full disk
    figure.savefig(drawn, format=file.suffix[1:].lower())
    with _replacing(file) as partial:
        partial.write_bytes(drawn.getvalue())
