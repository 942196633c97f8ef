"""The benchmark of found pictures knows where its pictures are, and measures what it says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import find_speed, pictures
from benchmarks.find_archive import TRUE_SHIFT_PX, Archive
from s2fast.retrieval.index import Index
from s2fast.retrieval.votes import vote
from tests.archives import ORIGINS, PIXEL_M, textured
from tests.indexed import Indexed


def test_a_cut_picture_lies_where_it_says() -> None:
    grey = cv2.GaussianBlur(textured(np.random.default_rng(0), (600, 700)), (0, 0), 3)
    for seed in range(5):
        made = pictures.cut(grey, 128, np.random.default_rng(seed), (100.0, 600.0))
        assert made is not None
        x, y = made.to_scene[:, :2] @ (60.0, 70.0) + made.to_scene[:, 2]
        corners = np.array([[0, 0], [127, 0], [127, 127], [0, 127]]) @ made.to_scene[:, :2].T + made.to_scene[:, 2]
        assert corners[:, 0].min() > 99
        assert corners[:, 0].max() < 600
        frame = cv2.warpAffine(grey, made.to_scene, (128, 128), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        assert abs(int(frame[70, 60]) - int(grey[round(y), round(x)])) < 12
        seen = cv2.cvtColor(made.pixels, cv2.COLOR_BGR2GRAY)
        assert np.corrcoef(seen.ravel(), frame.ravel())[0, 1] > 0.9


def test_nothing_of_the_archive_is_in_other_pictures() -> None:
    rng = np.random.default_rng(0)
    for draw in (pictures.noise, pictures.drawn_map, pictures.text):
        drawn = draw(rng)
        assert drawn.ndim == 3
        assert drawn.std() > 5


@pytest.mark.slow
def test_copies_of_one_place_are_alike_and_of_another_not(indexed: Indexed, tmp_path: Path) -> None:
    real = Index(indexed.index)
    find_speed.QUERY, before = 700, find_speed.QUERY
    try:
        index = find_speed.synthetic(tmp_path / "index", real, 60)
        ballot = vote(index, find_speed.query_of(real))
    finally:
        find_speed.QUERY = before
    assert (np.sort(np.argsort(-ballot.scenes)[:10]) == np.arange(10)).all()
    assert ballot.scenes[:10].min() > 3 * ballot.scenes[40:].max()


@pytest.mark.slow
def test_pixels_of_a_scene_lie_in_another_where_georeferencing_and_the_known_shift_say(
    indexed: Indexed, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Archive(Index(indexed.index))
    one, two = (next(name for name in data.scenes if tile in name) for tile in ("36UXA", "36UYA"))
    east, north = np.subtract(ORIGINS["36UXA"], ORIGINS["36UYA"]) / PIXEL_M
    xy = np.array([[10.0, 20.0], [30.0, 7.0]])
    offset = np.array([east, -north])
    assert data.moved(xy, one, two) == pytest.approx(xy + offset)
    monkeypatch.setitem(TRUE_SHIFT_PX, (one, two), (0.5, -2.0))
    there = data.moved(xy, one, two)
    assert there == pytest.approx(xy + offset + np.array([0.5, -2.0]))
    assert data.moved(there, two, one) == pytest.approx(xy)
    assert (data.moved(xy, one, one) == xy).all()
