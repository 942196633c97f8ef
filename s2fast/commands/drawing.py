"""Commands that draw pairs of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from s2fast.commands.app import Query, RunFolderPath, Train, app

if TYPE_CHECKING:
    from s2fast.model import Window


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
