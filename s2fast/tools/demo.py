"""The demo: generate a small synthetic archive, run all stages on it, and draw its best pair."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from s2fast.config import Config
from s2fast.files.legible import counted
from s2fast.files.places import exists
from s2fast.files.suffixes import check_on_disk
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.results import Run
from s2fast.verdicts import is_verified
from s2fast.work.compilation import MODULES, SYNTH_MODULES, AnnouncedCompilation
from s2fast.work.progress import Progress

_SIZE_PX = 1024
_TILES = ("36UXA", "36UYA")
_DATES = 3


def run_demo(out: Path, progress: Progress) -> Iterator[str]:
    """Run the demo in a folder; yield the lines to print."""
    check_on_disk(out)
    archive, folder = out / "archive", out / "run"
    if not exists(archive):
        # The archive is generated under another name and then renamed, so an existing one is complete.
        partial = out / "archive.partial"
        shutil.rmtree(partial, ignore_errors=True)
        AnnouncedCompilation(progress, modules=(*SYNTH_MODULES, *MODULES)).wait()
        with progress.stage("synth", len(_TILES) * _DATES, 0) as bar:
            from s2fast.synth import synth

            synth(
                partial,
                size=_SIZE_PX,
                tiles=_TILES,
                dates=_DATES,
                progress=lambda done, _: bar.advance() if done else None,
            )
        partial.rename(archive)
    run_stages(Job(Config(), [archive], archive / "regions.geojson", folder), progress=progress)
    run = Run(folder)
    pairs = run.pairs()
    best = pairs.iloc[int(pairs["similarity_pct"].argmax())]
    picture = out / "pair.png"
    run.show(best["query"], best["train"]).savefig(picture, dpi=110)
    scenes, total = counted(len(run.scene_ids), "scene"), counted(len(pairs), "pair")
    yield f"{scenes}, {total}, {int(is_verified(pairs).sum())} of them verified"
    yield f"report:     {folder / 'report.html'}"
    yield f"all pairs:  {folder / 'pairs.csv'}"
    yield f"map layers: {folder / 'run.gpkg'}"
    yield f"best pair:  {picture}"
    yield f"Open the report in a browser, the layers in QGIS; list the pairs: s2fast pairs {folder}"
