"""All-pairs matching of Sentinel-2 images: masked AKAZE features, exact Hamming kNN on CPU and GPU.

>>> import s2fast
>>> run = s2fast.run("configs/default.toml", scenes="DIR", regions="FILE", out="OUT")  # doctest: +SKIP
>>> run.pairs()  # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from s2fast.config import Config
    from s2fast.results import Run

__all__ = ["open_run", "run", "sweep"]
__version__ = "0.1.0"

for _name in (
    "GDAL_DRIVER_PATH",
    "OGR_DRIVER_PATH",
    "GDAL_PYTHON_DRIVER_PATH",
    "OGR_SQLITE_LOAD_EXTENSIONS",
    "OGR_SQLITE_ALLOW_EXTERNAL_ACCESS",
):
    # GDAL would load code from there into every process, or let a GeoPackage read other files. It reads these variables
    # when its drivers are registered, or a file is opened; workers import s2fast first, too.
    os.environ.pop(_name, None)
del _name


def run(
    config: Config | Path | str | None = None,
    *,
    scenes: Path | str | Sequence[Path | str],
    out: Path | str,
    regions: Path | str | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    workers: int = 1,
    scheduler: str | None = None,
    strict: bool = False,
) -> Run:
    """Match every pair of scenes; see `s2fast.pipeline.run_stages`.

    Parameters
    ----------
    config
        A TOML file or a `s2fast.config.Config`; None: use the defaults.
    scenes
        Folders or files with scenes.
    out
        The run folder, local or ``s3://BUCKET/PREFIX``; results of the same job in it are reused.
    regions
        File of polygons; None: use whole scenes.
    overrides
        ``{"ingest.reduction": 2}`` or ``["ingest.reduction=2"]``; not allowed with a `Config`.
    workers
        Number of local processes; with more than one, a script must call this under ``if __name__ == "__main__":``.
    scheduler
        Address of a Dask scheduler.
    strict
        Stop at the first scene that cannot be used.

    Returns
    -------
    Run
        The finished run.
    """
    from s2fast.config import Config, load_config
    from s2fast.errors import ConfigError
    from s2fast.pipeline import Job, run_stages
    from s2fast.results import Run

    if isinstance(config, Config):
        if overrides:
            raise ConfigError("overrides go with a configuration file: change a Config with its model_copy method")
        settings = config
    else:
        settings = load_config(config, overrides)
    inputs = [scenes] if isinstance(scenes, str | Path) else list(scenes)
    run_stages(Job(settings, inputs, regions, out, strict), workers=workers, scheduler=scheduler)
    return Run(out)


def open_run(out: Path | str) -> Run:
    """Open an existing run folder."""
    from s2fast.results import Run

    return Run(out)


def sweep(
    settings: Path | str | Mapping[str, Any],
    *,
    scenes: Path | str | Sequence[Path | str] = (),
    out: Path | str,
    regions: Path | str | None = None,
    retry: bool = False,
    report: Callable[[str], object] | None = None,
) -> pd.DataFrame:
    """Run a job with many settings, and compare what each finds and costs; a stopped sweep continues.

    Parameters
    ----------
    settings
        A TOML file, or its content: ``{"grid": [{"matching.ratio": [0.8, 0.9]}]}``; see "Sweeps" in README.md.
    scenes
        Folders or files with scenes; empty: those of the file's ``[data]``.
    out
        Local folder of the results: NAME.jsonl, NAME.parquet and NAME.html, where NAME is that of the file, or "sweep".
    regions
        File of polygons; None: that of the file's ``[data]``, or whole scenes.
    retry
        Run failed cases again.
    report
        Receives lines of progress; None: print them on a terminal and in a notebook, and nowhere else.

    Returns
    -------
    DataFrame
        One row per case, in the order they ran; the columns are those of NAME.parquet.

    Raises
    ------
    S2FastError
        A setting or an input is wrong. Nothing is run before all of them are checked.

    Examples
    --------
    >>> frame = s2fast.sweep(
    ...     {"grid": [{"features.threshold": [0.001, 0.0003]}]}, scenes="DIR", out="sweeps"
    ... )  # doctest: +SKIP
    >>> frame[["label", "seconds", "found.verified_pairs"]]  # doctest: +SKIP
    """
    from s2fast.sweeps.results import load_all, make_folder, run_checked
    from s2fast.work.progress import print_where_seen

    given = [scenes] if isinstance(scenes, str | Path) else scenes
    (checked,) = load_all([settings], list(map(str, given)), None if regions is None else str(regions))
    return run_checked(checked, make_folder(out), report or print_where_seen, retry=retry).frame()
