"""The run as a STAC Collection: pystac validates it, and odc-stac loads what was aligned."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

import s2fast
from s2fast.archive.find import find_scenes
from s2fast.archive.listing import Looking
from s2fast.errors import InputError
from s2fast.results import Run
from tests.archives import Archive
from tests.command_line import s2fast as command

pystac = pytest.importorskip("pystac")


@pytest.fixture(scope="module")
def run(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = {"features.upsample": 1, "features.max_per_scene": 1000}
    return s2fast.run(settings, scenes=archive.scenes, out=tmp_path_factory.mktemp("stac") / "out", progress=False)


@pytest.fixture(scope="module")
def written(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stac") / "run of 2019"
    run.align(folder / "aligned", form="cog", max_error_m=100)
    return run.stac(folder, folder / "aligned")


@pytest.mark.slow
def test_pystac_validates_and_finds_everything(run: Run, written: Path) -> None:
    import pystac.validation
    from pystac.extensions.projection import ProjectionExtension

    collection = pystac.Collection.from_file(str(written))
    for document in (collection, *collection.get_items()):
        fields = json.loads(Path(document.get_self_href()).read_text())
        # The schemas that pystac brings: nothing is asked of a server.
        kind = pystac.STACObjectType.COLLECTION if document is collection else pystac.STACObjectType.ITEM
        pystac.validation.validate_dict(fields, kind, "1.1.0", extensions=[])
        with pytest.raises(pystac.STACValidationError):
            pystac.validation.validate_dict(fields | {"links": None}, kind, "1.1.0", extensions=[])
    items = {item.id: item for item in collection.get_items()}
    assert list(items) == run.scene_ids
    table = run.scenes().set_index("scene_id")
    for name, item in items.items():
        row, raster = table.loc[name], run.record.usable[run.scene_ids.index(name)].raster
        assert ProjectionExtension.ext(item).code == "EPSG:32636"
        assert ProjectionExtension.ext(item).transform == list(raster.transform)
        assert item.datetime == row["sensing_time"].to_pydatetime()
        assert item.properties["s2fast:verdict"] == row["verdict"]
        assert shapely.geometry.shape(item.geometry).equals(row["geometry"])
        assert shapely.geometry.shape(item.geometry).exterior.is_ccw
        for column in ("offset_x_m", "offset_y_m", "offset_error_m"):
            got = item.properties[f"s2fast:{column}"]
            assert got == (None if np.isnan(row[column]) else row[column])
        assert Path(item.assets["source"].get_absolute_href()).resolve() == Path(row["source"]).resolve()
        assert item.get_collection().id == collection.id == "run of 2019"
    low, high = collection.extent.temporal.intervals[0]
    assert (low, high) == (table["sensing_time"].min(), table["sensing_time"].max())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")
def test_odc_stac_loads_the_aligned_rasters(run: Run, written: Path) -> None:
    odc_stac = pytest.importorskip("odc.stac")
    items = [item for item in pystac.Collection.from_file(str(written)).get_items() if "aligned_TCI" in item.assets]
    assert len(items) > 1
    for item in items:
        loaded = odc_stac.load([item], bands=["aligned_TCI.1"])
        with rasterio.open(item.assets["aligned_TCI"].get_absolute_href()) as dataset:
            np.testing.assert_array_equal(loaded["aligned_TCI.1"].values[0], dataset.read(1))
            assert loaded.odc.geobox.transform.almost_equals(dataset.transform)
            assert loaded.odc.crs.epsg == 32636


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")
def test_odc_stac_loads_aligned_vrts_of_all_scenes_by_their_names(run: Run, tmp_path: Path) -> None:
    # The default form of `align`. A media type that odc-stac does not know would hide its bands.
    odc_stac = pytest.importorskip("odc.stac")
    run.align(tmp_path / "aligned", max_error_m=100)
    items = pystac.Collection.from_file(str(run.stac(tmp_path, tmp_path / "aligned"))).get_items()
    items = [item for item in items if "aligned_TCI" in item.assets]
    for bands in (["aligned_TCI"], ["aligned_TCI.1", "aligned_TCI.3"]):
        loaded = odc_stac.load(items, bands=bands, crs="EPSG:32636", resolution=1000)
        assert loaded.sizes["time"] > 1
        assert all((loaded[band] > 0).any() for band in bands)


@pytest.mark.slow
def test_a_collection_that_was_written_is_read(run: Run, written: Path) -> None:
    found = find_scenes([written], looking=Looking("aligned_TCI"))
    assert {scene.scene_id for scene in found.scenes} | set(found.left_out) == set(run.scene_ids)
    for scene in found.scenes:
        before = run.record.usable[run.scene_ids.index(scene.scene_id)].scene
        assert (scene.tile, scene.sensing_time, scene.platform) == (before.tile, before.sensing_time, before.platform)


@pytest.mark.slow
def test_the_command_and_what_is_left_of_an_earlier_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c/items").mkdir(parents=True)
    (tmp_path / "c/items/mine.json").write_text("{}")
    (tmp_path / "c/items/old.json").write_text('{"properties": {"s2fast:verdict": ""}}')
    assert command(monkeypatch, "stac", run.folder, "--to", tmp_path / "c") == 0
    assert capsys.readouterr().out.strip() == f"{tmp_path}/c/collection.json"
    assert sorted(path.stem for path in (tmp_path / "c/items").iterdir()) == sorted([*run.scene_ids, "mine"])
    with pytest.raises(InputError, match=r"holds no alignment.parquet: name the folder that s2fast align has written"):
        run.stac(tmp_path / "c", tmp_path)


def test_offsets_as_a_dataset(run: Run) -> None:
    pytest.importorskip("xarray")
    offsets = run.offsets()
    table = run.scenes()
    assert offsets["scene"].values.tolist() == run.scene_ids
    np.testing.assert_array_equal(offsets["offset_x_m"].values, table["offset_x_m"].to_numpy())
    assert offsets["offset_x_m"].attrs["units"] == "m"
    assert offsets["time"].values[0] == table["sensing_time"][0].tz_localize(None).to_datetime64()
    assert set(offsets["tile"].values) == {"36UXA", "36UYA"}
