"""Strips of rows in which an image is processed: several threads at once, each within its cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy.typing as npt

from s2fast_kernels.threads import map_in_threads

Result = TypeVar("Result")

_STRIP_PX = 1 << 19
"""Pixels of a strip. OpenCV starts threads of its own for twice as many, which wait for each other."""

_LEAST_ROWS = 32
"""Minimum number of rows."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows of an image, and those around them that affect the result."""

    rows: slice
    """The rows."""

    around: slice
    """These and the rows within reach, within the image."""

    def inner(self, result: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the part of a result, computed from the rows `around`, that belongs to the strip."""
        top = self.rows.start - self.around.start
        return result[top : top + self.rows.stop - self.rows.start]


def strips(shape: tuple[int, ...], reach: int = 0) -> list[Strip]:
    """Return the strips of an image, with `reach` rows around each; none if it has no pixels."""
    rows, cols = shape
    if not rows * cols:
        return []
    # No more rows around a strip than within it, so that none is processed more than twice.
    step = max(_LEAST_ROWS, 2 * reach, _STRIP_PX // cols)
    return [
        Strip(slice(top, min(top + step, rows)), slice(max(0, top - reach), min(top + step + reach, rows)))
        for top in range(0, rows, step)
    ]


def in_strips(shape: tuple[int, ...], function: Callable[[slice], Result]) -> list[Result]:
    """Return a function's results for the rows of each strip of an image, from the first, computed in threads."""
    return map_in_threads(lambda strip: function(strip.rows), strips(shape))
