"""Run sweeps and write their results: rows, a Parquet file and a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s2fast.errors import ConfigError, InputError, option
from s2fast.files.replacing import replacing
from s2fast.files.suffixes import check_on_disk
from s2fast.files.writing import room_in
from s2fast.sweeps import running
from s2fast.sweeps.checks import Checked, check_sweep
from s2fast.sweeps.comparison import earlier_runs, load_earlier
from s2fast.sweeps.data import Dataset, dataset_of
from s2fast.sweeps.grid import SweepFile, load_sweep, sweep_of
from s2fast.sweeps.page import page
from s2fast.sweeps.page_data import Finished
from s2fast.sweeps.rows import MOST_RUNS, Row, columns
from s2fast.sweeps.runner import run_sweep
from s2fast.sweeps.running import Report


@dataclass(frozen=True, slots=True)
class Results:
    """The results of one sweep."""

    checked: Checked
    """The sweep."""
    rows: list[Row]
    """One row per case, in the order they run."""
    stem: Path
    """Path of the results without a suffix: .jsonl, .parquet, .html."""

    @property
    def flat(self) -> list[Row]:
        """The rows by column, see `s2fast.sweeps.rows.columns`."""
        return columns(self.rows)

    @property
    def failed(self) -> int:
        """Number of failed cases."""
        return sum(row["status"] != "ok" for row in self.rows)

    def frame(self) -> pd.DataFrame:
        """Return the table of the Parquet file."""
        return pd.DataFrame(self.flat).convert_dtypes()


@dataclass(frozen=True, slots=True)
class How:
    """How the cases of sweeps run."""

    retry: bool = False
    """Run failed cases again."""
    repeats: int = 0
    """Runs of each case that competes; 0: as many as the sweep's file says."""
    workers: int = 1
    """Local processes: with more than one, cases run side by side and are not timed."""
    scheduler: str | None = None
    """Address of a Dask scheduler, on which cases run side by side."""
    against: Sequence[Path] = ()
    """Files of other sweeps' rows, to hold the results against."""

    def applied(self, sweep: SweepFile) -> SweepFile:
        """Return a sweep with the number of repeats.

        Raises
        ------
        ConfigError
            Cases are to run side by side although they are to be timed.
        """
        if self.workers < 1:
            raise ConfigError(f"{option('workers')} is {self.workers}, must be at least 1")
        if not 0 <= self.repeats <= MOST_RUNS:
            raise ConfigError(f"{option('repeats')} is {self.repeats}, must be between 1 and {MOST_RUNS}")
        if self.repeats:
            sweep = sweep.model_copy(update={"repeats": self.repeats})
        if not (self.workers > 1 or self.scheduler):
            return sweep
        if not sweep.shares_stages:
            raise ConfigError(f"sweep {sweep.name} only measures seconds, which cases side by side disturb")
        if sweep.repeats > 1:
            raise ConfigError(
                f"sweep {sweep.name}: repeats = {sweep.repeats} measures seconds, which cases side by side disturb: "
                f"leave out the repeats, or {option('workers')} and {option('scheduler')}"
            )
        return sweep


def load_all(
    files: Sequence[Path | str | Mapping[str, Any]],
    scenes: Sequence[str] = (),
    regions: str | None = None,
    how: How = How(),
) -> list[Checked]:
    """Read sweeps and check all that they need, before the first case of any of them.

    Parameters
    ----------
    files
        TOML files, or their contents.
    scenes, regions
        Instead of those of the files' ``[data]``.
    how
        How they will run.

    Raises
    ------
    S2FastError
        Something is wrong; the message is one line.
    """
    for path in how.against:
        load_earlier(path)
    sweeps = [
        sweep_of({"name": "sweep", **file}, "the sweep", SweepFile)
        if isinstance(file, Mapping)
        else load_sweep(Path(file), SweepFile)
        for file in files
    ]
    return check_all([how.applied(sweep) for sweep in sweeps], lambda sweep: dataset_of(sweep.data, scenes, regions))


def check_all(sweeps: Sequence[SweepFile], dataset: Callable[[Any], Dataset]) -> list[Checked]:
    """Check sweeps, each with its data set."""
    names = [sweep.name for sweep in sweeps]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two sweeps are named {name}: their results would have the same files; rename one")
    return [check_sweep(sweep, dataset(sweep)) for sweep in sweeps]


def make_folder(out: Path | str) -> Path:
    """Create the folder of the results."""
    check_on_disk(out)
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise InputError(
            f"cannot write to the folder {folder}: {error.strerror}; choose another {option('out')}"
        ) from error
    return folder


def run_checked(
    checked: Checked,
    folder: Path,
    report: Report,
    how: How = How(),
    *,
    about: Callable[[], dict[str, Any]] = running.about,
) -> Results:
    """Run one sweep and write its files; see `s2fast.sweeps.runner.run_sweep`."""
    # The name may contain a dot, which is no suffix.
    stem = folder / checked.sweep.name
    rows_path = Path(f"{stem}.jsonl")
    with room_in(folder):
        rows, others = run_sweep(
            checked, rows_path, report, retry=how.retry, workers=how.workers, scheduler=how.scheduler, about=about
        )
        results = Results(checked, rows, stem)
        with replacing(Path(f"{stem}.parquet")) as partial:
            results.frame().to_parquet(partial)
        before = [*earlier_runs(others), *(found for path in how.against for found in load_earlier(path))]
        with replacing(Path(f"{stem}.html")) as partial:
            partial.write_text(page(Finished(checked.sweep, results.flat, rows_path, before)), "utf-8")
    return results
