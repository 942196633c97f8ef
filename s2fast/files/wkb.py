"""Geometries as WKB from strangers."""

from __future__ import annotations

import struct

_POINT, _LINE, _POLYGON = 1, 2, 3

_LINES = (_LINE, 8)
_RINGED = (_POLYGON, 17)
"""Types made of points, and of rings of points: lines and arcs; polygons and triangles."""

_MOST_NESTED = 100
"""Deepest nesting that is decoded: GEOS calls itself for each level, until the stack is full."""

_HEADER_BYTES = 9
"""Bytes of a geometry that holds others, without them."""


def is_nested_deeply(wkb: bytes) -> bool:
    """Return whether a geometry has collections in collections to a depth that would crash a process.

    Examples
    --------
    >>> import shapely
    >>> is_nested_deeply(shapely.MultiPoint([(0, 0), (1, 1)]).wkb)
    False
    >>> is_nested_deeply(bytes.fromhex("010700000001000000") * 10_000 + shapely.Point(0, 0).wkb)
    True
    """
    if len(wkb) < _HEADER_BYTES * _MOST_NESTED:
        return False
    at, left = 0, [1]
    try:
        while left:
            if not left[-1]:
                left.pop()
                continue
            left[-1] -= 1
            order = "<" if wkb[at] else ">"
            flags, kind = divmod(struct.unpack_from(f"{order}I", wkb, at + 1)[0], 1 << 28)
            # The dimensions are told by the highest bits, or by thousands; the fourth highest announces an SRID.
            thousands, kind = divmod(kind, 1000)
            sides = 2 + max(bool(flags & 8) + bool(flags & 4), (0, 1, 1, 2)[min(thousands, 3)])
            at += 9 if flags & 2 else 5
            if kind == _POINT:
                at += 8 * sides
                continue
            count = struct.unpack_from(f"{order}I", wkb, at)[0]
            at += 4
            if kind in _LINES:
                at += 8 * sides * count
            elif kind in _RINGED:
                for _ in range(count):
                    at += 4 + 8 * sides * struct.unpack_from(f"{order}I", wkb, at)[0]
            else:
                left.append(count)
                if len(left) > _MOST_NESTED:
                    return True
    except (struct.error, IndexError):  # truncated, as decoding says
        return False
    return False
