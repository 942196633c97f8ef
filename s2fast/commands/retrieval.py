"""Commands that make an index of an archive and find pictures in it."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from s2fast.commands.app import EXIT_BAD_INPUT, EXIT_NOT_FOUND, Quiet, Trust, app, print_line
from s2fast.work.collection import importing

if TYPE_CHECKING:
    from s2fast.retrieval.finding import Finding


class FindingFormat(StrEnum):
    """Formats of what `s2fast find` prints."""

    TEXT = "text"
    JSON = "json"


@app.command(epilog="Example: s2fast index OUT --to INDEX")
def index(
    outs: Annotated[list[str], typer.Argument(metavar="OUT...", help="Run folders whose features are there")],
    to: Annotated[str, typer.Option("--to", metavar="INDEX", help="Folder of the index, new or to be added to")],
    per_scene: Annotated[
        int,
        typer.Option("--per-scene", metavar="N", min=0, help="Most keypoints of a scene, spread over it; 0: all"),
    ] = 2000,
    lists: Annotated[
        bool, typer.Option("--lists", help="Also make inverted lists (FAISS), for `find --lists` in a large index")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Make an index of the keypoints of runs, in which `s2fast find` finds pictures; or add runs to one."""
    with importing():
        from s2fast.files.legible import counted
        from s2fast.retrieval.build import build
        from s2fast.retrieval.clusters import make_clusters
        from s2fast.retrieval.index import Index
        from s2fast.work.compilation import EXHAUSTIVE_MODULES, AnnouncedCompilation
        from s2fast.work.interrupt import exiting_on_interrupt
        from s2fast.work.progress import Progress, progress_for_stderr

    with exiting_on_interrupt("s2fast: stopped; the same command continues from there"):
        progress = Progress() if quiet else progress_for_stderr()
        build(to, outs, per_scene, progress)
        clusters = None
        if lists:
            AnnouncedCompilation(progress, modules=EXHAUSTIVE_MODULES).wait()
            clusters = make_clusters(to, progress)
    made = Index(to)
    print_line(f"{to}: {counted(len(made.scene_ids), 'scene')}, {made.keypoint_count} keypoints")
    if clusters is not None:
        print_line(
            f"inverted lists: {clusters.probed} of {clusters.lists} are read, which finds "
            f"{100 * clusters.recall:.1f} % of the exact votes of {clusters.queries} keypoints"
        )


@app.command(epilog="Example: s2fast find INDEX scan.png -o located.tif -o where.geojson -o picture.png")
def find(
    index: Annotated[str, typer.Argument(metavar="INDEX", help="Folder that s2fast index has made")],
    pictures: Annotated[list[str], typer.Argument(metavar="PICTURE...", help="Pictures to find, files or addresses")],
    output: Annotated[
        list[Path],
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write .geojson (outlines), .tif (georeferenced copy), or .png, .pdf, .svg; repeatable",
        ),
    ] = [],  # noqa: B006  typer reads the default and never changes it
    keypoints: Annotated[
        int, typer.Option(metavar="N", min=16, help="Most keypoints of a picture, spread over it")
    ] = 2000,
    lists: Annotated[
        bool, typer.Option("--lists", help="Search by the inverted lists of the index, not exactly: much faster")
    ] = False,
    form: Annotated[
        FindingFormat, typer.Option("--format", metavar="NAME", help="text, or json: one object per picture")
    ] = FindingFormat.TEXT,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu or cuda, as compute.device")] = "auto",
    budget_mb: Annotated[
        int, typer.Option("--budget-mb", metavar="MIB", min=128, help="Most memory in MiB, as compute.budget_mb")
    ] = 2048,
    trust: Trust = [],  # noqa: B006  typer reads the default and never changes it
) -> None:
    """Find where in an archive pictures without georeferencing lie; exit code 1 if any is not in it."""
    with importing():
        from s2fast.retrieval.finder import Finder
        from s2fast.retrieval.finding import UNUSABLE
        from s2fast.retrieval.index import Index
        from s2fast.retrieval.outputs import write_geojson
        from s2fast.work.compilation import FIND_MODULES, AnnouncedCompilation
        from s2fast.work.progress import progress_for_stderr

    _check_outputs(output, len(pictures))
    finder = Finder(
        Index(index), keypoints=keypoints, device=device, by_lists=lists, budget_mb=budget_mb, trusted=trust
    )
    AnnouncedCompilation(progress_for_stderr(), modules=FIND_MODULES).wait()
    findings: list[Finding] = []
    for finding in finder.find_all(pictures):
        findings.append(finding)
        if finding.problem:
            print_line(f"s2fast: error: {finding.problem}", err=True)
        if form is FindingFormat.JSON:
            print_line(json.dumps(finding.properties()))
        elif not finding.problem:
            print_line(_described(finding), indent="  ")
    for file in output:
        if file.suffix.lower() == ".geojson":
            write_geojson([finding.feature() for finding in findings], file)
        else:
            for finding in findings:
                if finding.found:
                    finding.save(file)
    if any(finding.verdict == UNUSABLE for finding in findings):
        raise typer.Exit(EXIT_BAD_INPUT)
    if not all(finding.found for finding in findings):
        raise typer.Exit(EXIT_NOT_FOUND)


def _check_outputs(output: list[Path], pictures: int) -> None:
    """Raise InputError for a file of unknown format, or one file for several pictures."""
    from s2fast.errors import InputError
    from s2fast.files.places import is_folder
    from s2fast.files.suffixes import check_suffix
    from s2fast.retrieval.outputs import SUFFIXES

    for file in output:
        check_suffix(file, SUFFIXES)
        if pictures > 1 and file.suffix.lower() != ".geojson":
            raise InputError(f"-o {file} is one file for {pictures} pictures: name one picture, or a .geojson")
        if not is_folder(file.absolute().parent):
            raise InputError(f"-o {file}: there is no folder {file.absolute().parent}")


def _described(finding: Finding) -> str:
    """Return a finding as text."""
    from s2fast.geometry.nulls import NullRate, null_summary
    from s2fast.retrieval.outputs import described

    name = finding.image.name
    if finding.entry is None or finding.place is None:
        return f"{name}: not found; compared with {len(finding.candidates)} scenes"
    where = ""
    if finding.grid is not None:
        longitude, latitude = finding.grid.lonlat
        where = f", centre {latitude:.5f}, {longitude:.5f} (latitude, longitude)"
    null = null_summary(NullRate(finding.nulls, finding.nulls_verified))
    also = f"; seen in {len(finding.agreeing)} scenes" if len(finding.agreeing) > 1 else ""
    rule = f"elsewhere, {null}"
    return f"{name}: {finding.verdict} in {finding.entry.scene_id}{where}; {described(finding.place)}{also}; {rule}"
