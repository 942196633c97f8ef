"""The command that fetches scenes from a catalogue."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from s2fast.commands.app import EXIT_SCENES_SKIPPED, Overrides, Quiet, app, on_terminal, print_line

if TYPE_CHECKING:
    from s2fast.fetch.asked import Wanted

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
    from s2fast.errors import InputError

    tile = tile.upper().removeprefix("MGRS-").removeprefix("T") if len(tile) > 4 else tile.upper()
    if place is None and not (bbox or regions or tile):
        if to is not None or dates or dry_run:
            raise InputError("what to fetch is missing: name a PLACE, or search with --bbox, --regions or --tile")
        from s2fast.tools.data_sources import listing

        print_line(on_terminal(listing(), sys.stdout, " " * 14))
        return
    from s2fast.fetch.asked import EARTH_SEARCH, Wanted, box_around, parse_box, search_address
    from s2fast.work.interrupt import exiting_on_interrupt

    if place is not None and (bbox or regions or dates or api):
        raise InputError(f"{place} says itself where to look: leave out --bbox, --regions, --dates and --api")
    if bbox and regions:
        raise InputError("--bbox and --regions both say where to look: leave out one of them")
    wanted = Wanted(tile, max_cloud, limit)
    with exiting_on_interrupt("s2fast: stopped; the same command continues from there"):
        box = parse_box(bbox) if bbox else box_around(regions) if regions else None
        if to is None and not dry_run:
            raise InputError("the folder is missing: name it with --to ARCHIVE, or list the scenes with --dry-run")
        address = place or search_address(api or EARTH_SEARCH, collection, box, dates, wanted)
        complete = _fetched(address, wanted, to, overrides, quiet=quiet, dry_run=dry_run)
    if not complete:
        raise typer.Exit(EXIT_SCENES_SKIPPED)


def _fetched(
    address: str, wanted: Wanted, to: Path | None, overrides: list[str], *, quiet: bool, dry_run: bool
) -> bool:
    """Fetch what is wanted of a place; return whether all of it is complete."""
    from s2fast.archive.find import find_scenes
    from s2fast.archive.listed import Looking
    from s2fast.config import load_config
    from s2fast.errors import InputError
    from s2fast.fetch.download import download, megabytes, plan
    from s2fast.fetch.items import write_items
    from s2fast.files.legible import counted
    from s2fast.files.source import Source
    from s2fast.work.progress import Progress, progress_for_stderr

    settings = load_config(None, overrides).ingest
    source = Source.of(address)
    bands = settings.bands
    found = find_scenes(
        [source.trusting((source.address, *settings.trust))], looking=Looking(settings.asset, bands[0] if bands else "")
    )
    folder = to or Path("ARCHIVE")
    scenes = wanted.of(found.scenes)
    if not scenes:
        raise InputError(f"{source}: none of {counted(len(found.scenes), 'scene')} there is wanted")
    planned, failed = plan(scenes, folder, settings)
    failed |= found.left_out
    missing = sum(bool(files.missing) for files in planned)
    if dry_run:
        for files in planned:
            clouds = files.scene.cloud_cover_pct
            size = f"{megabytes([files])} MB" if files.missing else "there"
            print_line(f"{files.scene.scene_id}  {size}" + ("" if clouds is None else f"  {clouds:.0f} % clouds"))
    else:
        failed |= download(planned, folder, Progress() if quiet else progress_for_stderr())
        complete = [files for files in planned if files.scene.scene_id not in failed]
        items = write_items(complete, folder) if complete else None
    for name, reason in failed.items():
        print_line(f"s2fast: warning: {name} is left out: {reason}", err=True)
    if dry_run:
        print_line(f"{counted(len(planned), 'scene')}, of which {missing} to fetch: {megabytes(planned)} MB")
    elif items:
        options = shlex.join(word for override in overrides for word in ("--set", override))
        print_line(f"{folder}: {counted(len(complete), 'scene')}")
        print_line(f"s2fast run --scenes {shlex.quote(str(items))} {options + ' ' if options else ''}--out OUT")
    return not failed
