"""Synthetic Sentinel-2 archives with known ground truth.

Modules: `plan` (tiles, dates, names), `terrain` (positions of rivers, forests and settlements), `season` (colours
through the year), `ground` (reflectance), `clearings` (the polygons), `atmosphere` (atmosphere and sensor), `archive`
(the files), and `noise`, which the others build on.
"""

from __future__ import annotations

from .archive import synth

__all__ = ["synth"]
