"""``output.keep_pixels = false``: the same results without pixels, switched on and off, killed, checked and drawn."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest

import s2fast
from s2fast import cli
from s2fast.config import load_config
from s2fast.errors import InputError, RunFolderError
from s2fast.folder.check import find_damage
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import SCENES, RunFolder
from s2fast.model import Window
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.report.imagery import shown_tile, whole_scene
from s2fast.stages import ingest
from tests.archives import Archive
from tests.test_pipeline import digests

pytestmark = pytest.mark.slow

SETTINGS = {"features.backend": "opencv", "features.upsample": 1, "ingest.halo_px": 64}


def run(
    archive: Archive, out: Path, *, keep: bool = False, settings: dict[str, object] | None = None, **options: object
) -> RunRecord:
    overrides = {**SETTINGS, "output.keep_pixels": keep, **(settings or {})}
    return run_stages(Job(load_config(overrides=overrides), [archive.scenes], archive.regions, out), **options)  # type: ignore[arg-type]


def without_pixels(out: Path) -> dict[str, str]:
    """Digests of all files that keep_pixels leaves alone."""
    found = digests(out)
    seals = {path.relative_to(out).as_posix() for path in (out / SCENES).glob("*/zarr.json")}
    gone = ("grey", "missing", "thumbnail")
    return {
        name: digest for name, digest in found.items() if name not in seals and not (set(name.split("/")) & set(gone))
    }


def pixels(out: Path) -> list[Path]:
    return [path for name in ("grey", "missing") for path in (out / SCENES).glob(f"*/{name}")]


@pytest.fixture(scope="module")
def kept(one_tile: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kept") / "out"
    run(one_tile, out, keep=True)
    return out


@pytest.fixture(scope="module")
def bare(one_tile: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bare") / "out"
    run(one_tile, out)
    return out


def test_results_are_the_same(kept: Path, bare: Path) -> None:
    assert len(pixels(kept)) == 2
    assert not pixels(bare)
    # The page among them: its thumbnails are drawn from the stored ones.
    assert without_pixels(bare) == without_pixels(kept)
    assert not list(find_damage(RunFolder(bare)))


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("how", ["stage by stage", "no memory", "workers"])
def test_pixels_that_were_written_to_be_extracted_are_removed(
    one_tile: Archive, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    out = tmp_path / "out"
    if how == "stage by stage":
        run(one_tile, out, stages=["ingest"])
        assert len(pixels(out)) == 2
        run(one_tile, out, stages=["extract"])
    if how == "no memory":
        monkeypatch.setattr(ingest, "held_bytes", lambda *_, **__: 1 << 50)
    run(one_tile, out, workers=2 if how == "workers" else 1)
    assert digests(out) == digests(bare)


def test_switching_computes_only_what_is_missing(one_tile: Archive, kept: Path, bare: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(kept, out)
    stages = run(one_tile, out).history.stages
    assert digests(out) == digests(bare)
    assert (stages["ingest"].done, stages["extract"].done) == (2, 2)  # of the first run
    stages = run(one_tile, out, keep=True).history.stages
    assert (stages["ingest"].done, stages["ingest"].kept) == (2, 0)
    assert set(digests(kept)) <= set(digests(out))
    assert without_pixels(out) == without_pixels(kept)
    for scene_id in s2fast.open_run(out).scene_ids:
        np.testing.assert_array_equal(RunFolder(out).grey(scene_id), RunFolder(kept).grey(scene_id))
    run(one_tile, out)
    assert digests(out) == digests(bare)


def test_other_features_need_the_pixels_again(one_tile: Archive, bare: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(bare, out)
    fewer = {"features.max_per_scene": 50}
    with pytest.raises(RunFolderError, match="has no pixels of .*: run ingest first"):
        run(one_tile, out, settings=fewer, stages=["extract"])
    shutil.copytree(out, tmp_path / "staged")
    assert run(one_tile, out, settings=fewer).history.counts["keypoints"] == 100
    run(one_tile, tmp_path / "staged", settings=fewer, stages=["ingest"])
    run(one_tile, tmp_path / "staged", settings=fewer)
    assert digests(out) == digests(tmp_path / "staged")
    assert not pixels(out)


@pytest.mark.parametrize("point", range(3))
def test_killed_while_pixels_are_removed(
    one_tile: Archive, kept: Path, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    out = tmp_path / "out"
    shutil.copytree(kept, out)
    remove, left = RunFolder.remove, [point]

    def removes(self: RunFolder, name: str) -> None:
        if name.endswith(("/grey", "/missing")):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        remove(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "remove", removes)
        with pytest.raises(KeyboardInterrupt):
            run(one_tile, out)
    run(one_tile, out)
    assert digests(out) == digests(bare)


def test_a_damaged_thumbnail_is_found_and_made_again(one_tile: Archive, bare: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(bare, out)
    chunk = next((out / SCENES).glob("*/thumbnail/c/0/0"))
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert [damage.finding for damage in find_damage(RunFolder(out))]
    run(one_tile, out)
    assert digests(out) == digests(bare)


def test_pairs_are_drawn_from_the_files(
    one_tile: Archive,
    kept: Path,
    bare: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    query, train = s2fast.open_run(bare).scene_ids[:2]
    folders = RunFolder(kept), RunFolder(bare)
    crop = Window(100, 37, 60, 80)
    for window, side_px in ((whole_scene(folders[0], query), 1200), (crop, 1200), (crop, 40)):
        one, other = (shown_tile(folder, query, window, side_px, 0.5) for folder in folders)
        assert one.shape == other.shape
        # The file's bands are shifted copies of its grey, and blocks that no polygon needs are not in the tile.
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.8
    for view in ("all", "masked", "original"):
        s2fast.open_run(bare).show(query, train, view=view, crop=crop).savefig(io.BytesIO())
    moved = shutil.copytree(one_tile.scenes, tmp_path / "scenes")
    out = tmp_path / "out"
    run(Archive(moved, one_tile.regions), out, settings={"ingest.reduction": 4})
    shutil.rmtree(moved)
    # The page draws whole scenes from their thumbnails, also of tiles that are smaller than these: a server that the
    # run folder names is not asked, and a run of such scenes ended before its tables were written.
    tile = shown_tile(folder := RunFolder(out), query, whole_scene(folder, query), 512)
    assert tile.shape == folder.thumbnail(query).shape
    assert tile.any()
    with pytest.raises(
        InputError, match=r"keeps no pixels \(output.keep_pixels = false\), and .*: cannot read .*: restore"
    ):
        s2fast.open_run(out).show(query, train)
    monkeypatch.setattr("sys.argv", ["s2fast", "show", str(out), query, train, "-o", str(tmp_path / "pair.png")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
