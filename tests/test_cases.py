"""Small inputs with expected results, where they lie beside the checkout.

They are cut from real imagery, so a clone does not have them; each stands for a kind of input that other tests cover.
"""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
CASES = CHECKOUT.parent / "shared" / "cases" / "make.py"


@pytest.mark.slow
@pytest.mark.skipif(not CASES.is_file(), reason="no cases lie beside the checkout")
@pytest.mark.shared
@pytest.mark.longest
def test_every_case_comes_out_right(tmp_path: Path) -> None:
    s2fast = Path(sys.executable).with_name("s2fast")
    run = subprocess.run(
        [sys.executable, CASES, "--check", s2fast, "--configs", CHECKOUT / "configs", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [line for line in run.stdout.splitlines() if line.split(maxsplit=1)[1:2] != ["ok"]]
    assert run.returncode == 0, "\n".join(rows)
