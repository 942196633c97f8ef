from __future__ import annotations

import re
from pathlib import Path

from s2fast.config import dotted_keys
from s2fast.tools.configuration_reference import configuration_markdown

DOCS = Path("docs/configuration.md")


def test_reference_is_current() -> None:
    assert DOCS.read_text("utf-8") == configuration_markdown(), "write it anew: make docs"


def test_reference_tells_every_key() -> None:
    section, told = "", {}
    for line in configuration_markdown().splitlines():
        if found := re.match(r"## \[(\w+)\]", line):
            section = found[1]
        elif found := re.match(r"\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", line):
            told[f"{section}.{found[1]}"] = found.groups()[1:]
    assert sorted(told) == sorted(dotted_keys())
    assert all(all(cells) for cells in told.values())
    assert told["ingest.reduction"][:2] == ("`1`, `2`, `4`", "`1`")
    assert told["matching.ratio"][:2] == ("number, more than 0, at most 1", "`0.9`")
