"""Small inputs with expected results, if they exist beside the checkout."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[1]
CASES = CHECKOUT.parent / "shared" / "cases" / "make.py"


@pytest.mark.shared
def test_every_case_comes_out_right(tmp_path: Path) -> None:
    if not CASES.is_file():
        pytest.skip("the cases of ../shared/cases are absent")
    s2fast = Path(sys.executable).with_name("s2fast")
    run = subprocess.run(
        [sys.executable, CASES, "--check", s2fast, "--configs", CHECKOUT / "configs", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [line for line in run.stdout.splitlines() if line.split(maxsplit=1)[1:2] != ["ok"]]
    assert run.returncode == 0, "\n".join(rows)
