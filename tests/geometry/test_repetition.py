"""Ground that repeats itself: its displacements are found, and no pair is verified a period away."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.traps.grounds import LATTICES
from benchmarks.traps.scenes import at, judged, scene
from s2fast.geometry import compiled_repetition
from s2fast.geometry.repetition import repetitions
from s2fast.stages import matched_scene
from s2fast.stages.matched_scene import MatchedScene

SIDE_PX = 260


def smaller(ground: npt.NDArray[np.float64], size: float, rng: np.random.Generator) -> MatchedScene:
    """Return a scene of fewer, larger pixels."""
    side = round(size * SIDE_PX)
    pixels = cv2.resize(ground[:SIDE_PX, :SIDE_PX], (side, side), interpolation=cv2.INTER_AREA)
    found = scene(np.clip(pixels + rng.normal(0, 3, pixels.shape), 1, 255).astype(np.uint8))
    a, b, c, d, e, f = found.placement.transform
    placement = replace(found.placement, transform=(a * SIDE_PX / side, b, c, d, e * SIDE_PX / side, f))
    return replace(found, placement=placement)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1.0, 0.9], ids=["equal pixels", "larger pixels"])
def test_a_shift_within_the_search_area_is_ambiguous_if_the_true_one_is_periods_away(size: float) -> None:
    (board,) = (lattice for lattice in LATTICES if lattice.name == "chessboard")
    ground = board.draw(16.0, 0.0, np.random.default_rng(1)).astype(np.float64)
    rng = np.random.default_rng(2)
    query, train = (
        scene(np.clip(part[:SIDE_PX, :SIDE_PX] + rng.normal(0, 3, (SIDE_PX, SIDE_PX)), 1, 255).astype(np.uint8))
        for part in (ground, ground[16:, 19:])
    )
    if size != 1:
        train = smaller(ground[16:, 19:], size, rng)
    found = judged(query, train)
    assert found.verdict == "ambiguous"
    assert (found.dx, found.dy) == pytest.approx((-30, 0), abs=3)  # the others are not searched
    assert found.rival == pytest.approx((-190, 160), abs=3)
    steps = np.abs(query.repeats_at(100.0, query.rows_for(train)) / 160)
    assert len(steps)
    assert steps == pytest.approx(np.rint(steps), abs=0.05)


def test_ground_without_a_lattice_does_not_repeat_itself() -> None:
    rng = np.random.default_rng(3)
    texture = np.clip(120 + 30 * rng.normal(size=(64, 64)).repeat(4, 0).repeat(4, 1), 1, 255).astype(np.uint8)
    one = scene(texture)
    assert len(one.xy) > 500
    assert len(one.repeats_at(100.0, slice(0, len(one.xy)))) == 0
    assert judged(one, at(one, 2.0, 1.0)).verified


@pytest.mark.parametrize("count", [0, 1])
def test_few_keypoints_do_not_repeat(count: int) -> None:
    some = np.zeros((count, 8), np.uint64), np.zeros((count, 2)), np.ones(count), np.zeros(count, np.int64)
    assert repetitions(*some, 100.0, 10.0).shape == (0, 2)


def most_alike(
    descriptors: npt.NDArray[np.uint64],
    at: npt.NDArray[np.float64],
    scale: npt.NDArray[np.int64],
    looked_for: npt.NDArray[np.int64],
    limits: npt.NDArray[np.float64],
    most_bits: int,
) -> npt.NDArray[np.int64]:
    """Compare all with all; see the compiled search, whose operands are sorted."""
    moved = at[looked_for, None] - at[None]
    away = np.sqrt(moved[..., 0] ** 2 + moved[..., 1] ** 2)
    bits = np.bitwise_count(descriptors[looked_for, None] ^ descriptors[None]).sum(axis=2)
    possible = (scale[looked_for, None] == scale[None]) & (bits <= most_bits)
    found = np.full((len(limits) - 1, len(looked_for)), -1)
    for k, (low, high) in enumerate(itertools.pairwise(limits)):
        for number, near in enumerate(possible & (away > low) & (away <= high)):
            if near.any():
                found[k, number] = np.argmin(np.where(near, bits[number], 1000))
    return found


@pytest.mark.parametrize("limits", [(3.0, 7.5, 20.0), (5.0, 20.0, 20.0), (0.0, 4.0, 4.5)])
@pytest.mark.parametrize("lattice", [False, True], ids=["scattered", "at whole pixels"])
def test_the_compiled_search_finds_what_all_comparisons_find(limits: tuple[float, ...], lattice: bool) -> None:
    rng = np.random.default_rng(5)
    count = 400
    at = rng.uniform(0, 60, (count, 2))
    if lattice:  # several are equally far, some as far as a limit
        at = np.rint(at)
    scale = rng.integers(-1, 2, count)
    descriptors = rng.integers(0, 4, (12, 8), np.uint64)[rng.integers(0, 12, count)]  # several are equally like
    looked_for = np.unique(rng.integers(0, count, 100))
    order = np.lexsort((at[:, 0], scale))
    place = np.argsort(order)[looked_for]
    x, y = np.ascontiguousarray(at[order].T)
    got = compiled_repetition.most_alike(descriptors[order], x, y, scale[order], order, place, np.array(limits), 12)
    wanted = most_alike(descriptors, at, scale, looked_for, np.array(limits), 12)
    assert np.array_equal(got, wanted)
    assert (wanted >= 0).sum() > 40


def test_threads_that_ask_for_one_scene_search_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, calls = threading.Barrier(2), []

    def searched(*_: object) -> npt.NDArray[np.float64]:
        calls.append(1)
        time.sleep(0.05)  # the other thread asks meanwhile
        return np.zeros((0, 2))

    one = scene(np.random.default_rng(4).integers(1, 255, (64, 64), np.uint8))
    monkeypatch.setattr(matched_scene, "repetitions", searched)

    def ask(_: int) -> None:
        asked.wait(60)
        one.repeats_at(100.0, slice(0, len(one.xy)))

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ask, range(2)))
    assert calls == [1]
