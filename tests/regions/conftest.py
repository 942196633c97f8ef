"""Fixtures of the tests of polygons."""

from __future__ import annotations

import numpy as np
import pytest

from tests.archives import write_regions
from tests.regions.polygons import FIELDS, mask


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The mask of `FIELDS`."""
    return mask(write_regions(tmp_path_factory.mktemp("plain") / "plain.gpkg", FIELDS))
