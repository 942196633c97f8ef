"""Cases that run in the tests' own process or in forks, for tests of what a sweep makes of them.

In a process of its own, as tests/sweeps/test_run.py has them run, a case imports everything anew, which takes longer
than the case itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from s2fast.errors import S2FastError
from s2fast.sweeps import case_process, limited_process, parallel
from s2fast.sweeps.limited_process import Limits
from tests.forked import run_in_a_fork


@contextmanager
def cases_in_forks() -> Iterator[None]:
    """Run the cases of sweeps in forks, which have memory and costs of their own, several at once if asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limited_process, "run_alone", run_in_a_fork)
        patch.setattr(parallel, "run_alone", run_in_a_fork)
        yield


@contextmanager
def cases_in_this_process() -> Iterator[None]:
    """Run the cases of sweeps without workers in this process, one after another, without limits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limited_process, "run_alone", _run_case)
        yield


def _run_case(module: str, job: dict[str, Any], _limits: Limits) -> tuple[dict[str, Any], str]:
    assert module == case_process.__name__
    try:
        return json.loads(json.dumps(case_process.run_case(json.loads(json.dumps(job))))), ""
    except S2FastError as error:
        return {}, str(error)
