"""Run sweeps and write their results: rows, a Parquet file and a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s2fast.errors import ConfigError, InputError
from s2fast.sweeps import runner
from s2fast.sweeps.checks import Checked, check_sweep
from s2fast.sweeps.data import Dataset, dataset_of
from s2fast.sweeps.grid import SweepFile, load_sweep, sweep_of
from s2fast.sweeps.page import page
from s2fast.sweeps.runner import Report, Row


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
        """The rows by column, see `s2fast.sweeps.runner.columns`."""
        return runner.columns(self.rows)

    @property
    def failed(self) -> int:
        """Number of failed cases."""
        return sum(row["status"] != "ok" for row in self.rows)

    def frame(self) -> pd.DataFrame:
        """Return the table of the Parquet file."""
        return pd.DataFrame(self.flat).convert_dtypes()


def load_all(
    files: Sequence[Path | str | Mapping[str, Any]], scenes: Sequence[str] = (), regions: str | None = None
) -> list[Checked]:
    """Read sweeps and check all that they need, before the first case of any of them.

    Parameters
    ----------
    files
        TOML files, or their contents.
    scenes, regions
        Instead of those of the files' ``[data]``.

    Raises
    ------
    S2FastError
        Something is wrong; the message is one line.
    """
    sweeps = [
        sweep_of({"name": "sweep", **file}, "the sweep", SweepFile)
        if isinstance(file, Mapping)
        else load_sweep(Path(file), SweepFile)
        for file in files
    ]
    return check_all(sweeps, lambda sweep: dataset_of(sweep.data, scenes, regions))


def check_all(sweeps: Sequence[SweepFile], dataset: Callable[[Any], Dataset]) -> list[Checked]:
    """Check sweeps, each with its data set."""
    names = [sweep.name for sweep in sweeps]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two sweeps are named {name}: their results would have the same files; rename one")
    return [check_sweep(sweep, dataset(sweep)) for sweep in sweeps]


def make_folder(out: Path | str) -> Path:
    """Create the folder of the results."""
    if "://" in str(out):
        raise InputError(f"{out}: the results of a sweep are written to a local folder")
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise InputError(f"cannot write to the folder {folder}: {error.strerror}; choose another --out") from error
    return folder


def run_checked(
    checked: Checked,
    folder: Path,
    report: Report,
    *,
    retry: bool = False,
    about: Callable[[], dict[str, Any]] = runner.about,
) -> Results:
    """Run one sweep and write its three files; see `s2fast.sweeps.runner.run_sweep`."""
    # The name may contain a dot, which is no suffix.
    stem = folder / checked.sweep.name
    rows = runner.run_sweep(checked, Path(f"{stem}.jsonl"), report, retry=retry, about=about)
    results = Results(checked, rows, stem)
    results.frame().to_parquet(f"{stem}.parquet")
    Path(f"{stem}.html").write_text(page(checked.sweep, results.flat), "utf-8")
    return results
