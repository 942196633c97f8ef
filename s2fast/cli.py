"""The command line: one thin function per command. Heavy modules are imported only where they are used."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from s2fast.model import Window
    from s2fast.pipeline import Job

log = logging.getLogger("s2fast.cli")

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

_FIRST_STEPS = """s2fast matches hundreds of Sentinel-2 images: the similarity, the matches and the shift of every pair.

  s2fast doctor        show what this machine can run, and the command that installs what is missing
  s2fast demo          run all stages on a small synthetic archive: half a minute
  s2fast run configs/default.toml --scenes ARCHIVE --regions POLYGONS.geojson --out OUT
                       match your own images; then open OUT/report.html
  s2fast pairs OUT --min-similarity 50
  s2fast show OUT QUERY TRAIN -o pair.png
                       list and draw the pairs of a finished run

  s2fast sweep sweep.toml --scenes ARCHIVE --out sweeps
                       compare settings on your own images: what each finds and costs

  s2fast --help        list all commands; s2fast COMMAND --help shows an example
  s2fast --install-completion
                       let the shell complete commands and options
"""
"""Text printed when no command is given."""

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


@app.callback(invoke_without_command=True)
def begin(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit", is_eager=True)] = False,
) -> None:
    """Match hundreds of Sentinel-2 images: one command computes the similarity and the matches of every pair."""
    if version:
        from s2fast import __version__

        typer.echo(f"s2fast {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(_FIRST_STEPS, nl=False)
    else:
        return
    raise typer.Exit


class Format(StrEnum):
    """Output formats of `s2fast pairs` and `s2fast scenes`."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def main() -> None:
    """Run the command line; on an error print one line to standard error and exit with code 2."""
    from s2fast.errors import S2FastError
    from s2fast.files.redaction import PublicFormatter, public
    from s2fast.work.streams import final_flush, open_missing_streams, stream_failure
    from s2fast_kernels.backends import BackendError

    open_missing_streams()
    terminal = logging.StreamHandler()
    # run.log also records INFO messages; see s2fast/folder/log.py.
    terminal.setLevel(logging.WARNING)
    terminal.setFormatter(PublicFormatter("s2fast: %(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[terminal])
    # Warnings of libraries go to run.log, not to the terminal.
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").propagate = False
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())
    logging.raiseExceptions = False  # a failing log handler must not stop the run
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.INFO, "info")
    code: int | str | None = EXIT_BAD_INPUT
    problem, unexpected = "", None
    try:
        app()
    except SystemExit as request:
        code = request.code
    except (S2FastError, BackendError) as error:
        problem = str(error)
    except Exception as error:
        unexpected = error
    if unwritable := final_flush(sys.stdout) or stream_failure(unexpected):
        code, problem = EXIT_BAD_INPUT, f"cannot write to standard output: {unwritable}"
    elif unexpected:
        problem = _unexpected(unexpected)
    if problem:
        _print_line(f"s2fast: error: {public(problem)}", err=True)
    final_flush(sys.stderr)
    sys.exit(code)


def _unexpected(error: Exception) -> str:
    """Write the traceback of an unexpected error to a temporary log; return the message that names the log."""
    import tempfile
    import traceback

    from s2fast.errors import UnexpectedError
    from s2fast.files.redaction import public

    try:
        with tempfile.NamedTemporaryFile("w", prefix="s2fast-", suffix=".log", delete=False) as log_file:
            log_file.write(public("".join(traceback.format_exception(error))))
    except OSError:
        return str(UnexpectedError(error, "the command, as no log can be written"))
    return str(UnexpectedError(error, log_file.name))


def _print_line(text: str, *, err: bool = False) -> None:
    """Print a line, or several; ignore a closed pipe or a full disk."""
    from s2fast.files.legible import legible_lines

    with suppress(OSError):
        typer.echo(legible_lines(text), err=err)


def _stages(
    stages: tuple[str, ...],
    make_job: Callable[[], Job],
    out: str,
    *,
    workers: int,
    scheduler: str | None,
    verbose: bool,
) -> None:
    """Run stages of a job, log to the run folder, and print a summary."""
    from s2fast import __version__
    from s2fast.files.redaction import public_words
    from s2fast.folder.log import logged
    from s2fast.pipeline import run_stages
    from s2fast.work.interrupt import EXIT_INTERRUPTED, exiting_on_interrupt
    from s2fast.work.progress import progress_for_stderr

    if verbose:
        for handler in logging.getLogger().handlers:
            handler.setLevel(logging.INFO)
    command = f"s2fast {shlex.join(public_words(sys.argv[1:]))}"
    farewell = f"s2fast: stopped; completed results are kept, the same command continues from there:\n  {command}"
    try:
        with logged(out, progress_for_stderr()) as progress, exiting_on_interrupt(farewell):
            log.info("s2fast %s: %s", __version__, command)
            record = run_stages(make_job(), stages=stages, workers=workers, scheduler=scheduler, progress=progress)
            history = record.history
            for name, stage in history.stages.items():
                took = f"{stage.done} computed, {stage.kept} kept, {stage.seconds:.1f} s {stage.ran}"
                log.info("%s, latest execution that computed anything: %s", name, took.rstrip())
            warnings = history.warnings if "report" in stages else []
            for warning in warnings:
                log.info("warning: %s", warning)
    except KeyboardInterrupt:
        _print_line(farewell, err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if "report" in stages:
        counts = history.counts
        _print_line(
            f"{counts['scenes']} scenes, {counts['pairs']} pairs, {counts['keypoints']} keypoints, "
            f"{counts['good_matches']} good matches, {counts['verified']} pairs verified: {out.rstrip('/')}/report.html"
        )
    if history.problems:
        skipped = ", ".join(sorted(history.problems))
        _print_line(f"s2fast: {len(history.problems)} scenes skipped: {skipped}", err=True)
    # Printed last, where they are seen: they decide whether the results can be relied on.
    _warn(warnings)
    if history.problems or record.found.polygons_dropped:
        raise typer.Exit(EXIT_SCENES_SKIPPED)


def _warn(warnings: list[str]) -> None:
    """Print a run's warnings to standard error."""
    for warning in warnings:
        _print_line(f"s2fast: warning: {warning}", err=True)


def _stage_command(name: str, stages: tuple[str, ...], text: str, example: str) -> None:
    """Add a command that runs stages; all such commands share their options."""

    def command(
        config: ConfigFile,
        scenes: Scenes,
        out: Out,
        regions: RegionsFile = None,
        overrides: Overrides = [],  # noqa: B006  typer reads the default and never changes it
        workers: Workers = 1,
        scheduler: Scheduler = None,
        strict: Strict = False,
        verbose: Verbose = False,
    ) -> None:
        def make_job() -> Job:
            from s2fast.config import load_config
            from s2fast.pipeline import Job

            return Job(load_config(config, overrides), scenes, regions, out, strict)

        _stages(stages, make_job, out, workers=workers, scheduler=scheduler, verbose=verbose)

    app.command(name, help=text, epilog=f"Example: {example}")(command)


STAGE_COMMANDS = {
    "run": "Run all stages: match every pair of scenes, from the images to the report.",
    "ingest": "Stage 1: read and mask the scenes.",
    "extract": "Stage 2: find keypoints and descriptors.",
    "match": "Stage 3: match every pair.",
    "verify": "Stage 4: verify the matches geometrically and estimate the shift of every pair.",
    "report": "Stage 5: write the tables, the report and the map layers.",
}
"""Commands that run stages of the pipeline, with their help texts; "run" runs all stages."""

for _name, _text in STAGE_COMMANDS.items():
    _stage_command(
        _name,
        tuple(STAGE_COMMANDS)[1:] if _name == "run" else (_name,),
        _text,
        f"s2fast {_name} configs/default.toml --scenes DIR --regions FILE --out OUT",
    )


@app.command(epilog="Example: s2fast sweep sweep.toml --scenes ARCHIVE --out sweeps")
def sweep(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Settings to compare, TOML; see Sweeps in README.md")
    ],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder for the results; a stopped sweep continues")],
    scenes: Annotated[
        list[str],
        typer.Option(
            "--scenes",
            metavar="PATH",
            help="Folder, file, zip or address of scenes; repeatable; default: FILE's [data]",
        ),
    ] = [],  # noqa: B006  typer reads the default and never changes it
    regions: RegionsFile = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run failed cases again")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Check everything and list the cases, without running them")
    ] = False,
) -> None:
    """Compare settings: what each finds on your scenes, and what it costs, as a table, a page and a Parquet file."""
    from s2fast.work.interrupt import EXIT_INTERRUPTED

    state: list[str] = []
    try:
        from s2fast.sweeps.command import run_files  # takes seconds, in which Control-C is told in one line as well

        failed = run_files(files, out, scenes, regions, state, retry=retry, plan=plan)
    except KeyboardInterrupt:
        told = state[-1] if state else "nothing has been run yet"
        _print_line(f"s2fast: stopped; {told}; the same command continues from there", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if failed:
        raise typer.Exit(EXIT_DAMAGED)


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
    _warn(run.record.history.warnings)


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
    _warn(run.record.history.warnings)


@app.command(epilog="Example: s2fast align OUT --to ALIGNED --bands B02,B03,B04,SCL")
def align(
    out: RunFolderPath,
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="Folder for the corrected rasters")],
    form: Annotated[
        str,
        typer.Option("--as", metavar="vrt|cog|resampled", help="Corrected georeferencing, or resampled to one grid"),
    ] = "vrt",
    reference: Annotated[
        str, typer.Option(metavar="median|SCENE", help="Median of each tile's scenes, or a scene that stays as it is")
    ] = "median",
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
        _print_line(f"s2fast: left out: {scene_id}: {reason}", err=True)
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
    _print_line("\n".join(map(str, found)))
    try:
        with closing(Lock(folder)) as lock:
            lock.acquire()
            for error in found.values():
                folder.discard(error)
    except RunFolderError as error:
        _print_line(f"s2fast: {len(found)} damaged, not marked for recomputation: {error}", err=True)
    else:
        _print_line(f"s2fast: {len(found)} damaged: run again to recompute them", err=True)
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


@app.command(epilog="Example: s2fast synth archive --size 1024 --dates 3")
def synth(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the archive")],
    size: Annotated[int, typer.Option(help="Side of a tile in 10 m pixels; real tiles have 10980")] = 10980,
    tiles: Annotated[str, typer.Option(help="MGRS tiles, comma-separated")] = "36UXA,36UYA",
    dates: Annotated[int, typer.Option(help="Number of acquisitions")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the random ground, weather and shifts")] = 0,
) -> None:
    """Generate a synthetic archive with ground truth: SAFE folders, polygons, truth.json."""
    from s2fast.synth import synth as make_archive
    from s2fast.work.progress import progress_for_stderr

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
    """Generate a small synthetic archive, run all stages on it, and print the paths of the results."""
    from s2fast.tools.demo import run_demo
    from s2fast.work.progress import progress_for_stderr

    for line in run_demo(out, progress_for_stderr()):
        typer.echo(line)


@app.command(epilog="Example: s2fast doctor")
def doctor(
    compiles: Annotated[
        bool, typer.Option("--compile", help="First compile the kernels, as the first run does; for container images")
    ] = False,
) -> None:
    """Show what this machine can run, what is missing, and the command that installs it."""
    from s2fast.tools.doctor import default_run, examine
    from s2fast.work.compilation import AnnouncedCompilation
    from s2fast.work.progress import progress_for_stderr

    if compiles:
        AnnouncedCompilation(progress_for_stderr()).wait()

    findings = examine()
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        remedy = f"  ->  {finding.remedy}" if finding.remedy else ""
        typer.echo(f"{finding.mark:4} {finding.topic:{width}}  {finding.result}{remedy}")
    remedies = [finding.remedy for finding in findings if not finding.fine and finding.remedy]
    if remedies:
        typer.echo(f"\nTo fix it, run:  {' && '.join(dict.fromkeys(remedies))}\n")
    typer.echo(default_run())
    if not all(finding.fine for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
