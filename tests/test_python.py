"""The Python interface: what a user of a notebook or a script sees."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import s2fast
from s2fast.archive.arrays import as_places
from s2fast.errors import BackendError, ConfigError, InputError
from s2fast.results import Run
from tests.archives import Archive
from tests.judged import Judged

ROOT = Path(__file__).parents[1]

UXA = ("S2A_20190427T083601_T36UXA", "S2A_20190606T083601_T36UXA")


@pytest.fixture
def run(judged: Judged) -> Run:
    return s2fast.open_run(judged.out)


def test_exported_names_are_those_of_their_modules() -> None:
    from s2fast import config, errors, results

    assert s2fast.Run is results.Run
    assert s2fast.Config is config.Config
    assert s2fast.load_config is config.load_config
    assert s2fast.S2FastError is errors.S2FastError
    assert issubclass(BackendError, s2fast.S2FastError)
    assert set(dir(s2fast)) == {*s2fast.__all__, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'Runn'"):
        _ = s2fast.Runn


def test_a_backend_that_cannot_run_is_an_error_of_s2fast(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(s2fast.S2FastError, match="unknown backend 'cpp'"):
        s2fast.run({"matching.backend": "cpp"}, scenes=archive.scenes, out=tmp_path / "out")


def test_the_package_is_typed() -> None:
    for package in (ROOT / "s2fast", ROOT / "kernels" / "s2fast_kernels"):
        assert (package / "py.typed").is_file()


CLIENT = """
[mypy]
strict = True
mypy_path = kernels
plugins = pydantic.mypy
follow_imports = silent
[mypy-IPython.*,cv2.*,filelock.*,numba.*,obstore.*,optuna.*,PIL.*,pystac.*,rich.*,torch.*,triton.*,urllib3.*,xarray.*,zarr.*]
follow_imports = skip
[mypy-dask.*,distributed.*,faiss.*,geopandas.*,kornia.*,numcodecs.*,pyarrow.*,pyogrio.*,pyproj.*,rasterio.*,scipy.*,shapely.*,threadpoolctl.*]
follow_imports = skip
ignore_missing_imports = True
"""
"""As a client sees the installed package, whose own faults the linters find; types of the packages in these lists are
not in its interface, and most of the time goes into torch."""


@pytest.mark.slow
def test_a_typed_client_passes_mypy(tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text(CLIENT)
    options = ["--config-file", tmp_path / "mypy.ini", "--cache-dir", ROOT / ".mypy_cache" / "client"]
    command = [sys.executable, "-m", "mypy", *options, "tests/client.py"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.stdout.startswith("Success"), told.stdout


@pytest.mark.parametrize("config", [{"matching": {"ratio": 0.7}}, {"matching.ratio": 0.7}], ids=["nested", "dotted"])
def test_settings_may_be_a_mapping(config: dict[str, object]) -> None:
    assert s2fast.load_config(config).matching.ratio == 0.7
    assert s2fast.load_config(overrides=config).matching.ratio == 0.7
    assert s2fast.load_config(config, {"matching.ratio": 0.6}).matching.ratio == 0.6


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"matching": {"ratoi": 0.7}}, "config: unknown key 'matching.ratoi'; did you mean 'matching.ratio'?"),
        ({"matching": 3}, "config: matching = 3"),
        ({"ratio": 0.7}, "config: unknown key 'ratio'; did you mean 'matching.ratio'?"),
    ],
)
def test_wrong_mappings_are_told(config: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        s2fast.load_config(config)


def test_profiles_are_the_files_of_the_checkout() -> None:
    for name in ("default", "fast", "notebook"):
        assert s2fast.load_config(profile=name) == s2fast.load_config(ROOT / "configs" / f"{name}.toml")
    changed = s2fast.load_config({"features.threshold": 0.002}, profile="notebook")
    assert (changed.features.threshold, changed.matching.ratio) == (0.002, 0.8)
    with pytest.raises(ConfigError, match="no profile 'quick': write default, fast or notebook"):
        s2fast.load_config(profile="quick")


def test_messages_name_parameters(archive: Archive, judged: Judged, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no scenes given: name folders or files with scenes$"):
        s2fast.run(scenes=[], out=tmp_path / "out")
    with pytest.raises(InputError, match="no such file or folder for scenes: "):
        s2fast.run(scenes=tmp_path / "none", out=tmp_path / "out")
    with pytest.raises(OSError, match="with scenes .* regions .*: name another out$"):
        s2fast.run(scenes=archive.scenes, out=judged.out)
    with pytest.raises(ConfigError, match="do not go with a Config"):
        s2fast.run(s2fast.Config(), scenes=archive.scenes, out=tmp_path / "out", profile="fast")


@pytest.mark.slow
def test_progress_is_shown_as_asked(one_tile: Archive, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[str, int, int]] = []
    arguments = {"scenes": one_tile.scenes, "out": tmp_path / "out"}
    s2fast.run({"output.keep_matches": "none"}, **arguments, progress=lambda *state: told.append(state))
    stages = list(dict.fromkeys(stage for stage, *_ in told))
    assert stages[0] == "ingest"
    assert stages[-1] == "report"
    assert [state for state in told if state[0] == "ingest"] == [("ingest", done, 2) for done in range(3)]
    before = capfd.readouterr()
    assert (before.out, before.err) == ("", "")
    # Neither a terminal nor a notebook.
    done = s2fast.run({"output.keep_matches": "none"}, **arguments)
    assert capfd.readouterr().err == ""
    assert done.matches(*UXA).empty


def test_a_run_introduces_itself(run: Run, judged: Judged) -> None:
    assert repr(run) == f"<s2fast run {judged.out}: 4 scenes, 6 pairs, 0 verified>"
    html = run._repr_html_()
    assert html.count("<tr>") == 5
    assert UXA[0] in html
    shown = set(dir(run))
    assert {"pairs", "matches", "show", "align", "scene_ids"} <= shown
    assert not [name for name in shown if name.startswith("_") or name in ("folder", "record")]


def test_names_of_strangers_are_no_markup(run: Run) -> None:
    run.record = replace(
        run.record, history=run.record.history.model_copy(update={"warnings": ["<script>alert(1)</script>"]})
    )
    assert "<script>" not in run._repr_html_()


def test_matches_have_positions(run: Run) -> None:
    query, train = UXA[0], "S2A_20190606T083601_T36UYA"
    matches = run.matches("0427 uxa", "0606 uya")
    tables = {name: run.features(name) for name in (query, train)}
    for side, scene_id in (("query", query), ("train", train)):
        xy = tables[scene_id].xy[matches[f"{side}_row"]]
        np.testing.assert_array_equal(matches[[f"{side}_x_px", f"{side}_y_px"]], xy)
        with rasterio.open(run.scenes().set_index("scene_id")["source"][scene_id]) as raster:
            x, y = raster.xy(xy[:, 1].astype(float), xy[:, 0].astype(float))
        np.testing.assert_allclose(matches[[f"{side}_map_x", f"{side}_map_y"]], np.column_stack([x, y]), atol=1e-6)
    # Both scenes have one CRS.
    np.testing.assert_allclose(matches["dx_m"], matches["train_map_x"] - matches["query_map_x"], atol=1e-6)
    np.testing.assert_allclose(matches["dy_m"], matches["train_map_y"] - matches["query_map_y"], atol=1e-6)


def test_displacement_writes_itself(run: Run, tmp_path: Path) -> None:
    shift = run.displacement(*UXA, cell_m=640)
    assert repr(shift).startswith(f"<displacement of {UXA[1]} against {UXA[0]}: 8 x 8 cells of 640 m, ")
    shift.save(tmp_path / "shift.tif")
    assert (tmp_path / "shift.tif").read_bytes() == bytes(shift)
    with rasterio.open(tmp_path / "shift.tif") as raster:
        for band, values in enumerate((shift.dx_m, shift.dy_m, shift.count), 1):
            np.testing.assert_array_equal(raster.read(band), values.astype(np.float32))
        assert tuple(raster.transform)[:6] == shift.transform
        assert raster.crs == rasterio.CRS.from_wkt(shift.crs)
    assert shift.count.sum() == run.matches(*UXA)["inlier"].sum()
    with pytest.raises(InputError, match="cannot write the raster"):
        shift.save(tmp_path / "none" / "shift.tif")


@pytest.mark.parametrize("scenes", [["folder", np.zeros((9, 9))], np.zeros((9, 9)), [3]])
def test_objects_that_are_no_scenes_end_in_one_line(scenes: Any) -> None:
    with pytest.raises(InputError, match=r"^scenes holds a (numpy\.ndarray|builtins\.int): a scene is a path, .* CRS$"):
        as_places(scenes)


_NONE = {"scenes": "none", "out": "out"}
"""Arguments of functions that end before they look for scenes."""


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: s2fast.run(scenes=None, out="out"),
            "scenes is of type NoneType, must be a path or an address, an xar",
        ),
        (lambda: s2fast.run(scenes="none", out=5), "out is of type int, must be a path or an address"),
        (lambda: s2fast.run(**_NONE, regions=5), "regions is of type int, must be a path or an address"),
        (lambda: s2fast.run(**_NONE, workers="2"), "workers is of type str, must be a whole number"),
        (lambda: s2fast.run(**_NONE, workers=True), "workers is of type bool, must be a whole number"),
        (lambda: s2fast.run(**_NONE, progress="no"), "progress is of type str, must be True, False, or a function of"),
        (lambda: s2fast.run(5, **_NONE), "config is of type int, must be a TOML file, a mapping, or a Config"),
        (lambda: s2fast.run(**_NONE, overrides=5), "overrides is of type int, must be a mapping, or a sequence of"),
        (lambda: s2fast.run(**_NONE, overrides=[5]), 'an override is of type int, must be "section.key=value"'),
        (lambda: s2fast.open_run(5), "out is of type int, must be a path or an address"),
        (lambda: s2fast.open_run("none", trust=[5]), "trust holds an element of type int, must be a path or an addr"),
        (lambda: s2fast.sweep(5, **_NONE), "settings is of type int, must be a TOML file or a mapping"),
        (lambda: s2fast.sweep({}, **_NONE, repeats="2"), "repeats is of type str, must be a whole number"),
        (
            lambda: s2fast.sweep({}, scenes=5, out="out"),
            "scenes is of type int, must be a path or an address, or a seq",
        ),
        (lambda: s2fast.tune(**_NONE, minutes="20"), "minutes is of type str, must be a number"),
        (lambda: s2fast.tune(**_NONE, few=2.5), "few is of type float, must be a whole number"),
        (lambda: s2fast.fetch(5), "place is of type int, must be a path or an address"),
        (lambda: s2fast.fetch(tile=36), "tile is of type int, must be a string"),
        (lambda: s2fast.fetch(tile="36UYA", max_cloud="20"), "max_cloud is of type str, must be a number"),
        (lambda: s2fast.fetch(bbox=5), "bbox 5: wanted west, south, east, north in degrees"),
        (lambda: s2fast.fetch(bbox=("a", 2, 3, 4)), "bbox ('a', 2, 3, 4): wanted west, south, east, north in degrees"),
        (
            lambda: s2fast.index(5, to="index"),
            "runs is of type int, must be a Run, a path or an address, or a sequence",
        ),
        (lambda: s2fast.find("index", "a.png", keypoints="5"), "keypoints is of type str, must be a whole number"),
    ],
)
def test_arguments_of_wrong_types_end_in_one_line(call: Callable[[], object], said: str) -> None:
    with pytest.raises(s2fast.S2FastError, match=f"^{re.escape(said)}") as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda run: run.matches(0, 1), "first is of type int, must be the id of a scene or a fragment of it"),
        (lambda run: run.features(None), "scene_id is of type NoneType, must be the id of a scene or a fragment of it"),
        (lambda run: run.show(*UXA, matches="5"), "matches is of type str, must be a whole number"),
        (lambda run: run.show(*UXA, crop=(0, 0, 9, 9)), "crop is of type tuple, must be a s2fast.model.Window(row, "),
        (lambda run: run.displacement(*UXA, cell_m="9"), "cell_m is of type str, must be a number"),
        (lambda run: run.displacement(*UXA).save(5), "file is of type int, must be a path or an address"),
        (lambda run: run.align(None), "to is of type NoneType, must be a path or an address"),
        (lambda run: run.align("out", bands=5), "bands is of type int, must be a string, or a sequence of these"),
        (lambda run: run.align("out", max_error_m="1"), "max_error_m is of type str, must be a number"),
        (lambda run: run.stac(5), "to is of type int, must be a path or an address"),
    ],
)
def test_arguments_of_wrong_types_of_a_run_end_in_one_line(run: Run, call: Callable[[Run], object], said: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(said)}"):
        call(run)


def test_a_single_string_is_one_element(run: Run) -> None:
    assert s2fast.load_config(overrides="matching.ratio=0.6").matching.ratio == 0.6
    trusted = s2fast.open_run(run.folder.address, trust="https://example.org/").folder.trusted
    assert trusted == s2fast.open_run(run.folder.address, trust=["https://example.org/"]).folder.trusted
