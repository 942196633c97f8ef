"""Fixtures: a synthetic archive, and the real one if it exists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from s2fast.work.compilation import compile_missing
from tests.archives import Archive, write_archive
from tests.indexed import Indexed, index_archive
from tests.judged import Judged, judge

if TYPE_CHECKING:
    from tests.browser import Browser, Open


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


@pytest.fixture(scope="session")
def indexed(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    """A run of the archive and its index, for tests that only read them."""
    return index_archive(archive, tmp_path_factory.mktemp("indexed"))


@pytest.fixture(scope="session")
def chrome() -> Iterator[Browser]:
    """One browser for all tests."""
    from tests import browser

    yield from browser.started()


@pytest.fixture
def opened(chrome: Browser) -> Iterator[Open]:
    """Open a page, and check at the end that nothing was written to the console."""
    from tests import browser

    yield from browser.opening(chrome)
