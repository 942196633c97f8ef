"""Load settings from TOML, with overrides of single keys; every error names the key and what it may be."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from s2fast.arguments import PLACE, wrong_type
from s2fast.config.models import Config
from s2fast.errors import ConfigError, option
from s2fast.files.legible import shortened
from s2fast.files.limited import read_text

PROFILES = ("default", "fast", "notebook")
"""Names of the settings that come with s2fast, as files in ``profiles/``."""


def profile_text(name: str) -> str:
    """Return the TOML text of a profile; raise ConfigError if there is none of this name."""
    if name not in PROFILES:
        raise ConfigError(f"no profile {name!r}: write {', '.join(PROFILES[:-1])} or {PROFILES[-1]}")
    return (files("s2fast") / "profiles" / f"{name}.toml").read_text("utf-8")


def load_config(
    config: Path | str | Mapping[str, Any] | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    profile: str = "default",
) -> Config:
    """Return the settings of a profile, changed by a file or a mapping, and by overrides.

    Parameters
    ----------
    config
        A TOML file, or its content: ``{"matching": {"ratio": 0.8}}`` or ``{"matching.ratio": 0.8}``; None: change
        nothing.
    overrides
        ``["section.key=value", ...]`` with values in TOML syntax (bare words are strings), or a mapping like `config`.
        Later overrides take precedence.
    profile
        One of `PROFILES`.

    Raises
    ------
    ConfigError
        The file cannot be read, or a key or value is invalid; the message names the key and the nearest valid one.

    Examples
    --------
    >>> load_config(overrides=["ingest.reduction=2", "regions.crs=EPSG:4326"]).ingest.reduction
    2
    >>> load_config({"matching": {"ratio": 0.8}}, profile="fast").matching.ratio
    0.8
    """
    # The first profile holds the defaults.
    data: dict[str, Any] = {} if profile == PROFILES[0] else tomllib.loads(profile_text(profile))
    _change(data, config if config is None or isinstance(config, Mapping) else _read(config))
    for dotted, value in _parsed(overrides):
        _change(data, {dotted: value})
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        given = [] if config is None else ["config" if isinstance(config, Mapping) else str(config)]
        given += [option("overrides", "set")] if overrides else []
        raise ConfigError(_explain(error, " with ".join(given) or profile)) from error


def _read(path: Path | str) -> dict[str, Any]:
    """Read a TOML file."""
    if not PLACE.fits(path):
        raise ConfigError(wrong_type("config", path, "a TOML file, a mapping, or a Config"))
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        hint = f"; it is a profile: write {option('profile')} {path}" if str(path) in PROFILES else ""
        raise ConfigError(f"cannot read the configuration {shortened(str(path))}: {error.strerror}{hint}") from error
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of huge numbers
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _change(data: dict[str, Any], changes: Mapping[str, Any] | None) -> None:
    """Replace settings by others; their keys may be nested or dotted."""
    for name, value in (changes or {}).items():
        section, dot, key = str(name).partition(".")
        table = {key: value} if dot else value
        if not isinstance(table, Mapping):
            data[section] = table
        elif isinstance(data.setdefault(section, {}), dict):  # else an earlier value is no table, which is an error
            data[section].update(table)


def _parsed(overrides: Sequence[str] | Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(overrides, Mapping):
        for name, value in overrides.items():
            if isinstance(value, Mapping):
                yield from ((f"{name}.{key}", inner) for key, inner in value.items())
            else:
                yield name, value
        return
    if not isinstance(overrides, Iterable):
        raise ConfigError(wrong_type("overrides", overrides, 'a mapping, or a sequence of "section.key=value"'))
    for text in [overrides] if isinstance(overrides, str) else overrides:
        if not isinstance(text, str):
            raise ConfigError(wrong_type("an override", text, '"section.key=value"'))
        dotted, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"override {text!r} has no value: write section.key=value")
        try:
            parsed = tomllib.loads(f"value = {value}")
        except (ValueError, RecursionError):
            parsed = {"value": value.strip()}
        if len(parsed) > 1:
            raise ConfigError(f"override {text!r} sets more than one key: write one override for each")
        yield dotted.strip(), parsed["value"]


def dotted_keys() -> list[str]:
    """Return all keys of the configuration as ``section.key``."""
    return [
        f"{section}.{key}"
        for section, field in Config.model_fields.items()
        for key in field.annotation.model_fields  # type: ignore[union-attr]  # every section is a model
    ]


def _nearest(dotted: str) -> str:
    keys = dotted_keys()
    section = difflib.get_close_matches(dotted, Config.model_fields, n=1, cutoff=0.7)
    if section and "." not in dotted:
        return f"did you mean {section[0]!r}?"
    close = difflib.get_close_matches(dotted, keys, n=1, cutoff=0.4)
    if not close:
        same_key = [key for key in keys if key.split(".")[1] == dotted.rpartition(".")[2]]
        close = same_key or keys
        return f"did you mean {close[0]!r}?" if same_key else f"sections are {', '.join(Config.model_fields)}"
    return f"did you mean {close[0]!r}?"


def _explain(error: ValidationError, where: str) -> str:
    """Return one line that describes all errors."""
    messages = []
    for problem in error.errors():
        dotted = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            messages.append(f"unknown key {dotted!r}; {_nearest(dotted)}")
        elif problem["type"] == "model_type":
            messages.append(
                f"{dotted} = {shortened(repr(problem['input']))}: {dotted} is a section: set its keys, {dotted}.KEY"
            )
        elif isinstance(problem["input"], Mapping):  # contradictory keys
            messages.append(str(problem.get("ctx", {}).get("error", problem["msg"])))
        else:
            told = problem["msg"].removeprefix("Value error, ")
            messages.append(f"{dotted} = {shortened(repr(problem['input']))}: {told[:1].lower()}{told[1:]}")
    return f"{where}: {'; '.join(messages)}"
