from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.archives import Archive


@pytest.mark.slow
def test_all_pairs_prints_both_tables_and_draws(archive: Archive, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "s2fast.examples.all_pairs", archive.scenes, archive.regions, tmp_path / "out"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    above, below = (int(line.split(": ")[1].split()[0]) for line in told.splitlines() if line.endswith(" pairs"))
    assert above + below == 6
    assert told.count("bits differ") == 3
    assert len(list(tmp_path.glob("*.png"))) == 1
    assert Path(told.splitlines()[-1].partition(": ")[2]).is_file()
