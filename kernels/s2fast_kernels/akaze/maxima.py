"""The maxima of one window of one octave, and what the window can tell about which of them will be keypoints."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from s2fast_kernels.akaze.candidates import Candidates, LevelList
from s2fast_kernels.akaze.jobs import Admission, Filter, Job


class WindowMaxima:
    """Collects a window's maxima, level after level, and says which to describe."""

    def __init__(self, job: Job, keep: Filter, admit: Admission) -> None:
        self._job, self._keep, self._admit = job, keep, admit
        self._lists: list[LevelList] = []
        self._met_above: list[npt.NDArray[np.bool_]] = []
        self.found: list[Candidates] = []
        self.described = 0

    def add(
        self,
        place: npt.NDArray[np.int32],
        response: npt.NDArray[np.float32],
        offset: npt.NDArray[np.float32],
    ) -> None:
        """Take the next level's maxima, and let those of the level before meet them.

        Parameters
        ----------
        place : (n, 2) int32
            Row and column in the window, sorted.
        response, offset
            See `Candidates`.
        """
        job, level = self._job, self._job.levels[len(self.found)]
        rows, columns = place[:, 0].copy(), place[:, 1].copy()
        y, x = rows + np.int32(job.window.top), columns + np.int32(job.window.left)
        self.found.append(Candidates.make(level.index, y, x, response, offset, self._keep(level, y, x, offset)))
        height = job.window.bottom - job.window.top
        self._lists.append(LevelList.thinned(level, rows, columns, response, height))
        if len(self._lists) > 1:
            self._met_above.append(self._lists[-2].killed_by_above(self._lists[-1]))

    def add_given(self) -> None:
        """Take the next level's given candidates instead."""
        given = self._job.given
        if given is not None:
            self.found.append(given.take(given.level == self._job.levels[len(self.found)].index))

    def chosen(self, i: int) -> npt.NDArray[np.intp]:
        """Rows of the i-th level's maxima to describe: they live as far as the window can tell, and are wanted.

        Unless it is the octave's last level, the next one must have been added.
        """
        found, core = self.found[i], self._job.core
        if self._job.given is not None:
            return np.arange(len(found))
        last = i + 1 == len(self._job.levels)
        here = self._lists[i]
        # Who lives on an octave's last level is decided with the next octave: all that may live are described.
        alive = here.alive if last else self._met_above[i]
        if i and not last:
            alive = here.killed_by_below(alive, self._lists[i - 1], self._met_above[i - 1])
        alive = alive & found.valid & (found.y >= core.top) & (found.y < core.bottom)
        rows = np.flatnonzero(alive & (found.x >= core.left) & (found.x < core.right))
        return rows[self._admit(here.level, found.take(rows))]

    def describe(self, i: int, rows: npt.NDArray[np.intp], angle: npt.NDArray[np.float32]) -> None:
        """Note that these rows of the i-th level have the next descriptors, and their orientations [degrees]."""
        self.found[i].angle[rows] = angle
        self.found[i].row[rows] = self.described + np.arange(len(rows))
        self.described += len(rows)
