"""Fixtures: a synthetic archive, and the real one if it exists."""

from __future__ import annotations

import gc
import os
import shutil
import socketserver
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from s2fast.work.compilation import FIND_MODULES, MODULES, SYNTH_MODULES, compile_missing
from s2fast_kernels.machine import available_cores
from tests.archives import Archive, write_archive
from tests.indexed import Indexed, index_archive
from tests.judged import Judged, judge
from tests.standin import SHARED_DATA, standin

if TYPE_CHECKING:
    from tests.browser import Browser, Open


def pytest_configure(config: pytest.Config) -> None:
    """Compile the kernels once, before pytest-xdist starts workers that would each compile them."""
    if not hasattr(config, "workerinput"):
        compile_missing(dict.fromkeys((*MODULES, *FIND_MODULES, *SYNTH_MODULES)))
    # How long an example takes says nothing on a busy machine.
    settings.register_profile("s2fast", deadline=None)
    settings.load_profile("s2fast")
    # Let Python free at its end what `pytest_collection` told it to leave alone: some libraries complain otherwise.
    # Before that, pytest looks twice for garbage of the tests, which need not go through all modules.
    config.add_cleanup(gc.unfreeze)
    # Tests' servers write headers and body apart: the body would wait 40 ms for the client's delayed acknowledgement.
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Import the tests without looking for garbage, of which there is none: a quarter of the time."""
    gc.disable()
    try:
        result = yield
    finally:
        gc.freeze()
        gc.enable()
    return result


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest tests first, then files with slow tests: no worker is left alone with a long test at the end.

    The other tests of a file stay together, since they share fixtures.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.get_closest_marker("longest") is None, item.path not in slow))


def pytest_xdist_auto_num_workers() -> int:
    """Use one worker more than there are cores: a fifth of the time, tests wait for processes that they started."""
    return available_cores() + 1


@pytest.fixture(scope="session")
def shared_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real imagery with known truth, kept beside the checkout and not in it; else a synthetic stand-in for it.

    ``S2FAST_STANDIN=1`` chooses the stand-in in any case.
    """
    if SHARED_DATA.is_dir() and not os.environ.get("S2FAST_STANDIN"):
        return SHARED_DATA
    folder = tmp_path_factory.getbasetemp()
    # The workers of pytest-xdist share one.
    return standin((folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "standin")


@pytest.fixture(scope="session")
def other_processors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for code compiled for other processors than this one, shared by the workers of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "other processors"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """One archive for all tests that only read it."""
    return write_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="session")
def one_tile(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Both dates of one of the archive's tiles, for tests that run it often; they only read it too."""
    scenes = tmp_path_factory.mktemp("one_tile") / "scenes"
    for product in archive.scenes.glob("*_T36UXA_*"):
        shutil.copytree(product, scenes / product.name)
    return Archive(scenes, archive.regions)


@pytest.fixture(scope="session")
def judged(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """A run that was not verified, and a copy of it that was, for tests that only read them."""
    return judge(archive, tmp_path_factory.mktemp("judged"))


@pytest.fixture(scope="session")
def indexed(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    """A run of the archive and its index, for tests that only read them."""
    return index_archive(archive, tmp_path_factory.mktemp("indexed"))


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local workers that are forked: each needs seconds to import what it uses."""
    from s2fast.work.executors import LocalPool
    from tests.forked import forked_pool

    monkeypatch.setattr(LocalPool, "_open", staticmethod(forked_pool))


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
