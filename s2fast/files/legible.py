"""Names are data: what a name from a stranger may become as an id, and how any text is shown."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence

_ILLEGIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of characters that control a terminal, end a line, turn the direction of writing, or have no meaning."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)
"""Names that Windows keeps for devices, with any suffix."""

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters with which a formula begins, and their wide forms, which spreadsheets of East Asia read alike."""

_MAX_ID_BYTES = 160

_MOST_SHOWN = 200
"""Characters of a name or a value in a message."""

_MOST_NAMED = 5
"""Most names of a list in one line."""


def legible(text: str) -> str:
    r"""Return a text as it may be shown in a terminal, a log or a page: one line, without control characters.

    Examples
    --------
    >>> legible("a\x1b]0;title\x07\nb\u202e")
    'a\\x1b]0;title\\x07\\nb\\u202e'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _ILLEGIBLE else character
        for character in text
    )


def legible_json(text: str) -> str:
    r"""Return a JSON text that holds the same values, in which characters that are not `legible` are escaped.

    Examples
    --------
    >>> legible_json('{"é": "a\u202eb"}')
    '{"é": "a\\u202eb"}'
    """
    if text.isascii():
        return text  # control characters are escaped in any JSON
    return "".join(
        json.dumps(character)[1:-1]
        if character != "\n" and unicodedata.category(character) in _ILLEGIBLE
        else character
        for character in text
    )


def cell(text: str) -> str:
    r"""Return a text as a cell of a spreadsheet may show it: `legible`, and no formula.

    Examples
    --------
    >>> cell("=HYPERLINK(1)"), cell("-1+1|calc"), cell("a=b\n")
    ("'=HYPERLINK(1)", "'-1+1|calc", 'a=b\\n')
    """
    shown = legible(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown


def legible_lines(text: str) -> str:
    """Return a text of several lines, each `legible`."""
    return "\n".join(map(legible, text.split("\n")))


def shortened(text: str, most: int = _MOST_SHOWN) -> str:
    """Return a text as part of a message, its middle left out if it is long.

    Examples
    --------
    >>> shortened("scenes"), shortened("a" * 5000, 8)
    ('scenes', 'aaaa...aaaa')
    """
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 2 :]}"


def counted(number: int, noun: str, ending: str = "s") -> str:
    """Return a number with its noun, in the plural unless it is one.

    Examples
    --------
    >>> counted(1, "pair"), counted(0, "scene"), counted(2, "match", "es")
    ('1 pair', '0 scenes', '2 matches')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{ending}"


def first_named(names: Sequence[str]) -> str:
    """Return the first five names of many, as in ``a, b, c, d, e, ...``.

    Examples
    --------
    >>> first_named(list("abcdefg"))
    'a, b, c, d, e, ...'
    """
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")


def identifier(name: str) -> str:
    r"""Return a name as an id: it can be a file's name on every system, a cell of a spreadsheet and an option's value.

    Examples
    --------
    >>> identifier("Kharkiv, north"), identifier("..\\-a/b\n"), identifier("=HYPERLINK(1)"), identifier("con.1")
    ('Kharkiv, north', 'a_b', 'HYPERLINK(1)', '_con.1')
    """
    kept = "".join(
        "_" if character in '/\\:*?"<>|' or unicodedata.category(character) in _ILLEGIBLE else character
        for character in name
    )
    kept = kept.lstrip(" .-=+@_").rstrip(" ._") or "_"
    if _RESERVED.match(kept):
        kept = f"_{kept}"
    encoded = kept.encode()
    if len(encoded) <= _MAX_ID_BYTES:
        return kept
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    return f"{encoded[: _MAX_ID_BYTES - 9].decode(errors='ignore')}_{digest}"
