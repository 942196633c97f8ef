"""One scene as every kind of source gives equal pixels and keypoints; and arrays that cannot be scenes."""

import json
import shutil
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio
import rasterio.shutil
import zarr

import s2fast
from s2fast.align.output import Form, Kernel, Target, write
from s2fast.archive.arrays import as_places
from s2fast.archive.find import find_scenes
from s2fast.archive.identity import identity
from s2fast.archive.listing import Looking
from s2fast.config import Ingest
from s2fast.errors import InputError, SceneError
from s2fast.files.source import Source
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.model import Window
from s2fast.raster.dataset import open_dataset
from s2fast.raster.reader import open_raster
from tests.archives import Archive
from tests.stac_server import LEAKS, SECRET, item, serving

xarray = pytest.importorskip("xarray")

NAME = "S2A_MSIL1C_20190427T083601_N0207_R021_T36UXA_20190427T083601"


@pytest.fixture(scope="module")
def tci(archive: Archive) -> Path:
    return sorted(archive.scenes.rglob("*20190427T083601_TCI.jp2"))[0]


def eopf(path: Path, tci: Path, version: int = 2) -> Path:
    """Write what ESA's products have of a scene: groups by resolution, coordinates, a true-colour image."""
    with rasterio.open(tci) as dataset:
        pixels, transform = dataset.read(), dataset.transform
    attributes = {
        "other_metadata": {"horizontal_CRS_code": "EPSG:32636"},
        "stac_discovery": {"properties": {"proj:epsg": 32636}},
    }
    root = zarr.open_group(path, mode="w", zarr_format=version, attributes=attributes)

    def put(folder: str, name: str, values: npt.NDArray[Any], dims: tuple[str, ...], chunks: tuple[int, ...]) -> None:
        group = root.require_group(folder)
        keywords: dict[str, Any] = {"dimension_names": dims} if version == 3 else {}
        array = group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=chunks, **keywords)
        array[:] = values
        if version == 2:
            array.attrs["_ARRAY_DIMENSIONS"] = list(dims)

    for resolution, step in ((10, 1), (20, 2)):
        side = pixels.shape[1] // step
        x = transform.c + resolution * (np.arange(side) + 0.5)
        y = transform.f - resolution * (np.arange(side) + 0.5)
        band = pixels[0, ::step, ::step].astype(np.uint16) * 20
        for folder in ("measurements/reflectance", "quality/l2a_quicklook"):
            group = f"{folder}/r{resolution}m"
            put(group, "x", x, ("x",), (side,))
            put(group, "y", y, ("y",), (side,))
        put(f"measurements/reflectance/r{resolution}m", "b04", band, ("y", "x"), (128, 128))
        put(f"measurements/reflectance/r{resolution}m", "b03", band, ("y", "x"), (128, 128))
        put(
            f"quality/l2a_quicklook/r{resolution}m", "tci", pixels[:, ::step, ::step], ("band", "y", "x"), (3, 128, 200)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # version 3 has no rule for it yet
        zarr.consolidate_metadata(path)
    return path


def held(tci: Path, **changes: Any) -> Any:
    with rasterio.open(tci) as dataset:
        pixels, transform = dataset.read(), dataset.transform
    coords = {
        "x": transform.c + 10 * (np.arange(pixels.shape[2]) + 0.5),
        "y": transform.f - 10 * (np.arange(pixels.shape[1]) + 0.5),
        "spatial_ref": ((), 0, {"crs_wkt": rasterio.crs.CRS.from_epsg(32636).to_wkt()}),
        "time": np.datetime64("2019-04-27T08:36:01"),
    } | changes
    return xarray.DataArray(pixels, dims=("band", "y", "x"), coords={k: v for k, v in coords.items() if v is not None})


def values(source: Source, settings: Ingest) -> tuple[Any, ...]:
    with open_raster(source, settings) as reader:
        raster = reader.raster
        whole = Window(0, 0, *raster.shape)
        parts = [reader.read(window) for window in (whole, Window(128, 64, 256, 300))]
        same_crs = rasterio.crs.CRS.from_wkt(raster.crs_wkt) == rasterio.crs.CRS.from_epsg(32636)
        return (
            raster.shape,
            raster.transform,
            raster.dtype,
            same_crs,
            *(array.tobytes() for part in parts for array in part),
        )


@pytest.mark.slow
def test_equal_pixels_of_every_kind_of_source(tci: Path, tmp_path: Path) -> None:
    settings = Ingest(grey="opencv")
    with zipfile.ZipFile(tmp_path / "product.zip", "w") as archive:
        archive.write(tci, f"{NAME}.SAFE/GRANULE/IMG_DATA/{tci.name}")
    rasterio.shutil.copy(tci, tmp_path / "cog.tif", driver="COG")
    stores = [eopf(tmp_path / f"{NAME}_{version}.zarr", tci, version) for version in (2, 3)]
    with serving(tmp_path) as server:
        shutil.copy(tci, tmp_path / "TCI.jp2")
        documents = [item("one", f"{server.address}/TCI.jp2")]
        documents += [item(f"zarr {path.name}", f"{server.address}/{path.name}", "product") for path in stores]
        documents += [item("array", f"{server.address}/{stores[0].name}/quality/l2a_quicklook/r10m/tci", "TCI_10m")]
        for document, key in zip(documents, ("visual", "product", "product", "TCI_10m"), strict=True):
            document["assets"]["wanted"] = document["assets"][key]
            # Of one acquisition, equal pixels would be taken for one product.
            document["properties"]["grid:code"] = f"MGRS-36UX{chr(ord('A') + documents.index(document))}"
        (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": documents}))
        places = [
            str(tci), str(tmp_path / "product.zip"), str(tmp_path / "cog.tif"), *map(str, stores),
            f"{server.address}/items.json", *as_places(held(tci)), *as_places(held(tci).chunk({"x": 100, "y": 64})),
        ]  # fmt: skip
        found = [
            find_scenes([place], looking=Looking("wanted" if "items" in str(place) else "auto")) for place in places
        ]
        sources = [scene.source for result in found for scene in result.scenes]
        assert [result.left_out for result in found] == [{}] * len(places)
        assert len(sources) == 10  # the last two items name one array
        wanted = values(Source.local(tci), settings)
        for source in sources:
            assert values(source, settings) == wanted, source
        for source in sources:
            assert identity(source) == identity(source)


@pytest.mark.slow
def test_equal_keypoints_of_every_kind_of_source(tci: Path, tmp_path: Path) -> None:
    """And a second run computes nothing; other values of a DataArray are another scene; an array can be aligned."""
    with zipfile.ZipFile(tmp_path / "product.zip", "w") as archive:
        archive.write(tci, "zipped.jp2")
    rasterio.shutil.copy(tci, tmp_path / "cog.tif", driver="COG")
    store = eopf(tmp_path / "store of.zarr", tci)
    settings: Any = {"ingest.grey": "opencv", "features.max_per_scene": 300, "features.upsample": 1}

    def run(array: Any) -> s2fast.Run:
        scenes = [tci, tmp_path / "product.zip", tmp_path / "cog.tif", store, f"{server.address}/items.json", array]
        return s2fast.run(settings, scenes=scenes, out=tmp_path / "out", progress=False)

    with serving(tmp_path) as server:
        shutil.copy(tci, tmp_path / "asset.jp2")
        (tmp_path / "items.json").write_text(json.dumps(item("of stac", f"{server.address}/asset.jp2")))
        first = run(held(tci))
        assert sorted(first.scene_ids) == [
            "S2A_20190427T083601_T36UXA", "array_20190427T083601", "cog", "of stac", "tci", "zipped",
        ]  # fmt: skip
        wanted = first.features("cog")
        assert len(wanted) > 200
        for name in first.scene_ids:
            np.testing.assert_array_equal(first.features(name).xy, wanted.xy)
            np.testing.assert_array_equal(first.features(name).descriptors, wanted.descriptors)
        assert run(held(tci)).record.history.stages == first.record.history.stages
        changed = held(tci)
        changed[0, 5, 5] += 1
        assert run(changed).record.history.stages["ingest"].done == 1


def test_an_array_is_aligned_as_its_file_is(tci: Path, tmp_path: Path) -> None:
    grid = PixelGrid(rasterio.crs.CRS.from_epsg(32636).to_wkt(), (10.0, 0, 600000.0, 0, -10.0, 5600040.0), (512, 512))
    target = Target(Form.COG, Kernel.BILINEAR, grid, False, {})
    (array,) = as_places(held(tci))
    assert isinstance(array, Source)
    for number, source in enumerate((Source.local(tci), array)):
        write(source, (3.0, -2.0), target, tmp_path / f"{number}.tif")
    with rasterio.open(tmp_path / "0.tif") as one, rasterio.open(tmp_path / "1.tif") as other:
        assert one.transform == other.transform == rasterio.Affine(10, 0, 599997, 0, -10, 5600042)
        np.testing.assert_array_equal(one.read(), other.read())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.tif", "1.tif"]
    with pytest.raises(SceneError, match="a VRT cannot refer to an array: use form cog"):
        write(array, (3.0, -2.0), replace(target, form=Form.VRT), tmp_path / "2.vrt")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["int32", "uint32", "float32"])
def test_arrays_of_floats_and_of_long_integers(tci: Path, dtype: str) -> None:
    """As rioxarray returns them: NaN where pixels are missing."""
    array = held(tci)
    deep, long = array.astype("uint16") * 30, (array.astype(dtype) * 30).astype(dtype)
    if dtype == "float32":
        long = long.where(deep != 0)
    (source,), (short,) = as_places(long), as_places(deep)
    got, wanted = values(source, Ingest(stretch=(1, 5100))), values(short, Ingest(stretch=(1, 5100)))
    for one, other in zip(got[-2:], wanted[-2:], strict=True):
        np.testing.assert_array_equal(one, other)
    with open_raster(source, Ingest(stretch="auto")) as reader:
        assert reader.stretch is not None
        assert reader.stretch[0] < reader.stretch[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda array: array.drop_vars("spatial_ref"), 'it has no CRS: add it with da = da.rio.write_crs("EPSG:'),
        (lambda array: array.sortby("y"), 'y up): hand over da.sortby("y", ascending=False)'),
        (lambda array: array.transpose("x", "y", "band").sortby("y"), 'y up): hand over da.sortby("y", ascending=Fal'),
        (lambda array: array.sortby("x", ascending=False), 'west (x descending): hand over da.sortby("x")'),
        (lambda array: array.isel(y=slice(0, 1)), "it is 1 x "),
        (lambda array: array.isel(y=slice(0, 0)), "it is 0 x "),
        (lambda array: array.astype("complex64"), "its values are complex64; they must be real numbers"),
        (lambda array: array.rename(x="a"), "its dimensions are band, y, a; they must be y, x or band, y, x"),
        (lambda array: array.expand_dims("t"), "its dimensions are t, band, y, x; they must be"),
        (lambda array: array.drop_vars("x"), "it has no coordinates x and y"),
        (lambda array: array.rename(band="t").drop_vars("t", errors="ignore"), "its dimension t has 3 dates: "),
        (lambda array: array.rename(band="d").assign_coords(d=pd.date_range("2019-04-27", periods=3)),
         "hand over each date as an array: scenes=[da.isel(d=i) for i in range(3)]"),
        (lambda array: array.to_dataset(name="red"), "it is a Dataset with red: hand over an array of it: ds['red']"),
        (lambda array: array.isel(x=[0, 1, 3, 4, 9]), "its coordinates x are not evenly spaced"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_scenes(tci: Path, change: Any, message: str) -> None:
    (source,) = as_places(change(held(tci)))
    assert isinstance(source, Source)
    with pytest.raises(SceneError) as error:
        open_dataset(source)
    assert message in str(error.value)
    assert str(error.value).startswith("xarray://array_20190427T083601: ")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_rest_of_the_run_goes_on(tci: Path, archive: Archive, tmp_path: Path) -> None:
    """And an array is aligned by the run that holds it."""
    settings = {"features.max_per_scene": 1000, "features.upsample": 1}
    name = "S2B_20190427T083601_T36UXA"
    others = [path for path in sorted(archive.scenes.rglob("*_TCI.jp2")) if path != tci]
    scenes = [held(tci).assign_coords(id=name), held(tci).sortby("y"), *others]
    run = s2fast.run(settings, scenes=scenes, out=tmp_path / "out", progress=False)
    assert list(run.record.history.problems) == ["array_20190427T083601"]
    assert len(run.scene_ids) == 4
    aligned = run.align(tmp_path / "aligned", form="cog", max_error_m=1000).set_index("scene_id").loc[name]
    assert (aligned["reason"], aligned["files"]) == ("", f"{name}.tif")
    later = s2fast.open_run(tmp_path / "out")
    again = later.align(tmp_path / "later", form="cog", max_error_m=1000).set_index("scene_id").loc[name]
    assert "it was a DataArray in memory: hand it over again" in again["reason"]
    with pytest.raises(SceneError, match="it was a DataArray in memory: hand it over again"):
        open_dataset(Source.of(later.scenes().set_index("scene_id").loc[name, "source"]))


def test_names_of_arrays(tci: Path) -> None:
    array = held(tci)
    timeless = array.drop_vars("time")
    places = as_places([array, timeless, timeless, array.assign_coords(id="S2A_20190427T083601_T36UXA"), "folder"])
    assert [str(place) for place in places] == [
        "xarray://array_20190427T083601", "xarray://array_1", "xarray://array_2",
        "xarray://S2A_20190427T083601_T36UXA", "folder",
    ]  # fmt: skip
    assert find_scenes([places[3]]).scenes[0].tile == "36UXA"


def test_bands_are_taken_by_their_names(tci: Path) -> None:
    array = held(tci)
    swapped = array.isel(band=[2, 1, 0]).assign_coords(band=["B02", "B03", "B04"])
    for one, other in zip(values(*map_source(array)), values(*map_source(swapped)), strict=True):
        assert one == other


def map_source(array: Any) -> tuple[Source, Ingest]:
    (source,) = as_places(array)
    assert isinstance(source, Source)
    return source, Ingest()


def test_missing_pixels_of_an_array(tci: Path) -> None:
    array = held(tci).isel(band=0)
    value = int(array.values[100, 100])
    array = array.assign_attrs(_FillValue=value)
    source, _ = map_source(array)
    with open_raster(source) as reader:
        _, has_data = reader.read(Window(0, 0, 512, 512))
    np.testing.assert_array_equal(has_data, (array.values != value) & (array.values != 0))


@pytest.mark.slow
def test_a_store_in_a_folder_is_found_and_that_of_a_run_is_not(tci: Path, tmp_path: Path) -> None:
    eopf(tmp_path / "a" / f"{NAME}.zarr", tci)
    zarr.open_group(tmp_path / "run/store.zarr", mode="w").create_array("grey", shape=(4, 4), dtype="u1")
    zarr.open_group(tmp_path / "b/weather.zarr", mode="w").create_array("t", shape=(4, 4), dtype="f4")
    result = find_scenes([tmp_path])
    assert [scene.scene_id for scene in result.scenes] == ["S2A_20190427T083601_T36UXA"]
    assert result.scenes[0].source.name.endswith(".zarr/quality/l2a_quicklook/r10m/tci")
    assert list(result.left_out) == [str(tmp_path / "b/weather.zarr")]
    chosen = find_scenes([tmp_path / "a"], looking=Looking("b03")).scenes[0].source
    assert chosen.name.endswith(".zarr/measurements/reflectance/r10m/b03")
    with open_raster(chosen, Ingest(stretch=(1, 5100))) as reader:
        assert reader.raster.dtype == "uint16"
    with pytest.raises(InputError, match=r"it holds 6 images, measurements/reflectance/r10m/b03, .*: name one with"):
        find_scenes([tmp_path / "a"], looking=Looking("b12"))


@pytest.mark.slow
@pytest.mark.parametrize("version", [2, 3])
def test_hostile_stores_are_not_decoded(tci: Path, tmp_path: Path, version: int) -> None:
    """A codec that runs code, a chunk that is a link to another file, a chunk of any size."""
    store = eopf(tmp_path / f"{NAME}.zarr", tci, version)
    array = store / "quality/l2a_quicklook/r10m/tci"
    for file in (store / ".zmetadata", *store.glob("*.zmetadata")):
        file.unlink(missing_ok=True)
    described = array / ("zarr.json" if version == 3 else ".zarray")
    if version == 3:
        root = json.loads((store / "zarr.json").read_text())
        del root["consolidated_metadata"]
        (store / "zarr.json").write_text(json.dumps(root))
    whole = json.loads(described.read_text())

    def refused(message: str, **changes: Any) -> None:
        described.write_text(json.dumps(whole | changes))
        with pytest.raises(SceneError, match=message), open_raster(array) as reader:
            reader.read(Window(0, 0, 512, 512))

    codec = {"codecs": [{"name": "numcodecs.pickle"}]} if version == 3 else {"filters": [{"id": "pickle"}]}
    refused("it is compressed by '.*pickle', which is not decoded", **codec)
    large = [1 << 20, 1 << 20, 1 << 20]
    chunks = {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": large}}}
    refused("are larger than 1024 MiB", **(chunks if version == 3 else {"chunks": large}))
    refused("is no array or group of Zarr|its shape", shape=[-1, 2, 3])
    chunk = array / ("c/0/0/0" if version == 3 else "0.0.0")
    chunk.unlink()
    chunk.symlink_to("/etc/passwd")
    refused("leads out of the store")


@pytest.mark.slow
def test_a_list_of_arrays_does_not_lead_out_of_its_store(tci: Path, tmp_path: Path) -> None:
    store = eopf(tmp_path / "in" / f"{NAME}.zarr", tci)
    shutil.copy(tci, tmp_path / "tci")
    listed = json.loads((store / ".zmetadata").read_text())
    array = listed["metadata"].pop("quality/l2a_quicklook/r10m/tci/.zarray")
    for path in ("../../tci", f"{tmp_path}/tci", "a/../../../tci", "./../../tci"):
        listed["metadata"][f"{path}/.zarray"] = array
        listed["metadata"][f"{path}/.zattrs"] = {"_ARRAY_DIMENSIONS": ["band", "y", "x"]}
    (store / ".zmetadata").write_text(json.dumps(listed))
    source = find_scenes([store]).scenes[0].source
    assert source.path == store / "quality/l2a_quicklook/r20m/tci"


@pytest.mark.slow
@pytest.mark.parametrize("version", [2, 3])
def test_a_store_in_a_bucket_that_may_not_be_listed(tci: Path, tmp_path: Path, version: int) -> None:
    """It is read, signed too; what is not in it is forbidden, and so is everything when the signature expires."""
    store = eopf(tmp_path / "signed" / f"{NAME}.zarr", tci, version)
    with serving(tmp_path) as server:
        server.missing = 403
        place = Source.of(f"{server.address}/signed/{store.name}?{SECRET}")
        source = find_scenes([place]).scenes[0].source
        assert values(source, Ingest()) == values(Source.local(store / "quality/l2a_quicklook/r10m/tci"), Ingest())
        assert identity(source) == identity(source)
        assert not any(leak in str(source) for leak in LEAKS)
        server.valid = False
        with pytest.raises(InputError, match="HTTP 403 Forbidden; its signature may have expired") as error:
            find_scenes([place])
        assert not any(leak in str(error.value) for leak in LEAKS)


def test_arrays_are_read_in_windows(tci: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither opening nor identifying reads pixels; a window reads its chunks."""
    dask_array = pytest.importorskip("dask.array")
    whole = held(tci)
    read: list[Any] = []

    class Noted:
        shape, dtype, ndim = whole.shape, whole.dtype, 3

        def __getitem__(self, part: Any) -> Any:
            read.append(part)
            return whole.values[part]

    lazy = whole.copy(data=dask_array.from_array(Noted(), chunks=(3, 128, 128), name="noted", meta=whole.values[:0]))
    (source,) = as_places(lazy)
    assert isinstance(source, Source)
    with open_raster(source) as reader:
        assert identity(source) == identity(source)
        assert not read
        reader.read(Window(128, 128, 128, 256))
    assert len(read) == 2

    store = eopf(tmp_path / f"{NAME}.zarr", tci) / "quality/l2a_quicklook/r10m/tci"
    files: list[Path] = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: files.append(path) or read_bytes(path))
    with open_raster(store) as reader:
        files.clear()
        reader.read(Window(0, 0, 128, 200))
    assert [path.name for path in files] == ["0.0.0"]
