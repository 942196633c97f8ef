"""The benchmark of traps: right and wrong trials are distinguished; a short run on real imagery."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.traps.command import main, summary
from benchmarks.traps.kinds import KINDS, SYNTHETIC, Trial
from benchmarks.traps.scenes import PIXEL_M, photographs
from s2fast.geometry.evidence import Judgement

pytestmark = pytest.mark.slow

FOUND = Judgement("verified", np.ones(3, np.bool_), dx=20.0, dy=-30.0, error=1.0, model="shift")


def test_a_trial_is_wrong_if_different_ground_or_a_wrong_shift_is_verified() -> None:
    assert not Trial("right", FOUND, (2.0, 3.0)).wrong
    assert Trial("off by more than a pixel", FOUND, (2.0, 4.1)).wrong
    assert not Trial("within its error", replace(FOUND, error=4.0), (2.0, 4.1)).wrong
    assert Trial("different ground", FOUND, None).wrong
    assert not Trial("not verified", replace(FOUND, verdict="ambiguous"), None).wrong


def test_summary_counts_wrong_trials() -> None:
    row = summary([Trial("right", FOUND, (2.0, 3.05)), Trial("wrong", FOUND, None)])
    assert (row["trials"], row["verified"], row["wrong"], row["wrong %"]) == (2, 2, 1, 50)
    assert row["within 2 stated errors %"] == 100
    assert PIXEL_M == 10


def test_without_imagery_synthetic_kinds_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert "repeated" in SYNTHETIC
    assert main(["--data", "nowhere", "--share", "0.1", "--only", "repeated", "real"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "kind=repeated" in first
    assert "wrong=0" in first
    assert "skipped=nowhere does not exist" in second


SHORT = {
    "beyond radius": 0.05,
    "turned": 0.05,
    "slightly turned": 0.05,
    "overlays": 0.05,
    "noisy areas": 0.1,
    "noisy lakes": 0.1,
    "repeated": 0.5,
    "by a period": 0.05,
    "unrelated 128": 0.05,
    "unrelated 256": 0.05,
    "unrelated 256, no prior": 0.05,
    "real": 0.05,
}
"""Share of the trials that the tests run, by kind."""

TOLERATED = {"overlays": 1 / 7, "noisy areas": 1 / 7, "noisy lakes": 1 / 4}
"""Share of wrong trials, by kind: some drawings leave too little ground around them to tell. Without looking there,
half of the trials of the first two kinds are wrong; without looking at even pixels, 8 of 21 of the third on the
stand-in of the imagery, where it is 5."""


@pytest.mark.shared
@pytest.mark.parametrize("kind", SHORT)
def test_no_trap_is_verified(kind: str, shared_data: Path) -> None:
    trials = list(KINDS[kind](photographs(shared_data), np.random.default_rng(1), SHORT[kind]))
    assert len(trials) > 1
    wrong = [trial.name for trial in trials if trial.wrong]
    assert len(wrong) <= len(trials) * TOLERATED.get(kind, 0), wrong
    if kind == "real":
        assert np.mean([trial.judgement.verified for trial in trials]) > 0.8
