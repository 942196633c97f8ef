"""The archives in which the benchmark of `s2fast find` looks for pictures, and where their scenes lie."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.datasets import REAL
from benchmarks.pictures import Pixels
from s2fast.config import load_config
from s2fast.errors import InputError
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.retrieval.build import build
from s2fast.retrieval.finder import Finder
from s2fast.retrieval.finding import Finding
from s2fast.retrieval.index import Entry, Index

SNOW = ("20160212", "20161205")
SLIVERS = ("20160330", "20160405", "20160509", "20160618", "20161026", "20161121", "20161205")
CLOUD = ("20190706", "20190726", "20190805")
"""Dates that show snow, hardly any ground, or mostly cloud: named apart, as nothing can be matched with them."""

OTHER_PLACES = {"arosics": "auto", "lebanon": "none", "paris": "none"}
"""Folders of scenes of other places, on which no constant of the search was chosen, and their ``ingest.stretch``."""

TRUE_SHIFT_PX = {("S2A_20160608T153121_T33UUU", "S2A_20160529T153631_T33UUU"): (0.66, -1.82)}
"""Pairs of scenes whose georeferencing disagrees: the second's pixels lie so far from where it says, right and down."""


@dataclass(frozen=True)
class Archive:
    """An index of real scenes, and their runs."""

    index: Index

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """The scenes by their ids."""
        return {entry.scene_id: entry for entry in self.index.entries}

    @property
    def scenes(self) -> list[str]:
        """Ids of all scenes."""
        return list(self.entries)

    def folder(self, scene: str) -> RunFolder:
        """Return the run folder of a scene."""
        return RunFolder(self.index.contents.runs[self.entries[scene].run])

    def grey(self, scene: str) -> Pixels:
        """Return a scene."""
        return self.folder(scene).grey(scene)

    def of_date(self, scene: str) -> Set[str]:
        """Return the scenes of the same date."""
        return {other for other in self.scenes if date(other) == date(scene)}

    def moved(self, xy: npt.NDArray[np.float64], scene: str, other: str) -> npt.NDArray[np.float64]:
        """Return where (n, 2) pixels of a scene lie in another."""
        if scene == other:
            return xy
        one, two = (self._grid(name) for name in (scene, other))
        shift = np.array(TRUE_SHIFT_PX.get((scene, other), (0.0, 0.0)))
        shift -= TRUE_SHIFT_PX.get((other, scene), (0.0, 0.0))
        return np.asarray(two.from_map(one.on_map(xy, two.crs_wkt), two.crs_wkt) + shift)

    def _grid(self, scene: str) -> PixelGrid:
        entry = self.entries[scene]
        return PixelGrid(self.index.contents.crs[entry.crs], entry.transform, entry.shape)


def date(scene: str) -> str:
    """Return the date in a scene's id."""
    return scene.split("_")[1][:8]


def kind_of(scene: str) -> str:
    """Return what a scene shows."""
    for kind, dates in (("snow", SNOW), ("slivers", SLIVERS), ("cloud", CLOUD)):
        if date(scene) in dates:
            return kind
    return "clear"


def archive(cache: Path, per_scene: int, *, others: bool = False) -> Archive:
    """Extract the features of the real scenes, with orientations, and index them, unless that is done.

    Parameters
    ----------
    cache
        Folder of the runs and indexes.
    per_scene
        Keypoints of a scene in the index; 0: all.
    others
        Whether the archive holds the scenes of `OTHER_PLACES` too.
    """
    runs = [run_of(cache / "run", REAL)]
    if others:
        runs += [run_of(cache / f"run-{name}", REAL.with_name(name), stretch) for name, stretch in OTHER_PLACES.items()]
    to = cache / f"index{'-places' * others}-{per_scene}"
    build(str(to), runs, per_scene)
    return Archive(Index(to))


def run_of(out: Path, scenes: Path, stretch: str = "none") -> Path:
    """Extract the features of a folder's scenes, with orientations, unless that is done; return the run folder."""
    settings = {"features.upright": False, "regions.mode": "none", "ingest.stretch": stretch}
    run_stages(Job(load_config(None, settings), [str(scenes)], None, out), stages=["ingest", "extract"])
    return out


class Pictures:
    """Writes pictures to files and finds them."""

    def __init__(self, data: Archive, keypoints: int, folder: Path) -> None:
        self._finder, self._file = Finder(data.index, keypoints=keypoints), folder / "picture.png"

    def find(self, pixels: Pixels, without: Set[str] = frozenset()) -> Finding:
        """Find a picture; one of a single colour, as of the sea, is unusable."""
        cv2.imwrite(str(self._file), pixels)
        try:
            return self._finder.find(str(self._file), without)
        except InputError as error:
            return Finding.unusable(str(self._file), str(error))
