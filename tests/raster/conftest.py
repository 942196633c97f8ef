"""A stranger's folder, and a raster that nothing in it may lead to."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.archives import textured, write_scene

SIDE = 64


@pytest.fixture
def pixels() -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    return np.stack([textured(rng, (SIDE, SIDE)) for _ in range(3)])


@pytest.fixture
def elsewhere(tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> Path:
    """Return a raster in another folder."""
    (tmp_path / "other").mkdir()
    return write_scene(tmp_path / "other" / "theirs.tif", pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scenes").mkdir()
    return tmp_path / "scenes"
