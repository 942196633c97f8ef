"""The command that fetches scenes from a catalogue."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from s2fast.commands.app import EXIT_SCENES_SKIPPED, Overrides, Quiet, app, print_line
from s2fast.files.legible import counted

if TYPE_CHECKING:
    from s2fast.fetching.fetch import Fetched

_WHICH = "Which scenes"


@app.command(
    epilog="Example: s2fast fetch --bbox 34.2,50,34.8,50.4 --dates 2019-06/2019-09 --max-cloud 20 --to ARCHIVE"
)
def fetch(
    place: Annotated[
        str | None,
        typer.Argument(metavar="PLACE", help="STAC document or search, folder in a bucket; default: search --api"),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="ARCHIVE", help="Folder for the scenes, new or begun")
    ] = None,
    bbox: Annotated[
        str | None, typer.Option("--bbox", metavar="W,S,E,N", help="Box in degrees", rich_help_panel=_WHICH)
    ] = None,
    regions: Annotated[
        str | None,
        typer.Option("--regions", metavar="FILE", help="The box around these polygons", rich_help_panel=_WHICH),
    ] = None,
    dates: Annotated[
        str, typer.Option("--dates", metavar="FROM/TO", help="Days, months or years", rich_help_panel=_WHICH)
    ] = "",
    tile: Annotated[str, typer.Option("--tile", metavar="TILE", help="MGRS tile, 36UYA", rich_help_panel=_WHICH)] = "",
    max_cloud: Annotated[
        float | None,
        typer.Option("--max-cloud", metavar="PCT", min=0, max=100, help="Most clouds [%]", rich_help_panel=_WHICH),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="At most this many, the clearest", rich_help_panel=_WHICH),
    ] = None,
    api: Annotated[
        str | None,
        typer.Option("--api", metavar="URL", help="STAC API; default: Earth Search", rich_help_panel=_WHICH),
    ] = None,
    collection: Annotated[
        str, typer.Option("--collection", metavar="NAME", help="Collection of the API", rich_help_panel=_WHICH)
    ] = "sentinel-2-l2a",
    overrides: Overrides = [],  # noqa: B006  typer reads the default and never changes it
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the scenes and their size; write nothing")] = False,
    quiet: Quiet = False,
) -> None:
    """Download scenes of a catalogue, with their masks; without options, list where to get scenes."""
    if place is None and not (bbox or regions or tile or dates or to or dry_run):
        from s2fast.tools.data_sources import listing

        print_line(*listing().split("\n"), indent=" " * 14)
        return
    from s2fast.config import load_config
    from s2fast.fetching.fetch import fetch as fetched
    from s2fast.fetching.query import Search, Wanted, parse_box
    from s2fast.files.redaction import public_words
    from s2fast.work.interrupt import exiting_on_interrupt
    from s2fast.work.progress import Progress, progress_for_stderr

    wanted = Wanted.asked(tile, max_cloud, limit)
    with exiting_on_interrupt("s2fast: stopped; the same command continues from there"):
        search = Search(parse_box(bbox) if bbox else None, regions, dates, api, collection)
        settings = load_config(None, overrides).ingest
        progress = Progress() if quiet else progress_for_stderr()
        done = fetched(search.of(place, wanted), wanted, to, settings, progress, dry_run=dry_run)
    if dry_run:
        _list(done)
    for name, reason in done.left_out.items():
        print_line(f"s2fast: warning: {name} is left out: {reason}", err=True)
    if done.items:
        options = shlex.join(public_words(word for override in overrides for word in ("--set", override)))
        print_line(f"{done.items.parent}: {counted(len(done.scene_ids), 'scene')}")
        print_line(f"s2fast run --scenes {shlex.quote(str(done.items))} {options + ' ' if options else ''}--out OUT")
    if done.left_out:
        raise typer.Exit(EXIT_SCENES_SKIPPED)


def _list(found: Fetched) -> None:
    """Print what would be fetched."""
    from s2fast.fetching.download import megabytes

    for files in found.files:
        clouds = files.scene.cloud_cover_pct
        size = f"{megabytes([files])} MB" if files.missing else "there"
        print_line(f"{files.scene.scene_id}  {size}" + ("" if clouds is None else f"  {clouds:.0f} % clouds"))
    missing = sum(bool(files.missing) for files in found.files)
    print_line(f"{counted(len(found.files), 'scene')}, of which {missing} to fetch: {megabytes(found.files)} MB")
