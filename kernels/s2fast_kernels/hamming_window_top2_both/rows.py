"""Rows of one scene, sorted for the search of `hamming_window_top2_both`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2fast_kernels.hamming_top2.reference import check_descriptors
from s2fast_kernels.hamming_window_top2.reference import check_positions, check_radius


@dataclass(frozen=True, slots=True, weakref_slot=True)
class WindowRows:
    """Rows of one scene, sorted once for any number of searches; created by `of`.

    Rows are sorted by group, then by strip (a band of y about as high as the radius), then by x.
    """

    descriptors: npt.NDArray[np.uint64]
    """(n, 8) packed descriptors, sorted."""

    x: npt.NDArray[np.float64]
    """(n,) positions, sorted; ascending within a strip."""

    y: npt.NDArray[np.float64]
    """(n,) positions, sorted."""

    row: npt.NDArray[np.int64]
    """(n,) the caller's row numbers, sorted."""

    radius: float
    """Maximum distance of compared rows, in the units of the positions."""

    strip_group: npt.NDArray[np.int64]
    """(k,) group of every nonempty strip; ascending."""

    strip_start: npt.NDArray[np.int64]
    """(k + 1,) index of the first row of every strip, then n."""

    strip_y: npt.NDArray[np.float64]
    """(k, 2) lowest and highest y in every strip; strips of a group are disjoint and ascending."""

    @classmethod
    def of(
        cls,
        descriptors: npt.NDArray[np.uint64],
        xy: npt.NDArray[np.float64],
        group: npt.NDArray[np.int32] | npt.NDArray[np.int64],
        radius: float,
    ) -> WindowRows:
        """Sort the rows of a scene.

        Parameters
        ----------
        descriptors : (n, 8) uint64
            Packed descriptors.
        xy : (n, 2) float64
            Positions x, y, in map units or pixels.
        group : (n,) int32 or int64
            Only rows with the same group are compared; a group is, for example, a keypoint size.
        radius
            Maximum distance of compared rows, in the units of the positions.

        Raises
        ------
        ValueError
            An operand has the wrong shape or type, a position is not finite, or the radius is negative or not finite.
        """
        check_descriptors("descriptors", descriptors)
        check_positions("xy", xy, len(descriptors))
        check_radius(radius)
        if group.dtype not in (np.int32, np.int64) or group.shape != (len(xy),):
            raise ValueError(f"group must be ({len(xy)},) int32 or int64, got {group.shape} {group.dtype}")
        x, y = xy.T
        # Strips are at least as high as the spacing of float64, so that they exist for a radius of 0 too.
        height = max(radius, np.spacing(np.abs(y).max(initial=0.0)))
        strip = np.floor(y / height)
        order = _sorted(x, strip, group)
        group, strip, y = group[order].astype(np.int64), strip[order], y[order]
        first = np.flatnonzero(np.r_[len(y) > 0, (np.diff(group) != 0) | (np.diff(strip) != 0)])
        # `reduceat` fails without rows.
        ends = [at.reduceat(y, first) if len(first) else y for at in (np.minimum, np.maximum)]
        return cls(
            descriptors.take(order, axis=0),  # faster than an index
            x[order],
            y,
            order,
            float(radius),
            group[first],
            np.append(first, len(y)),
            np.column_stack(ends),
        )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.row)

    @property
    def group(self) -> npt.NDArray[np.int64]:
        """(n,) groups, sorted."""
        return np.repeat(self.strip_group, np.diff(self.strip_start))


def _sorted(
    x: npt.NDArray[np.float64], strip: npt.NDArray[np.float64], group: npt.NDArray[np.int32] | npt.NDArray[np.int64]
) -> npt.NDArray[np.intp]:
    """Return the order by group, strip and x; rows equal in all three are in any order."""
    by_x = np.argsort(x)
    strip, group = strip[by_x], group[by_x]
    if len(x):
        first, last = float(strip.min()), float(strip.max())
        least, most = int(group.min()), int(group.max())
        if (most - least + 1) * (last - first + 1) <= 1 << 16:
            # NumPy sorts numbers of 16 bits by counting, in an eighth of the time.
            cell = (group - least) * (last - first + 1) + (strip - first)
            return np.asarray(by_x[np.argsort(cell.astype(np.uint16), kind="stable")])
    return np.asarray(by_x[np.lexsort((strip, group))])
