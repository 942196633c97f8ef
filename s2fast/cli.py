"""The command line: one thin function a command. Heavy imports happen where they are used."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Match Sentinel-2 images by the hundred: every pair's similarity and its matches, from one command.",
    epilog="First time? [bold]s2fast demo[/bold] runs the whole job on a small synthetic archive.",
)

EXIT_BAD_INPUT = 2
EXIT_SCENES_SKIPPED = 3
EXIT_INTERRUPTED = 130

ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="Settings, a TOML file such as configs/default.toml")
]
Scenes = Annotated[
    list[str], typer.Option("--scenes", metavar="PATH", help="Folder, file, zip or s3:// address of scenes; repeatable")
]
RegionsFile = Annotated[
    Path | None, typer.Option("--regions", metavar="FILE", help="Polygons of interest; without them whole scenes count")
]
Out = Annotated[
    str, typer.Option("--out", metavar="OUT", help="Run folder, new or of the same job; s3://BUCKET/PREFIX too")
]
Overrides = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override section.key; repeatable")]
Workers = Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Local worker processes")]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", metavar="tcp://HOST:PORT", help="Dask scheduler to run on instead")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first scene that cannot be used")]
RunFolderPath = Annotated[str, typer.Argument(metavar="OUT", help="Run folder, local or s3://BUCKET/PREFIX")]


class Format(StrEnum):
    """How `s2fast pairs` prints."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def main() -> None:
    """Run the command line; what is wrong with the input is one line on standard error and exit code 2."""
    from s2fast.errors import S2FastError
    from s2fast_kernels.backends import BackendError

    logging.basicConfig(level=logging.WARNING, format="s2fast: %(levelname)s: %(message)s")
    logging.addLevelName(logging.WARNING, "warning")
    try:
        app()
    except (S2FastError, BackendError) as error:
        typer.echo(f"s2fast: error: {error}", err=True)
        sys.exit(EXIT_BAD_INPUT)


def _stages(
    stages: tuple[str, ...],
    config: Path,
    scenes: list[str],
    regions: Path | None,
    out: str,
    overrides: list[str],
    workers: int,
    scheduler: str | None,
    strict: bool,
) -> None:
    from s2fast.config import load_config
    from s2fast.pipeline import run_stages
    from s2fast.progress import progress_for_stderr

    try:
        record = run_stages(
            load_config(config, overrides),
            scenes,
            regions,
            out,
            stages=stages,
            workers=workers,
            scheduler=scheduler,
            strict=strict,
            progress=progress_for_stderr(),
        )
    except KeyboardInterrupt:
        typer.echo("s2fast: stopped; what is complete is kept, the same command goes on from there", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if "report" in stages:
        counts = record.counts
        typer.echo(
            f"{counts['scenes']} scenes, {counts['pairs']} pairs, {counts['keypoints']} keypoints, "
            f"{counts['good_matches']} good matches: {out.rstrip('/')}/pairs.csv"
        )
    if record.problems:
        listed = ", ".join(sorted(record.problems))
        typer.echo(f"s2fast: {len(record.problems)} scenes skipped: {listed}", err=True)
        raise typer.Exit(EXIT_SCENES_SKIPPED)


def _stage_command(name: str, stages: tuple[str, ...], text: str, example: str) -> None:
    """Add a command that runs stages; all share their options."""

    def command(
        config: ConfigFile,
        scenes: Scenes,
        out: Out,
        regions: RegionsFile = None,
        overrides: Overrides = [],  # noqa: B006  typer reads the default and never changes it
        workers: Workers = 1,
        scheduler: Scheduler = None,
        strict: Strict = False,
    ) -> None:
        _stages(stages, config, scenes, regions, out, overrides, workers, scheduler, strict)

    app.command(name, help=text, epilog=f"Example: {example}")(command)


STAGE_COMMANDS = {
    "run": "The whole job: every pair of scenes, from images to tables.",
    "ingest": "Stage 1: read and mask the scenes.",
    "extract": "Stage 2: find keypoints and descriptors.",
    "match": "Stage 3: match every pair.",
    "verify": "Stage 4: tell which matches are geometrically real, and how far scenes lie apart.",
    "report": "Stage 5: write the tables.",
}
"""Commands over the stages of the pipeline; "run" takes all of them."""

for _name, _text in STAGE_COMMANDS.items():
    _stage_command(
        _name,
        tuple(STAGE_COMMANDS)[1:] if _name == "run" else (_name,),
        _text,
        f"s2fast {_name} configs/default.toml --scenes DIR --regions FILE --out OUT",
    )


@app.command(epilog="Example: s2fast pairs OUT --min-similarity 50 --tile 36UYA")
def pairs(
    out: RunFolderPath,
    min_similarity: Annotated[float | None, typer.Option(help="Least similarity [%]")] = None,
    max_similarity: Annotated[float | None, typer.Option(help="Similarity below this [%]")] = None,
    verified: Annotated[bool, typer.Option("--verified", help="Only pairs a geometric check confirmed")] = False,
    tile: Annotated[str | None, typer.Option(help="Only pairs with both scenes of this MGRS tile")] = None,
    format: Annotated[Format, typer.Option(help="How to print")] = Format.TABLE,  # noqa: A002  the option's name
) -> None:
    """List pairs, most alike first."""
    from s2fast.report.listing import filter_pairs, print_pairs
    from s2fast.results import Run

    chosen = filter_pairs(
        Run(out).pairs(), min_similarity=min_similarity, max_similarity=max_similarity, verified=verified, tile=tile
    )
    print_pairs(chosen, format.value)


@app.command(epilog="Example: s2fast show OUT S2A_20180810T083601_T36UXA S2A_20180830T083601_T36UXA -o pair.png")
def show(
    out: RunFolderPath,
    query: Annotated[str, typer.Argument(help="Scene id")],
    train: Annotated[str, typer.Argument(help="Scene id")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.png", help="Picture to write")],
) -> None:
    """Draw a pair: both scenes, both masked, the best matches."""
    from s2fast.errors import InputError
    from s2fast.results import Run

    figure = Run(out).show(query, train)
    try:
        figure.savefig(output, dpi=110)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write the picture {output}: {error}") from error
    typer.echo(str(output))


@app.command(epilog="Example: s2fast synth archive --size 1024 --dates 3")
def synth(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the archive")],
    size: Annotated[int, typer.Option(help="Side of a tile [px of 10 m]; Sentinel-2's is 10980")] = 10980,
    tiles: Annotated[str, typer.Option(help="MGRS tiles, comma-separated")] = "36UXA,36UYA",
    dates: Annotated[int, typer.Option(help="Acquisitions of each tile")] = 3,
    seed: Annotated[int, typer.Option(help="Another seed, another ground")] = 0,
) -> None:
    """Make a synthetic archive with known truth: SAFE folders, polygons, truth.json."""
    from s2fast.progress import progress_for_stderr
    from s2fast.synth import synth as make_archive

    names = tuple(tiles.split(","))
    with progress_for_stderr().stage("synth", len(names) * dates, 0) as bar:
        make_archive(folder, size=size, tiles=names, dates=dates, seed=seed, progress=lambda *_: bar.advance())
    typer.echo(str(folder))


@app.command(epilog="Example: s2fast demo --out demo")
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the archive and the run")] = Path(
        "demo"
    ),
) -> None:
    """Make a small synthetic archive, run the whole job on it, draw a pair."""
    from s2fast.demo import run_demo
    from s2fast.progress import progress_for_stderr

    for line in run_demo(out, progress_for_stderr()):
        typer.echo(line)


@app.command(epilog="Example: s2fast doctor")
def doctor() -> None:
    """Say what this machine can run, what is missing, and the command that mends it."""
    from s2fast.doctor import examine

    findings = examine()
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        remedy = f"  ->  {finding.remedy}" if finding.remedy else ""
        typer.echo(f"{'ok  ' if finding.fine else 'MISS'} {finding.topic:{width}}  {finding.told}{remedy}")
    if not all(finding.fine for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
