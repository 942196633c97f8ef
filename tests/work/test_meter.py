"""What stages cost, their worker processes included."""

from __future__ import annotations

import subprocess
import sys

import pytest

from s2fast.work.meter import Metered

BURN = "import time\nwhile time.process_time() < 0.4: pass\nprint('done', flush=True)\ninput()"


@pytest.mark.slow
def test_processor_time_is_that_of_workers_too() -> None:
    meter = Metered()
    command = [sys.executable, "-c", BURN]
    with meter.stage("running", 1, 0):
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        worker.stdout.readline()
    with meter.stage("ended", 1, 0):
        worker.communicate("\n")
    with meter.stage("idle", 1, 0):
        pass
    assert 0.38 <= meter.stages["running"].cpu_s < 1
    # A worker that ends takes none of its time away.
    assert -0.02 <= meter.stages["ended"].cpu_s < 0.2
    assert 0 <= meter.stages["idle"].cpu_s < 0.1
    assert set(meter.stages) == {"running", "ended", "idle"}
