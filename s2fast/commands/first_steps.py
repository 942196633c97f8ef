"""Commands for a new user: what to do first, what this machine can run, and archives to try."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from s2fast.commands.app import EXIT_MISSING, Profile, app, print_line, words
from s2fast.work.collection import importing

if TYPE_CHECKING:
    from s2fast.work.progress import Bar

_FIRST_STEPS = """s2fast matches hundreds of Sentinel-2 images: the similarity, the matches and
the shift of every pair.

  s2fast doctor        show what this machine can run, and the command that
                       installs what is missing
  s2fast demo          run all stages on a small synthetic archive, which
                       takes half a minute
  s2fast run --scenes ARCHIVE --regions POLYGONS.geojson --out OUT
                       match your own images; then open OUT/report.html;
                       --dry-run first shows what this would take
  s2fast pairs OUT --verified
  s2fast show OUT QUERY TRAIN -o pair.png
                       list and draw the pairs of a finished run; a scene is
                       named by a part of its id: '20180810 UXA'

  s2fast config --profile default > settings.toml
                       all settings, to be changed: s2fast run settings.toml ...
  s2fast sweep sweep.toml --scenes ARCHIVE --out sweeps
                       compare settings: what each finds and costs

  s2fast --help        list all commands; s2fast COMMAND -h shows an example
  s2fast --install-completion
                       let the shell complete commands and options
"""
"""Text printed when no command is given."""


@app.callback(invoke_without_command=True)
def begin(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and exit", is_eager=True)] = False,
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


@app.command(epilog="Example: s2fast config --profile notebook > settings.toml")
def config(
    profile: Annotated[
        Profile,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="default: all settings; fast or notebook: their changes",
            show_default=False,
        ),
    ] = Profile.DEFAULT,
) -> None:
    """Print the settings of a profile as TOML, to be saved, changed and passed to `s2fast run` as CONFIG."""
    from s2fast.config import profile_text

    print_line(*profile_text(profile.value).rstrip().splitlines())


@app.command(epilog="Example: s2fast synth archive --size 1024 --dates 3")
def synth(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the archive")],
    size: Annotated[
        int, typer.Option(metavar="PX", min=256, help="Side of a tile in 10 m pixels; real tiles have 10980")
    ] = 10980,
    tiles: Annotated[str, typer.Option(metavar="TILE,TILE", help="MGRS tiles, comma-separated")] = "36UXA,36UYA",
    dates: Annotated[int, typer.Option(metavar="N", min=1, help="Number of acquisitions")] = 3,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the random ground, weather and shifts")] = 0,
) -> None:
    """Generate a synthetic archive with ground truth: SAFE folders, polygons, truth.json."""
    from s2fast.files.suffixes import check_on_disk
    from s2fast.synth import synth as make_archive
    from s2fast.work.compilation import SYNTH_MODULES, AnnouncedCompilation
    from s2fast.work.progress import progress_for_stderr

    check_on_disk(folder)
    progress = progress_for_stderr()
    AnnouncedCompilation(progress, modules=SYNTH_MODULES).wait()
    with ExitStack() as stack:
        bars: list[Bar] = []

        def show(done: int, total: int) -> None:
            if done:
                bars[0].advance()
            else:
                bars.append(stack.enter_context(progress.stage("synth", total, 0)))

        make_archive(folder, size=size, tiles=words(tiles), dates=dates, seed=seed, progress=show)
    print_line(str(folder))


@app.command(epilog="Example: s2fast demo --out demo")
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the archive and the run")] = Path(
        "demo"
    ),
) -> None:
    """Generate a small synthetic archive, run all stages on it, and print the paths of the results."""
    with importing():
        from s2fast.tools.demo import run_demo
        from s2fast.work.progress import progress_for_stderr

    for line in run_demo(out, progress_for_stderr()):
        print_line(line)


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
        print_line(f"{finding.mark:4} {finding.topic:{width}}  {finding.result}{remedy}", indent=" " * (width + 7))
    remedies = [finding.remedy for finding in findings if not finding.fine and finding.remedy]
    if remedies:
        print_line("", f"To fix it, run:  {' && '.join(dict.fromkeys(remedies))}", "")
    print_line(*default_run().split("\n"), indent="  ")
    if not all(finding.fine for finding in findings):
        raise typer.Exit(EXIT_MISSING)
