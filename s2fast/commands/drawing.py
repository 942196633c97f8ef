"""Commands that draw pairs of a finished run."""

from __future__ import annotations

import io
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from s2fast.commands.app import Query, RunFolderPath, Train, Trust, app, print_line, warn
from s2fast.work.collection import importing

if TYPE_CHECKING:
    from s2fast.model import Window
    from s2fast.results import Run

_PARTS, _MANY = "What is drawn", "Many pairs"


class LayoutName(StrEnum):
    """Layouts of `s2fast show`."""

    ALL = "all"
    PAIR = "pair"
    MATCHES = "matches"
    DISPLACEMENT = "displacement"


class PictureFormat(StrEnum):
    """Formats of pictures."""

    PNG = "png"
    PDF = "pdf"
    SVG = "svg"


@app.command(
    epilog="Example: s2fast show OUT '20180810 UXA' '20180830 UXA' -o pair.pdf --layout displacement --dpi 300"
)
def show(
    out: RunFolderPath,
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="Scene, by a part of its id: '20180810 UXA'")
    ] = None,
    train: Annotated[str | None, typer.Argument(metavar="TRAIN", help="Scene that is compared with it")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Picture to write: .png, .pdf or .svg")
    ] = None,
    dpi: Annotated[float, typer.Option(metavar="N", min=20, max=2400, help="Pixels per inch, of 7.2 inches")] = 200,
    layout: Annotated[
        LayoutName | None,
        typer.Option(metavar="NAME", help="pair, matches, displacement or all; default: all", rich_help_panel=_PARTS),
    ] = None,
    matches: Annotated[
        int, typer.Option(metavar="N", min=0, help="Number of matches to draw, by distance", rich_help_panel=_PARTS)
    ] = 20,
    inliers_only: Annotated[
        bool, typer.Option("--inliers-only", help="Only matches that agree with the shift", rich_help_panel=_PARTS)
    ] = False,
    masked: Annotated[
        bool, typer.Option("--masked", help="Draw only the matches, on masked scenes", rich_help_panel=_PARTS)
    ] = False,
    original: Annotated[
        bool, typer.Option("--original", help="Draw only the matches, on scenes in colour", rich_help_panel=_PARTS)
    ] = False,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H",
            help="Only this part of the query, its first column and row, width and height in pixels, and the same "
            "ground of the train",
            rich_help_panel=_PARTS,
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Folder for a picture of each pair", rich_help_panel=_MANY),
    ] = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="Draw all verified pairs", rich_help_panel=_MANY)
    ] = False,
    tile: Annotated[
        str | None, typer.Option("--tile", metavar="TILE", help="Only scenes of this MGRS tile", rich_help_panel=_MANY)
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="At most this many, most similar first", rich_help_panel=_MANY),
    ] = None,
    form: Annotated[
        PictureFormat | None,
        typer.Option("--format", metavar="NAME", help="png, pdf or svg; default: png", rich_help_panel=_MANY),
    ] = None,
    trust: Trust = [],  # noqa: B006  typer reads the default and never changes it
) -> None:
    """Draw a pair, or all verified pairs: the scenes, their matches and displacements."""
    with importing():
        import matplotlib.backends.backend_agg  # noqa: F401  what Run.show and savefig import

        import s2fast.pictures.pair  # noqa: F401
        from s2fast.errors import InputError
        from s2fast.files.suffixes import PICTURES, check_suffix
        from s2fast.results import Run

    if output is not None:
        check_suffix(output, PICTURES)
    if masked and original:
        raise InputError("--masked and --original exclude each other: name one of them")
    if (query is None) != (train is None):
        raise InputError("a pair needs two scenes: name QUERY and TRAIN")
    view: Literal["all", "masked", "original"] = "masked" if masked else "original" if original else "all"
    run = Run(out, trust=trust)
    for first, second, file in _pictures(run, query, train, output, to, verified, tile, limit, form):
        figure = run.show(
            first, second, layout=layout.value if layout else None, matches=matches, inliers_only=inliers_only,
            view=view, crop=_window(crop) if crop else None, dpi=dpi,
        )  # fmt: skip
        # Level 1 takes a third of the time of the default; the file is 4 % larger than at level 3.
        options: dict[str, Any] = {"pil_kwargs": {"compress_level": 1}} if file.suffix.lower() == ".png" else {}
        drawn = io.BytesIO()  # Matplotlib's PDF cannot end on a full disk
        try:
            figure.savefig(drawn, format=file.suffix[1:].lower(), **options)
            file.write_bytes(drawn.getvalue())
        except (OSError, ValueError) as error:
            raise InputError(f"cannot write the picture {file}: {getattr(error, 'strerror', '') or error}") from error
        print_line(str(file))


def _pictures(
    run: Run, query: str | None, train: str | None, output: Path | None, to: Path | None, verified: bool,
    tile: str | None, limit: int | None, form: PictureFormat | None,
) -> list[tuple[str, str, Path]]:  # fmt: skip
    """Return the pairs to draw, with the file of each picture."""
    from s2fast.errors import InputError
    from s2fast.files.suffixes import check_on_disk
    from s2fast.report.selection import Selection, select_pairs

    if query is not None and train is not None:
        if output is None:
            raise InputError("no picture to write: name it with -o FILE.png, FILE.pdf or FILE.svg")
        if verified or any(given is not None for given in (to, tile, limit, form)):
            raise InputError(
                "--verified, --to, --format, --tile and --limit draw many pairs: leave out QUERY and TRAIN"
            )
        return [(query, train, output)]
    if not verified or to is None:
        raise InputError("name a pair, QUERY and TRAIN, and -o FILE; or draw many with --verified --to DIR")
    if output is not None:
        raise InputError("many pairs go to the folder of --to: leave out -o")
    check_on_disk(to)
    pairs = select_pairs(run.pairs(), Selection(verified=True, tile=tile, limit=limit))
    if pairs.empty:
        warn(["no picture was drawn: none of the pairs chosen is verified; s2fast pairs OUT lists their verdicts"])
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to the folder {to}: {error.strerror}") from error
    return [
        (first, second, to / f"{first}_{second}.{(form or PictureFormat.PNG).value}")
        for first, second in pairs[["query", "train"]].to_numpy()
    ]


def _window(crop: str) -> Window:
    from s2fast.errors import InputError
    from s2fast.model import Window

    try:
        col, row, width, height = (int(part) for part in crop.split(","))
    except ValueError as error:
        raise InputError(f"--crop is {crop}: write COL,ROW,WIDTH,HEIGHT as four integers [px]") from error
    return Window(row, col, height, width)


@app.command(epilog="Example: s2fast displacement OUT '20180810 UXA' '20180830 UXA' -o shift.tif")
def displacement(
    out: RunFolderPath,
    query: Query,
    train: Train,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.tif", help="GeoTIFF to write")],
    cell: Annotated[float, typer.Option(metavar="METRES", help="Side of a cell on the ground")] = 1000.0,
) -> None:
    """Write a GeoTIFF of a pair's local shifts: median dx, median dy and number of inliers per cell."""
    from s2fast.files.suffixes import RASTERS, check_suffix
    from s2fast.results import Run

    check_suffix(output, RASTERS)
    Run(out).displacement(query, train, cell).save(output)
    print_line(str(output))
