"""The notebook's steps and the same job through s2fast give equal results."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest

import s2fast
from benchmarks import notebook_baseline as notebook
from s2fast.config import load_config
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.results import Run
from s2fast_kernels.akaze.contract import unpack
from tests.archives import Archive
from tests.standin import SHARED_DATA

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[1] / "configs" / "notebook.toml"


@contextmanager
def links_to(images: list[Path], folder: Path) -> Iterator[Path]:
    """Make a folder that holds links to products only."""
    folder.mkdir()
    for image in images:
        (folder / image.parents[3].name).symlink_to(image.parents[3])
    yield folder


class Notebook:
    """The notebook's answers; a mask is the same for all images of a tile, so it is made once a tile."""

    def __init__(self, regions: Path, reduction: int, crs: str, buffer_m: float) -> None:
        self.polygons = geopandas.read_file(regions)
        self.options = {"crs": crs, "buffer_m": buffer_m, "reduction": reduction}
        self.masks: dict[str, np.ndarray] = {}

    def features(self, image: Path) -> tuple[list[tuple[float, ...]], np.ndarray]:
        tile = image.name.split("_")[0]
        if tile not in self.masks:
            self.masks[tile] = notebook.polygon_mask(image, self.polygons, **self.options)
        grey = notebook.read_grey(image, self.options["reduction"])
        keypoints, descriptors = notebook.detect(grey, self.masks[tile])
        return keypoints, np.array(descriptors, np.uint8).reshape(-1, 61)


def assert_equal_answers(
    images: list[Path], regions: Path, tmp_path: Path, reduction: int, crs: str, buffer_m: float
) -> None:
    overrides: dict[str, Any] = {"ingest.reduction": reduction, "regions.crs": crs, "regions.buffer_m": buffer_m}
    with links_to(images, tmp_path / "scenes") as scenes:
        job = Job(load_config(CONFIG, overrides=overrides), [scenes], regions, tmp_path / "out")
        run_stages(job, stages=["ingest", "extract", "match"])
        run = Run(job.out)
    assert len(run.scene_ids) == len(images)
    assert_answers_of(run, images, Notebook(regions, reduction, crs, buffer_m))


def assert_answers_of(run: Run, images: list[Path], recipe: Notebook) -> None:
    """Compare the keypoints, descriptors and similarities of some of a run's scenes with the notebook's."""
    reduction = recipe.options["reduction"]
    by_name = {item.scene.source.posix.name: item.scene.scene_id for item in run.record.found.scenes}
    similarity = run.folder.matched.rows().set_index(["query", "train"])["similarity_pct"]
    descriptors = {}
    for image in images:
        keypoints, descriptors[image] = recipe.features(image)
        found = run.features(by_name[image.name])
        assert len(found) == len(keypoints)
        wanted = np.array(keypoints, np.float64).reshape(-1, 5)
        xy = ((wanted[:, :2] + 0.5) * reduction - 0.5).astype(np.float32)
        np.testing.assert_array_equal(found.xy, xy)
        np.testing.assert_array_equal(found.size, (wanted[:, 2] * reduction).astype(np.float32))
        # Degrees to radians and back costs a float32 rounding each.
        np.testing.assert_allclose(np.rad2deg(found.angle), wanted[:, 3], rtol=3e-7)
        np.testing.assert_array_equal(found.response, wanted[:, 4].astype(np.float32))
        np.testing.assert_array_equal(unpack(found.descriptors), descriptors[image])
    for place, query in enumerate(images):
        for train in images[place + 1 :]:
            wanted_pct = notebook.similarity(descriptors[query], descriptors[train])
            assert similarity[by_name[query.name], by_name[train.name]] == wanted_pct, (query.name, train.name)


@pytest.mark.parametrize("reduction", [1, 2])
def test_small_archive(archive: Archive, tmp_path: Path, reduction: int) -> None:
    images = notebook.find_images(archive.scenes)
    assert len(images) == 4
    assert_equal_answers(images, archive.regions, tmp_path, reduction, "EPSG:4326", 30.0)


def test_script_as_users_run_it(archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole script, text in a CSV included, against the whole run."""
    options = ["--scenes", archive.scenes, "--regions", archive.regions, "--out", tmp_path / "notebook"]
    notebook.main([str(option) for option in [*options, "--crs", "EPSG:4326"]])
    assert json.loads(capsys.readouterr().out)["pairs"] == 6
    run = s2fast.run(
        CONFIG,
        scenes=archive.scenes,
        regions=archive.regions,
        out=tmp_path / "out",
        overrides={"regions.crs": "EPSG:4326"},
    )
    by_name = {item.scene.source.posix.name: item.scene.scene_id for item in run.record.found.scenes}
    similarity = run.similarity()
    table = pd.read_csv(tmp_path / "notebook" / "similarity.csv")
    assert len(table) == 6
    for first, second, score in table.itertuples(index=False):
        assert similarity.loc[by_name[first], by_name[second]] == score


@pytest.mark.shared
@pytest.mark.parametrize(
    ("buffer_m", "crs", "reduction"),
    [
        # Every two values of different settings meet; 600 m, EPSG:4326 and 1 are the last test's.
        (0.0, "EPSG:4326", 1), (400.0, "EPSG:4236", 1),
        (0.0, "EPSG:4236", 2), (400.0, "EPSG:4326", 2), (600.0, "EPSG:4236", 2),
    ],
)  # fmt: skip
def test_real_scenes_of_two_tiles(shared_data: Path, tmp_path: Path, buffer_m: float, crs: str, reduction: int) -> None:
    images = notebook.find_images(shared_data / "ukraine")
    some = [image for tile in ("T36UXA", "T36UYA") for image in [i for i in images if i.name.startswith(tile)][:2]]
    assert len(some) == 4
    regions = shared_data / "ukraine" / "deforestation_labels.geojson"
    assert_equal_answers(some, regions, tmp_path, reduction, crs, buffer_m)


@pytest.mark.shared
@pytest.mark.longest
def test_all_real_scenes_make_1128_pairs(shared_data: Path, tmp_path: Path) -> None:
    archive = shared_data / "ukraine"
    regions = archive / "deforestation_labels.geojson"
    overrides = {"ingest.reduction": 1, "regions.crs": "EPSG:4326", "regions.buffer_m": 600}
    job = Job(load_config(CONFIG, overrides=overrides), [archive], regions, tmp_path / "out")
    run_stages(job, stages=["ingest", "extract", "match"])
    run = Run(job.out)
    pairs = run.folder.matched.rows()
    assert (len(run.scene_ids), len(pairs)) == (48, 1128)
    # Of the first 14 scenes by file name: the notebook's own 50 to 87 % on one tile and 13 to 22 % across.
    first_images = notebook.find_images(archive)[:14]
    assert_answers_of(run, first_images[::3], Notebook(regions, 1, "EPSG:4326", 600.0))
    first = run.scene_ids[:14]
    pairs = pairs[pairs["query"].isin(first) & pairs["train"].isin(first)]
    same = pairs["query"].str[-5:] == pairs["train"].str[-5:]
    on_one_tile, across = (round(pairs[chosen]["similarity_pct"].mean()) for chosen in (same, ~same))
    assert (on_one_tile, across) == ((59, 13) if shared_data == SHARED_DATA else (82, 13))
