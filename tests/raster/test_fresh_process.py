"""Headers are read in a process that has opened no raster before, where GDAL has no drivers yet."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rasterio.shutil import copy

from tests.archives import write_scene

READ = (
    "import sys; from s2fast.raster.allowed import header; print(header(__import__('pathlib').Path(sys.argv[1])).shape)"
)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".tif", ".vrt"])
def test_header_is_read(suffix: str, tmp_path: Path) -> None:
    write_scene(tmp_path / "a.tif", np.ones((8, 9), np.uint8))
    if suffix == ".vrt":
        copy(tmp_path / "a.tif", tmp_path / "a.vrt", driver="VRT")
    command = [sys.executable, "-c", READ, str(tmp_path / f"a{suffix}")]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.stdout == "(8, 9)\n", told.stderr
