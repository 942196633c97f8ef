"""Synthetic Sentinel-2 archives whose truth is known.

One module for each idea: `plan` (tiles, dates, names), `terrain` (what lies where), `season` (colours through the
year), `ground` (how it looks), `clearings` (the polygons), `atmosphere` (what the sensor makes of it), `archive` (the
files), and `noise` under all of them.
"""

from __future__ import annotations

from .archive import synth

__all__ = ["synth"]
