"""Sweeps with truth made on the spot: the columns are filled, copies are made once, and bad input is one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from s2fast.errors import ConfigError, InputError
from s2fast.sweeps.columns import KNOWN, best_of, shown_columns
from s2fast.sweeps.results import load_all, run_checked
from tests.archives import Archive, textured, write_scene
from tests.sweeps.in_process import cases_in_this_process


@pytest.mark.slow
def test_a_sweep_with_injected_truth_fills_its_columns(archive: Archive, tmp_path: Path) -> None:
    base = {"regions.mode": "none", "features.upsample": 1}
    file = {"truth": "injected", "base": base, "grid": [{"features.max_per_scene": [300, 3000]}]}
    (checked,) = load_all([{**file, "plot": [{"gain": "injected.verified"}]}], [str(archive.scenes)])
    messages: list[str] = []
    with cases_in_this_process():
        results = run_checked(checked, tmp_path, messages.append)
    frame = results.frame()
    assert (frame["status"] == "ok").all()
    assert {name for name in KNOWN if name.startswith("injected.")} <= set(frame.columns)
    assert frame["injected.verified"].iloc[1] == frame["injected.pairs"].iloc[1] > 0
    assert (frame["injected.false"] == 0).all()
    shown = {column.name: column for column in shown_columns(results.flat)}
    assert shown["injected.error_px"].cell(results.flat[1])
    assert " of " in shown["injected.false_pct"].cell(results.flat[1])
    assert best_of(results.flat, shown["injected.false_pct"]) == set()
    assert sum("copies" in message for message in messages) == 1
    # The run of the scenes themselves does not see the copies.
    assert (frame["counts.scenes"] == 4).all()
    run_checked(checked, tmp_path, messages.append)
    assert sum("copies" in message for message in messages) == 1


@pytest.mark.parametrize(
    ("truth", "told"),
    [
        ("real", "'real' is not known: write truth = \"injected\""),
        ({"scenes": 1}, "truth.scenes: Input should be greater than or equal to 2"),
        ({"by": "header", "rotate_deg": 1}, "leave out rotate_deg and scale"),
        ({"move": 1}, "truth.move: Extra inputs are not permitted"),
    ],
)
def test_wrong_settings_are_one_line(truth: object, told: str, archive: Archive) -> None:
    with pytest.raises(ConfigError) as caught:
        load_all([{"truth": truth}], [str(archive.scenes)])
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scenes_without_common_ground_are_told_before_the_first_case(tmp_path: Path) -> None:
    """Without a prior a sweep itself does not need common ground; copies do."""
    pixels = textured(np.random.default_rng(3), (96, 96))
    for tile, origin in (("36UXA", (500_000.0, 5_000_000.0)), ("36UYA", (600_000.0, 5_000_000.0))):
        write_scene(tmp_path / f"T{tile}_20190205T083601_TCI.tif", pixels, origin)
    base = {"matching.mode": "exhaustive", "verification.prior": "none"}
    assert load_all([{"base": base}], [str(tmp_path)])
    with pytest.raises(InputError, match="no two of the 2 scenes that would be copied"):
        load_all([{"base": base, "truth": "injected"}], [str(tmp_path)])
