"""DataArrays as users hand them over: not written to, named by their coordinates, and errors of what computes them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio

import s2fast
from s2fast.archive.arrays import as_places
from s2fast.archive.find import find_scenes
from s2fast.config import Ingest
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.model import Window
from s2fast.raster.data_array import held_version
from s2fast.raster.reader import open_raster
from tests.archives import textured, write_scene

xarray = pytest.importorskip("xarray")
dask_array = pytest.importorskip("dask.array")

SIDE = 128
PIXELS = textured(np.random.default_rng(1), (SIDE, SIDE))
WHOLE = Window(0, 0, SIDE, SIDE)


def scene(dtype: str = "uint8", **coords: Any) -> Any:
    """Return a scene of 10 m of one band."""
    places = {
        "x": 600_005 + 10 * np.arange(SIDE),
        "y": 5_600_035 - 10 * np.arange(SIDE),
        "spatial_ref": ((), 0, {"crs_wkt": rasterio.CRS.from_epsg(32636).to_wkt()}),
    }
    pixels = PIXELS.astype(dtype)
    return xarray.DataArray(pixels, dims=("y", "x"), coords=places | coords, name="one")


def of(array: Any) -> Source:
    (source,) = as_places(array)
    assert isinstance(source, Source)
    return source


def read(array: Any, **settings: Any) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    with open_raster(of(array), Ingest(**settings)) as reader:
        return reader.read(WHOLE)


@pytest.mark.parametrize("writeable", [True, False])
def test_an_array_is_never_written_to(writeable: bool) -> None:
    array = scene().assign_attrs(_FillValue=90)
    before = array.values.copy()
    array.values.setflags(write=writeable)
    grey, has_data = read(array)
    assert (before == 90).any()
    np.testing.assert_array_equal(has_data, (before != 90) & (before != 0))
    np.testing.assert_array_equal(grey, np.where(has_data, before, 0))
    np.testing.assert_array_equal(array.values, before)


@pytest.mark.parametrize("dtype", [">u2", ">i2", ">f4", ">f8"])
def test_the_order_of_bytes_is_no_matter(dtype: str) -> None:
    """As arrays of netCDF 3 and FITS have it."""
    for swapped, own in zip(*(read(scene(name), stretch=(1, 300)) for name in (dtype, dtype[1:])), strict=True):
        np.testing.assert_array_equal(swapped, own)


@pytest.mark.parametrize(
    ("name", "coords", "time"),
    [
        ("one_20190427T083601", {"time": np.datetime64("2019-04-27T08:36:01")}, datetime(2019, 4, 27, 8, 36, 1)),
        ("one_20190427T083601", {"time": ("time", pd.to_datetime(["2019-04-27T08:36:01"]))},
         datetime(2019, 4, 27, 8, 36, 1)),
        ("one_20190427T063601", {"time": pd.Timestamp("2019-04-27T08:36:01+02:00")}, datetime(2019, 4, 27, 6, 36, 1)),
        ("one_20190427T000000", {"time": "2019-04-27"}, datetime(2019, 4, 27)),
        ("one", {"time": 20190427}, None), ("one", {"time": "yesterday"}, None),
        ("one", {"time": np.datetime64("NaT", "ns")}, None), ("S2A_one", {"id": ("time", ["S2A_one"])}, None),
    ],
)  # fmt: skip
def test_name_and_time_are_those_of_single_coordinates(name: str, coords: dict[str, Any], time: Any) -> None:
    array = scene()
    if any(isinstance(value, tuple) for value in coords.values()):
        array = array.expand_dims("time")
    [found] = find_scenes([of(array.assign_coords(coords))]).scenes
    assert found.scene_id == name
    assert found.sensing_time == (time.replace(tzinfo=UTC) if time else None)


def computed(array: Any, function: Any) -> Any:
    blocks = array.chunk({"y": 64}).data.map_blocks(function, dtype=array.dtype, meta=np.empty((0, 0), array.dtype))
    return array.copy(data=blocks)


def fails(error: Exception) -> Any:
    def function(_: Any) -> Any:
        raise error

    return function


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda array: computed(array, fails(KeyError("gone"))), "rows 0 to 128 cannot be read (KeyError: 'gone')"),
        (lambda array: computed(array, fails(OSError("no https://host/a.tif?sig=Zq7Kk1xWvY5tQ2eH\nat all"))),
         "cannot be read (OSError: no https://host/a.tif)"),
        (lambda array: computed(array, lambda block: block.astype("float64")),
         "a part of it is computed as (128, 128) float64 where it says (128, 128) uint8: hand over da.compute()"),
        (lambda array: array.assign_attrs(_FillValue=[0, 1]),
         "its _FillValue is [0, 1], which is no number: hand over da.assign_attrs(_FillValue=NUMBER), or without it"),
        (lambda array: array.assign_attrs(nodata="none"), "its nodata is none, which is no number"),
        (lambda array: array.expand_dims("band").isel(band=slice(0, 0)), "it has 0 bands of 128 x 128 px: it is empty"),
        (lambda array: array.expand_dims(["time", "band"]), "must be y, x or band, y, x: hand over da.squeeze()"),
        (lambda array: array.expand_dims({"time": 2, "band": 3}), "its dimension time has 2 dates: hand over each"),
        (lambda array: array.drop_vars(["x", "y"]).assign_attrs(GeoTransform="a b c d e f"),
         "its GeoTransform is ['a', 'b', 'c', 'd', 'e', 'f'], which are no numbers: correct it"),
        (lambda array: array.drop_vars(["x", "y"]).assign_attrs({"proj:transform": [None] * 6}),
         "its proj:transform is [None, None, None, None, None, None], which are no numbers"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_array_is_one_line(change: Any, message: str) -> None:
    with pytest.raises(SceneError) as error:
        read(change(scene()))
    assert message in str(error.value)
    assert str(error.value).startswith("xarray://one: ")
    assert str(error.value).isprintable()
    assert "Zq7Kk1xW" not in str(error.value)


@pytest.mark.parametrize("number", [7, np.uint8(7), np.array([7]), "7", "7.0"])
def test_a_nodata_value_may_be_written_in_several_ways(number: Any) -> None:
    _, has_data = read((scene() * 0 + 7).assign_attrs(nodata=number))
    assert not has_data.any()


def test_a_coordinate_that_cannot_be_computed(tmp_path: Path) -> None:
    delayed = pytest.importorskip("dask").delayed(fails(RuntimeError("no server")))(0)
    source = of(scene(time=((), dask_array.from_delayed(delayed, (), "M8[ns]"))))
    assert str(source) == "xarray://one"
    with pytest.raises(SceneError, match=r"^xarray://one: its values and coordinates cannot be read \(Runt"):
        held_version(source)


@pytest.mark.slow
def test_an_array_that_cannot_be_computed_does_not_end_the_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_scene(tmp_path / f"{name}.tif", PIXELS)
    scenes = [computed(scene(), fails(ZeroDivisionError("division by zero"))), tmp_path / "a.tif", tmp_path / "b.tif"]
    run = s2fast.run({"features.upsample": 1}, scenes=scenes, out=tmp_path / "out", progress=False)
    assert run.scene_ids == ["a", "b"]
    assert "ZeroDivisionError: division by zero" in run.record.history.problems["one"]
