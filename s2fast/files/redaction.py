"""Redact addresses: remove signatures and passwords from messages, logs, tables and pages."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

from s2fast.files.legible import legible

# In running text, or alone: addresses from `s2fast.files.source.Source` contain no blanks, quotes or braces.
_ADDRESS = re.compile(r"""(?<![a-z])https?(?::/{1,2}|%3A%2F%2F)[^\s'"<>{}]+""", re.IGNORECASE)

WITH_OPTIONS = re.compile(r"""/vsicurl\?(?:[^\s'"{}]*&)?url=(?P<url>[^&\s'"{}]+)[^\s'"{}]*""", re.IGNORECASE)
"""GDAL's form of an address with options, ``/vsicurl?use_head=no&url=https%3A%2F%2Fhost%2Fa.tif``."""

_NAMES_A_FILE = re.compile(
    r"(file|filename|id|item|name|path|product|tile|uuid|version|versionid)=(?:[\w.,:~-]|%2F)+", re.IGNORECASE
)

_LOGIN = re.compile(r"""(://|/vsi(?:s3|gs|az)/)[^/\s'"<>@]*:[^/\s'"<>@]*@""", re.IGNORECASE)
"""User and password in an address of any scheme."""

SIGNATURE = re.compile(
    r"""(?P<name>(?:[?&;]|%3F|%26)(?:sig|signature|policy|password|secret|(?:[\w-]+[_-])?(?:token|key|signature)
    |x-(?:amz|goog|ms)-credential|key-pair-id|awsaccesskeyid|googleaccessid)(?:=|%3D))
    (?:(?!%26)[^\s&'"<>{}]){6,}""",
    re.IGNORECASE | re.VERBOSE,
)
"""Parameter of a signature, also percent-encoded, in any text: the scheme of the address may have been forgotten."""


def public(text: str) -> str:
    """Return a text without the parts of addresses that may be secret.

    These are, of web addresses, the user and password, the fragment, and all query parameters except those that name a
    file; of other addresses the user and password; and the values of parameters that are known as signatures.

    Examples
    --------
    >>> public("https://me:word@example.org/get?file=a.tif&token=Zq7k1x#top cannot be read")
    'https://example.org/get?file=a.tif cannot be read'
    """
    plain = WITH_OPTIONS.sub(lambda match: "/vsicurl/" + quote(unquote(match["url"]), safe="%/:?&=@#"), text)
    plain = _ADDRESS.sub(lambda match: _public_address(match[0]), plain)
    return SIGNATURE.sub(r"\g<name>...", _LOGIN.sub(r"\1", plain))


def _public_address(url: str) -> str:
    # What was encoded may be more than one line.
    url = legible(unquote(url)) if "://" not in url and "%3a%2f%2f" in url.lower() else url
    url = re.sub(r"(:/{1,2})[^/]*@", r"\1", url)
    path, _, rest = url.partition("#")[0].partition("?")
    kept = [part for part in rest.split("&") if _NAMES_A_FILE.fullmatch(part)]
    return path + ("?" + "&".join(kept) if kept else "")


def public_words(words: Iterable[str]) -> list[str]:
    """Apply `public` to the words of a command, whose addresses may contain quotes and blanks."""
    return [
        public(re.sub(r"""['"{}<>\s]""", lambda match: quote(match[0]), word)) if "://" in word else word
        for word in words
    ]


class PublicFormatter(logging.Formatter):
    """Format log records of any library in one line, without the secrets of addresses and control characters."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is the base's
        """See `logging.Formatter`."""
        return legible(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        return public(super().format(record))
