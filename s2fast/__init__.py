"""All-pairs matching of Sentinel-2 images: masked AKAZE features, exact Hamming kNN on CPU and GPU.

>>> import s2fast
>>> run = s2fast.run(scenes="DIR", regions="FILE", out="OUT")  # doctest: +SKIP
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
    import xarray

    from s2fast.config import Config, load_config
    from s2fast.errors import S2FastError
    from s2fast.fetching.fetch import Fetched
    from s2fast.results import Run
    from s2fast.search import find, index
    from s2fast.tuning.search import Tuned

__all__ = [
    "Config", "Run", "S2FastError", "fetch", "find", "index", "load_config", "open_run", "run", "sweep", "tune",
]  # fmt: skip
__version__ = "0.2.0"

_LATER = {
    "Config": "config", "load_config": "config", "Run": "results", "S2FastError": "errors", "find": "search",
    "index": "search",
}  # fmt: skip
"""Names that are imported on first use, and their modules: the modules take a second to load."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 's2fast' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"s2fast.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


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
    config: Config | Path | str | Mapping[str, Any] | None = None,
    *,
    scenes: Path | str | xarray.DataArray | Sequence[Path | str | xarray.DataArray],
    out: Path | str,
    regions: Path | str | None = None,
    reference: Path | str | None = None,
    profile: str = "default",
    overrides: Sequence[str] | Mapping[str, Any] = (),
    workers: int | None = 1,
    scheduler: str | None = None,
    strict: bool = False,
    progress: bool | Callable[[str, int, int], object] = True,
) -> Run:
    """Match every pair of scenes; see `s2fast.pipeline.run_stages`.

    Parameters
    ----------
    config
        A TOML file, its content as a mapping, ``{"matching": {"ratio": 0.8}}``, or a `Config`; None: the profile's.
    scenes
        Folders, files or addresses with scenes, and `xarray.DataArray` objects, which are read in windows; see
        docs/sources.md.
    out
        The run folder, local or ``s3://BUCKET/PREFIX``; results of the same job in it are reused.
    regions
        File of polygons; None: use whole scenes.
    reference
        Image from outside, or id of a scene, that is held fixed: offsets are relative to it, see docs/align.md.
    profile
        Settings that `config` changes: "default", "fast" or "notebook"; not allowed with a `Config`.
    overrides
        ``{"ingest.reduction": 2}`` or ``["ingest.reduction=2"]``; not allowed with a `Config`.
    workers
        Number of local processes; None: as many as pay. With more than one, a script must call this under
        ``if __name__ == "__main__":``.
    scheduler
        Address of a Dask scheduler.
    strict
        Stop at the first scene that cannot be used.
    progress
        True: show progress on a terminal and in a notebook; False: nowhere; or a function that is called with the
        stage, the number of units done and their total when a stage begins and after each unit.

    Returns
    -------
    Run
        The finished run.
    """
    from s2fast.archive.arrays import as_places
    from s2fast.arguments import PLACE, TEXT, WHOLE_NUMBER, check_type
    from s2fast.pipeline import run_stages
    from s2fast.planning import Job
    from s2fast.results import Run
    from s2fast.work.progress import progress_of

    check_type(PLACE, out=out)
    check_type(PLACE, optional=True, regions=regions, reference=reference)
    check_type(TEXT, optional=True, scheduler=scheduler)
    check_type(WHOLE_NUMBER, optional=True, workers=workers)
    settings = _settings(config, overrides, profile)
    places = as_places(scenes)
    record = run_stages(
        Job(settings, places, regions, out, strict, reference),
        workers=workers,
        scheduler=scheduler,
        progress=progress_of(progress),
    )
    return Run(out, places, [source.name for item in record.found.scenes for source in item.sources])


def open_run(out: Path | str, *, trust: Sequence[Path | str] = ()) -> Run:
    """Open an existing run folder.

    Parameters
    ----------
    out
        The run folder, local or ``s3://BUCKET/PREFIX``.
    trust
        Servers that may be asked for the scenes that the folder names, ``["s3://BUCKET/", "https://HOST/"]``. The
        folder may be a stranger's: unless they are named, `Run.show` draws scenes on servers in grey, from what the
        folder holds, and `Run.align` does not align them.
    """
    from s2fast.arguments import PLACE, as_list, check_type
    from s2fast.results import Run

    check_type(PLACE, out=out)
    return Run(out, trust=as_list(PLACE, "trust", trust))


def sweep(
    settings: Path | str | Mapping[str, Any],
    *,
    scenes: Path | str | Sequence[Path | str] = (),
    out: Path | str,
    regions: Path | str | None = None,
    retry: bool = False,
    repeats: int = 0,
    workers: int = 1,
    scheduler: str | None = None,
    against: Sequence[Path | str] = (),
    log: Callable[[str], object] | None = None,
) -> pd.DataFrame:
    """Run a job with many settings, and compare what each finds and costs; a stopped sweep continues.

    Parameters
    ----------
    settings
        A TOML file, or its content: ``{"grid": [{"matching.ratio": [0.8, 0.9]}]}``; see docs/sweeps.md.
    scenes
        Folders or files with scenes; empty: those of the file's ``[data]``.
    out
        Local folder of the results: NAME.jsonl, NAME.parquet, NAME.html and NAME.pairs, where NAME is that of the file,
        or "sweep".
    regions
        File of polygons; None: that of the file's ``[data]``, or whole scenes.
    retry
        Run failed cases again.
    repeats
        Run the cases that compete this many times, in turn; 0: as often as the file says, or once.
    workers
        Run this many cases side by side; they are not timed then.
    scheduler
        Address of a Dask scheduler, on which cases run side by side.
    against
        Files of other sweeps (.jsonl), which the page compares with this one.
    log
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
    from s2fast.arguments import PLACE, TEXT, WHOLE_NUMBER, as_list, check_type, wrong_type
    from s2fast.errors import ConfigError
    from s2fast.sweeps.results import How, load_all, make_folder, run_checked
    from s2fast.work.progress import print_where_seen

    if not (isinstance(settings, Mapping) or PLACE.fits(settings)):
        raise ConfigError(wrong_type("settings", settings, "a TOML file or a mapping"))
    check_type(PLACE, out=out)
    check_type(PLACE, optional=True, regions=regions)
    check_type(TEXT, optional=True, scheduler=scheduler)
    check_type(WHOLE_NUMBER, repeats=repeats, workers=workers)
    places = list(map(str, as_list(PLACE, "scenes", scenes)))
    how = How(retry, repeats, workers, scheduler, tuple(map(Path, as_list(PLACE, "against", against))))
    (checked,) = load_all([settings], places, None if regions is None else str(regions), how)
    return run_checked(checked, make_folder(out), log or print_where_seen, how).frame()


def tune(
    config: Config | Path | str | Mapping[str, Any] | None = None,
    *,
    scenes: Path | str | Sequence[Path | str],
    minutes: float = 20,
    out: Path | str = "tuned",
    regions: Path | str | None = None,
    profile: str = "default",
    overrides: Sequence[str] | Mapping[str, Any] = (),
    few: int = 8,
    log: Callable[[str], object] | None = None,
) -> Tuned:
    """Search the settings that suit an archive, on one half of a few of its scenes, and try them on the other half.

    Needs Optuna, ``pip install 's2fast[tune]'``. A stopped search continues with the time that is left.

    Parameters
    ----------
    config, profile, overrides
        Settings to begin with, as for `run`; what is not searched is kept.
    scenes
        Folders, files or addresses with scenes.
    minutes
        Time to search.
    out
        Local folder for tuned.toml, which `run` takes as `config`, and for trials and copies of scenes.
    regions
        File of polygons; None: use whole scenes.
    few
        Scenes per half, 2 to 100.
    log
        Receives a line per trial; None: print it on a terminal and in a notebook, and nowhere else.

    Returns
    -------
    Tuned
        ``settings`` by dotted key, empty if the defaults are as good; ``why``, one sentence; and what was measured.

    Raises
    ------
    S2FastError
        A setting or an input is wrong, or the time does not suffice for the defaults.

    Examples
    --------
    >>> tuned = s2fast.tune(scenes="DIR", minutes=20, out="tuned")  # doctest: +SKIP
    >>> print(tuned.why, tuned.settings)  # doctest: +SKIP
    >>> run = s2fast.run("tuned/tuned.toml", scenes="DIR", out="OUT")  # doctest: +SKIP
    """
    from s2fast.arguments import NUMBER, PLACE, WHOLE_NUMBER, as_list, check_type
    from s2fast.tuning.command import Wanted
    from s2fast.tuning.command import tune as tune_settings
    from s2fast.work.progress import print_where_seen

    check_type(PLACE, out=out)
    check_type(PLACE, optional=True, regions=regions)
    check_type(NUMBER, minutes=minutes)
    check_type(WHOLE_NUMBER, few=few)
    places = list(map(str, as_list(PLACE, "scenes", scenes)))
    polygons = None if regions is None else str(regions)
    wanted = Wanted(_settings(config, overrides, profile), places, polygons, minutes, few)
    return tune_settings(wanted, out, log or print_where_seen)


def fetch(
    place: Path | str | None = None,
    *,
    to: Path | str | None = None,
    bbox: Sequence[float] | None = None,
    regions: Path | str | None = None,
    dates: str = "",
    tile: str = "",
    max_cloud: float | None = None,
    limit: int | None = None,
    api: str | None = None,
    collection: str = "sentinel-2-l2a",
    overrides: Sequence[str] | Mapping[str, Any] = (),
    dry_run: bool = False,
    progress: bool | Callable[[str, int, int], object] = True,
) -> Fetched:
    """Download scenes of a catalogue with their masks; a stopped download continues.

    Parameters
    ----------
    place
        STAC document or search, or folder in a bucket; None: search `api`.
    to
        Folder for the scenes, new or begun; None only with `dry_run`.
    bbox
        West, south, east, north [degrees]; west may be greater than east, across longitude 180.
    regions
        File of polygons: the box around them, in place of `bbox`.
    dates
        ``FROM/TO`` or one date, each of them a day, month or year; empty: any.
    tile
        MGRS tile, ``36UYA``.
    max_cloud
        Largest share of a scene under clouds by the catalogue [%].
    limit
        Most scenes, those with the fewest clouds.
    api
        Address of a STAC API; None: Earth Search, which needs no account.
    collection
        Collection of the API.
    overrides
        Settings of ``ingest`` that decide what a run would read: ``{"ingest.mask": "none"}``.
    dry_run
        List the scenes and their sizes; write nothing.
    progress
        See `run`; the unit is megabytes.

    Returns
    -------
    Fetched
        ``items``, which `run` takes as `scenes`; ``scenes()``, a table; ``left_out``, why other scenes cannot be had.

    Raises
    ------
    S2FastError
        Nothing or too much says what to fetch, no scene is wanted, or the folder cannot be written.

    Examples
    --------
    >>> box = (34.2, 50, 34.8, 50.4)
    >>> fetched = s2fast.fetch(bbox=box, dates="2019-06/2019-09", max_cloud=20, to="ARCHIVE")  # doctest: +SKIP
    >>> run = s2fast.run(scenes=fetched.items, out="OUT")  # doctest: +SKIP
    """
    from s2fast.arguments import NUMBER, PLACE, TEXT, WHOLE_NUMBER, check_type
    from s2fast.config import load_config
    from s2fast.fetching.fetch import fetch as download
    from s2fast.fetching.query import Search, Wanted
    from s2fast.work.progress import progress_of

    check_type(PLACE, optional=True, place=place, to=to, regions=regions)
    check_type(TEXT, dates=dates, tile=tile, collection=collection)
    check_type(TEXT, optional=True, api=api)
    check_type(NUMBER, optional=True, max_cloud=max_cloud)
    check_type(WHOLE_NUMBER, optional=True, limit=limit)
    wanted = Wanted.asked(tile, max_cloud, limit)
    where = Search(bbox, regions, dates, api, collection).of(place, wanted)
    settings = load_config(None, overrides).ingest
    return download(where, wanted, to, settings, progress_of(progress), dry_run=dry_run)


def _settings(
    config: Config | Path | str | Mapping[str, Any] | None,
    overrides: Sequence[str] | Mapping[str, Any],
    profile: str,
) -> Config:
    from s2fast.config import Config, load_config
    from s2fast.errors import ConfigError

    if not isinstance(config, Config):
        return load_config(config, overrides, profile=profile)
    if overrides or profile != "default":
        raise ConfigError("overrides and profile do not go with a Config: change it with its model_copy method")
    return config
