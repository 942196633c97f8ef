"""Commands that list, align and check a finished run."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from s2fast.commands.app import (
    EXIT_DAMAGED,
    EXIT_SCENES_SKIPPED,
    Columns,
    Format,
    Limit,
    ListFile,
    ListFormat,
    RunFolderPath,
    Since,
    Sort,
    Tile,
    Trust,
    Until,
    Verdicts,
    app,
    print_line,
    warn,
    words,
)
from s2fast.work.collection import importing

if TYPE_CHECKING:
    from s2fast.report.listing import Listing
    from s2fast.results import Run


@app.command(epilog="Example: s2fast pairs OUT --verified --tile 36UYA --sort=-dx_m --limit 20")
def pairs(
    out: RunFolderPath,
    scene: Annotated[
        list[str],
        typer.Option(
            metavar="SCENE",
            help="Only pairs with this scene, or part of an id; repeatable",
            rich_help_panel="Which rows",
        ),
    ] = [],  # noqa: B006  typer reads the default and never changes it
    tile: Tile = None,
    since: Since = None,
    until: Until = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="Only geometrically verified pairs", rich_help_panel="Which rows")
    ] = False,
    verdict: Verdicts = [],  # noqa: B006
    min_similarity: Annotated[
        float | None,
        typer.Option(metavar="PCT", help="Only pairs of at least this similarity [%]", rich_help_panel="Which rows"),
    ] = None,
    max_similarity: Annotated[
        float | None,
        typer.Option(metavar="PCT", help="Only pairs below this similarity [%]", rich_help_panel="Which rows"),
    ] = None,
    max_shift: Annotated[
        float | None,
        typer.Option(metavar="METRES", help="Only pairs with a shift of at most this", rich_help_panel="Which rows"),
    ] = None,
    limit: Limit = None,
    sort: Sort = None,
    columns: Columns = "",
    format: Format = None,  # noqa: A002  the option's name
    output: ListFile = None,
) -> None:
    """List pairs, most similar first."""
    run, listing = _opened(out, columns, format, output)
    from s2fast.report.listing import print_pairs
    from s2fast.report.selection import Selection, select_pairs

    selection = Selection(
        scenes=scene, tile=tile, since=since, until=until, verdicts=verdict, verified=verified,
        min_similarity=min_similarity, max_similarity=max_similarity, max_shift_m=max_shift, sort=sort, limit=limit,
    )  # fmt: skip
    rows = run.pairs()
    print_pairs(select_pairs(rows, selection), replace(listing, total=len(rows)))
    _end(run, output)


@app.command(epilog="Example: s2fast scenes OUT --format csv")
def scenes(
    out: RunFolderPath,
    tile: Tile = None,
    since: Since = None,
    until: Until = None,
    verdict: Verdicts = [],  # noqa: B006  typer reads the default and never changes it
    limit: Limit = None,
    sort: Sort = None,
    columns: Columns = "",
    format: Format = None,  # noqa: A002  the option's name
    output: ListFile = None,
) -> None:
    """List scenes with their offsets, errors and verdicts, and how to move each to correct it."""
    run, listing = _opened(out, columns, format, output)
    from s2fast.report.listing import print_scenes
    from s2fast.report.selection import Selection, select_scenes

    selection = Selection(tile=tile, since=since, until=until, verdicts=verdict, sort=sort, limit=limit)
    rows = run.scenes()
    print_scenes(select_scenes(rows, selection), replace(listing, total=len(rows)))
    _end(run, output)


def _opened(out: str, columns: str, form: ListFormat | None, output: Path | None) -> tuple[Run, Listing]:
    """Open a run, and read the options that both lists have."""
    with importing():
        from s2fast.files.suffixes import check_suffix
        from s2fast.report.listing import FORMATS, Listing
        from s2fast.results import Run

    if output is not None:
        check_suffix(output, list(FORMATS))
    run = Run(out)
    return run, Listing(form.value if form else "", words(columns), output, run.scene_ids)


def _end(run: Run, output: Path | None) -> None:
    """Print the file that was written, and the run's warnings."""
    if output is not None:
        print_line(str(output))
    warn(run.record.history.warnings)


@app.command(epilog="Example: s2fast align OUT --to ALIGNED --bands B02,B03,B04,SCL")
def align(
    out: RunFolderPath,
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="Folder for the corrected rasters")],
    form: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="vrt|cog|resampled",
            help="vrt: corrected georeferencing, pixels stay in the source; cog: the same with a copy of the pixels; "
            "resampled: interpolated onto one grid per tile",
        ),
    ] = "vrt",
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="median|SCENE|FILE",
            help="What stays as it is: the median of the scenes, a scene, or the run's --reference (default, if any)",
        ),
    ] = None,
    bands: Annotated[
        str, typer.Option(metavar="NAME,NAME|all", help="Rasters of the product; default: the one that was matched")
    ] = "",
    resampling: Annotated[
        str, typer.Option(metavar="bilinear|cubic|lanczos", help="For resampled images; masks take the nearest pixel")
    ] = "bilinear",
    max_error: Annotated[
        float | None,
        typer.Option(
            metavar="METRES", min=0, help="Leave out scenes whose offset has a larger error; default: 0.1 pixels"
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare the written files by phase correlation; withdraw those that got worse or cannot be read",
        ),
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            metavar="shift|auto|MODEL",
            help="shift: move scenes as a whole; similarity, affine or grid: correct displacements within scenes, if "
            "that predicts held-out matches better; auto: the simplest of these that no other beats",
        ),
    ] = "shift",
    trust: Trust = [],  # noqa: B006  typer reads the default and never changes it
) -> None:
    """Write a corrected product of every scene whose offset can be relied on.

    DIR/alignment.csv and alignment.html say what was done with each scene. The exit code is 3 if any was left out.
    """
    from s2fast.results import Run
    from s2fast.work.progress import progress_for_stderr

    done = Run(out, trust=trust).align(
        to, form=form, reference=reference, bands=words(bands), resampling=resampling, max_error_m=max_error,
        check=check, model=model, progress=progress_for_stderr(),
    )  # fmt: skip
    left_out = done[~done["aligned"]]
    print_line(
        f"{len(done) - len(left_out)} of {len(done)} scenes aligned: {to.rstrip('/')}/alignment.html, alignment.csv"
    )
    for scene_id, note in done.loc[done["note"] != "", ["scene_id", "note"]].to_numpy():
        print_line(f"s2fast: {scene_id}: {note}", err=True)
    for scene_id, reason in zip(left_out["scene_id"], left_out["reason"], strict=True):
        print_line(f"s2fast: left out: {scene_id}: {reason}", err=True)
    if len(left_out):
        raise typer.Exit(EXIT_SCENES_SKIPPED)


@app.command(epilog="Example: s2fast stac OUT --to CATALOGUE --aligned ALIGNED")
def stac(
    out: RunFolderPath,
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="Folder for the collection and its items")],
    aligned: Annotated[
        str | None, typer.Option("--aligned", metavar="DIR", help="Folder of s2fast align, whose rasters become assets")
    ] = None,
) -> None:
    """Write the run as a STAC Collection with one Item per scene: its offset, error and corrected rasters."""
    from s2fast.results import Run

    print_line(str(Run(out).stac(to, aligned)))


@app.command(epilog="Example: s2fast check OUT")
def check(out: RunFolderPath) -> None:
    """Read all files of a run folder, list damaged ones and discard their results, which the next run recomputes."""
    from s2fast.errors import RunFolderError
    from s2fast.folder.check import find_damage
    from s2fast.folder.lock import Lock
    from s2fast.folder.run_folder import RunFolder

    folder = RunFolder(out)
    found = {error.finding: error for error in find_damage(folder)}
    if not found:
        print_line(f"{folder}: no damage found")
        return
    print_line(*map(str, found))
    try:
        with closing(Lock(folder)) as lock:
            lock.acquire()
            for error in found.values():
                folder.discard(error)
    except RunFolderError as error:
        print_line(f"s2fast: {len(found)} damaged, not marked for recomputation: {error}", err=True)
    else:
        print_line(f"s2fast: {len(found)} damaged: run again to recompute them", err=True)
    raise typer.Exit(EXIT_DAMAGED)
