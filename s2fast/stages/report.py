"""Stage 5: write the outputs of a finished run."""

from __future__ import annotations

from concurrent.futures import wait
from dataclasses import replace

import pandas as pd

from s2fast.errors import DamageError
from s2fast.folder.record import RunRecord
from s2fast.folder.run_folder import RunFolder
from s2fast.report import sidecars
from s2fast.report.findings import Findings
from s2fast.report.outputs import FILES, OUTPUTS
from s2fast.report.tables import check_results
from s2fast.report.thumbnails import drawn_ahead
from s2fast.stages import keys
from s2fast.stages.pairs import wanted_pairs
from s2fast.stages.result import StageResult
from s2fast.work.executors import Workplace
from s2fast.work.progress import Progress


def run(record: RunRecord, folder: RunFolder, workplace: Workplace, progress: Progress) -> StageResult:
    """Write all outputs, unless the stored ones are up to date according to the record."""
    if record.history.tables_key:
        with progress.stage("report", 0, len(FILES)):
            return StageResult(kept=len(FILES))
    with progress.stage("report", len(FILES), 0) as bar:
        pairs = wanted_pairs(record, folder, keys.verdict_key)
        rows = [(pair.query, pair.train, pair.key) for pair in pairs]
        table = pd.DataFrame(rows, columns=["query", "train", "key"], dtype=str)
        with drawn_ahead(record.usable, folder, workplace, masked=record.uses_regions) as pictures:
            found = Findings.of(record, folder, workplace, table)
            wait(pictures)
        written = {}
        folder.remove(sidecars.FOLDER)  # other results have files of other names
        for output in OUTPUTS:
            for name, data in output.write(found):
                checksum = folder.write(name, data)
                if name != f"{sidecars.FOLDER}/{sidecars.ALIGNMENT}.js":  # a call of align replaces it
                    written[name] = checksum
                if name in output.files:
                    bar.advance()
    return StageResult(done=len(FILES), summary=replace(found.summary, tables=written))


def check_inputs(record: RunRecord, folder: RunFolder) -> None:
    """Check that all pairs have results under the run's settings, unless the stored outputs are up to date.

    Raises
    ------
    RunFolderError
        A scene has no features, or a pair no result.
    """
    if record.history.tables_key:
        return
    stored = {key for block in folder.verified.complete_keys(with_matches=False).values() for key in block}
    pairs = wanted_pairs(record, folder, keys.verdict_key, searches=False)
    check_results(sum(pair.key not in stored for pair in pairs), folder)


def is_up_to_date(record: RunRecord, folder: RunFolder) -> bool:
    """Return whether all stored outputs are up to date and match their checksums."""
    history = record.history
    if not history.tables_key:
        return False
    try:
        for name in dict.fromkeys([*FILES, *history.tables]):
            folder.read_checked(name, history.tables.get(name), name)
    except DamageError:
        return False
    return True
