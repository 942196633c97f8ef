"""Pictures are found where they were cut, however turned and scaled, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from s2fast.config import load_config
from s2fast.errors import InputError, RunFolderError
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.retrieval import finder as module
from s2fast.retrieval.build import build
from s2fast.retrieval.finder import Finder
from s2fast.retrieval.index import Index
from s2fast.retrieval.picture import describe, read_image
from s2fast.retrieval.place import find_place_near
from s2fast.retrieval.votes import CANDIDATES, LATER_CANDIDATES
from tests.archives import ORIGINS, PIXEL_M, textured, write_scene
from tests.command_line import assert_one_line, s2fast
from tests.indexed import ORIENTED, Indexed
from tests.retrieval.conftest import Cut, picture

SCENE = "S2A_20190427T083601_T36UXA"
OTHER_DATE = "S2A_20190606T083601_T36UXA"


@pytest.mark.slow
@pytest.mark.parametrize(("turn", "factor"), [(0.0, 1.0), (90.0, 1.0), (217.0, 1.3), (35.0, 0.75)])
def test_a_turned_and_scaled_picture_is_found_on_another_date(
    finder: Finder, cut: Callable[..., Cut], turn: float, factor: float
) -> None:
    made = cut(SCENE, 215.0, 260.0, 220, turn, factor)
    found = finder.locate(made.image, {SCENE})
    assert found.verdict == "found"
    assert found.entry is not None
    assert found.place is not None
    corners = np.array([[0.0, 0.0], [219.0, 0.0], [219.0, 219.0], [0.0, 219.0]])
    wanted = corners @ made.to_scene[:, :2].T + made.to_scene[:, 2]
    if found.entry.tile == "36UXA":
        assert np.hypot(*(found.place.at(corners) - wanted).T).max() < 1.0
    assert found.grid is not None
    on_map = found.grid.on_map(corners, found.crs_wkt)
    west, north = ORIGINS["36UXA"]
    truth = np.column_stack([west + (wanted[:, 0] + 0.5) * PIXEL_M, north - (wanted[:, 1] + 0.5) * PIXEL_M])
    assert np.hypot(*(on_map - truth).T).max() < PIXEL_M
    assert found.place.scale == pytest.approx(1 / factor, rel=0.01)
    assert (found.place.rotation_deg - turn + 180) % 360 - 180 == pytest.approx(0, abs=0.5)
    assert found.nulls > 0
    assert found.nulls_verified == 0


@pytest.mark.slow
def test_votes_name_the_ground_by_any_date(finder: Finder, cut: Callable[..., Cut]) -> None:
    made = cut(SCENE, 120.0, 300.0, 200, 45.0)
    query = describe(made.image, finder.index, 700)
    ballot = finder.votes(query, {SCENE})
    names = [entry.scene_id for entry in finder.index.entries]
    ranked = ballot.ranked([entry.place for entry in finder.index.entries])
    assert names[ranked[0]] == OTHER_DATE
    assert SCENE not in {names[number] for number in ranked}
    assert ballot.dates == {"36UXA": 1, "36UYA": 2}
    assert ballot.places["36UXA"] > ballot.places["36UYA"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["other ground", "noise", "text", "stripes"])
def test_what_is_not_there_is_not_found(finder: Finder, kind: str) -> None:
    rng = np.random.default_rng(5)
    pixels = textured(rng, (220, 220))
    if kind == "noise":
        pixels = rng.integers(1, 256, (220, 220)).astype(np.uint8)
    if kind == "text":
        pixels = np.full((220, 220), 255, np.uint8)
        for row in range(20, 220, 20):
            cv2.putText(pixels, "not a place on Earth", (5, row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    if kind == "stripes":
        pixels = np.broadcast_to(np.where(np.arange(220) // 9 % 2, 60, 200).astype(np.uint8), (220, 220)).copy()
    found = finder.locate(picture(pixels))
    assert found.verdict == "not found"
    assert found.feature()["geometry"] is None


@pytest.mark.slow
def test_a_picture_is_found_near_its_votes_and_nowhere_else(finder: Finder, cut: Callable[..., Cut]) -> None:
    made = cut(SCENE, 215.0, 260.0, 128, 70.0)
    query = describe(made.image, finder.index, 700)
    number = [entry.scene_id for entry in finder.index.entries].index(SCENE)
    shape, train = finder.index.entries[number].shape, finder._features(number)
    at = finder.votes(query).at[number]
    assert np.hypot(*(at[:2] - (215, 260))) < 40
    place = find_place_near(query, train, made.image.shape, shape, at)
    assert place is not None
    corners = np.array([[0.0, 0.0], [127.0, 0.0], [127.0, 127.0], [0.0, 127.0]])
    assert np.hypot(*(place.at(corners) - corners @ made.to_scene[:, :2].T - made.to_scene[:, 2]).T).max() < 1.5
    assert find_place_near(query, train, made.image.shape, shape, at + np.array([200, 0, 0], np.float32)) is None
    assert find_place_near(query, train, made.image.shape, shape, at * np.array([1, 1, 9], np.float32)) is None


def test_what_is_verified_near_its_votes_has_null_trials_elsewhere(
    finder: Finder, cut: Callable[..., Cut], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_place", lambda *_: None)
    found = finder.locate(cut(SCENE, 215.0, 260.0, 128, 70.0).image)
    assert found.found
    assert found.entry is not None
    assert found.entry.tile == "36UXA"
    assert (found.nulls, found.nulls_verified) == (len(found.candidates), 0)


def test_later_candidates_may_raise_no_more_false_alarms_than_the_first(
    finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[float]] = {"find_place": [], "find_place_near": []}
    for rule, of_rule in asked.items():
        monkeypatch.setattr(module, rule, lambda *arguments, of_rule=of_rule: of_rule.append(arguments[-1]))
    monkeypatch.setattr(module, "CANDIDATES", 1)
    finder.locate(picture(textured(np.random.default_rng(8), (220, 220))))
    whole, near = asked.values()
    assert len(whole) == len(near) > 1  # no scene is compared as a whole twice
    assert whole[0] == 1
    # As many scenes as there may be: each is tried in two ways.
    assert 2 * LATER_CANDIDATES * (1 / near[0]) == pytest.approx(CANDIDATES)
    assert {*whole[1:], *near} == {near[0]}


@pytest.mark.slow
def test_ground_that_is_there_twice_is_ambiguous(tmp_path: Path) -> None:
    ground = textured(np.random.default_rng(3), (256, 256))
    write_scene(tmp_path / "scenes" / "here.tif", ground)
    write_scene(tmp_path / "scenes" / "there.tif", ground, (700_000.0, 5_400_000.0))
    job = Job(load_config(None, ORIENTED), [str(tmp_path / "scenes")], None, tmp_path / "out")
    run_stages(job, stages=["ingest", "extract"])
    build(str(tmp_path / "index"), [tmp_path / "out"], 0)
    noise = np.random.default_rng(4).normal(0, 6, ground.shape)
    seen = np.clip(np.rot90(ground) + noise, 0, 255).astype(np.uint8)[20:200, 40:220]
    found = Finder(Index(tmp_path / "index")).locate(picture(seen.copy()))
    assert found.verdict == "ambiguous"
    assert (found.nulls, found.nulls_verified) == (2, 1)


def test_the_place_does_not_depend_on_the_run(
    indexed: Indexed, cut: Callable[..., Cut], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(str(tmp_path / "index"), [indexed.out], 700)
    finder = Finder(Index(tmp_path / "index"), keypoints=700)
    monkeypatch.setattr(finder.index.contents, "runs", [str(tmp_path / "gone")])
    found = finder.locate(cut(SCENE, 215.0, 260.0, 220, 20.0).image)
    assert found.verdict == "found"
    with pytest.raises(InputError, match="cannot be drawn, from the run"):
        found.show()


@pytest.mark.slow
def test_files_are_written(
    indexed: Indexed, cut: Callable[..., Cut], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cut(SCENE, 215.0, 260.0, 200, 30.0)
    colours = np.stack([made.image.grey] * 3, axis=2)
    cv2.imwrite(str(tmp_path / "scan.png"), colours)
    files = [tmp_path / name for name in ("located.tif", "where.geojson", "drawn.png")]
    options = [text for file in files for text in ("-o", file)]
    assert s2fast(monkeypatch, "find", indexed.index, tmp_path / "scan.png", *options) == 0
    with rasterio.open(files[0]) as located:
        assert located.read().shape == (3, 200, 200)
        assert (located.read(1) == made.image.grey).all()
        x, y = located.transform @ (100.0, 100.0)
        assert located.crs.to_epsg() == 32636
    west, north = ORIGINS["36UXA"]
    assert abs(x - (west + 215.5 * PIXEL_M)) < PIXEL_M
    assert abs(y - (north - 260.5 * PIXEL_M)) < PIXEL_M
    feature = json.loads(files[1].read_text())["features"][0]
    assert feature["geometry"]["type"] == "Polygon"
    assert feature["properties"]["verdict"] == "found"
    assert cv2.imread(str(files[2])).std() > 10


@pytest.mark.slow
def test_pictures_that_cannot_be_used_are_named_and_the_rest_goes_on(
    indexed: Indexed,
    cut: Callable[..., Cut],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = cut(SCENE, 215.0, 260.0, 200, 30.0).image.grey
    pictures = {
        "empty": (np.zeros((100, 100), np.uint8), "it is empty"),
        "one": (np.full((100, 100), 90, np.uint8), "it has one colour"),
        "tiny": (good[:20, :20], "are too few"),
    }
    for name, (pixels, _) in pictures.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
    (tmp_path / "words.png").write_text("words")
    (tmp_path / "cut.bmp").write_bytes(b"BM" + bytes(60))
    whole = cv2.imencode(".png", good)[1].tobytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) * 2 // 3])
    cv2.imwrite(str(tmp_path / "good.tif"), good.astype(np.uint16) * 30 + 900)
    cv2.imwrite(str(tmp_path / "good.bmp"), good)
    names = [*(f"{name}.png" for name in (*pictures, "words", "cut")), "cut.bmp", "good.tif", "good.bmp"]
    assert s2fast(monkeypatch, "find", indexed.index, *(tmp_path / name for name in names)) == 2
    said = capsys.readouterr()
    assert said.out.count(": found in") == 2
    errors = [line for line in said.err.splitlines() if "error:" in line]
    assert len(errors) == 6
    assert any("cut.png: it is truncated" in line for line in errors)
    for name, (_, text) in pictures.items():
        assert any(f"{name}.png" in line and text in line for line in errors)
    assert "Traceback" not in said.err


def test_not_in_the_archive_is_exit_code_1(
    indexed: Indexed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "far.png"), textured(np.random.default_rng(9), (200, 200)))
    assert s2fast(monkeypatch, "find", indexed.index, tmp_path / "far.png") == 1
    assert "far.png: not found" in capsys.readouterr().out
    assert s2fast(monkeypatch, "find", indexed.index, tmp_path / "far.png", "-o", "x.gif") == 2
    assert_one_line(capsys.readouterr().err, "x.gif: the name must end in .geojson, .tif, .tiff, .png, .pdf or .svg")


@pytest.mark.slow
def test_a_large_picture_is_read_at_a_lower_resolution(tmp_path: Path) -> None:
    pixels = textured(np.random.default_rng(1), (600, 9000))
    cv2.imwrite(str(tmp_path / "wide.png"), pixels)
    image = read_image(str(tmp_path / "wide.png"))
    assert image.grey.shape == (273, 4096)
    assert image.shape == (600, 9000)


def test_an_index_that_cannot_serve_is_refused(indexed: Indexed, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index(indexed.index)
    monkeypatch.setattr(index.contents, "made", index.contents.made.model_copy(update={"upright": True}))
    with pytest.raises(RunFolderError, match=r"s2fast\.run\(.*features\.upright.*then s2fast\.index"):
        Finder(index)
    monkeypatch.setattr(index.contents, "made", index.contents.made.model_copy(update={"upright": False, "octaves": 1}))
    with pytest.raises(RunFolderError, match="one scale"):
        Finder(index)


def test_a_virtual_raster_under_another_name_is_not_opened(
    indexed: Indexed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = '<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1"/></VRTDataset>'
    (tmp_path / "scan.png").write_text(hostile)
    assert s2fast(monkeypatch, "find", indexed.index, tmp_path / "scan.png") == 2
    assert_one_line(capsys.readouterr().err, "its content is XML")
