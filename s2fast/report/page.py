"""Write report.html: one self-contained file, assembled from the assets and the run's results."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from typing import Any

NAME = "report.html"

SCRIPTS = ("tools.js", "data.js", "matrix.js", "drawing.js", "pair.js", "lists.js", "scenes.js", "main.js")
"""Script files, in the order in which they are concatenated."""


def asset(name: str) -> str:
    """Read a file of the package's assets."""
    return (files("s2fast.report") / "assets" / name).read_text("utf-8")


def page(data: dict[str, Any]) -> str:
    """Return the HTML page that shows the result of `payload`."""
    # Escape "<": it could end the script element that contains the data.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")
    parts = {
        "<!-- style -->": f"<style>\n{asset('report.css')}</style>",
        "<!-- data -->": f'<script type="application/json" id="data">{text}</script>',
        "<!-- script -->": '<script>\n"use strict";\n' + "\n".join(map(asset, SCRIPTS)) + "</script>",
    }
    html = asset("report.html")
    for mark, part in parts.items():
        before, found, after = html.partition(mark)
        html = before + part + after if found else html
    return html


def assets_hash() -> str:
    """Return a hash of all assets: a page or a style made from other assets is stale."""
    folder = files("s2fast.report") / "assets"
    names = sorted(entry.name for entry in folder.iterdir())
    return hashlib.blake2b("".join(map(asset, names)).encode(), digest_size=8).hexdigest()
