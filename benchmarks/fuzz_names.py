"""Names of files from strangers, as ids and as shown in a terminal, a log, a CSV file and a page: nothing escapes."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pandas as pd

from s2fast.files.legible import identifier, legible
from s2fast.files.redaction import PublicFormatter
from s2fast.page.assembly import assembled
from s2fast.report.rounding import rounded

_BATCH = 2_000
"""Names of one CSV file, and of one page."""

_CONTROLLING = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of such characters."""

_PIECES = (
    *("\x1b]0;owned\x07", "\x1b[2J", "\r", "\n", "\t", "\x00", "\x7f", "\x85", "\x9b31m", "\u2028", "\u2029"),
    *("\u202e", "\u2066", "\u200b", "\ufeff", "\ud800", "\udcff", "\U000e0041", "\ue000", "\uffff"),
    *("=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "=", "|calc", '"', "'", ",", ";", "__proto__", "constructor"),
    *("</script>", "<!--", "<script>", "]]>", "&lt;", "<img src=x onerror=a()>", "<!-- data -->", "`${a}`"),
    *("..", "../", "..\\", "/", "\\", ":", "C:", "CON", "con.", "NUL", "lpt1.tif", " ", ".", "-rf", "--out", "~", "*"),
    *("https://me:word@host/a?sig=b", "https%3A%2F%2Fhost%1b%5d0%0a%07", "/vsicurl?url=https%3A%2F%2Fa%0a%1b", "%0a"),
    *("T36UYA_20190805T083601_TCI", "Kharkiv", "北", "é", "e\u0301", "\U0001f600", "%s", "%d%n", "{0}", "{name!r}"),
)
"""Texts that one of the outputs might take for more than a name."""

_PATH = re.compile(r'[/\\:*?"<>|]|^[ .\-=+@]|[ .]$|^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)', re.IGNORECASE)
"""What the id of a scene may not contain, begin with, end with or be."""

_MAX_ID_BYTES = 160

_MAX_LINE = 300
"""Characters of a reported fault."""


@cache
def _controls() -> re.Pattern[str]:
    """Match characters that control a terminal, end a line, turn the direction of writing, or are no characters."""
    found = (re.escape(c) for c in map(chr, range(0x110000)) if unicodedata.category(c) in _CONTROLLING)
    return re.compile(f"[{''.join(found)}]")


def names(count: int, seed: int) -> Iterator[str]:
    """Yield random names: of hostile pieces, of characters from all of Unicode, or of both."""
    rng = np.random.default_rng([seed, *b"names"])
    while count > 0:
        batch = min(count, _BATCH)
        lengths = np.where(rng.random(batch) < 0.01, 300, rng.integers(1, 9, batch))
        ends = np.cumsum(lengths)
        points = rng.integers(0, 0x110000, ends[-1])
        narrow = rng.random(ends[-1]) < 0.3
        points[narrow] &= 0xFF
        hostile = rng.random(ends[-1]) < 0.4
        pieces = rng.integers(0, len(_PIECES), ends[-1])
        texts = [
            _PIECES[piece] if is_piece else chr(point)
            for point, piece, is_piece in zip(points, pieces, hostile, strict=True)
        ]
        for end, length in zip(ends, lengths, strict=True):
            yield "".join(texts[end - length : end])
        count -= batch


def faults(count: int, seed: int) -> list[str]:
    """Pass names through every output; return what escaped, one line each."""
    found = []
    batch: list[str] = []
    for name in names(count, seed):
        batch.append(name)
        if len(batch) == _BATCH:
            found += _faults(batch)
            batch = []
    return [line[:_MAX_LINE] for line in found + (_faults(batch) if batch else [])]


def _faults(batch: Sequence[str]) -> list[str]:
    formatter = PublicFormatter("s2fast: %(message)s")
    found = []
    ids = []
    for name in batch:
        record = logging.LogRecord("s2fast", logging.WARNING, "", 0, "%s skipped", (name,), None)
        made = identifier(name)
        ids.append(made)
        for where, text in (("terminal", legible(name)), ("log", formatter.format(record)), ("id", made)):
            if _controls().search(text):
                found.append(f"{where}: {name!a} gives {text!a}")
        if not made or _PATH.search(made) or len(made.encode()) > _MAX_ID_BYTES:
            found.append(f"id: {name!a} gives {made!a}")
    return found + _table_faults(ids) + _page_faults([legible(name) for name in batch])


def _table_faults(ids: list[str]) -> list[str]:
    """Write ids as a CSV file and read it as a spreadsheet does."""
    written = rounded(pd.DataFrame({"query": ids, "similarity_pct": 1.0})).to_csv(index=False)
    read = [row[0] for row in csv.reader(io.StringIO(written, newline=""))][1:]
    differing = [f"CSV: {name!a} is read as {cell!a}" for name, cell in zip(ids, read, strict=False) if name != cell]
    formulas = [f"CSV: {cell!a} is a formula" for cell in read if cell[:1] in "=+-@\t\r"]
    return differing + formulas + ([] if len(read) == len(ids) else [f"CSV: {len(read)} rows of {len(ids)}"])


def _page_faults(shown: list[str]) -> list[str]:
    """Write names as the data of a page and read them as a browser does."""
    page = assembled("<!-- data --><!-- script -->", shown, (), ("last()",))
    data, _, rest = page.partition("</script>")
    if rest != '<script>\n"use strict";\nlast()</script>':
        return [f"page: its data end before their end, then comes {rest[:80]!a}"]
    page.encode()
    return [] if json.loads(data.partition(">")[2]) == shown else ["page: its data are not the names"]
