"""Commands that read, draw, check and use a finished run."""

from __future__ import annotations

from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from s2fast.commands.app import (
    EXIT_DAMAGED,
    EXIT_SCENES_SKIPPED,
    Query,
    RunFolderPath,
    Train,
    app,
    print_line,
    warn,
)

if TYPE_CHECKING:
    from s2fast.model import Window


class Format(StrEnum):
    """Output formats of `s2fast pairs` and `s2fast scenes`."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.command(epilog="Example: s2fast pairs OUT --min-similarity 50 --tile 36UYA")
def pairs(
    out: RunFolderPath,
    min_similarity: Annotated[float | None, typer.Option(help="Only pairs of at least this similarity [%]")] = None,
    max_similarity: Annotated[float | None, typer.Option(help="Only pairs below this similarity [%]")] = None,
    verified: Annotated[bool, typer.Option("--verified", help="Only geometrically verified pairs")] = False,
    tile: Annotated[str | None, typer.Option(help="Only pairs with both scenes of this MGRS tile")] = None,
    format: Annotated[Format, typer.Option(help="Output format")] = Format.TABLE,  # noqa: A002  the option's name
) -> None:
    """List pairs, most similar first."""
    from s2fast.report.listing import filter_pairs, print_pairs
    from s2fast.results import Run

    run = Run(out)
    selected = filter_pairs(
        run.pairs(), min_similarity=min_similarity, max_similarity=max_similarity, verified=verified, tile=tile
    )
    print_pairs(selected, format.value)
    warn(run.record.history.warnings)


@app.command(epilog="Example: s2fast scenes OUT --format csv")
def scenes(
    out: RunFolderPath,
    format: Annotated[Format, typer.Option(help="Output format")] = Format.TABLE,  # noqa: A002  the option's name
) -> None:
    """List scenes with their offsets, errors and verdicts, and how to move each to correct it."""
    from s2fast.report.listing import print_scenes
    from s2fast.results import Run

    run = Run(out)
    print_scenes(run.scenes(), format.value)
    warn(run.record.history.warnings)


@app.command(epilog="Example: s2fast align OUT --to ALIGNED --bands B02,B03,B04,SCL")
def align(
    out: RunFolderPath,
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="Folder for the corrected rasters")],
    form: Annotated[
        str,
        typer.Option("--as", metavar="vrt|cog|resampled", help="Corrected georeferencing, or resampled to one grid"),
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
        float | None, typer.Option(metavar="METRES", min=0, help="Largest error of an offset; default: 0.1 pixels")
    ] = None,
) -> None:
    """Write every scene whose offset can be relied on with the offset removed."""
    from s2fast.results import Run
    from s2fast.work.progress import progress_for_stderr

    names = [name for name in bands.split(",") if name]
    done = Run(out).align(
        to, form=form, reference=reference, bands=names, resampling=resampling, max_error_m=max_error,
        progress=progress_for_stderr(),
    )  # fmt: skip
    left_out = done[~done["aligned"]]
    typer.echo(f"{len(done) - len(left_out)} of {len(done)} scenes aligned: {to.rstrip('/')}/alignment.csv")
    for scene_id, reason in zip(left_out["scene_id"], left_out["reason"], strict=True):
        print_line(f"s2fast: left out: {scene_id}: {reason}", err=True)
    if len(left_out):
        raise typer.Exit(EXIT_SCENES_SKIPPED)


@app.command(epilog="Example: s2fast check OUT")
def check(out: RunFolderPath) -> None:
    """Read all files of a run folder and list damaged ones; the next run recomputes these results."""
    from s2fast.errors import RunFolderError
    from s2fast.folder.check import find_damage
    from s2fast.folder.lock import Lock
    from s2fast.folder.run_folder import RunFolder

    folder = RunFolder(out)
    found = {error.finding: error for error in find_damage(folder)}
    if not found:
        typer.echo(f"{folder}: no damage found")
        return
    print_line("\n".join(map(str, found)))
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


@app.command(epilog="Example: s2fast show OUT S2A_20180810T083601_T36UXA S2A_20180830T083601_T36UXA -o pair.png")
def show(
    out: RunFolderPath,
    query: Query,
    train: Train,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.png", help="Picture to write")],
    matches: Annotated[int, typer.Option(min=0, help="Number of matches to draw, by distance")] = 20,
    inliers_only: Annotated[
        bool, typer.Option("--inliers-only", help="Only matches that agree with the shift")
    ] = False,
    masked: Annotated[
        bool | None, typer.Option("--masked/--original", help="Draw only the matches, on masked or on colour scenes")
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="COL,ROW,WIDTH,HEIGHT", help="Draw this part of the query [px], and the same ground of the train"
        ),
    ] = None,
) -> None:
    """Draw a pair: both scenes, both masked scenes, and the best matches."""
    from s2fast.errors import InputError
    from s2fast.results import Run

    view: Literal["all", "masked", "original"] = "all" if masked is None else "masked" if masked else "original"
    figure = Run(out).show(
        query, train, matches=matches, inliers_only=inliers_only, view=view, crop=_window(crop) if crop else None
    )
    try:
        figure.savefig(output, dpi=110)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write the picture {output}: {error}") from error
    typer.echo(str(output))


def _window(crop: str) -> Window:
    from s2fast.errors import InputError
    from s2fast.model import Window

    try:
        col, row, width, height = (int(part) for part in crop.split(","))
    except ValueError as error:
        raise InputError(f"--crop is {crop}: write COL,ROW,WIDTH,HEIGHT as four integers [px]") from error
    return Window(row, col, height, width)


@app.command(
    epilog="Example: s2fast displacement OUT S2A_20180810T083601_T36UXA S2A_20180830T083601_T36UXA -o shift.tif"
)
def displacement(
    out: RunFolderPath,
    query: Query,
    train: Train,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.tif", help="GeoTIFF to write")],
    cell: Annotated[float, typer.Option(metavar="METRES", help="Side of a cell on the ground")] = 1000.0,
) -> None:
    """Write a GeoTIFF of a pair's local shifts: median dx, median dy and number of inliers per cell."""
    from s2fast.errors import InputError
    from s2fast.results import Run

    raster = Run(out).displacement(query, train, cell)
    try:
        output.write_bytes(raster)
    except OSError as error:
        raise InputError(f"cannot write the raster {output}: {error.strerror}") from error
    typer.echo(str(output))
