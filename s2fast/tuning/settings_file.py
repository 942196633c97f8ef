"""Write tuned.toml: the settings, with what each gained and cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from s2fast.config import Config
from s2fast.tuning.score import POINTS_PER_PX
from s2fast.tuning.search import Effect, Tuned
from s2fast.tuning.trials import Trial


def toml(tuned: Tuned, base: Config, about: str) -> str:
    """Return the file's text: a configuration for ``s2fast run``.

    Parameters
    ----------
    tuned
        What was found.
    base
        The configuration that the search began with; what it sets is kept.
    about
        What was searched, on what, and for how long.
    """
    lines = [f"# Tuned by s2fast: {about}.", f"# Result: {tuned.why}."]
    lines += [
        f"# Points: pairs with a moved scene that are verified rightly [%], less {POINTS_PER_PX:g} per pixel of their "
        "median error.",
        *_halves(tuned),
    ]
    if not tuned.settings and tuned.effects:
        lines += ["# Not used, since they are no better on the other half:"]
        lines += [f"#   {key} = {_value(effect.value)}: {_told(effect)}" for key, effect in tuned.effects.items()]
    for key, effect in tuned.dropped.items():
        lines.append(f"# {key} = {_value(effect.value)} was tried and set back: {_told(effect)}")
    kept = {**_own(base), **tuned.settings}
    sections: dict[str, dict[str, Any]] = {}
    for key, value in kept.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    for section, values in sections.items():
        lines += ["", f"[{section}]"]
        for name, value in values.items():
            if f"{section}.{name}" in tuned.settings:
                effect = tuned.effects[f"{section}.{name}"]
                lines.append(f"# {_told(effect)}; the default is {_value(effect.default)}")
            lines.append(f"{name} = {_value(value)}")
    return "\n".join(lines) + "\n"


def _own(base: Config) -> dict[str, Any]:
    """Return what a configuration sets itself, by dotted key."""
    content: Mapping[str, Mapping[str, Any]] = base.model_dump(mode="json", exclude_defaults=True)
    return {f"{section}.{key}": value for section, values in content.items() for key, value in values.items()}


def _halves(tuned: Tuned) -> Iterator[str]:
    for name, pair in (("half to choose on", tuned.choose), ("other half", tuned.report)):
        for which, trial in zip(("defaults", "chosen"), pair or (), strict=False):
            yield f"# {name}, {which}: {_measured(trial)}"


def _measured(trial: Trial) -> str:
    cpu = f", {trial.cpu_s:.3g} CPU s" if trial.cpu_s else ""
    points = "" if trial.flaw else f"{trial.score:.2f} points, "
    return f"{points}{trial.told()}{cpu}"


def _told(effect: Effect) -> str:
    if effect.gain is None:
        return "its gain was not measured, for want of time"
    gain, low, high = effect.gain
    cost = f", {effect.cpu:g} x the processor time" if effect.cpu else ""
    return f"gained {gain:+.2f} points ({low:+.2f} to {high:+.2f}){cost}"


def _value(value: Any) -> str:
    """Write a value in TOML: booleans, numbers, texts and lists are those of JSON."""
    return json.dumps(value)
