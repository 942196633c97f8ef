"""Collect the maxima of one window of one octave, and predict which of them will be keypoints."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from s2fast_kernels.akaze.candidates import Candidates, LevelList
from s2fast_kernels.akaze.jobs import Admission, Filter, Job


class WindowMaxima:
    """Collect a window's maxima, level by level, and select those to describe."""

    def __init__(self, job: Job, keep: Filter, admit: Admission) -> None:
        self._job, self._keep, self._admit = job, keep, admit
        self._lists: list[LevelList] = []
        self._alive_after_above: list[npt.NDArray[np.bool_]] = []
        self.found: list[Candidates] = []
        self.described = 0

    def add(
        self,
        position: npt.NDArray[np.int32],
        response: npt.NDArray[np.float32],
        offset: npt.NDArray[np.float32],
    ) -> None:
        """Add the next level's maxima, and suppress those of the previous level by them.

        Parameters
        ----------
        position : (n, 2) int32
            Row and column in the window, sorted.
        response, offset
            See `Candidates`.
        """
        job, level = self._job, self._job.levels[len(self.found)]
        rows, columns = position[:, 0].copy(), position[:, 1].copy()
        y, x = rows + np.int32(job.window.top), columns + np.int32(job.window.left)
        self.found.append(Candidates.make(level.index, y, x, response, offset, self._keep(level, y, x, offset)))
        height = job.window.bottom - job.window.top
        self._lists.append(LevelList.thinned(level, rows, columns, response, height))
        if len(self._lists) > 1:
            self._alive_after_above.append(self._lists[-2].surviving_above(self._lists[-1]))

    def add_given(self) -> None:
        """Add the given candidates of the next level instead."""
        given = self._job.given
        if given is not None:
            self.found.append(given.take(given.level == self._job.levels[len(self.found)].index))

    def rows_to_describe(self, i: int) -> npt.NDArray[np.intp]:
        """Return the rows of the i-th level's maxima to describe: admitted survivors of suppression within the window.

        Unless it is the octave's last level, the next level must have been added.
        """
        found, core = self.found[i], self._job.core
        if self._job.given is not None:
            return np.arange(len(found))
        last = i + 1 == len(self._job.levels)
        here = self._lists[i]
        # Suppression of an octave's last level depends on the next octave, so describe all that may survive.
        alive = here.alive if last else self._alive_after_above[i]
        if i and not last:
            alive = here.surviving_below(alive, self._lists[i - 1], self._alive_after_above[i - 1])
        alive = alive & found.valid & (found.y >= core.top) & (found.y < core.bottom)
        rows = np.flatnonzero(alive & (found.x >= core.left) & (found.x < core.right))
        return rows[self._admit(here.level, found.take(rows))]

    def describe(self, i: int, rows: npt.NDArray[np.intp], angle: npt.NDArray[np.float32]) -> None:
        """Record that these rows of the i-th level have the next descriptors, and their orientations [degrees]."""
        self.found[i].angle[rows] = angle
        self.found[i].row[rows] = self.described + np.arange(len(rows))
        self.described += len(rows)
