"""Generate the configuration reference from the models; `make docs` writes it to docs/configuration.md."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import sys
import textwrap
import typing
from collections.abc import Iterator
from types import UnionType
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from s2fast.config import Config

_HEAD = """# Configuration

All keys with their values, defaults and meanings. `s2fast run CONFIG --set section.key=value` overrides a key; the
error for an unknown key names the nearest valid one. `s2fast config` prints the defaults (`configs/default.toml`);
`--profile notebook` reproduces the notebook, `--profile fast` takes a quarter of the work.

Generated from the models by `python -m s2fast.tools.configuration_reference > docs/configuration.md`.
"""

_BOUNDS = {Ge: ("at least", "ge"), Gt: ("more than", "gt"), Le: ("at most", "le"), Lt: ("less than", "lt")}


def configuration_markdown() -> str:
    """Return the reference as Markdown."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for name, section in Config.model_fields.items():
        model: Any = section.annotation
        yield f"## [{name}]\n"
        yield f"{model.__doc__.strip()}\n"
        yield "| key | values | default | meaning |"
        yield "|---|---|---|---|"
        meanings = descriptions(model)
        for key, field in model.model_fields.items():
            cells = f"`{key}`", _values(field), f"`{_toml(field.default)}`", _prose(meanings[key])
            yield f"| {' | '.join(cells)} |"
        yield ""


def descriptions(model: type) -> dict[str, str]:
    """Return the text under each key of a section, by key."""
    section = typing.cast("ast.ClassDef", ast.parse(textwrap.dedent(inspect.getsource(model))).body[0])
    return {
        key.id: text
        for node, below in itertools.pairwise(section.body)
        if isinstance(node, ast.AnnAssign) and isinstance(key := node.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(text := below.value.value, str)
    }


def _values(field: FieldInfo) -> str:
    bounds = [f"{words} {getattr(bound, name):g}" for bound in field.metadata for words, name in _named(bound)]
    return ", ".join([_type(field.annotation), *bounds])


def _named(bound: object) -> list[tuple[str, str]]:
    return [_BOUNDS[type(bound)]] if type(bound) in _BOUNDS else []


def _type(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return ", ".join(f"`{_toml(value)}`" for value in arguments)
    if origin in (typing.Union, UnionType):
        return ", ".join(_type(argument) for argument in arguments)
    if origin is list or arguments[1:] == (...,):
        return f"list of {_type(arguments[0])}"
    if origin is tuple:
        return f"`[{', '.join(_type(argument) for argument in arguments)}]`"
    return {str: "text", bool: "`true`, `false`", int: "whole number", float: "number", type(None): "nothing"}[kind]


def _toml(value: Any) -> str:
    # TOML and JSON write strings, numbers, lists and booleans identically.
    return json.dumps(value)


def _prose(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(configuration_markdown())
