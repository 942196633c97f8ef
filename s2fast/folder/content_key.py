"""Content keys: a hash of all that a result depends on, by which a later run knows it again."""

from __future__ import annotations

import hashlib
import json
from typing import Any

FORMAT = 5
"""Version of the folder's layout and of what is in it; part of every content key."""


def content_key(*parts: Any) -> str:
    """Hash what a result depends on: JSON values, in order, and the format version."""
    text = json.dumps([FORMAT, *parts], sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
