"""What commands share: the application, exit codes, options, and how they print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command_name

from s2fast.work.streams import print_line as print_line

GROUPS = {
    "Commands": ("run", "pairs", "show", "scenes", "demo", "doctor"),
    "More from a finished run": ("displacement", "align", "stac", "check"),
    "Pictures of unknown places": ("index", "find"),
    "Settings": ("config", "sweep", "tune"),
    "Single stages": ("ingest", "extract", "match", "verify", "report"),
    "Archives": ("fetch", "synth"),
}
"""All commands by the group of --help that shows them, in its order: those that one needs first at the top."""


FORMER: Mapping[str, Mapping[str, str]] = {
    "pairs": {"--from": "--since", "--to": "--until"},
    "scenes": {"--from": "--since", "--to": "--until"},
    "show": {"--out": "--to"},
    "find": {"--json": "--format=json"},
    "sweep": {"--plan": "--dry-run"},
    "tune": {"--config": ""},
}
"""Options of earlier versions, which --help does not show, and what they are today; empty: an argument."""


def in_todays_words(command: str, arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command with the `FORMER` options replaced.

    Examples
    --------
    >>> in_todays_words("pairs", ["OUT", "--from=2018", "--to", "2019"])
    ['OUT', '--since=2018', '--until', '2019']
    >>> in_todays_words("tune", ["--config", "fast.toml", "--scenes", "DIR"])
    ['fast.toml', '--scenes', 'DIR']
    """
    former = FORMER.get(command, {})
    found: list[str] = []
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for word in arguments[:end]:
        name, equals, value = word.partition("=")
        if name in former:
            found += filter(None, [f"{former[name]}{equals}{value}" if former[name] else value])
        else:
            found.append(word)
    return [*found, *arguments[end:]]


class Commands(TyperGroup):
    """All commands, listed by `GROUPS`; --help shows no types of flags and arguments."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the options of s2fast itself."""
        with _legible_usage():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Parse the options of a command, and run it."""
        with _legible_usage():
            return super().invoke(ctx)

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options of s2fast itself."""
        return _without_types(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name of the command, the command, and its arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, in_todays_words(name or "", rest)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name; None if there is none."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _without_types([*command.params, command.get_help_option(ctx)])
        return command

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands in the order of --help."""
        del ctx
        found = [(group, name) for group, names in GROUPS.items() for name in names if name in self.commands]
        for group, name in found:
            setattr(self.commands[name], "rich_help_panel", group)  # noqa: B010  typer declares no such attribute
        return [name for _, name in found]


_UsageError: Any = typer.BadParameter.__mro__[1]
"""Base class of messages about wrong options: of click's, or of the copy of click that typer has."""


@contextmanager
def _legible_usage() -> Iterator[None]:
    """Let messages about wrong options show what was typed, or completed from a folder, without control characters."""
    from s2fast.files.legible import legible_lines

    try:
        yield
    except _UsageError as error:
        # The parser puts the class of its own error before what is wrong.
        error.message = legible_lines(error.message).removeprefix("Value error, ")
        raise


def _without_types(parameters: Iterable[Any]) -> list[Any]:
    """Remove what --help would show as <bool> beside a flag, and as <str> beside an argument."""
    found = list(parameters)
    for parameter in found:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
        elif parameter.param_type_name == "argument":
            parameter.display_type_rich = _no_type
    return found


def _no_type(ctx: Any) -> str:
    del ctx
    return ""


app = typer.Typer(
    cls=Commands,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Match hundreds of Sentinel-2 images: one command computes the similarity and the matches of every pair.",
    epilog="First time? [bold]s2fast demo[/bold] runs all stages on a small synthetic archive.",
)


@contextmanager
def only_asked(arguments: Sequence[str]) -> Iterator[None]:
    """Leave only the command that the arguments name, if any: typer builds all, which takes ten times as long."""
    every = app.registered_commands
    named = next((word for word in arguments if not word.startswith("-")), None)
    asked = [info for info in every if (info.name or get_command_name(info.callback.__name__)) == named]  # type: ignore[union-attr]
    app.registered_commands = asked or every
    try:
        yield
    finally:
        app.registered_commands = every


EXIT_DAMAGED = 1
EXIT_NOT_FOUND = 1
EXIT_CASE_FAILED = 1
EXIT_MISSING = 1
EXIT_BAD_INPUT = 2
EXIT_SCENES_SKIPPED = 3


class ListFormat(StrEnum):
    """Output formats of `s2fast pairs` and `s2fast scenes`."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class Profile(StrEnum):
    """Settings that come with s2fast; see `s2fast config`."""

    DEFAULT = "default"
    FAST = "fast"
    NOTEBOOK = "notebook"


ConfigFile = Annotated[
    Path | None, typer.Argument(metavar="CONFIG", help="Settings, a TOML file; default: those of the profile")
]
ProfileName = Annotated[
    Profile,
    typer.Option(
        "--profile", metavar="NAME", help="Settings: default, fast or notebook; CONFIG changes them", show_default=False
    ),
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

_HOW = "How it runs"

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", min=1, help="Number of local processes; default: as many as pay", rich_help_panel=_HOW
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="tcp://HOST:PORT", help="Run on this Dask scheduler instead", rich_help_panel=_HOW
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Stop at the first scene or polygon that cannot be used", rich_help_panel=_HOW),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check all inputs and show what would be done; write nothing", rich_help_panel=_HOW),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also print log messages to stderr", rich_help_panel=_HOW)
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print no progress, only the result and warnings", rich_help_panel=_HOW)
]
Query = Annotated[
    str, typer.Argument(metavar="QUERY", help="Scene: its id or a part that only it has, such as '20180810 UXA'")
]
Train = Annotated[str, typer.Argument(metavar="TRAIN", help="Scene that is compared with it")]
RunFolderPath = Annotated[str, typer.Argument(metavar="OUT", help="Run folder, local or s3://BUCKET/PREFIX")]

Trust = Annotated[
    list[str],
    typer.Option(
        "--trust",
        metavar="ADDRESS",
        envvar="S2FAST_TRUST",
        help="Server or bucket that may be asked for scenes which OUT names: https://HOST/, s3://BUCKET/; or a folder "
        "that virtual rasters may read; repeatable",
    ),
]

_WHICH = "Which rows"

Tile = Annotated[
    str | None, typer.Option("--tile", metavar="TILE", help="Only scenes of this MGRS tile", rich_help_panel=_WHICH)
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="DATE", help="Only scenes of this date or later: 2018-08-10, 2018-08 or 2018",
                 rich_help_panel=_WHICH),
]  # fmt: skip
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="DATE", help="Only scenes of this date or earlier", rich_help_panel=_WHICH),
]
Verdicts = Annotated[
    list[str],
    typer.Option("--verdict", metavar="NAME", help="Only rows with this verdict; repeatable", rich_help_panel=_WHICH),
]
Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=0, help="At most this many", rich_help_panel=_WHICH)
]
Sort = Annotated[
    str | None,
    typer.Option("--sort", metavar="COLUMN", help="Smallest first; largest first with a hyphen: --sort=-COLUMN"),
]
Columns = Annotated[
    str, typer.Option("--columns", metavar="NAME,NAME", help="Columns to list, in this order; parts of names will do")
]
Format = Annotated[
    ListFormat | None, typer.Option("--format", metavar="NAME", help="table, csv or json; default: table")
]
ListFile = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write .csv, .json, .parquet or .txt")
]


def words(text: str) -> list[str]:
    """Return the words of a comma-separated list, without blanks around them.

    Examples
    --------
    >>> words("B02, B03")
    ['B02', 'B03']
    """
    return [word.strip() for word in text.split(",") if word.strip()]


def warn(warnings: list[str]) -> None:
    """Print a run's warnings to standard error."""
    for warning in warnings:
        print_line(f"s2fast: warning: {warning}", err=True)
