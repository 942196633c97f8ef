"""A series as one array before and after alignment, with xarray: what changes is the scenes, not the georeferencing.

    python -m s2fast.examples.aligned_stack ARCHIVE OUT

It needs rioxarray (``pip install rioxarray``), through which xarray opens the rasters; s2fast itself does not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import s2fast
from s2fast.examples.script import run_script

if TYPE_CHECKING:
    import xarray


def main(archive: str, out: str) -> None:
    """Match all scenes, write them aligned on one grid, and compare how much the dates differ before and after."""
    run = s2fast.run(None, scenes=archive, out=out)
    folder = Path(f"{Path(out).absolute()}_aligned")
    table = run.align(folder, form="resampled", resampling="cubic").merge(run.scenes()[["scene_id", "source"]])
    table = table[table["aligned"]]
    print(table[["scene_id", "add_x_m", "add_y_m", "offset_error_m", "reference"]].to_string(index=False))

    # The scenes of a tile have one grid, so their arrays stack without any further step.
    for tile, rows in table.groupby("tile"):
        times = pd.DatetimeIndex(pd.to_datetime(rows["scene_id"].str.extract(r"_(\d{8}T\d{6})")[0]))
        before = stack(rows["source"], times)
        after = stack([folder / name for name in rows["files"]], times)
        print(f"{tile}: {dict(after.sizes)}, standard deviation over time {spread(before):.2f} before, "
              f"{spread(after):.2f} after")  # fmt: skip


def stack(files: Iterable[Path | str], times: pd.DatetimeIndex) -> xarray.DataArray:
    """Return the first band of rasters as one array: (time, y, x), NaN where there are no data."""
    import xarray

    opened = [xarray.open_dataset(file, engine="rasterio")["band_data"].sel(band=1, drop=True) for file in files]
    return xarray.concat(opened, pd.Index(times, name="time"), join="exact")


def spread(series: xarray.DataArray) -> float:
    """Return the standard deviation over time, averaged over the pixels that all dates show."""
    seen = (series > 0).all("time")
    return float(series.astype(np.float32).std("time").where(seen).mean())


if __name__ == "__main__":
    # Without rioxarray, opening the results would fail at the end of all the work.
    sys.exit(run_script(main, "s2fast.examples.aligned_stack", "ARCHIVE OUT", packages=["xarray", "rioxarray"]))
