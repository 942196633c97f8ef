"""What was found of a picture, with its verdict and its null."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from rasterio.transform import Affine

from s2fast.errors import InputError
from s2fast.files.suffixes import PICTURES, check_suffix
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.antimeridian import footprint
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.retrieval.index import Entry
from s2fast.retrieval.picture import Image
from s2fast.retrieval.place import Place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOUND, NOT_FOUND, AMBIGUOUS, UNUSABLE = "found", "not found", "ambiguous", "unusable"
"""Verdicts."""


@dataclass(frozen=True)
class Finding:
    """Where a picture lies, or that it lies nowhere in the archive."""

    image: Image
    """The picture."""
    verdict: str
    """``found``, ``not found``, ``ambiguous``: another place fits as well, or ``unusable``."""
    entry: Entry | None
    """The scene in which it lies; None if it was not found."""
    crs_wkt: str
    """CRS of that scene; empty if it has none or nothing was found."""
    place: Place | None
    """Where in that scene."""
    agreeing: tuple[str, ...]
    """Ids of all scenes that show the picture at this place, best first."""
    candidates: tuple[str, ...]
    """Ids of the scenes that were compared, most votes first."""
    votes: float
    """Votes for the scene."""
    nulls: int
    """Number of trials of the same rule on places that cannot be it."""
    nulls_verified: int
    """Number of these that were verified."""
    out: str
    """The run folder of the scene."""
    keypoints: int
    """Number of the picture's keypoints that were searched."""
    problem: str = ""
    """Why the picture cannot be used; empty if it can."""
    trusted: tuple[str, ...] = ()
    """Servers that may be asked for the scene."""

    @classmethod
    def unusable(cls, name: str, problem: str) -> Finding:
        """Return the answer to a picture that cannot be read, or shows nothing."""
        nothing = np.zeros((0, 0), np.uint8)
        image = Image(name, nothing, nothing.astype(np.bool_), (0, 0))
        return cls(image, UNUSABLE, None, "", None, (), (), 0.0, 0, 0, "", 0, problem)

    def __repr__(self) -> str:
        where = f" in {self.entry.scene_id}" if self.entry is not None else ""
        return f"<{self.image.name}: {self.verdict}{where}>"

    @property
    def found(self) -> bool:
        """Whether the picture was found, in one place."""
        return self.verdict == FOUND

    @cached_property
    def grid(self) -> PixelGrid | None:
        """The pixel grid of the picture on the ground; None if it was not found or the scene has no CRS."""
        if self.place is None or self.entry is None or not self.crs_wkt:
            return None
        found = picture_grid(self.place, self.entry, self.crs_wkt, self.image.shape)
        return found if found.on_earth else None

    @property
    def error_px(self) -> float:
        """Error of the place along each axis [px of the scene]; NaN if it was not found."""
        return self.place.judgement.error if self.place is not None else float("nan")

    def properties(self) -> dict[str, Any]:
        """Return what was found, as JSON values."""
        found: dict[str, Any] = {"picture": self.image.name, "verdict": self.verdict}
        if self.problem:
            return found | {"problem": self.problem}
        if self.place is not None and self.entry is not None:
            found |= {
                "scene": self.entry.scene_id,
                "tile": self.entry.tile or None,
                "time": self.entry.time or None,
                "model": self.place.judgement.model,
                "rotation_deg": round(self.place.rotation_deg, 3),
                "scale": round(self.place.scale, 5),
                "error_px": round(self.error_px, 3),
                "inliers": self.place.inliers,
                "witnesses": round(self.place.judgement.witnesses, 1),
                "scenes": list(self.agreeing),
                "outline_px": np.round(self.place.outline(self.image.shape), 2).tolist(),
            }
        found |= {"votes": round(self.votes, 2), "candidates": len(self.candidates)}
        return found | {"nulls": self.nulls, "nulls_verified": self.nulls_verified, "keypoints": self.keypoints}

    def feature(self) -> dict[str, Any]:
        """Return the outline as a GeoJSON feature; without a place on Earth, its geometry is null."""
        geometry = None if self.grid is None else shapely.geometry.mapping(footprint(self.grid))
        return {"type": "Feature", "geometry": geometry, "properties": self.properties()}

    def show(self, dpi: float = 150.0) -> Figure:
        """Draw the picture, the scene in its frame, and its outline in the whole scene.

        Raises
        ------
        InputError
            The picture was not found, or the run folder with the scene is gone.
        """
        from s2fast.retrieval.outputs import draw

        if self.place is None or self.entry is None:
            raise InputError(f"{self.image.name}: {self.verdict}: there is no place to draw")
        return draw(self.image, self.place, self.entry, RunFolder(self.out, self.trusted), dpi)

    def save(self, file: Path | str) -> None:
        """Write what was found in the format of the file's ending.

        Parameters
        ----------
        file
            ``.geojson``: the outline in longitude and latitude; ``.tif``: a georeferenced copy of all bands of the
            picture; ``.png``, ``.pdf``, ``.svg``: see `show`.

        Raises
        ------
        InputError
            The ending is another, the file cannot be written, or the picture lies in no place that can be written so.
        """
        from s2fast.retrieval.outputs import SUFFIXES, write_figure, write_geojson, write_located

        path = Path(file)
        suffix = check_suffix(path, SUFFIXES)
        if suffix == ".geojson":
            write_geojson([self.feature()], path)
        elif suffix in PICTURES:
            write_figure(self.show(), path)
        else:
            if not self.found or self.grid is None:
                why = "its scene has no CRS" if self.found else self.verdict
                raise InputError(f"{self.image.name}: {why}: no georeferenced copy is written")
            write_located(self.image, self.grid, path)


def picture_grid(place: Place, entry: Entry, crs_wkt: str, shape: tuple[int, int]) -> PixelGrid:
    """Return the pixel grid of a picture on the ground of a scene."""
    (a, b, c), (d, e, f) = place.to_scene.tolist()
    corner = Affine.translation(0.5, 0.5)
    to_ground = Affine(*entry.transform) @ corner @ Affine(a, b, c, d, e, f) @ ~corner
    return PixelGrid(crs_wkt, tuple(to_ground)[:6], shape)
