"""Zarr stores that lack parts of a scene, or whose parts do not belong together: one line each, never wrong pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import zarr

from s2fast.archive.find import find_scenes
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.raster.reader import open_raster
from s2fast.raster.zarr_store import arrays_of

SIDE = 60


def write(path: Path, version: Literal[2, 3], shape: tuple[int, ...] = (SIDE, SIDE), dims: tuple[str, ...] = ("y", "x"),
          sides: tuple[int, ...] = (SIDE, SIDE)) -> Path:  # fmt: skip
    """Write a group with one image, and return the image's path."""
    root = zarr.open_group(path, mode="w", zarr_format=version, attributes={"proj:code": "EPSG:32636"})
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "b04": np.full(shape, 7, np.uint8),
        "x": 600_005 + 10 * np.arange(sides[1]),
        "y": 5_600_035 - 10 * np.arange(sides[0]),
    }
    for name, values in arrays.items():
        axes = dims if name == "b04" else (name,)
        keywords: dict[str, Any] = {"dimension_names": axes} if version == 3 else {}
        array = root.create_array(name, shape=values.shape, dtype=values.dtype, chunks=(20,) * values.ndim, **keywords)
        array[:] = values
        if version == 2:
            array.attrs["_ARRAY_DIMENSIONS"] = list(axes)
    return path / "b04"


@pytest.mark.slow
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"sides": (30, SIDE)}, "it has 60 pixels along y and 30 coordinates: write it again"),
        ({"sides": (SIDE, 120)}, "it has 60 pixels along x and 120 coordinates: write it again"),
        ({"shape": (3, SIDE, SIDE), "dims": ("time", "y", "x")},
         "its dimension time has 3 dates: open it with xarray.open_zarr, and hand over each date to s2fast.run"),
        ({"shape": (SIDE, SIDE, 2), "dims": ("y", "x", "T")}, "its dimension T has 2 dates: "),
        ({"shape": (0, SIDE), "sides": (0, SIDE)}, "it is 0 x 60 pixels, and has no transform: too few for a scene"),
        ({"shape": (0, SIDE, SIDE), "dims": ("band", "y", "x")}, "it has 0 bands of 60 x 60 px: it is empty"),
    ],
)  # fmt: skip
def test_what_is_no_single_image_is_one_line(
    tmp_path: Path, version: Literal[2, 3], written: dict[str, Any], message: str
) -> None:
    image = write(tmp_path / "a.zarr", version, **written)
    with pytest.raises(SceneError) as error, open_raster(Source.local(image)):
        pass
    assert str(error.value).startswith(f"{image}: ")
    assert message in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("shape", [(1, SIDE, SIDE), (3, SIDE, SIDE)])
def test_a_single_date_and_bands_are_an_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = write(tmp_path / "a.zarr", 3, shape, ("time" if shape[0] == 1 else "band", "y", "x"))
    with open_raster(Source.local(image)) as reader:
        assert reader.raster.shape == (SIDE, SIDE)


@pytest.mark.parametrize(
    ("version", "document", "message"),
    [
        (2, {}, "it lacks 'chunks'"), (3, {}, "it lacks 'node_type'"), (3, [], "no array or group of Zarr"),
        (3, {"node_type": "array"}, "it lacks 'chunk_grid'"), (2, "x", "no array or group of Zarr"),
    ],
)  # fmt: skip
def test_a_description_that_lacks_parts(tmp_path: Path, version: Literal[2, 3], document: Any, message: str) -> None:
    image = write(tmp_path / "a.zarr", version)
    (image / ("zarr.json" if version == 3 else ".zarray")).write_text(json.dumps(document))
    with pytest.raises(SceneError, match="b04 is no array or group of Zarr: ") as error:
        open_raster(Source.local(image)).__enter__()
    assert message in str(error.value)


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("listed", [True, False])
def test_groups_named_as_folders_of_chunks_are_searched(tmp_path: Path, version: Literal[2, 3], listed: bool) -> None:
    """Levels of resolution are often named 0, 1, 2. A folder with such a name in an array is no node."""
    root = zarr.open_group(tmp_path, mode="w", zarr_format=version)
    for level, side in ((0, SIDE), (1, SIDE // 2)):
        write(tmp_path / str(level), version, (side, side), sides=(side, side))
    (tmp_path / "0/b04/7/c").mkdir(parents=True)
    if listed:
        zarr.consolidate_metadata(root.store)
    assert [array.path for array in arrays_of(Source.local(tmp_path))] == ["0/b04", "1/b04"]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(0, SIDE, SIDE), (1, 0, SIDE), (1, SIDE, SIDE)])
def test_two_stores_of_one_name_one_of_them_empty(tmp_path: Path, shape: tuple[int, ...]) -> None:
    for folder, of in (("a", shape), ("b", (1, SIDE, SIDE))):
        write(tmp_path / folder / "T36UXA_20190606T083601.zarr", 3, of, ("band", "y", "x"), of[1:])
    found = find_scenes([tmp_path])
    assert len(found.scenes) + len(found.replaced) == 2
