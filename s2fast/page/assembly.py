"""Assemble a page: one file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from s2fast.files.legible import legible, legible_lines

COMMON = "elements.js"
"""Helpers of all pages for elements, numbers and canvases."""


@cache
def asset(name: str, package: str = "s2fast.page") -> str:
    """Read a file of a package's assets."""
    return (files(package) / "assets" / name).read_text("utf-8")


def plotting() -> tuple[str, str]:
    """Return style and script of the plotting library, uPlot, with its licence; a page contains a copy of it."""
    licence = asset("uPlot-LICENSE.txt").strip()
    return asset("uPlot.min.css"), f"/* uPlot:\n{licence}\n*/\n{asset('uPlot.iife.min.js')}"


def page_json(data: Any) -> str:
    """Return data of a page as JSON, with texts as they may be shown, whoever wrote them."""
    return json.dumps(_legible(data), separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def _legible(data: Any) -> Any:
    if isinstance(data, str):
        return legible_lines(data)
    if isinstance(data, Mapping):
        return {legible(name) if isinstance(name, str) else name: _legible(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_legible(value) for value in data]
    return data


def assembled(template: str, data: Any, styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return a page.

    Parameters
    ----------
    template
        HTML with the comments ``style``, ``data`` and ``script``, which are replaced.
    data
        JSON value, in the element ``data``.
    styles, scripts
        Contents of files, in order; scripts run in strict mode and share their names.
    """
    # Escape "<": it could end the script element that contains the data.
    text = page_json(data).replace("<", "\\u003c")
    parts = {
        "<!-- style -->": "<style>\n" + "\n".join(styles) + "</style>",
        "<!-- data -->": f'<script type="application/json" id="data">{text}</script>',
        "<!-- script -->": '<script>\n"use strict";\n' + "\n".join(scripts) + "</script>",
    }
    for mark, part in parts.items():
        before, found, after = template.partition(mark)
        template = before + part + after if found else template
    return template
