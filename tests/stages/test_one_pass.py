"""A block is verified while its matches are in memory, with the results of a verification that reads them."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2fast.config import load_config
from s2fast.folder.pair_blocks import PairBlocks
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import STAGES, Job, run_stages
from s2fast.work.progress import PlainProgress
from tests.archives import Archive
from tests.test_pipeline import digests

pytestmark = pytest.mark.slow

SETTINGS = {
    "ingest.halo_px": 64,
    "features.backend": "opencv",
    "features.upsample": 1,
    "features.max_per_scene": 1000,
    "verification.nulls": 2,
}


def run(archive: Archive, out: Path, **options: object) -> RunRecord:
    overrides = SETTINGS | options.pop("settings", {})  # type: ignore[operator]
    return run_stages(Job(load_config(overrides=overrides), [archive.scenes], archive.regions, out), **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run, which must not read matches back."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PairBlocks, "read", None)
        record = run(archive, out)
    stages = record.history.stages
    assert [(stages[name].done, stages[name].kept) for name in ("match", "verify")] == [(6, 0), (6, 0)]
    return out


def test_stage_by_stage_writes_the_same_files(archive: Archive, whole: Path, tmp_path: Path) -> None:
    for stage in STAGES:
        record = run(archive, tmp_path / "out", stages=[stage])
    assert digests(tmp_path / "out") == digests(whole)
    assert (record.history.stages["verify"].done, record.history.stages["verify"].kept) == (6, 0)


@pytest.mark.parametrize("lost", [["verified"], ["pairs"], ["verified", "matches"], ["good"], ["pairs", "verified"]])
def test_what_is_lost_is_done_again_and_the_rest_is_kept(
    archive: Archive, whole: Path, tmp_path: Path, lost: list[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    for name in lost:
        next((out / name).iterdir()).unlink()
    before = digests(out)
    run(archive, out)
    after = digests(out)
    assert after == digests(whole)
    assert before.items() <= after.items()


def test_a_whole_run_in_workers_writes_the_same_files(archive: Archive, whole: Path, tmp_path: Path) -> None:
    run(archive, tmp_path / "out", workers=2)
    assert digests(tmp_path / "out") == digests(whole)


def test_the_plain_versions_give_the_same_verdicts(archive: Archive, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(archive, out, settings={"matching.backend": "reference"})
    got, wanted = (
        pd.read_parquet(io.BytesIO(RunFolder(folder).read("pairs.parquet"))).set_index(["query", "train"])
        for folder in (whole, out)
    )
    assert (wanted["verdict"] == "verified").any()
    assert list(got.columns) == list(wanted.columns)
    for name in wanted.columns:
        if wanted[name].dtype.kind == "f":
            # Sums are added in another order; the adjusted series is solved from these numbers.
            np.testing.assert_allclose(got[name], wanted[name], rtol=1e-7, atol=1e-9, err_msg=name)
        else:
            assert got[name].equals(wanted[name]), name
    for folder in ("good", "matches"):
        one, other = (
            pd.concat([pd.read_parquet(path) for path in sorted((where / folder).iterdir())]) for where in (whole, out)
        )
        pd.testing.assert_frame_equal(one, other)


def test_progress_says_where_the_verdicts_were_made(archive: Archive, tmp_path: Path) -> None:
    shown = io.StringIO()
    run(archive, tmp_path / "out", progress=PlainProgress(shown))
    lines = shown.getvalue().splitlines()
    assert "match: 6 to do" in lines
    assert "verify: 6 done while they were matched, 0 up to date" in lines
    run(archive, tmp_path / "out", progress=PlainProgress(shown))
    assert "verify: nothing to do, 6 up to date" in shown.getvalue()
