"""`s2fast.index`, `s2fast.find` and `s2fast.fetch`: what a script sees, and what their messages name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

import s2fast
from s2fast.errors import ConfigError, InputError, RunFolderError, cli_wording
from s2fast.retrieval.index import Index
from tests.indexed import Indexed
from tests.retrieval.conftest import Cut

SCENE = "S2A_20190427T083601_T36UXA"


@pytest.mark.slow
@pytest.mark.filterwarnings(f"ignore::{NotGeoreferencedWarning.__module__}.NotGeoreferencedWarning")
def test_pictures_are_found_as_arrays_and_files(indexed: Indexed, cut: Callable[..., Cut], tmp_path: Path) -> None:
    made = cut(SCENE, 215.0, 260.0, 200, 30.0).image.grey
    calls: list[tuple[str, int, int]] = []
    index = s2fast.index(
        s2fast.open_run(indexed.out), to=tmp_path / "index", per_scene=700, progress=lambda *seen: calls.append(seen)
    )
    assert calls == [("index", done, 4) for done in range(5)]
    assert (len(index.scene_ids), index.keypoint_count, index.recall) == (4, 2800, None)
    found = s2fast.find(index, made, keypoints=700)
    assert found.found
    assert repr(found) == f"<array: found in {SCENE}>"
    assert found.grid is not None
    assert found.grid.lonlat == pytest.approx((34.44, 50.5), abs=0.3)
    found.save(tmp_path / "where.geojson")
    assert json.loads((tmp_path / "where.geojson").read_text())["features"][0]["properties"]["scene"] == SCENE
    with pytest.raises(InputError, match="array is no file that could be copied"):
        found.save(tmp_path / "located.tif")
    with rasterio.open(tmp_path / "scan.tif", "w", "GTiff", 200, 200, 3, dtype="float32") as scan:
        scan.write(np.stack([made * np.float32(0.001)] * 3))
    from_file, empty, other = s2fast.find(
        tmp_path / "index", [tmp_path / "scan.tif", np.zeros((64, 64)), np.moveaxis(np.stack([made] * 3), 0, 2)],
        keypoints=700,
    )  # fmt: skip
    assert from_file.found
    assert other.found
    (entry,) = (found for found in os.scandir(tmp_path) if found.name == "scan.tif")
    with pytest.raises(InputError, match="picture is of type DirEntry, must be a path or an address, or an array"):
        s2fast.find(index, entry, keypoints=700)  # type: ignore[call-overload]
    assert (empty.verdict, empty.found) == ("unusable", False)
    assert empty.properties() == {
        "picture": "array 1", "verdict": "unusable", "problem": "array: it is empty: all of its pixels are black or "
        "missing",
    }  # fmt: skip
    assert empty.feature()["geometry"] is None
    from_file.save(tmp_path / "located.tif")
    with rasterio.open(tmp_path / "located.tif") as located:
        assert located.dtypes == ("float32",) * 3
        assert located.crs.to_epsg() == 32636


def test_messages_name_parameters_from_python_and_options_from_commands(indexed: Indexed, tmp_path: Path) -> None:
    def said(call: Callable[[], object], error: type[Exception]) -> str:
        with pytest.raises(error) as caught:
            call()
        return str(caught.value)

    cases: list[tuple[Callable[[], object], type[Exception], str, str]] = [
        (lambda: s2fast.index(indexed.out, to=indexed.out), RunFolderError, "folder with to", "folder with --to"),
        (lambda: s2fast.index(indexed.out, to=tmp_path, per_scene=-1), ConfigError, "per_scene is", "--per-scene is"),
        (lambda: s2fast.find(tmp_path, "x"), RunFolderError, 's2fast.index("OUT", to=', "s2fast index OUT --to"),
        (lambda: s2fast.find(indexed.index, "x", keypoints=3), ConfigError, "keypoints is 3", "--keypoints is 3"),
        (
            lambda: s2fast.find(indexed.index, "x", lists=True, budget_mb=8), ConfigError, "budget_mb is 8",
            "--budget-mb is 8",
        ),
        (lambda: s2fast.fetch(to=tmp_path), InputError, "search with bbox, regions or", "search with --bbox,"),
        (lambda: s2fast.fetch(tile="36UYA"), InputError, "with to, or list the scenes with dry_run", "--dry-run"),
        (lambda: s2fast.fetch(bbox=(1, 2, 3), to=tmp_path), InputError, "bbox (1, 2, 3): wanted", "--bbox (1,"),
        (lambda: s2fast.fetch(tile="36UYA", max_cloud=101), ConfigError, "max_cloud is 101", "--max-cloud is 101"),
        (lambda: s2fast.fetch(tile="36UYA", limit=0), ConfigError, "limit is 0", "--limit is 0"),
        (lambda: s2fast.fetch(tile="36UYA", api="ftp://x"), InputError, "api ftp://x", "--api ftp://x"),
    ]  # fmt: skip
    for call, error, parameter, option in cases:
        assert parameter in said(call, error)
        assert "--" not in said(call, error)
        with cli_wording():
            assert option in said(call, error)


@pytest.mark.parametrize(
    "pixels", [np.zeros((64, 64, 2)), np.zeros(64), np.zeros((64, 64), bool), np.zeros((3, 64, 64)), np.zeros((8, 8))]
)
def test_arrays_that_are_no_pictures(indexed: Indexed, pixels: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=r"^array: (\w+ of shape|8 x 8 px are too few)"):
        s2fast.find(Index(indexed.index), pixels)


def test_the_functions_stay_functions_when_their_rooms_are_imported() -> None:
    import s2fast.fetching.fetch
    import s2fast.retrieval.finder
    import s2fast.retrieval.index

    assert all(callable(function) for function in (s2fast.fetch, s2fast.find, s2fast.index))
