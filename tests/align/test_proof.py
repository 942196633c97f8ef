"""Corrected scenes checked again, independently of their matches."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import rasterio
import scipy.ndimage
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine, from_origin
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

import s2fast
from s2fast.align import aligned, check_windows, proof
from s2fast.align.check_windows import Files, Image, UnreadableError
from s2fast.align.phase_correlation import phase_shift
from s2fast.files.source import Source
from s2fast.folder.checksums import checksum
from s2fast.folder.pair_blocks import parquet
from s2fast.folder.record import load_record
from s2fast.folder.run_folder import RunFolder
from s2fast.raster.dataset import gdal_settings, open_dataset
from tests.archives import ORIGINS, safe_path, textured, write_scene
from tests.command_line import s2fast as command

SIDE, MARGIN, TILE = 304, 20, "36UYA"
DAYS = {"20190427": (0, 0), "20190507": (0, 0), "20190517": (2, -1), "20190527": (-3, 2)}
"""How far the ground of each date is moved: pixels right and down."""


def scene_id(day: str) -> str:
    return f"S2A_{day}T083601_T{TILE}"


@dataclass(frozen=True)
class Series:
    """A run over four dates of one ground, and a copy whose tables hold wrong shifts."""

    archive: Path
    out: Path
    false: Path
    """All pairs of the first date are falsified alike, so the date still counts as verified."""


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Series:
    folder = tmp_path_factory.mktemp("proof")
    rng = np.random.default_rng(5)
    ground = textured(rng, (SIDE + 2 * MARGIN, SIDE + 2 * MARGIN))
    for day, (right, down) in DAYS.items():
        seen = np.clip(ground + rng.normal(0, 3, ground.shape), 1, 255).astype(np.uint8)
        pixels = seen[MARGIN - down : MARGIN - down + SIDE, MARGIN - right : MARGIN - right + SIDE]
        write_scene(safe_path(folder / "archive", TILE, f"{day}T083601"), np.stack([pixels] * 3), ORIGINS[TILE])
    s2fast.run(scenes=folder / "archive", out=folder / "out")
    shutil.copytree(folder / "out", folder / "false")
    falsify(folder / "false", scene_id("20190427"), 20.0)
    return Series(folder / "archive", folder / "out", folder / "false")


def falsify(out: Path, scene: str, east_m: float) -> None:
    """Add an offset to all shifts of a scene in a run's table of pairs."""
    run = RunFolder(out)
    pairs = pd.read_parquet(io.BytesIO(run.read("pairs.parquet")))
    pairs.loc[pairs["train"] == scene, "dx_m"] += east_m
    pairs.loc[pairs["query"] == scene, "dx_m"] -= east_m
    run.write("pairs.parquet", parquet(pa.Table.from_pandas(pairs, preserve_index=False)))
    record = load_record(run)
    assert record is not None
    record.history.tables["pairs.parquet"] = checksum(run.read("pairs.parquet"))
    record.save(run)


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(("right", "down"), [(0.0, 0.0), (0.3, -1.7), (6.5, 2.25), (-12.0, 9.4)])
def test_a_known_shift_is_found(right: float, down: float) -> None:
    rng = np.random.default_rng(2)
    ground = textured(rng, (160, 160)).astype(np.float64)
    moved = scipy.ndimage.shift(ground, (down, right), order=5)[32:128, 32:128]
    found = phase_shift(moved * 0.7 + rng.normal(0, 2, moved.shape), ground[32:128, 32:128])
    assert found is not None
    # The taper favours small shifts: the further, the more.
    np.testing.assert_allclose(found, (right, down), atol=0.06 + 0.02 * np.hypot(right, down))


@pytest.mark.slow
@pytest.mark.parametrize("turned_deg", [0.0, 30.0, 135.0, 180.0])
@pytest.mark.parametrize("mirrored", [False, True], ids=["north up", "south up"])
def test_displacements_on_turned_grids(turned_deg: float, mirrored: bool, tmp_path: Path) -> None:
    pixels = np.rint(textured(np.random.default_rng(7), (300, 340))).astype(np.uint8)
    grid = (
        Affine.translation(500_000, 5_000_000)
        @ Affine.rotation(turned_deg)
        @ Affine.scale(10, 10 * (1 if mirrored else -1))
    )
    images = []
    for name, (right, down) in {"still": (0, 0), "moved": (3, -2)}.items():
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", width=340, height=300, count=1, dtype="uint8",
            crs="EPSG:32636", transform=grid @ Affine.translation(right, down),
        ) as sink:  # fmt: skip
            sink.write(pixels, 1)
        images.append(Image(Source.of(tmp_path / f"{name}.tif"), tmp_path / f"{name}.tif", 1.0))
    with gdal_settings(), Files() as files:
        before, after, px_m = check_windows.displacements(images[1], images[0], files)
    east_north = np.array(grid @ (3, -2)) - np.array(grid @ (0, 0))
    assert px_m == pytest.approx(10)
    for found in (before, after):
        assert len(found) >= 4
        np.testing.assert_allclose(np.median(found, axis=0), east_north, atol=0.5)


def test_other_ground_and_missing_ground_have_no_shift() -> None:
    rng = np.random.default_rng(3)
    drawn = [textured(rng, (96, 96)).astype(np.float64) for _ in range(40)]
    assert sum(phase_shift(*two) is not None for two in zip(drawn[::2], drawn[1::2], strict=True)) <= 1
    part = drawn[0].copy()
    part[:9] = np.nan
    assert phase_shift(part, drawn[0]) is not None
    part[:10] = np.nan
    assert phase_shift(part, drawn[0]) is None
    assert phase_shift(np.zeros((96, 96)), np.zeros((96, 96))) is None


@pytest.mark.slow
@pytest.mark.parametrize("form", ["vrt", "resampled"])
def test_the_table_says_how_scenes_fit_before_and_after(series: Series, tmp_path: Path, form: str) -> None:
    sources = digests(series.archive)
    table = s2fast.open_run(series.out).align(tmp_path, form=form, check=True).set_index("scene_id")
    assert table["aligned"].all()
    for day, moved in DAYS.items():
        row = table.loc[scene_id(day)]
        assert row["before_median_m"] == pytest.approx(10 * np.hypot(*moved), abs=1.0)
        assert row["before_rmse_x_m"] == pytest.approx(10 * abs(moved[0]), abs=1.0)
        assert row["before_rmse_y_m"] == pytest.approx(10 * abs(moved[1]), abs=1.0)
        assert row["after_median_m"] < row["after_ce90_m"] < 1.0
        assert len(row["checked_with"].split()) >= 2
        assert row["n_windows"] > 2 * 4
    in_text = pd.read_csv(tmp_path / "alignment.csv").set_index("scene_id")
    on_map = geopandas.read_parquet(tmp_path / "alignment.parquet").set_index("scene_id")
    for found in (in_text, on_map):
        np.testing.assert_allclose(found["after_ce90_m"], table["after_ce90_m"])
    picture = (tmp_path / "alignment.svg").read_text()
    assert all(picture.count(f">{scene_id(day)}<") == 1 for day in DAYS)
    before = digests(tmp_path)
    s2fast.open_run(series.out).align(tmp_path, form=form, check=True)
    assert digests(tmp_path) == before
    assert digests(series.archive) == sources
    s2fast.open_run(series.out).align(tmp_path, form=form)
    assert before.keys() - digests(tmp_path).keys() == {"alignment.svg"}
    assert "after_ce90_m" not in pd.read_csv(tmp_path / "alignment.csv")


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["median", scene_id("20190517")])
def test_a_scene_verified_by_mistake_is_withdrawn(
    series: Series, tmp_path: Path, reference: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("align", series.false, "--to", tmp_path, "--reference", reference)
    assert command(monkeypatch, *asked) == 0  # nothing in the run's tables gives it away
    assert len(list(tmp_path.glob("*.vrt"))) == 4
    assert command(monkeypatch, *asked, "--check") == 3
    wrong = scene_id("20190427")
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(lines) == 1
    # Relative to the second reference the date was displaced by 22 m, so 20 m are no worse, but wrong all the same.
    told = "got worse" if reference == "median" else "the correction does not fit the image"
    assert lines[0].startswith(f"s2fast: left out: {wrong}: {told}: median displacement ")
    table = pd.read_csv(tmp_path / "alignment.csv", keep_default_na=False).set_index("scene_id")
    assert not table.loc[wrong, "aligned"]
    assert table.loc[wrong, "files"] == ""
    assert table.loc[wrong, "after_median_m"] == pytest.approx(20, abs=1.5)
    assert (table.drop(wrong)["after_median_m"] < 1).all()
    assert not table.drop(wrong)["checked_with"].str.contains(wrong).any()
    if reference != "median":
        assert table.drop([wrong, reference])["checked_with"].str.contains(reference).any()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted(
        [*table.drop(wrong)["files"], "alignment.csv", "alignment.html", "alignment.parquet", "alignment.svg"]
    )
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert command(monkeypatch, *asked, "--check") == 3
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == found


@pytest.mark.slow
def test_scenes_that_do_not_fit_the_reference_are_withdrawn(series: Series, tmp_path: Path) -> None:
    reference = scene_id("20190427")
    run = s2fast.open_run(series.false)
    table = run.align(tmp_path, reference=reference, check=True).set_index("scene_id")
    assert table["aligned"].tolist() == [True, False, False, False]
    assert (table.drop(reference)["checked_with"] == reference).all()


@pytest.mark.slow
def test_an_offset_too_large_to_be_found_is_withdrawn(series: Series, tmp_path: Path) -> None:
    shutil.copytree(series.out, tmp_path / "out")
    falsify(tmp_path / "out", scene_id("20190427"), 900.0)
    table = s2fast.open_run(tmp_path / "out").align(tmp_path / "to", check=True).set_index("scene_id")
    assert table["aligned"].tolist() == [False, True, True, True]
    assert "correlates with the other scenes before the correction, but not after" in table["reason"].iloc[0]


def vanished(path: Path) -> None:
    path.unlink()


def damaged(path: Path) -> None:
    """Overwrite the pixels of a raster; its size and time stay."""
    times, data = path.stat(), path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def without_grid(path: Path) -> None:
    path.unlink()
    with (
        pytest.warns(NotGeoreferencedWarning),
        rasterio.open(path, "w", driver="GTiff", width=SIDE, height=SIDE, count=3, dtype="uint8") as dataset,
    ):
        dataset.write(np.ones((3, SIDE, SIDE), np.uint8))


def on_other_grid(path: Path) -> None:
    path.unlink()
    with rasterio.open(
        path, "w", driver="GTiff", width=90, height=70, count=3, dtype="uint8", crs="EPSG:4326",
        transform=from_origin(-60, 10, 1, 1),
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((3, 70, 90), np.uint8))


@contextmanager
def broken(
    series: Series, days: Iterable[str], how: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Change the sources of some dates when the check begins, and restore them afterwards."""
    paths = [safe_path(series.archive, TILE, f"{day}T083601") for day in days]
    kept = [(path, path.read_bytes(), path.stat()) for path in paths]

    def prove(*arguments: object) -> dict[str, proof.Proof]:
        for path in paths:
            how(path)
        return proof.prove(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(aligned, "prove", prove)
        try:
            yield
        finally:
            for path, data, times in kept:
                path.write_bytes(data)
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "how", "told"),
    [
        ("vrt", vanished, "cannot be checked: {to}.vrt: {source}: No such file"),
        ("cog", vanished, "cannot be checked: {source}: cannot be opened as a raster ({source}: No such file"),
        ("vrt", damaged, "cannot be checked: {to}.vrt: T36UYA_20190517T083601_TCI.jp2, band 1: IReadBlock failed"),
        ("vrt", without_grid, "cannot be checked: {source}: it has lost its georeferencing"),
        ("vrt", on_other_grid, "{source} has changed since the run began"),
    ],
)
def test_a_scene_that_cannot_be_read_is_named_and_the_others_are_checked(
    series: Series, tmp_path: Path, form: str, how: Callable[[Path], None], told: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with broken(series, ["20190517"], how, monkeypatch):
        assert command(monkeypatch, "align", series.out, "--to", tmp_path, "--as", form, "--check") == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("s2fast: ")]
    gone = scene_id("20190517")
    source = safe_path(series.archive, TILE, "20190517T083601")
    assert len(lines) == 1
    wanted = told.format(to=tmp_path / f"{gone}_TCI", source=source)
    assert lines[0].startswith(f"s2fast: left out: {gone}: {wanted}")
    table = pd.read_csv(tmp_path / "alignment.csv", keep_default_na=False).set_index("scene_id")
    assert table["aligned"].tolist() == [True, True, False, True]
    assert table["n_windows"].drop(gone).min() > 4
    assert not table["checked_with"].str.contains(gone).any()
    assert not list(tmp_path.glob(f"{gone}*"))


@pytest.mark.slow
def test_a_scene_whose_partners_vanished_is_not_checked(
    series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *others = DAYS
    with broken(series, others, vanished, monkeypatch):
        assert command(monkeypatch, "align", series.out, "--to", tmp_path, "--check") == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("s2fast: ")]
    unchecked = f"s2fast: {scene_id(first)}: not checked: no other corrected scene can be compared with it"
    assert lines[0] == unchecked
    assert [line.split(":")[2].strip() for line in lines[1:]] == [scene_id(day) for day in others]
    assert len(list(tmp_path.glob("*.vrt"))) == 1
    with broken(series, DAYS, vanished, monkeypatch):
        table = s2fast.open_run(series.out).align(tmp_path, check=True)
    assert table["reason"].str.contains("No such file").all()
    assert not list(tmp_path.glob("*.vrt"))


@pytest.mark.slow
def test_a_damaged_output_is_removed_and_written_again(series: Series, tmp_path: Path) -> None:
    run = s2fast.open_run(series.out)
    path = tmp_path / run.align(tmp_path, form="cog")["files"].iloc[1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    table = run.align(tmp_path, form="cog", check=True)
    assert table["aligned"].tolist() == [True, False, True, True]
    assert table["reason"].iloc[1].startswith(f"cannot be checked: {path}: ")
    assert not path.exists()
    assert run.align(tmp_path, form="cog", check=True)["aligned"].all()


@pytest.mark.slow
def test_each_file_is_opened_once(series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Source] = []

    def counted(source: Source) -> rasterio.DatasetReader:
        opened.append(source)
        return open_dataset(source)

    monkeypatch.setattr(check_windows, "open_dataset", counted)
    s2fast.open_run(series.out).align(tmp_path, form="cog", check=True)
    assert len(opened) == len(set(opened)) == 2 * len(DAYS)


@pytest.mark.slow
def test_a_window_is_read_as_gdal_warps_the_whole(series: Series, tmp_path: Path) -> None:
    table = s2fast.open_run(series.out).align(tmp_path)
    window = Window(17, 33, 96, 96)
    with gdal_settings(), ExitStack() as stack:
        moved, fixed = (stack.enter_context(rasterio.open(tmp_path / name)) for name in table["files"][2:])
        grid = {"crs": fixed.crs, "transform": fixed.transform, "width": fixed.width, "height": fixed.height}
        whole = WarpedVRT(moved, **grid, resampling=Resampling.cubic, src_nodata=0, nodata=0)
        wanted = stack.enter_context(whole).read(1, window=window)
        np.testing.assert_array_equal(check_windows._on_grid(moved, fixed, window), wanted)


def test_wrong_scenes_are_set_aside_the_worst_first(monkeypatch: pytest.MonkeyPatch) -> None:
    at_m = {"a": 0.0, "b": 0.0, "c": 30.0, "d": 90.0}

    def compared(image: Image, other: Image, files: Files) -> proof._Compared:
        away = abs(at_m[str(image.after)] - at_m[str(other.after)])
        return proof._Compared(proof.Left(0, 0, 0, 0), proof.Left(away, away, away, 0), 9, away - 5)

    monkeypatch.setattr(proof, "_compared", compared)

    def wrong(names: str) -> list[str]:
        images = {name: Image(Source.of("/x.tif"), Path(name), 0.1) for name in names}
        pairs = pd.DataFrame(itertools.combinations(names, 2), columns=["query", "train"])
        proofs = proof.prove(images, pairs.assign(verified=True, n_inliers=9))
        return [name for name, found in proofs.items() if found.problem]

    assert wrong("abcd") == ["c", "d"]
    assert wrong("ab") == []
    assert wrong("abc") == ["c"]
    # Nothing tells which of two is wrong.
    assert wrong("ac") == ["a", "c"]


@pytest.mark.slow
def test_displacements_that_vary_over_a_scene_are_noted(
    series: Series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bent = scene_id("20190517")
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    around = np.column_stack([np.cos(angle), np.sin(angle)])

    def displacements(image: Image, other: Image, files: Files) -> tuple[object, object, float]:
        # Half a pixel is 5 m.
        length = 6.0 if bent in f"{image.after} {other.after}" else 4.0
        return length * around, length * around, 10.0

    monkeypatch.setattr(proof, "displacements", displacements)
    run = s2fast.open_run(series.out)
    table = run.align(tmp_path, check=True).set_index("scene_id")
    assert table["aligned"].all()
    assert table.index[table["note"] != ""].tolist() == [bent]
    assert table.loc[bent, "note"] == (
        "displacements that vary over it, or over the scenes that it is compared with, remain: median length 6.00 m; "
        "try model auto"
    )


def test_partners_that_cannot_be_read_are_replaced_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def compared(image: Image, other: Image, files: Files) -> proof._Compared:
        for one in (other, image):
            if one.before.posix.name in ("v.tif", "w.tif", "reference.tif"):
                raise UnreadableError(one, f"cannot be checked: {one.before.posix.name}")
        return proof._Compared(proof.Left(0, 0, 0, 0), proof.Left(0, 0, 0, 0), 9, -1.0)

    monkeypatch.setattr(proof, "_compared", compared)
    names = [*"vwabcd", "reference"]
    images = {name: Image(Source.of(f"/{name}.tif"), Path(name), 0.1) for name in names}
    images["reference"] = Image(Source.of("/reference.tif"), None, 0.0)
    pairs = pd.DataFrame(itertools.combinations(names, 2), columns=["query", "train"])
    proofs = proof.prove(images, pairs.assign(verified=True, n_inliers=9), "reference")
    compared_with = {name: set(found.partners) for name, found in proofs.items() if found.partners}
    assert compared_with == {name: set("abcd") - {name} for name in "abcd"}
    assert {name: found.problem for name, found in proofs.items() if found.problem} == {
        name: f"cannot be checked: {name}.tif" for name in ("v", "w", "reference")
    }
