"""Where a tile's arrays lie, read back from the attributes of the store alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from s2fast.archive.find import find_scenes
from s2fast.config import load_config
from s2fast.files.source import Source
from s2fast.folder.run_folder import RunFolder
from s2fast.model import Window
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.raster.reader import open_raster
from tests.archives import Archive


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"ingest.reduction": 2}, {"ingest.reduction": 2, "ingest.decode": "reduced"}])
def test_a_tile_lies_where_its_group_says(archive: Archive, tmp_path: Path, settings: dict[str, object]) -> None:
    scene = find_scenes([archive.scenes]).scenes[0]
    assert scene.source.path
    run_stages(Job(load_config(overrides=settings), [scene.source.path], None, tmp_path), stages=["ingest"])
    folder = RunFolder(tmp_path)
    info = folder.tile(scene.scene_id)
    with open_raster(Source.local(tmp_path / "store.zarr/scenes" / scene.scene_id / "grey")) as reader:
        step = info.reduction
        assert reader.raster.shape == (512 // step, 512 // step)
        # A pixel's centre, on the grid whose pixel corners are at integers, lies at its centre of the full grid.
        centre = info.centre_px + 3 * step + 0.5
        a, _, c, _, e, f = info.transform
        assert reader.raster.at(3.5, 3.5) == (a * centre + c, e * centre + f)
        assert reader.raster.crs_wkt.startswith('PROJCS["WGS 84 / UTM zone 36N"')
        grey, _ = reader.read(Window(0, 0, *reader.raster.shape))
    np.testing.assert_array_equal(grey, folder.grey(scene.scene_id))


def test_the_attributes_are_those_of_the_conventions(archive: Archive, tmp_path: Path) -> None:
    scene = find_scenes([archive.scenes]).scenes[0]
    assert scene.source.path
    run_stages(Job(load_config(), [scene.source.path], None, tmp_path), stages=["ingest"])
    group = tmp_path / "store.zarr/scenes" / scene.scene_id
    attributes = json.loads((group / "zarr.json").read_text())["attributes"]
    # What the conventions' schemas ask for: registered by id, one CRS, dimensions that the arrays have.
    assert {entry["uuid"] for entry in attributes["zarr_conventions"]} == {
        "f17cb550-5864-4468-aeb7-f3180cfb622f", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    }  # fmt: skip
    assert [name for name in attributes if name.startswith("proj:")] == ["proj:code"]
    for name in ("grey", "valid"):
        described = json.loads((group / name / "zarr.json").read_text())
        assert described["dimension_names"] == attributes["spatial:dimensions"] == ["y", "x"]
        assert described["shape"] == attributes["spatial:shape"]
