"""A masked tile on a coarser grid, or on square pixels: means of its pixels, and where they are missing or valid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Coarser:
    """A tile on a coarser grid, which covers the same ground; it may be finer along one axis."""

    grey: npt.NDArray[np.uint8]
    """(rows, cols) means of the tile's pixels; 0 where missing ones are black."""
    missing: npt.NDArray[np.bool_] | None
    """(rows, cols) True where any pixel is missing; None: the tile declares none."""
    valid: Callable[[slice, slice], npt.NDArray[np.bool_]]
    """(rows, columns) -> that part of a bool image: True at valid keypoint positions."""
    factor: npt.NDArray[np.float64]
    """(2,) size of a pixel in x and y [px of the tile]."""

    @classmethod
    def of(
        cls,
        grey: npt.NDArray[np.uint8],
        valid: Callable[[slice, slice], npt.NDArray[np.bool_]],
        missing: npt.NDArray[np.bool_] | None,
        factor: float | tuple[float, float],
    ) -> Coarser:
        """Reduce a tile; the number of pixels is rounded, so that `Coarser.factor` is only about `factor`.

        Parameters
        ----------
        grey : (rows, cols) uint8
            The tile's pixels.
        valid
            Returns parts of the mask of valid keypoint positions.
        missing : (rows, cols) bool or None
            True where a pixel is missing.
        factor
            Wanted side of a pixel, or sides in x and y [px of the tile]. Along an axis where it is below 1, pixels are
            interpolated.
        """
        shape = coarser_shape(grey.shape, factor)
        sides = np.array(grey.shape) / shape
        small = _means(grey, shape)
        gaps = None
        if missing is not None:
            gaps = _any(missing, shape)
            small[_any(missing & (grey == 0), shape)] = 0

        def part(rows: slice, columns: slice) -> npt.NDArray[np.bool_]:
            at = [
                np.rint((np.arange(axis.start, axis.stop) + 0.5) * side - 0.5).astype(np.intp)
                for axis, side in zip((rows, columns), sides, strict=True)
            ]
            if not all(map(len, at)):
                return np.zeros([len(axis) for axis in at], np.bool_)
            around = valid(slice(int(at[0][0]), int(at[0][-1]) + 1), slice(int(at[1][0]), int(at[1][-1]) + 1))
            return around[np.ix_(at[0] - at[0][0], at[1] - at[1][0])]

        return cls(small, gaps, part, sides[::-1].copy())


def coarser_shape(shape: tuple[int, ...], factor: float | tuple[float, float]) -> tuple[int, int]:
    """Return the rows and columns of a grid with pixels larger by a factor, or two in x and y, over the same ground."""
    across, down = factor if isinstance(factor, tuple) else (factor, factor)
    return max(1, round(shape[0] / down)), max(1, round(shape[1] / across))


def _means(
    image: npt.NDArray[np.uint8], shape: tuple[int, ...], enlarging: int = cv2.INTER_CUBIC
) -> npt.NDArray[np.uint8]:
    """Return the rounded means over the pixels of another grid, parts of pixels by their area.

    Along an axis with more pixels than the image has they are interpolated; OpenCV's means of both axes would not be.
    """
    rows, cols = (min(sides) for sides in zip(shape, image.shape, strict=True))
    means = cv2.resize(image, (cols, rows), interpolation=cv2.INTER_AREA)
    if (rows, cols) != tuple(shape):
        means = cv2.resize(means, (shape[1], shape[0]), interpolation=enlarging)
    return np.asarray(means, np.uint8)


def _any(flags: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return which pixels of another grid meet a flagged one."""
    return _means(flags.view(np.uint8) * np.uint8(255), shape, cv2.INTER_LINEAR) > 0
