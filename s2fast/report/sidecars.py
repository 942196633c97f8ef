"""Files beside the page, which it loads when they are needed: within the page they would make it slow to open.

A page from disk may read no other files but scripts, so each file is a script: a call that hands its value to the page.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from s2fast.folder.kept_pictures import kept_pictures
from s2fast.page.assembly import page_json
from s2fast.report.findings import Findings
from s2fast.report.shown_matches import ShownMatches, fit_the_page
from s2fast.report.thumbnails import SIDE_PX, thumbnail_side

FOLDER = "report_files"
"""Folder of the files, beside the page."""

ALIGNMENT = "alignment"
"""Name of the file with the outcome of the latest align call, which may follow the report; without one it is null."""

_FILE_BYTES = 2_000_000
"""About how large the file of some pairs is: it is read when one of them is opened."""


def pair_files(found: Findings) -> Iterator[tuple[int, str, bytes]]:
    """Yield the files with all residuals of pairs: number of the first pair, name, and content.

    The value of a file has by pair, as base64, ``residuals``, see `Accuracy.residuals`; and, if the page is too small
    for those of all pairs, ``matches``, see `packed_matches`, and ``profiles``. Nothing is yielded if no pair has any.
    """
    count, accuracy = len(found.pairs), found.matches.accuracy
    columns = {"residuals": accuracy.residuals()}
    if not fit_the_page(count):
        columns |= {"matches": packed_matches(found.matches, count), "profiles": accuracy.profiles()}
    sizes = np.sum([[len(text or "") for text in column] for column in columns.values()], axis=0)
    if not sizes.any():
        return
    number = (np.cumsum(sizes) - 1) // _FILE_BYTES
    starts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist()]
    for start, end in itertools.pairwise([*starts, count]):
        value = {"first": start, **{name: column[start:end] for name, column in columns.items()}}
        yield (start, *_script(f"pairs-{start}", value))


def scene_files(found: Findings) -> Iterator[tuple[int, str, bytes]]:
    """Yield the files with scenes' large pictures, if those of the page are smaller: number, name and content."""
    if thumbnail_side(len(found.scenes)) == SIDE_PX:
        return
    for number, scene_id in enumerate(found.scenes["scene_id"]):
        pictures = kept_pictures(found.folder, scene_id, found.folder.tile_key(scene_id) or "")
        if pictures is not None:
            value = {"colour": pictures["scene"], **({"grey": pictures["tile"]} if found.record.uses_regions else {})}
            yield (number, *_script(f"scene-{number}", value))


def alignment_file(value: Any = None) -> tuple[str, bytes]:
    """Return name and content of the file with the outcome of an align call, see `s2fast.align.report_note`."""
    return ALIGNMENT, _delivered(ALIGNMENT, page_json(value))


def packed_matches(shown: ShownMatches, pairs: int) -> list[str | None]:
    """Pack the matches that the page shows, in the order of the pairs; None for pairs without matches.

    A pair's matches are base64 of little-endian columns, which data.js decodes: dx, dy float32 [m]; positions in the
    query and the train uint16, see `KeypointPositions.share`; distance uint16 [bits]; kind uint8.
    """
    matches, positions = shown.page, shown.positions
    shift = positions.displacements(matches).shift.astype("<f4")
    query = positions.share(matches.query, matches.query_row)
    train = positions.share(matches.train, matches.train_row)
    held = [*shift.T, *query.T, *train.T, matches.distance.astype("<u2"), matches.kind]
    held = [np.ascontiguousarray(column) for column in held]
    ends = np.bincount(matches.pair, minlength=pairs).cumsum().tolist()
    packed: list[str | None] = []
    for start, end in itertools.pairwise([0, *ends]):
        data = b"".join([column[start:end].tobytes() for column in held])
        packed.append(base64.b64encode(data).decode() if data else None)
    return packed


def _script(stem: str, value: Any) -> tuple[str, bytes]:
    """Return name and content of a file; the name has a hash, so that a page finds no file of another report."""
    text = page_json(value)
    name = f"{stem}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"
    return name, _delivered(name, text)


def _delivered(name: str, text: str) -> bytes:
    return f"deliver({json.dumps(name)},{text});\n".encode()
