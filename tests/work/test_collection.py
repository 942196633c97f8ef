"""Processes that s2fast starts do not look for garbage while they import, and do so again when they work."""

from __future__ import annotations

import gc
import json
import sys

import pytest


def state(unit: int = 0) -> tuple[bool, bool]:
    """Return whether this process looks for garbage, and whether it leaves out what it had loaded."""
    return gc.isenabled(), gc.get_freeze_count() > 0


def main() -> None:
    """Print what is so before the work begins, and when it has; the main function of a process."""
    from s2fast.work.collection import resume_collection

    before = state()
    resume_collection()
    sys.stdout.write(json.dumps({"before": before, "after": state()}))


@pytest.mark.slow
@pytest.mark.usefixtures("forked_workers")
def test_a_worker_looks_for_garbage_once_it_has_its_first_unit() -> None:
    from s2fast.work.executors import open_workplace
    from s2fast.work.units import run_units

    with open_workplace(2) as workplace:
        assert {found for _, found in run_units(workplace, state, range(4))} == {(True, True)}


def test_a_case_looks_for_garbage_once_it_has_loaded_all() -> None:
    from s2fast.sweeps.limited_process import Limits, run_alone

    answer, reason = run_alone("tests.work.test_collection", {}, Limits(60))
    assert reason == ""
    assert answer == {"before": [False, False], "after": [True, True]}


def test_cases_and_trials_work_with_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    from s2fast.config import Config
    from s2fast.sweeps.case_process import warm_up
    from s2fast.work import collection

    monkeypatch.setattr(collection, "_state", {"suspended": True})
    gc.disable()
    try:
        warm_up(Config())
        assert gc.isenabled()
    finally:
        gc.enable()


def test_nothing_changes_where_it_was_not_suspended() -> None:
    """As in a process of the user's, which may have its own reasons."""
    from s2fast.work.collection import resume_collection

    gc.disable()
    try:
        resume_collection()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_importing_leaves_garbage_collection_as_it_was() -> None:
    from s2fast.work.collection import importing

    for running in (True, False):
        (gc.enable if running else gc.disable)()
        try:
            with importing():
                assert not gc.isenabled()
            assert gc.isenabled() == running
        finally:
            gc.enable()
