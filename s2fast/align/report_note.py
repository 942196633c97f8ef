"""Note the outcome of an align call beside the run's report, which then shows it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from s2fast.align.page import medians, outcomes, sentence
from s2fast.errors import RunFolderError
from s2fast.folder.run_folder import RunFolder
from s2fast.report.sidecars import FOLDER, alignment_file

log = logging.getLogger(__name__)


def note_in_report(run: RunFolder, table: pd.DataFrame, page: Path) -> None:
    """Write the outcome beside the report, in place of an earlier one; a run folder that is read-only stays as it is.

    Parameters
    ----------
    run
        The folder of the run.
    table
        See `s2fast.align.aligned.align`.
    page
        The page of the call.
    """
    scenes = dict(zip(table["scene_id"], outcomes(table), strict=True))
    text = f"{int(table['aligned'].sum())} of {len(table)} scenes"
    value = {
        "text": text,
        "medians": medians(table),
        "said": sentence(table),
        "href": _address(page, run),
        "scenes": scenes,
    }
    name, data = alignment_file(value)
    try:
        run.write(f"{FOLDER}/{name}.js", data)
    except RunFolderError as error:
        log.info("the report does not show this alignment: %s", error)


def _address(page: Path, run: RunFolder) -> str:
    """Return the address of the page, relative to the report where possible: both folders may move together."""
    if Path(run.address).is_dir():
        try:
            return quote(Path(os.path.relpath(page.resolve(), Path(run.address).resolve())).as_posix())
        except ValueError:
            pass  # on another drive
    return page.resolve().as_uri()
