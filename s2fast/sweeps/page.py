"""Write a sweep's page: one file that needs no network."""

from __future__ import annotations

from s2fast.page import assembly
from s2fast.sweeps.page_data import Finished, payload

SCRIPTS = (
    "data.js",
    "plots.js",
    "fronts.js",
    "effects.js",
    "parallel.js",
    "table.js",
    "pairs.js",
    "against.js",
    "main.js",
)
"""Script files, in order, after the helpers of all pages and the plotting library."""


def page(finished: Finished) -> str:
    """Return the page as HTML."""

    def asset(name: str) -> str:
        return assembly.asset(name, "s2fast.sweeps")

    style, library = assembly.plotting()
    scripts = [library, assembly.asset(assembly.COMMON), *map(asset, SCRIPTS)]
    return assembly.assembled(asset("sweep.html"), payload(finished), [style, asset("sweep.css")], scripts)
