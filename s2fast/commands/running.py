"""Commands that run stages, once or for many settings."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from s2fast.commands.app import (
    EXIT_CASE_FAILED,
    EXIT_SCENES_SKIPPED,
    ConfigFile,
    DryRun,
    Out,
    Overrides,
    Profile,
    ProfileName,
    Quiet,
    Reference,
    RegionsFile,
    Scenes,
    Scheduler,
    Strict,
    Verbose,
    Workers,
    app,
    print_line,
    warn,
)
from s2fast.work.collection import importing

if TYPE_CHECKING:
    from s2fast.planning import Job

log = logging.getLogger("s2fast.cli")


def _stages(
    stages: tuple[str, ...],
    make_job: Callable[[], Job],
    out: str,
    *,
    workers: int | None,
    scheduler: str | None,
    verbose: bool,
    quiet: bool,
) -> None:
    """Run stages of a job, log to the run folder, and print a summary."""
    with importing():
        from s2fast import __version__
        from s2fast.files.legible import counted, first_named, legible
        from s2fast.files.redaction import public_words
        from s2fast.folder.log import logged
        from s2fast.pipeline import run_stages
        from s2fast.work.interrupt import EXIT_INTERRUPTED, exiting_on_interrupt
        from s2fast.work.progress import Progress, progress_for_stderr

    if verbose:
        for handler in logging.getLogger().handlers:
            handler.setLevel(logging.INFO)
    command = legible(f"s2fast {shlex.join(public_words(sys.argv[1:]))}")
    farewell = f"s2fast: stopped; completed results are kept, the same command continues from there:\n  {command}"
    try:
        with logged(out, Progress() if quiet else progress_for_stderr()) as progress, exiting_on_interrupt(farewell):
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
        print_line(*farewell.split("\n"), err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if "report" in stages:
        counts = history.counts
        print_line(
            f"{counted(counts['scenes'], 'scene')}, {counted(counts['pairs'], 'pair')}, "
            f"{counted(counts['keypoints'], 'keypoint')}, {counted(counts['good_matches'], 'good match', 'es')}, "
            f"{counted(counts['verified'], 'pair')} verified: {out.rstrip('/')}/report.html"
        )
    if history.problems:
        skipped = first_named(sorted(history.problems))
        print_line(f"s2fast: {counted(len(history.problems), 'scene')} skipped: {skipped}", err=True)
    # Printed last, where they are seen: they decide whether the results can be relied on.
    warn(warnings)
    if history.problems or record.found.polygons_dropped:
        raise typer.Exit(EXIT_SCENES_SKIPPED)


def _show_forecast(stages: tuple[str, ...], job: Job, workers: int | None) -> None:
    """Print what a command would do, and what it would take."""
    from s2fast.pipeline import forecast

    found = forecast(job, stages=stages, workers=workers)
    print_line(*found.lines())
    if found.problems or found.polygons:
        raise typer.Exit(EXIT_SCENES_SKIPPED)


def _stage_command(name: str, stages: tuple[str, ...], text: str, example: str) -> None:
    """Add a command that runs stages; all such commands share their options."""

    def command(
        scenes: Scenes,
        out: Out,
        config: ConfigFile = None,
        regions: RegionsFile = None,
        reference: Reference = None,
        profile: ProfileName = Profile.DEFAULT,
        overrides: Overrides = [],  # noqa: B006  typer reads the default and never changes it
        workers: Workers = None,
        scheduler: Scheduler = None,
        strict: Strict = False,
        dry_run: DryRun = False,
        verbose: Verbose = False,
        quiet: Quiet = False,
    ) -> None:
        def make_job() -> Job:
            from s2fast.config import load_config
            from s2fast.planning import Job

            settings = load_config(config, overrides, profile=profile.value)
            return Job(settings, scenes, regions, out, strict, reference)

        if dry_run:
            _show_forecast(stages, make_job(), workers)
        else:
            _stages(stages, make_job, out, workers=workers, scheduler=scheduler, verbose=verbose, quiet=quiet)

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
        f"s2fast {_name} --scenes DIR --regions FILE --out OUT",
    )


@app.command(epilog="Example: s2fast sweep sweep.toml --scenes ARCHIVE --out sweeps")
def sweep(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Settings to compare, TOML; see docs/sweeps.md")],
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
    repeats: Annotated[
        int | None,
        typer.Option(
            "--repeats",
            metavar="N",
            min=1,
            max=100,
            help="Run cases that compete N times, in turn, for seconds with intervals; default: FILE's, or 1",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, help="Run N cases side by side, which are not timed then")
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="tcp://HOST:PORT", help="Run cases side by side on this Dask scheduler"),
    ] = None,
    against: Annotated[
        list[Path],
        typer.Option("--against", metavar="JSONL", help="Another sweep to compare with on the page; repeatable"),
    ] = [],  # noqa: B006  typer reads the default and never changes it
    retry: Annotated[bool, typer.Option("--retry", help="Run failed cases again")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and list the cases, without running them")
    ] = False,
) -> None:
    """Compare settings: what each finds on your scenes, and what it costs, as a table, a page and a Parquet file."""
    from s2fast.work.interrupt import EXIT_INTERRUPTED

    state: list[str] = []
    try:
        # Importing takes seconds, in which Control-C is told in one line as well.
        from s2fast.sweeps.command import run_files
        from s2fast.sweeps.results import How

        how = How(retry, repeats or 0, workers, scheduler, against)
        failed = run_files(files, out, scenes, regions, state, how, dry_run=dry_run)
    except KeyboardInterrupt:
        told = state[-1] if state else "this command has run nothing yet"
        print_line(f"s2fast: stopped; {told}; the same command continues from there", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if failed:
        raise typer.Exit(EXIT_CASE_FAILED)


@app.command(epilog="Example: s2fast tune --scenes ARCHIVE --minutes 20 --out tuned")
def tune(
    scenes: Scenes,
    config: ConfigFile = None,
    minutes: Annotated[
        float,
        typer.Option("--minutes", metavar="N", help="Time to search; a stopped search continues with what is left"),
    ] = 20,
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Folder for tuned.toml, trials and copies")
    ] = "tuned",
    regions: RegionsFile = None,
    profile: ProfileName = Profile.DEFAULT,
    overrides: Overrides = [],  # noqa: B006  typer reads the default and never changes it
    few: Annotated[
        int, typer.Option("--few", metavar="N", min=2, max=100, help="Scenes to choose on, and to report on")
    ] = 8,
) -> None:
    """Search the settings that suit your scenes: chosen on one half of a few of them, reported on the other half."""
    from s2fast.work.interrupt import EXIT_INTERRUPTED

    state: list[str] = []
    try:
        from s2fast.config import load_config
        from s2fast.tuning.command import Wanted, print_tuned

        wanted = Wanted(load_config(config, overrides, profile=profile.value), scenes, regions, minutes, few)
        print_tuned(wanted, out, state)
    except KeyboardInterrupt:
        told = state[-1] if state else "nothing has been run yet"
        print_line(f"s2fast: stopped; {told}; the same command continues from there", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
