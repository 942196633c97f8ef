"""Fixtures: a synthetic archive, and the real one if it exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2fast.work.compilation import compile_missing
from tests.archives import Archive, write_archive
from tests.judged import Judged, judge


def pytest_configure(config: pytest.Config) -> None:
    """Compile the kernels once, before pytest-xdist starts workers that would each compile them."""
    if not hasattr(config, "workerinput"):
        compile_missing()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real imagery with known truth, kept beside the checkout and not in it."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the real imagery of ../shared/data is absent")
    return path


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """One archive for all tests that only read it."""
    return write_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="session")
def judged(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """A run that was not verified, and a copy of it that was, for tests that only read them."""
    return judge(archive, tmp_path_factory.mktemp("judged"))
