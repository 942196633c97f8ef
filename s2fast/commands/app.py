"""What commands share: the application, exit codes, options, and how they print."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Match hundreds of Sentinel-2 images: one command computes the similarity and the matches of every pair.",
    epilog="First time? [bold]s2fast demo[/bold] runs all stages on a small synthetic archive.",
)

EXIT_DAMAGED = 1
EXIT_BAD_INPUT = 2
EXIT_SCENES_SKIPPED = 3

ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="Settings, a TOML file such as configs/default.toml")
]
Scenes = Annotated[
    list[str], typer.Option("--scenes", metavar="PATH", help="Folder, file, zip or s3:// address of scenes; repeatable")
]
RegionsFile = Annotated[
    str | None,
    typer.Option(
        "--regions",
        metavar="FILE",
        help="Polygons of interest: file, folder, zip or address; default: use whole scenes",
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="FILE|SCENE",
        help="Image from outside, or scene of the run, that is held fixed: offsets are relative to it",
    ),
]
Out = Annotated[
    str, typer.Option("--out", metavar="OUT", help="Run folder, new or of the same job; may be s3://BUCKET/PREFIX")
]
Overrides = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override section.key; repeatable")]
Workers = Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Number of local worker processes")]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", metavar="tcp://HOST:PORT", help="Run on this Dask scheduler instead")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first scene or polygon that cannot be used")]
Query = Annotated[str, typer.Argument(metavar="QUERY", help="Scene id, as listed by `s2fast pairs OUT`")]
Train = Annotated[str, typer.Argument(metavar="TRAIN", help="Scene id")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also print log messages to stderr")]
RunFolderPath = Annotated[str, typer.Argument(metavar="OUT", help="Run folder, local or s3://BUCKET/PREFIX")]


def print_line(text: str, *, err: bool = False) -> None:
    """Print a line, or several; ignore a closed pipe or a full disk."""
    from s2fast.files.legible import legible_lines

    with suppress(OSError):
        typer.echo(legible_lines(text), err=err)


def warn(warnings: list[str]) -> None:
    """Print a run's warnings to standard error."""
    for warning in warnings:
        print_line(f"s2fast: warning: {warning}", err=True)
