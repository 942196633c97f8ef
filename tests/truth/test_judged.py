"""Answers on copies of a small archive: what is known is found, and a wrong truth is seen."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from s2fast.config import load_config
from s2fast.planning import Job, plan
from s2fast.truth.copies import Injection, inject
from s2fast.truth.judged import judged, pair_table, run_on
from s2fast.truth.settings import Injected
from tests.archives import textured, write_scene

pytestmark = pytest.mark.slow


def write_scenes(folder: Path) -> Path:
    """Three dates of one ground; the second is off by 3 px, of which nobody knows."""
    rng = np.random.default_rng(1)
    ground = textured(rng, (280, 300)).astype(float)
    for day, off in ((1, 0), (2, 3), (3, 0)):
        seen = ground[:, off : off + 280] * (1 - day / 10) + rng.normal(0, 1, (280, 280))
        write_scene(folder / f"T36UXA_2019040{day}T083601_TCI.tif", np.clip(seen, 1, 255).astype(np.uint8))
    return folder


@pytest.mark.parametrize("settings", [Injected(), Injected(by="header"), Injected(rotate_deg=0.3, scale=1.002)])
def test_known_moves_are_found_whatever_the_scenes_own(settings: Injected, tmp_path: Path) -> None:
    config = load_config(overrides={"matching.radius_m": 80.0})
    record = plan(Job(config, [write_scenes(tmp_path / "in")], None, tmp_path / "out"))
    injection = Injection.load(inject(record.found.scenes, settings, tmp_path / "copies"))
    run = run_on(config, injection, None, tmp_path / "run")
    answer = judged(run, injection)
    assert (answer.pairs, answer.verified, answer.false) == (6, 6, 0)
    assert answer.unrelated == 6
    assert answer.unrelated_verified == 0
    assert answer.error_px is not None
    # A header's move is exact up to the compiled estimate of the same matches; resampled pixels are found anew.
    assert answer.error_px < (0.02 if settings.by == "header" else 0.1)
    # Of six values, the interval is the smallest and the largest.
    errors = pair_table(run, injection)["error_px"]
    assert (answer.error_low_px, answer.error_high_px) == pytest.approx((errors.min(), errors.max()), rel=1e-3)
    moves = [replace(copy, header_px=(copy.header_px[0] + 0.5, copy.header_px[1])) for copy in injection.moved]
    off = pair_table(run, replace(injection, moved=moves))["error_px"].median()
    assert off == pytest.approx(0.5, abs=0.1)
    far = [replace(copy, header_px=(copy.header_px[0] + 3.0, copy.header_px[1])) for copy in injection.moved]
    wrong = judged(run, replace(injection, moved=far))
    assert (wrong.verified, wrong.wrong_shifts, wrong.false) == (0, 6, 6)


def test_ground_that_is_the_same_is_seen_as_verified(tmp_path: Path) -> None:
    """The trials of different ground can fail: pairs of the same ground in their place are counted."""
    config = load_config(overrides={"matching.radius_m": 80.0})
    record = plan(Job(config, [write_scenes(tmp_path / "in")], None, tmp_path / "out"))
    injection = Injection.load(inject(record.found.scenes, Injected(), tmp_path / "copies"))
    same = replace(injection, unrelated=[(a, b) for a, b in injection.same])
    answer = judged(run_on(config, same, None, tmp_path / "run"), same)
    assert answer.unrelated_verified == 3
    assert answer.false_low_pct is not None
    assert 0 < answer.false_low_pct < asdict(answer)["false_pct"]
