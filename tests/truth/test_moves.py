"""Copies moved by known amounts: the kernel, the written files, and the answers held against what is known."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from s2fast.config import Config
from s2fast.files.source import Source
from s2fast.model import Window
from s2fast.planning import Job, plan
from s2fast.truth.copies import Injection, inject
from s2fast.truth.moves import Move, moved
from s2fast.truth.settings import Injected
from s2fast.truth.write import Copy, write_copy
from tests.archives import textured, write_scene


def waves(shape: tuple[int, int], right: float, down: float) -> np.ndarray:
    rows, cols = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    at = (cols - right, rows - down)
    return sum(60 * np.sin((i * at[0] + j * at[1]) / 4 + i) for i, j in ((1, 0.3), (-0.4, 1.2), (1.5, 1.1))) / 3 + 128


@pytest.mark.parametrize("by", [(0.5, -0.25), (-1.3, 0.9), (1.0, 0.0), (3.7, -3.9)])
def test_a_move_brings_every_wave_to_its_place(by: tuple[float, float]) -> None:
    shape = (97, 131)
    result, usable = moved(waves(shape, 0, 0).astype(np.float32), np.ones(shape, bool), Move(by))
    assert usable.any()
    # Lanczos with six lobes passes these waves (periods from 13 px) to a thousandth.
    np.testing.assert_allclose(result[usable], waves(shape, *by)[usable], atol=0.1)


def test_a_rotation_turns_about_the_centre_and_at_tells_where_to() -> None:
    shape, centre = (200, 220), (100.0, 90.0)
    move = Move.of((0.4, -0.7), centre, 2.0, 1.01)
    image = np.zeros(shape, np.float32)
    point = np.array([[150.0, 60.0]])
    image[60, 150] = 255
    image = cv2.GaussianBlur(image, (0, 0), 3)
    result, _ = moved(image, np.ones(shape, bool), move)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    found = np.array([(result * cols).sum(), (result * rows).sum()]) / result.sum()
    np.testing.assert_allclose(found, (point + move.at(point))[0], atol=0.02)  # positions are rounded to 1/32 px
    np.testing.assert_allclose(move.sources(point + move.at(point)), point, atol=1e-9)


def test_what_is_missing_never_reaches_into_the_result() -> None:
    image, valid = np.full((64, 64), 100, np.float32), np.ones((64, 64), bool)
    image[30:34, 30:34], valid[30:34, 30:34] = 0, False
    result, usable = moved(image, valid, Move((0.5, 0.5)))
    assert not usable[30:35, 30:35].any()
    np.testing.assert_allclose(result[usable], 100, atol=1e-3)


def test_a_copy_written_in_windows_equals_one_made_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    scene = textured(rng, (300, 260))
    scene[:40, :50] = 0
    path = write_scene(tmp_path / "scene.tif", scene)
    for move in (Move((0.6, -1.2)), Move((0.0, 0.0)), Move.of((0.3, 0.2), (130.0, 150.0), 1.0, 1.0)):
        copy = Copy(Window(0, 0, 300, 260), (10.0, 0, 5e5, 0, -10.0, 5e6), move, altered=False)
        made = []
        for side in (4096, 97):
            monkeypatch.setattr("s2fast.truth.write._SIDE_PX", side)
            out = tmp_path / f"copy{side}.tif"
            write_copy(Source.local(path), copy, Injected(), out)
            with rasterio.open(out) as dataset:
                made.append(dataset.read(1))
                assert tuple(dataset.transform)[:6] == copy.transform
        # OpenCV's rounding of positions to 1/32 px depends on where a window begins.
        most = 0 if move.straight else 3
        assert np.abs(made[0].astype(int) - made[1]).max() <= most
        if move.still:
            np.testing.assert_array_equal(made[0], scene)
        else:
            assert (made[0][:36, :46] == 0).all()


def test_alterations_do_what_they_say(tmp_path: Path) -> None:
    scene = textured(np.random.default_rng(5), (128, 128))
    path = write_scene(tmp_path / "scene.tif", scene)

    def copied(**settings: float) -> np.ndarray:
        copy = Copy(Window(0, 0, 128, 128), (10.0, 0, 5e5, 0, -10.0, 5e6), Move((0.0, 0.0)), altered=True)
        write_copy(Source.local(path), copy, Injected.model_validate(settings), tmp_path / "copy.tif")
        with rasterio.open(tmp_path / "copy.tif") as dataset:
            return dataset.read(1).astype(float)

    plain = scene.astype(float)
    np.testing.assert_array_equal(copied(haze=0.4), np.rint(plain * 0.6 + 255 * 0.4))
    assert copied(contrast=0.5).std() == pytest.approx(plain.std() / 2, rel=0.01)
    assert (copied(noise=2) - plain).std() == pytest.approx(5.1, rel=0.05)
    assert np.abs(np.diff(copied(blur_px=2))).mean() < 0.6 * np.abs(np.diff(plain)).mean()


def test_secrets_of_addresses_are_not_described(tmp_path: Path) -> None:
    ground = textured(np.random.default_rng(1), (160, 160))
    for day in (1, 2, 3):
        write_scene(tmp_path / "in" / f"T36UXA_2019040{day}T083601_TCI.tif", ground // day)
    first, *others = plan(Job(Config(), [tmp_path / "in"], None, tmp_path / "out")).found.scenes
    signed = replace(first.scene.source, secret=first.scene.source.name.replace("/in/", "/in/SECRET/../"))
    (tmp_path / "in" / "SECRET").mkdir()
    item = first.model_copy(update={"scene": replace(first.scene, source=signed)})
    path = inject([item, *others], Injected(scenes=3), tmp_path / "copies")
    assert "SECRET" not in path.read_text("utf-8")
    injection = Injection.load(path)
    stems = {Path(file).stem for file in injection.files}
    assert {name for pair in injection.same for name in pair} == {copy.scene_id for copy in injection.moved}
    assert str(first) not in {name for pair in injection.pairs for name in pair}
    assert sum(stem.startswith("still_") for stem in stems) == 1
    with rasterio.open(injection.scenes[0]) as still, rasterio.open(first.scene.source.name) as scene:
        np.testing.assert_array_equal(still.read(), scene.read())
        assert still.transform == scene.transform


def test_copies_are_made_once_and_described(tmp_path: Path) -> None:
    ground = textured(np.random.default_rng(1), (160, 160)).astype(float)
    for day in (1, 2, 3):
        write_scene(tmp_path / "in" / f"T36UXA_2019040{day}T083601_TCI.tif", (ground * (1 - day / 10)).astype(np.uint8))
    before = sorted((file, file.stat().st_mtime_ns) for file in (tmp_path / "in").rglob("*"))
    record = plan(Job(Config(), [tmp_path / "in"], None, tmp_path / "out"))
    messages: list[str] = []
    path = inject(record.found.scenes, Injected(scenes=3), tmp_path / "copies", messages.append)
    assert messages == [f"making 9 copies of 3 scenes in {tmp_path / 'copies'}"]
    first = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "copies").iterdir()}
    assert inject(record.found.scenes, Injected(scenes=3), tmp_path / "copies", messages.append) == path
    assert {name: first[name] for name in first if name.endswith(".tif")} == {
        file.name: file.stat().st_mtime_ns for file in (tmp_path / "copies").glob("*.tif")
    }
    assert len(messages) == 1
    assert sorted((file, file.stat().st_mtime_ns) for file in (tmp_path / "in").rglob("*")) == before
    injection = Injection.load(path)
    assert len(injection.same) == 3
    assert len(injection.unrelated) == 6
    assert len(injection.pairs) == 3 + 6 + 6
    injection.save(tmp_path / "again.json")
    assert asdict(Injection.load(tmp_path / "again.json")) == asdict(injection)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint8", 1), ("uint8", 128), ("uint8", 255), ("int16", -9999), ("int16", -32768), ("float32", 0.5),
     ("float64", np.nan)],
)  # fmt: skip
def test_valid_ground_never_becomes_the_nodata_value(dtype: str, nodata: float, tmp_path: Path) -> None:
    scene = textured(np.random.default_rng(5), (128, 128)).astype(dtype)
    scene[scene == nodata] = 100
    scene[:40] = nodata
    profile = {"driver": "GTiff", "width": 128, "height": 128, "count": 1, "dtype": dtype, "nodata": nodata,
               "transform": rasterio.Affine(10.0, 0, 5e5, 0, -10.0, 5e6)}  # fmt: skip
    with rasterio.open(tmp_path / "scene.tif", "w", **profile) as dataset:
        dataset.write(scene, 1)
    copy = Copy(Window(0, 0, 128, 128), (10.0, 0, 5e5, 0, -10.0, 5e6), Move((0.0, 0.0)), altered=True)
    source = Source.local(tmp_path / "scene.tif")
    for settings in (Injected(contrast=4), Injected(noise=20), Injected(haze=0.99)):
        write_copy(source, copy, settings, tmp_path / "copy.tif")
        with rasterio.open(tmp_path / "copy.tif") as dataset:
            np.testing.assert_array_equal(dataset.read_masks(1) != 0, np.arange(128)[:, None] >= np.full(128, 40))
            assert (dataset.read(1)[40:] != 0).all()
    # Contrast is about the mean of valid pixels.
    plain = scene[40:].astype(float)
    write_copy(source, copy, Injected(contrast=0.5), tmp_path / "copy.tif")
    with rasterio.open(tmp_path / "copy.tif") as dataset:
        assert dataset.read(1)[40:].mean() == pytest.approx(plain.mean(), abs=1)


def test_a_copy_has_the_bands_that_a_run_reads(tmp_path: Path) -> None:
    """Blue, green, red, near infrared, alpha: not the first three bands, and missing where alpha is 0."""
    values = np.stack([np.full((80, 90), 10 * band, np.uint8) for band in range(1, 6)])
    values[4, :20] = 0
    profile = {"driver": "GTiff", "width": 90, "height": 80, "count": 5, "dtype": "uint8",
               "transform": rasterio.Affine(10.0, 0, 5e5, 0, -10.0, 5e6)}  # fmt: skip
    meant = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined, ColorInterp.alpha)
    with rasterio.open(tmp_path / "scene.tif", "w", **profile) as dataset:
        dataset.colorinterp = meant
        dataset.write(values)
    copy = Copy(Window(0, 0, 80, 90), (10.0, 0, 5e5, 0, -10.0, 5e6), Move((0.0, 0.0)), altered=False)
    write_copy(Source.local(tmp_path / "scene.tif"), copy, Injected(), tmp_path / "copy.tif")
    with rasterio.open(tmp_path / "copy.tif") as dataset:
        assert dataset.read()[:, 50, 50].tolist() == [30, 20, 10]
        assert not dataset.read()[:, :20].any()


def test_noise_differs_from_scene_to_scene(tmp_path: Path) -> None:
    path, made = write_scene(tmp_path / "scene.tif", np.full((64, 64), 100, np.uint8)), []
    for number in (0, 0, 1):
        where = (10.0, 0, 5e5, 0, -10.0, 5e6)
        copy = Copy(Window(0, 0, 64, 64), where, Move((0.0, 0.0)), altered=True, number=number)
        write_copy(Source.local(path), copy, Injected(noise=5), tmp_path / "copy.tif")
        with rasterio.open(tmp_path / "copy.tif") as dataset:
            made.append(dataset.read(1))
    assert (made[0] == made[1]).all()
    assert (made[0] != made[2]).mean() > 0.5
