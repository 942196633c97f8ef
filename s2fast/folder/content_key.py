"""Content keys: hashes of everything a result depends on; a later run reuses results with equal keys."""

from __future__ import annotations

import hashlib
import json
from typing import Any

FORMAT = 5
"""Version of the run folder's layout and contents; part of every content key."""


def content_key(*parts: Any) -> str:
    """Return the hash of JSON values, in order, and of the format version."""
    text = json.dumps([FORMAT, *parts], sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
