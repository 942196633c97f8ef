"""Write report.html: one self-contained file, assembled from the assets and the run's results."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

from s2fast.page import assembly

NAME = "report.html"

SCRIPTS = ("tools.js", "data.js", "matrix.js", "drawing.js", "pair.js", "lists.js", "scenes.js", "main.js")
"""Script files, in the order in which they are concatenated, after the helpers of all pages."""


def asset(name: str) -> str:
    """Read a file of the package's assets."""
    return assembly.asset(name, "s2fast.report")


def page(data: dict[str, Any]) -> str:
    """Return the HTML page that shows the result of `payload`."""
    scripts = [assembly.asset(assembly.COMMON), *map(asset, SCRIPTS)]
    return assembly.assembled(asset("report.html"), data, [asset("report.css")], scripts)


def assets_hash() -> str:
    """Return a hash of all assets: a page or a style made from other assets is stale."""
    folder = files("s2fast.report") / "assets"
    names = sorted(entry.name for entry in folder.iterdir())
    text = assembly.asset(assembly.COMMON) + "".join(map(asset, names))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
