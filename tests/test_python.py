"""The Python interface: what a user of a notebook or a script sees."""

from __future__ import annotations

import re
import subprocess
import sys
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
