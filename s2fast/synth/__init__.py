"""Synthetic Sentinel-2 archives whose truth is known.

One module for each idea: `plan` (tiles, dates, names), `season` (colours through the year), `ground` (what lies where),
`clearings` (the polygons), `atmosphere` (what the sensor makes of it), `archive` (files), over `noise`.
"""

from __future__ import annotations

from .archive import synth

__all__ = ["synth"]
