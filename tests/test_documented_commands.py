"""Commands in the documentation: programs, options, settings, extras and names of Python exist today."""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.util
import io
import itertools
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import benchmarks.__main__
import s2fast
from s2fast.cli import app
from s2fast.config import load_config

ROOT = Path(__file__).parents[1]
NAMED = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = [*NAMED, *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "kernels").rglob("README.md"))]
"""Not the changelog, which tells of older versions too."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""What typer raises for an option that does not exist; it has no public name."""

_PROGRAM = r"(?:s2fast|python -m|python -m pip|pip|make)(?= |$)"


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of a page's code blocks."""
    for block in re.finditer(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        yield block[1], block[2]


def commands(page: Path) -> Iterator[str]:
    """Yield the commands in a page's blocks and lines, without comments and without the explanations beside them."""
    text = page.read_text("utf-8")
    for _, block in blocks(page):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.split(" && "):
                if found := re.match(rf"\s*({_PROGRAM}.*)", part):
                    yield re.split(r"\s+#|\s{3,}|\s+>", found[1].strip())[0]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for code in re.finditer(r"`([^`]+)`", prose):
        line = " ".join(code[1].split())
        if re.match(_PROGRAM, line):
            yield re.sub(r"\s+>.*", "", line)


@cache
def group() -> Any:
    """Return the command line, with all its commands."""
    return typer.main.get_command(app)


def check_s2fast(words: list[str]) -> None:
    """Parse the words after s2fast; a command may be named without the arguments that it needs."""
    known = {"-h", "--help", *(name for parameter in group().params for name in parameter.opts)}
    name = words[0] if words else ""
    if not name or name in known or name == "COMMAND":
        return
    command = group().commands.get(name)
    assert command is not None, f"there is no command {name}"
    try:
        command.make_context(name, [word for word in words[1:] if word not in ("...", "--help")])
    except typer.BadParameter as error:
        if not str(error).startswith("Missing"):
            raise
    settings = [value for key, value in itertools.pairwise(words) if key == "--set"]
    load_config(overrides=[value for value in settings if not value.startswith("section.")])


def check_benchmark(words: list[str]) -> None:
    """Parse the words after ``python -m benchmarks``."""

    class ParsedError(Exception):
        pass

    parse = argparse.ArgumentParser.parse_args

    def parse_only(parser: argparse.ArgumentParser, given: list[str]) -> None:
        told = io.StringIO()
        try:
            with contextlib.redirect_stderr(told):
                parse(parser, given)
        except SystemExit as error:
            raise AssertionError(told.getvalue()) from error
        raise ParsedError

    if not words or words[0] == "<operation>":
        return
    assert words[0] in benchmarks.__main__.COMMANDS, f"there is no benchmark {words[0]}"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", parse_only)
        with pytest.raises(ParsedError):
            benchmarks.__main__.main(words)


def check(command: str) -> None:
    """Raise an error if a command cannot be what a reader should type."""
    program, *words = shlex.split(command)
    if program == "python":
        program, words = words[1], words[2:]
    if program == "s2fast":
        check_s2fast(words)
    elif program == "benchmarks":
        choices = next((word for word in words if re.fullmatch(r"\w+(\|\w+)+", word)), "")
        for choice in choices.split("|"):
            check_benchmark([choice if word == choices else word for word in words])
    elif program == "pip":
        for extra in re.findall(r"s2fast\[([\w,]+)\]", command):
            assert set(extra.split(",")) <= set(PROJECT["optional-dependencies"]), extra
    elif program in ("build", "venv"):
        pass
    elif program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert {word for word in words if "=" not in word} <= set(targets)
    else:
        assert importlib.util.find_spec(program) is not None, f"there is no module {program}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_documented_commands_can_be_typed(page: Path) -> None:
    wrong = {}
    for command in dict.fromkeys(commands(page)):
        try:
            check(command)
        except (AssertionError, USAGE_ERROR, s2fast.S2FastError, ValueError) as error:
            wrong[command] = str(error)
    assert wrong == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_documented_blocks_parse_as_they_stand(page: Path) -> None:
    parsers = {"toml": tomllib.loads, "json": json.loads, "python": ast.parse}
    for language, block in blocks(page):
        if parse := parsers.get(language):
            parse(block)


def test_the_pages_show_commands() -> None:
    found = [command for page in PAGES for command in commands(page)]
    assert len(found) > 150
    assert sum(command.startswith("python -m benchmarks ") for command in found) > 40


@pytest.mark.parametrize("page", ["README.md", "docs/align.md", "docs/api.md", "docs/sources.md"])
def test_documented_names_of_python_exist(page: str) -> None:
    for language, block in blocks(ROOT / page):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner = {"s2fast": s2fast, "run": s2fast.results.Run}.get(node.value.id)
                assert owner is None or hasattr(owner, node.attr), f"{node.value.id}.{node.attr}"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("s2fast paris OUT", "no command paris"),
        ("s2fast pairs OUT --min-similar 50", "No such option"),
        ("s2fast pairs OUT --format tables", "tables"),
        ("s2fast run --scenes A --out B --set matching.ratoi=0.8", "matching.ratio"),
        ("python -m benchmarks qualty", "no benchmark"),
        ("python -m benchmarks quality --scene A", "unrecognized|ambiguous"),
        ("python -m benchmarks tune --archive ukraine|lebannon", "invalid choice"),
        ("python -m s2fast.tools.configuration", "no module"),
        ("pip install 's2fast[clusters]'", "clusters"),
        ("make demos", "demos"),
    ],
)
def test_wrong_commands_are_seen(command: str, why: str) -> None:
    with pytest.raises((AssertionError, USAGE_ERROR, s2fast.S2FastError), match=why):
        check(command)
