"""Rows of one scene in the order in which `hamming_window_top2_both` walks over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2fast_kernels.hamming_top2.reference import check_descriptors
from s2fast_kernels.hamming_window_top2.reference import check_positions, check_radius


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Rows of one scene, ordered for the search once and searched as often as wanted. Make it with `of`.

    Rows are sorted by group, then by strip, a band of y about as high as the radius, then by x.
    """

    descriptors: npt.NDArray[np.uint64]
    """(n, 8) packed, in the order of the search."""

    x: npt.NDArray[np.float64]
    """(n,) positions, in the order of the search; rising within a strip."""

    y: npt.NDArray[np.float64]
    """(n,) positions, in the order of the search."""

    row: npt.NDArray[np.int64]
    """(n,) the caller's numbers of the rows, in the order of the search."""

    radius: float
    """How far a competing row may be, in the units of the positions."""

    strip_group: npt.NDArray[np.int64]
    """(k,) group of the rows of every strip that has any; rising."""

    strip_start: npt.NDArray[np.int64]
    """(k + 1,) first place of every strip, and n."""

    strip_y: npt.NDArray[np.float64]
    """(k, 2) lowest and highest y in every strip; strips of a group do not overlap and rise."""

    @classmethod
    def of(
        cls,
        descriptors: npt.NDArray[np.uint64],
        xy: npt.NDArray[np.float64],
        group: npt.NDArray[np.int32] | npt.NDArray[np.int64],
        radius: float,
    ) -> WindowRows:
        """Order the rows of a scene.

        Parameters
        ----------
        descriptors : (n, 8) uint64
            Packed descriptors.
        xy : (n, 2) float64
            Their positions x, y, in map units or pixels.
        group : (n,) int32 or int64
            Only rows of one group compete with each other, such as keypoints of one size.
        radius
            How far a competing row may be, in the units of the positions.

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
        # Strips no finer than float64 itself: a radius of 0, too, has some.
        height = max(radius, np.spacing(np.abs(y).max(initial=0.0)))
        strip = np.floor(y / height)
        order = np.lexsort((x, strip, group))
        group, strip, y = group[order].astype(np.int64), strip[order], y[order]
        first = np.flatnonzero(np.r_[len(y) > 0, (np.diff(group) != 0) | (np.diff(strip) != 0)])
        # Without rows there is no strip to reduce over.
        ends = [at.reduceat(y, first) if len(first) else y for at in (np.minimum, np.maximum)]
        return cls(
            descriptors[order],
            x[order],
            y,
            order,
            float(radius),
            group[first],
            np.append(first, len(y)),
            np.column_stack(ends),
        )

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.row)

    @property
    def group(self) -> npt.NDArray[np.int64]:
        """(n,) groups, in the order of the search."""
        return np.repeat(self.strip_group, np.diff(self.strip_start))
