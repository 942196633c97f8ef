"""Indexes: exact votes, appended and resumed, damaged or of another format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from s2fast.config import load_config
from s2fast.errors import DamageError, InputError, RunFolderError
from s2fast.folder.checksums import sealed, unsealed
from s2fast.folder.run_folder import RunFolder
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.retrieval import build as building
from s2fast.retrieval import clusters
from s2fast.retrieval.build import build, spread
from s2fast.retrieval.index import INDEX_JSON, Index, Keypoints, read_contents
from s2fast.retrieval.votes import BINS, MAX_BITS, RATIO, bins_of, vote
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
        counts = np.zeros(BINS)
        for train, (one, row) in best.items():
            near = bins_of(query.size[[row]], query.angle[[row]], scene.size[[train]], scene.angle[[train]])[0]
            counts[near] += 1 - one / MAX_BITS
            votes = cast.setdefault(entry.place, {})
            for code in near.tolist():
                votes[row, code] = max(votes.get((row, code), 0.0), 1 - one / MAX_BITS)
        assert ballot.scenes[number] == pytest.approx(counts.max(), rel=1e-12)
    assert ballot.scenes[3] == -1
    for place, votes in cast.items():
        counts = np.bincount([code for _, code in votes], list(votes.values()))
        assert ballot.places[place] == pytest.approx(counts.max(), rel=1e-12)


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
    with pytest.raises(RunFolderError, match="is no index"):
        build(str(indexed.out), [indexed.out], 700)
    with pytest.raises(InputError, match="was made otherwise, with per_scene = 700"):
        build(str(indexed.index), [indexed.out], 300)
    with pytest.raises(RunFolderError, match="holds no run"):
        build(str(tmp_path / "new"), [tmp_path / "none"], 300)


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
    made = clusters.make_clusters(to)
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
    monkeypatch.setattr(clusters, "NEIGHBOURS", 2800)
    index.contents.clusters = made.model_copy(update={"probed": made.lists})
    assert (clusters.vote_by_lists(index, query, without=without).scenes == exact.scenes).all()
    assert clusters.make_clusters(to) == made
