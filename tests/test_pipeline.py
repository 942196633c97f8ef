"""The whole job on a small archive: results, resumption, problems, workers."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely

import s2fast
from s2fast.config import load_config
from s2fast.errors import ConfigError, InputError, RunFolderError
from s2fast.folder.record import RunRecord
from s2fast.pipeline import Job, forecast, run_stages
from s2fast.report.outputs import FILES
from s2fast.work.progress import PlainProgress
from tests.archives import ORIGINS, Archive, safe_path, write_regions
from tests.dask_parts import dask_pair, free_port, open_when_ready

COLUMNS = [
    "query", "train", "query_tile", "train_tile", "query_time", "train_time", "n_query", "n_train", "n_good",
    "similarity_pct", "n_inliers", "dx_m", "dy_m", "dx_px", "dy_px", "shift_error_m", "verified", "overlap_pct",
    "verdict", "network_residual_m", "n_witnesses", "model", "rotation_deg", "rotation_error_deg", "scale",
    "scale_error", "shear", "rival_dx_m", "rival_dy_m", "searched_m", "looks", "ce90_m", "ce95_m", "rmse_dx_m",
    "rmse_dy_m", "mean_dx_m", "mean_dy_m", "std_dx_m", "std_dy_m",
]  # fmt: skip


def run(
    archive: Archive, out: Path, overrides: dict[str, Any] | None = None, *, strict: bool = False, **options: Any
) -> RunRecord:
    return run_stages(job(archive, out, overrides, strict=strict), **options)


def job(archive: Archive, out: Path, overrides: dict[str, Any] | None = None, *, strict: bool = False) -> Job:
    settings = load_config(overrides={"ingest.halo_px": 64, "features.upsample": 1, **(overrides or {})})
    return Job(settings, [archive.scenes], archive.regions, out, strict)


def digests(out: Path) -> dict[str, str]:
    """Content of every file that is a result; run.json, run.log and the page hold times."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in ("run.json", "run.log", "report.html")
    }


def tables(out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs, and all matches in one order."""
    found = s2fast.open_run(out)
    pairs = found.pairs()
    matches = [found.matches(query, train) for query, train in zip(pairs["query"], pairs["train"], strict=True)]
    return pairs, pd.concat(matches, ignore_index=True)


@pytest.fixture(scope="module")
def finished(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "out"
    run(archive, out)
    return out


@pytest.fixture(scope="module")
def finished_tile(one_tile: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished_tile") / "out"
    run(one_tile, out)
    return out


@pytest.mark.slow
def test_run_folder_holds_what_it_promises(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        "run.json", "store.zarr", "pairs", "good", "verified", "matches", "thumbnails", "report_files", *FILES
    }  # fmt: skip
    pairs, matches = tables(finished)
    assert list(pairs.columns) == COLUMNS
    assert len(pairs) == 6
    assert (pairs["n_good"] > 0).any()
    assert len(matches) == pairs["n_good"].sum()
    ends = [f"{end}_{name}" for end in ("query", "train") for name in ("x_px", "y_px", "map_x", "map_y")]
    stored = ["query", "train", "query_row", "train_row", "distance", "second", "inlier"]
    assert list(matches.columns) == [*stored, *ends, "dx_m", "dy_m"]
    pd.testing.assert_series_equal(
        pairs["similarity_pct"], (100 * pairs["n_good"] / pairs["n_query"].clip(1)).round(2), check_names=False
    )
    record = json.loads((finished / "run.json").read_text())
    assert record["counts"]["pairs"] == 6
    assert record["stages"]["match"]["done"] == 6
    assert set(record["stages"]) == {"ingest", "extract", "match", "verify", "report"}
    for stage in ("extract", "match"):
        assert (record["stages"][stage]["backend"], record["stages"][stage]["device"]) == ("numba", "cpu")
    assert record["stages"]["ingest"]["device"] == ""
    assert not list(finished.rglob("*.partial"))


@pytest.mark.slow
def test_dates_of_one_site_are_similar_and_sites_are_not(archive: Archive, tmp_path: Path) -> None:
    run(archive, tmp_path / "out", {"regions.mode": "none"})
    pairs = s2fast.open_run(tmp_path / "out").pairs()
    same = pairs["query_tile"] == pairs["train_tile"]
    assert pairs[same]["similarity_pct"].min() > 2 * pairs[~same]["similarity_pct"].max()


@pytest.mark.slow
def test_matrix_and_csv_agree_with_the_table(finished: Path) -> None:
    found = s2fast.open_run(finished)
    pairs, square = found.pairs(), found.similarity()
    assert list(square.index) == list(square.columns) == found.scene_ids
    for query, train, value in zip(pairs["query"], pairs["train"], pairs["similarity_pct"], strict=True):
        assert square.loc[query, train] == value
    assert square.notna().to_numpy().sum() == len(pairs)
    csv = pd.read_csv(finished / "pairs.csv")
    assert list(csv.columns) == COLUMNS
    np.testing.assert_array_equal(csv["similarity_pct"], pairs["similarity_pct"])


@pytest.mark.slow
def test_scene_table_is_geoparquet(finished: Path) -> None:
    scenes = s2fast.open_run(finished).scenes()
    assert scenes.crs == "EPSG:4326"
    assert scenes.geometry.is_valid.all()
    west, north = ORIGINS["36UXA"]
    in_utm = scenes.to_crs("EPSG:32636").total_bounds
    np.testing.assert_allclose(in_utm, [west, north - 5120, west + 3840 + 5120, north], atol=0.01)
    assert (scenes["n_keypoints"] > 0).all()


@pytest.mark.slow
def test_api_reads_features_matches_and_pictures(finished: Path) -> None:
    found = s2fast.open_run(finished)
    first, second = found.scene_ids[:2]
    assert len(found.features(first)) == found.pairs().iloc[0]["n_query"]
    pd.testing.assert_frame_equal(found.matches(first, second), found.matches(second, first))
    titles = [axes.get_title().split(" ")[0] for axes in found.show(first, second).axes]
    assert titles[:6] == ["query", "train", "inside", "inside", "query", "train"]
    assert len(found.features(first[1:])) == len(found.features(first)), "a fragment names its scene"
    with pytest.raises(InputError, match=f"nearest.*{first}"):
        found.features(f"{first[:-1]}Q")
    with pytest.raises(InputError, match="two scenes"):
        found.matches(first, first)


@pytest.mark.slow
def test_second_run_computes_nothing_and_reports_it(
    archive: Archive, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    before = {
        path: path.stat().st_mtime_ns
        for path in out.rglob("*")
        if path.is_file() and path.name not in ("run.json", "run.log", "report.html")
    }
    run(archive, out, progress=PlainProgress())
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "nothing to do" in capsys.readouterr().err.splitlines()[-1]
    assert digests(out) == digests(finished)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "recomputed"),
    [
        ({"verification.nulls": 2}, ["verify", "report"]),
        ({"output.keep_matches": "inliers"}, ["verify", "report"]),
        ({"matching.ratio": 0.8}, ["match", "verify", "report"]),
        ({"ingest.contrast": "none"}, ["extract", "match", "verify", "report"]),
        ({"regions.buffer_m": 50.0}, ["ingest", "extract", "match", "verify", "report"]),
        ({"compute.budget_mb": 200}, []),
        ({"matching.backend": "reference"}, []),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_changed_setting_recomputes_what_depends_on_it_only(
    one_tile: Archive, finished_tile: Path, tmp_path: Path, override: dict[str, Any], recomputed: list[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished_tile, out)
    before = json.loads((out / "run.json").read_text())["stages"]
    after = run(one_tile, out, override)
    assert [name for name, stage in after.history.stages.items() if stage.model_dump() != before[name]] == recomputed
    run(one_tile, tmp_path / "fresh", override)
    got, wanted = tables(out), tables(tmp_path / "fresh")
    pd.testing.assert_frame_equal(got[0], wanted[0])
    pd.testing.assert_frame_equal(got[1], wanted[1])


def copied(archive: Archive, folder: Path) -> Archive:
    """Return a copy of an archive, to be changed."""
    return Archive(shutil.copytree(archive.scenes, folder / "scenes"), archive.regions)


@pytest.mark.slow
def test_new_scene_computes_its_own_pairs_only(one_tile: Archive, tmp_path: Path) -> None:
    archive = copied(one_tile, tmp_path)
    source = next(archive.scenes.rglob("T36UXA_20190427T083601_TCI.jp2"))
    target = safe_path(archive.scenes, "36UXA", "20190601T083601")
    out = tmp_path / "out"
    run(archive, out)
    target.parent.mkdir(parents=True)
    shutil.copy(source, target)
    after = run(archive, out)
    assert {name: (stage.done, stage.kept) for name, stage in after.history.stages.items() if name != "report"} == {
        "ingest": (1, 2),
        "extract": (1, 2),
        "match": (2, 1),
        "verify": (2, 1),
    }
    run(archive, tmp_path / "fresh")
    pd.testing.assert_frame_equal(tables(out)[0], tables(tmp_path / "fresh")[0])
    target.unlink()
    run(archive, out)
    assert len(tables(out)[0]) == 1


@pytest.mark.slow
def test_changed_scene_is_read_again(archive: Archive, tmp_path: Path) -> None:
    archive = copied(archive, tmp_path)
    out, stages = tmp_path / "out", ["ingest", "extract", "match"]
    run(archive, out, stages=stages)
    scene = next(archive.scenes.rglob("T36UXA_20190606T083601_TCI.jp2"))
    os.utime(scene, ns=(1, 1))
    after = run(archive, out, stages=stages)
    assert {name: after.history.stages[name].done for name in stages} == {
        "ingest": 1,
        "extract": 1,
        "match": 3,
    }


@pytest.mark.slow
def test_local_workers_give_the_same_bytes(archive: Archive, finished: Path, tmp_path: Path) -> None:
    run(archive, tmp_path / "out", workers=2)
    got, wanted = tables(tmp_path / "out"), tables(finished)
    pd.testing.assert_frame_equal(got[0], wanted[0])
    pd.testing.assert_frame_equal(got[1], wanted[1])
    for name in ("pairs.csv", "similarity.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.slow
def test_dask_gives_the_same_bytes(archive: Archive, finished: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    port = free_port()
    with dask_pair(port, workers=2):
        open_when_ready(f"tcp://127.0.0.1:{port}", workers=2).close()
        run(archive, tmp_path / "out", scheduler=f"tcp://127.0.0.1:{port}")
    for name in ("pairs.csv", "similarity.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (finished / name).read_bytes()
    pd.testing.assert_frame_equal(tables(tmp_path / "out")[1], tables(finished)[1])


@pytest.mark.slow
def test_stages_one_by_one_equal_the_run(archive: Archive, finished: Path, tmp_path: Path) -> None:
    for stage in ("ingest", "extract", "match", "verify", "report"):
        run(archive, tmp_path / "out", stages=[stage])
    assert digests(tmp_path / "out") == digests(finished)


@pytest.mark.slow
def test_stage_names_the_missing_earlier_stage(one_tile: Archive, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="run ingest first"):
        run(one_tile, tmp_path / "out", stages=["extract"])
    run(one_tile, tmp_path / "out", stages=["ingest"])
    with pytest.raises(RunFolderError, match="run extract first"):
        run(one_tile, tmp_path / "out", stages=["match"])
    run(one_tile, tmp_path / "out", stages=["extract"])
    with pytest.raises(RunFolderError, match="run verify first"):
        run(one_tile, tmp_path / "out", stages=["report"])
    with pytest.raises(RunFolderError, match="run extract first"):
        run(one_tile, tmp_path / "out", {"features.threshold": 0.01}, stages=["match"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "override", "wanted"),
    [
        ("extract", {"regions.buffer_m": 50.0}, "no tile of the current version of S2"),
        ("match", {"features.threshold": 0.01}, "run extract first"),
        ("verify", {"matching.ratio": 0.7}, "no matches for 6 pairs under these settings: run match first"),
        ("verify", {"matching.pairs": "similar"}, "run match first"),
        ("report", {"verification.nulls": 2}, "no results for 6 pairs under these settings: run verify first"),
        ("report", {"matching.ratio": 0.7}, "run verify first"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value.split(":")[0],
)
def test_stage_without_its_inputs_leaves_a_finished_run_as_it_is(
    archive: Archive,
    finished: Path,
    stage: str,
    override: dict[str, Any],
    wanted: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("s2fast.stages.pairs._MIN_SIDE", 1)  # the pairs that a message counts are in several blocks
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(RunFolderError, match=wanted):
        run(archive, finished, override, stages=[stage])
    with pytest.raises(RunFolderError, match=wanted):
        forecast(job(archive, finished, override), stages=[stage])
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before
    assert len(s2fast.open_run(finished).pairs()) == 6


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ({"matching.pairs": "file", "matching.pairs_file": "no.csv"}, "cannot read no.csv"),
        ({"matching.ratio": 0.7, "compute.budget_mb": 128}, "keypoints may take"),
    ],
    ids=["pairs_file", "budget"],
)
def test_run_with_unusable_matching_leaves_a_finished_run_as_it_is(
    archive: Archive, finished: Path, override: dict[str, Any], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2fast.stages.pairs.match_bytes", lambda keypoints, side: keypoints * side * 10**6)
    before = (finished / "run.json").read_bytes()
    with pytest.raises(ConfigError, match=wanted):
        run(archive, finished, override)
    assert (finished / "run.json").read_bytes() == before
    assert len(s2fast.open_run(finished).pairs()) == 6


def test_stage_that_cannot_run_writes_nothing_to_a_new_folder(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="run ingest first"):
        run(archive, tmp_path / "out", stages=["extract"])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_interrupted_ingest_leaves_no_key(one_tile: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import s2fast.stages.used_pixels

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(s2fast.stages.used_pixels, "masked", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(one_tile, out)
    after = run(one_tile, out, stages=["ingest"])
    assert (after.history.stages["ingest"].done, after.history.stages["ingest"].kept) == (2, 0)


def test_another_jobs_folder_is_refused(archive: Archive, finished: Path, tmp_path: Path) -> None:
    before = digests(finished)
    other = copied(archive, tmp_path)
    with pytest.raises(RunFolderError, match="holds another job's run"):
        run(other, finished)
    with pytest.raises(RunFolderError, match="holds another job's run"):
        run_stages(Job(load_config(), [archive.scenes], None, finished))
    assert digests(finished) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(RunFolderError, match="is not a run folder"):
        run(archive, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_unusable_out_is_refused(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        with pytest.raises(RunFolderError, match=f"{tmp_path / place}"):
            run(archive, tmp_path / place)
    with pytest.raises(ConfigError, match="write s3://BUCKET/PREFIX"):
        run(archive, "ftp://host/out")  # type: ignore[arg-type]  # a user's string


@pytest.mark.slow
def test_api_accepts_overrides_or_a_config_but_not_both(archive: Archive, tmp_path: Path) -> None:
    found = s2fast.run(
        "configs/notebook.toml",
        scenes=archive.scenes,
        regions=archive.regions,
        out=tmp_path / "out",
        overrides={"regions.crs": "file", "ingest.reduction": 1},
    )
    assert found.record.config.ingest.reduction == 1
    assert repr(found) == f"<s2fast run {tmp_path / 'out'}: 4 scenes, 6 pairs, 6 verified>"
    with pytest.raises(ConfigError, match="overrides and profile do not go with"):
        s2fast.run(load_config(), scenes=archive.scenes, out=tmp_path / "other", overrides={"ingest.reduction": 1})


@pytest.mark.slow
def test_what_a_run_warned_of_is_in_its_record_and_on_its_page(archive: Archive, tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    shutil.copytree(archive.scenes, scenes)
    (scenes / "broken.tif").write_bytes(b"II*")
    far = tmp_path / "regions.geojson"
    west, north = ORIGINS["36UXA"]
    write_regions(far, [shapely.box(west + 100, north - 1000, west + 1000, north - 100)])
    record = run_stages(Job(load_config(), [scenes], far, tmp_path / "out"))
    (told,) = record.history.noticed
    assert "scenes meet no polygon" in told
    assert json.loads((tmp_path / "out" / "run.json").read_text())["noticed"] == [told]
    page = (tmp_path / "out" / "report.html").read_text()
    assert told in page
    assert list(record.history.problems) == ["broken"]
