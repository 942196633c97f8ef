"""Indexes: exact votes, appended and resumed, damaged or of another format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from s2fast.config import load_config
from s2fast.errors import DamageError, InputError, RunFolderError, SceneError
from s2fast.folder.checksums import sealed, unsealed
from s2fast.folder.record import RUN_JSON
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.results import Run
from s2fast.retrieval import build as building
from s2fast.retrieval import clusters
from s2fast.retrieval.build import build, spread
from s2fast.retrieval.cells import CELL_SIDES, OCTAVE_BINS, SCALES, STEPS, TURNS, bins_of, cells_of
from s2fast.retrieval.finder import Finder
from s2fast.retrieval.index import INDEX_JSON, Index, Keypoints, read_contents
from s2fast.retrieval.picture import Image
from s2fast.retrieval.votes import MAX_BITS, RATIO, Box, vote, votes_of
from s2fast_kernels.hamming_top2 import hamming_top2
from s2fast_kernels.hamming_top2.cases import random_descriptors
from tests.archives import Archive
from tests.command_line import assert_one_line, s2fast
from tests.indexed import ORIENTED, Indexed
from tests.judged import Judged


def files(folder: Path) -> dict[str, bytes]:
    """Content of an index but for its lock."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_index_holds_the_strongest_keypoints_of_every_part(indexed: Indexed) -> None:
    index, folder = Index(indexed.index), RunFolder(indexed.out)
    assert len(index.entries) == 4
    for number, entry in enumerate(index.entries):
        wanted = spread(folder.features(entry.scene_id), entry.shape, 700)
        found = index.scene(number)
        assert len(found) == 700
        for name in ("xy", "size", "angle", "descriptors"):
            assert (getattr(found, name) == getattr(wanted, name)).all()
        quadrants = np.bincount(((found.xy > 256) @ (1, 2)).astype(int), minlength=4)
        assert quadrants.min() > 100


def test_votes_are_those_of_a_plain_loop(indexed: Indexed) -> None:
    index = Index(indexed.index)
    query = index.scene(0).take(np.arange(60))
    noisy = query.descriptors.copy()
    noisy[:, :2] ^= random_descriptors(np.random.default_rng(2), 60)[:, :2] & np.uint64(0x0101010101010101)
    query = Keypoints(query.xy, query.size, query.angle, noisy)
    ballot = vote(index, query, without={index.entries[3].scene_id})
    xy = query.xy.astype(np.float64)
    middle = (xy.min(axis=0) + xy.max(axis=0)) / 2
    side = float(np.ptp(query.xy, axis=0).max())
    cast: dict[str, dict[tuple[int, int], float]] = {}
    for number, entry in enumerate(index.entries[:3]):
        scene = index.scene(number)
        apart = np.bitwise_count(query.descriptors[:, None] ^ scene.descriptors).sum(axis=2)
        best: dict[int, tuple[int, int]] = {}
        for row in range(60):
            order = np.argsort(apart[row], kind="stable")[:2]
            one, two = apart[row][order]
            if one <= MAX_BITS and one < RATIO * two:
                known = best.get(int(order[0]))
                if known is None or (one, row) < known:
                    best[int(order[0])] = (one, row)
        counts: dict[int, float] = {}
        for train, (one, row) in best.items():
            bins = bins_of(query.size[[row]], query.angle[[row]], scene.size[[train]], scene.angle[[train]])
            # Where the middle lies: the keypoint's own way to it, turned and scaled, as complex numbers.
            turn = float(scene.angle[train]) - float(query.angle[row])
            by = float(scene.size[train]) / float(query.size[row]) * np.exp(1j * turn)
            lies = complex(*scene.xy[train].tolist()) + by * complex(*(middle - xy[row]).tolist())
            step = side * CELL_SIDES / STEPS * 2.0 ** (bins[0, 0] % SCALES / OCTAVE_BINS - 5)
            at = np.floor(np.array([[lies.real, lies.imag]]) / step).astype(int)
            votes = cast.setdefault(entry.place, {})
            for code in cells_of(bins[:, 0], at)[0].tolist():
                counts[code] = counts.get(code, 0.0) + 1 - one / MAX_BITS
                votes[row, code] = max(votes.get((row, code), 0.0), 1 - one / MAX_BITS)
        assert ballot.scenes[number] == pytest.approx(max(counts.values()), rel=1e-12)
    assert ballot.scenes[3] == -1
    for place, votes in cast.items():
        total: dict[int, float] = {}
        for (_, code), weight in votes.items():
            total[code] = total.get(code, 0.0) + weight
        assert ballot.places[place] == pytest.approx(max(total.values()), rel=1e-12)


def test_votes_that_agree_count_in_one_cell() -> None:
    """Any two votes that differ by less than a bin or cell in all four share one; by two or more, none."""
    rng = np.random.default_rng(0)

    def cells(turn: float, octaves: float, x: float, y: float) -> set[int]:
        size = np.full(1, 4.0, np.float32)
        bins = bins_of(size, np.zeros(1, np.float32), size * np.float32(2**octaves), np.full(1, turn, np.float32))
        step_px = CELL_SIDES * 100 / STEPS * 2.0 ** (bins[0, 0] % SCALES / OCTAVE_BINS - 5)
        return set(cells_of(bins[:, 0], np.floor(np.array([[x, y]]) / step_px).astype(int))[0].tolist())

    for _ in range(200):
        turn, octaves, x, y = rng.uniform(0, 6), rng.uniform(-2, 2), rng.uniform(0, 1000), rng.uniform(0, 1000)
        here, cell = cells(turn, octaves, x, y), CELL_SIDES * 100 * 2**octaves
        assert len(here) == 16
        near = rng.uniform(-1, 1, 4) * (0.9 * 2 * np.pi / TURNS, 0.2, 0.3 * cell, 0.3 * cell)
        assert here & cells(*(np.array([turn, octaves, x, y]) + near))
        for away in ((2.1 * 2 * np.pi / TURNS, 0, 0, 0), (0, 1.1, 0, 0), (0, 0, 3.1 * cell, 0), (0, 0, 0, -3.1 * cell)):
            assert not here & cells(*(np.array([turn, octaves, x, y]) + away))


def test_dates_of_a_place_on_other_grids_vote_together(indexed: Indexed) -> None:
    index = Index(indexed.index)
    query = index.scene(0).take(np.flatnonzero((index.scene(0).xy < 200).all(axis=1)))
    [segment] = index.contents.segments
    moved = segment.entries[0].model_copy(update={"transform": _east(segment.entries[0].transform, 100)})
    offsets, both = np.array([0, 700, 1400]), np.concatenate([index.keypoints(segment)[:700]] * 2)
    both[700:, 0] -= 100  # the same ground, 100 px farther left
    descriptors = np.concatenate([index.descriptors(segment)[:700]] * 2)
    places = []
    for entries in ([segment.entries[0], moved], segment.entries[:1]):
        number = len(entries)
        found = hamming_top2(query.descriptors, descriptors[: 700 * number], offsets[: number + 1])
        box = Box(entries)
        box.add(0, np.ones(number, np.bool_), votes_of(found, query, both[: 700 * number], offsets[: number + 1]))
        ballot = box.counted(0)
        places.append(ballot.places[entries[0].place])
        np.testing.assert_allclose(ballot.at[:, 2] / np.ptp(query.xy, axis=0).max(), 1, rtol=0.5)
        assert np.abs(ballot.at[:, :2] - (100, 100) + np.array([[0, 0], [100, 0]])[:number]).max() < 20
    # Each keypoint counts once: the second date adds nothing but what rounding moves to another cell.
    assert places[0] == pytest.approx(places[1], rel=0.15)


def _east(transform: tuple[float, ...], columns: int) -> tuple[float, ...]:
    a, b, c, d, e, f = transform
    return a, b, c + a * columns, d, e, f


@pytest.mark.slow
def test_scenes_are_added_once_and_segments_are_kept(indexed: Indexed, archive: Archive, tmp_path: Path) -> None:
    half = tmp_path / "half"
    scenes = [str(path) for path in sorted(archive.scenes.iterdir()) if "20190427" in path.name]
    run_stages(Job(load_config(None, ORIENTED), scenes, None, half), stages=["ingest", "extract"])
    to = str(tmp_path / "index")
    build(to, [half], 700)
    before = files(tmp_path / "index")
    contents = build(to, [half, indexed.out], 700)
    assert [len(segment.entries) for segment in contents.segments] == [2, 2]
    after = files(tmp_path / "index")
    assert {name: data for name, data in before.items() if name != INDEX_JSON}.items() <= after.items()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "index").rglob("*") if path.is_file()}
    build(to, [indexed.out], 700)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    whole, parts = Index(indexed.index), Index(to)
    query = whole.scene(1).take(np.arange(200))
    votes = [
        dict(zip([entry.scene_id for entry in index.entries], vote(index, query).scenes.tolist(), strict=True))
        for index in (whole, parts)
    ]
    assert votes[0] == votes[1]


def test_an_interrupted_index_is_continued(
    indexed: Indexed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(building, "SEGMENT_SCENES", 1)
    to = tmp_path / "index"
    written = []

    def stopped(folder: str, *rest: object) -> object:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(folder)
        return original(folder, *rest)  # type: ignore[arg-type]

    original = building.write_segment
    monkeypatch.setattr(building, "write_segment", stopped)
    with pytest.raises(KeyboardInterrupt):
        build(str(to), [indexed.out], 700)
    assert s2fast(monkeypatch, "find", to, "any.png") == 2
    assert_one_line(capsys.readouterr().err, "is not finished: run the s2fast index command again")
    kept = {name: data for name, data in files(to).items() if name.startswith("segments/")}
    monkeypatch.setattr(building, "write_segment", original)
    contents = build(str(to), [indexed.out], 700)
    assert len(contents.segments) == 4
    assert kept.items() <= files(to).items()
    assert len(Index(to).entries) == 4


@pytest.mark.slow
def test_other_features_of_a_scene_replace_the_old_ones(indexed: Indexed, archive: Archive, tmp_path: Path) -> None:
    out, to = tmp_path / "out", str(tmp_path / "index")
    shutil.copytree(indexed.out, out)
    build(to, [out], 700)
    changed = ORIENTED | {"features.max_per_scene": 900}
    run_stages(Job(load_config(None, changed), [str(archive.scenes)], None, out), stages=["ingest", "extract"])
    build(to, [out], 700)
    index = Index(to)
    assert index.counted.tolist() == [False] * 4 + [True] * 4
    ballot = vote(index, index.scene(4).take(np.arange(50)))
    assert (ballot.scenes[:4] == -1).all()
    assert ballot.dates == {"36UXA": 2, "36UYA": 2}


def test_a_damaged_index_says_so(indexed: Indexed, tmp_path: Path) -> None:
    to = tmp_path / "index"
    shutil.copytree(indexed.index, to)
    [segment] = (to / "segments").glob("*.descriptors")
    data = bytearray(segment.read_bytes())
    data[1000] ^= 1
    segment.write_bytes(data)
    index = Index(to)
    with pytest.raises(DamageError, match="its checksum is wrong"):
        vote(index, index.scene(0))
    segment.unlink()
    segment.symlink_to(indexed.index / "segments" / segment.name)
    with pytest.raises(RunFolderError, match="is a link"):
        index.scene(0)


@pytest.mark.slow
def test_another_format_and_other_folders_are_refused(
    indexed: Indexed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "index"
    shutil.copytree(indexed.index, to)
    fields = unsealed(json.loads((to / INDEX_JSON).read_text()))
    (to / INDEX_JSON).write_text(json.dumps(sealed(fields | {"format": 9})))
    assert s2fast(monkeypatch, "find", to, "any.png") == 2
    assert_one_line(capsys.readouterr().err, "is of another format")
    (to / INDEX_JSON).write_text("{")
    with pytest.raises(RunFolderError, match="is damaged"):
        read_contents(str(to))
    with pytest.raises(RunFolderError, match="holds no index"):
        Index(tmp_path / "none")
    with pytest.raises(RunFolderError, match=r"is a run folder, not an index: make one of it with s2fast\.index"):
        Index(indexed.out)
    with pytest.raises(RunFolderError, match="is no index"):
        build(str(indexed.out), [indexed.out], 700)
    with pytest.raises(InputError, match="was made otherwise, with per_scene = 700"):
        build(str(indexed.index), [indexed.out], 300)
    with pytest.raises(RunFolderError, match="holds no run"):
        build(str(tmp_path / "new"), [tmp_path / "none"], 300)


@pytest.mark.parametrize(
    "wrong",
    [
        {"segments": [{"key": "0" * 32, "entries": [], "sums": {"descriptors": [0, 1], "keypoints": [0, 1]}}]},
        {"clusters": {"key": "0" * 32, "lists": 0, "probed": 1, "recall": 1.0, "queries": 1}},
        {"clusters": {"key": "0" * 32, "lists": 1, "probed": 0, "recall": 1.0, "queries": 1}},
    ],
)
def test_numbers_that_no_index_has_are_refused(indexed: Indexed, tmp_path: Path, wrong: dict[str, object]) -> None:
    fields = unsealed(json.loads((indexed.index / INDEX_JSON).read_text()))
    (tmp_path / INDEX_JSON).write_text(json.dumps(sealed(fields | wrong)))
    with pytest.raises(RunFolderError, match="is of another format: make the index again"):
        Index(tmp_path)


@pytest.mark.parametrize(("place", "value"), [(0, 0.0), (4, False), (1, 1e400), (5, "nan")])
def test_a_grid_whose_pixels_have_no_area_is_refused(
    indexed: Indexed, tmp_path: Path, place: int, value: object
) -> None:
    fields = unsealed(json.loads((indexed.index / INDEX_JSON).read_text()))
    fields["segments"][0]["entries"][0]["transform"][place] = value
    (tmp_path / INDEX_JSON).write_text(json.dumps(sealed(fields)))
    with pytest.raises(RunFolderError, match="is of another format: make the index again"):
        Index(tmp_path)
    run = unsealed(json.loads((indexed.out / RUN_JSON).read_text()))
    run["scenes"][0]["raster"]["transform"][place] = value
    (tmp_path / RUN_JSON).write_text(json.dumps(sealed(run)))
    with pytest.raises(RunFolderError, match=r"run\.json is damaged"):
        Run(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("crs", ["A:0", "EPSG:1", "PROJCS[", 'LOCAL_CS["site",UNIT["metre",1]]', "EPSG:4978"])
def test_a_crs_that_is_none_ends_in_one_line(indexed: Indexed, tmp_path: Path, crs: str) -> None:
    shutil.copytree(indexed.index, tmp_path / "index")
    fields = unsealed(json.loads((indexed.index / INDEX_JSON).read_text()))
    (tmp_path / "index" / INDEX_JSON).write_text(json.dumps(sealed(fields | {"crs": [crs]})))
    finder = Finder(Index(tmp_path / "index"))
    query = finder.index.scene(0).take(np.arange(200))
    image = Image("a.png", np.zeros((256, 256), np.uint8), np.zeros((256, 256), np.bool_), (512, 512))
    with pytest.raises(SceneError, match="is no CRS of a map: make the run, index or file that has it again"):
        finder.judge(image, query, finder.votes(query))


FIELDS = ("xy", "size", "angle", "descriptors")


@pytest.mark.parametrize("east", [5.5e21, -1.7e308])
def test_a_scene_that_lies_nowhere_is_voted_for_alone(indexed: Indexed, tmp_path: Path, east: float) -> None:
    fields = unsealed(json.loads((indexed.index / INDEX_JSON).read_text()))
    # Half of the picture's keypoints are from either date of the place.
    one, other = (Index(indexed.index).scene(number).take(np.arange(100)) for number in (0, 1))
    query = Keypoints(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in FIELDS))
    votes = []
    # 8,000 km are another continent, which is as good as nowhere.
    for number, place in enumerate((8e6, east)):
        shutil.copytree(indexed.index, tmp_path / f"{number}")
        fields["segments"][0]["entries"][0]["transform"][2] = place
        (tmp_path / f"{number}" / INDEX_JSON).write_text(json.dumps(sealed(fields)))
        votes.append(vote(Index(tmp_path / f"{number}"), query))
    far, nowhere = votes
    np.testing.assert_array_equal(nowhere.scenes, far.scenes)
    assert nowhere.places == far.places
    assert far.places["36UXA"] < 0.9 * vote(Index(indexed.index), query).places["36UXA"]


def test_keypoints_by_which_nothing_could_be_found_are_refused(
    judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s2fast(monkeypatch, "index", judged.plain, "--to", tmp_path / "index") == 2
    said = capsys.readouterr().err
    assert_one_line(said, "holds upright keypoints")
    assert "features.upright=false" in said
    assert not (tmp_path / "index").exists()


def test_inverted_lists_find_what_the_exact_search_finds(
    indexed: Indexed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "_LEAST_ROWS", 100)
    to = str(tmp_path / "index")
    build(to, [indexed.out], 700)
    with pytest.raises(RunFolderError, match="has no inverted lists"):
        clusters.vote_by_lists(Index(to), Index(to).scene(0))
    drawn: list[int] = []
    read = Index.scene
    with monkeypatch.context() as watched:
        watched.setattr(Index, "scene", lambda index, number: drawn.append(number) or read(index, number))
        made = clusters.make_clusters(to)
    assert sorted(drawn) == list(range(len(Index(to).entries))), "its recall is measured on all of so few scenes"
    assert made.lists == 64
    assert made.probed < made.lists
    assert made.recall >= clusters.WANTED_RECALL
    index = Index(to)
    query = index.scene(0).take(np.arange(0, 700, 3))
    without = {index.entries[0].scene_id}
    exact, near = vote(index, query, without=without), clusters.vote_by_lists(index, query, without=without)
    places = [entry.place for entry in index.entries]
    assert near.scenes[0] == -1
    assert near.ranked(places)[0] == exact.ranked(places)[0]
    best = exact.ranked(places)[0]
    assert near.scenes[best] > 0.9 * exact.scenes[best]
    index.contents.clusters = made.model_copy(update={"probed": made.lists})
    assert (clusters.vote_by_lists(index, query, without=without).scenes == exact.scenes).all()
    assert clusters.make_clusters(to) == made
    index.contents.clusters = made.model_copy(update={"lists": 2 * made.lists, "probed": 2 * made.lists})
    with pytest.raises(RunFolderError, match=r"its inverted lists are not those that index\.json describes: "):
        clusters.vote_by_lists(index, query)
