"""Find the place of a picture in the archive of an index, with a verdict and its null."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from rasterio.transform import Affine

from s2fast.errors import InputError, RunFolderError
from s2fast.files.source import Source
from s2fast.files.trusted import check_servers
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.antimeridian import footprint
from s2fast.geometry.placement import PixelGrid
from s2fast.retrieval.build import right_index
from s2fast.retrieval.index import Entry, Index, Keypoints
from s2fast.retrieval.picture import KEYPOINTS, Image, describe, read_image
from s2fast.retrieval.place import Place, find_place, refined
from s2fast.retrieval.votes import CANDIDATES, Ballot, vote

FOUND, NOT_FOUND, AMBIGUOUS = "found", "not found", "ambiguous"

_LEAST_OCTAVES = 2
"""An index of fewer octaves does not bear other scales."""

_MARGIN = 0.25
"""Ground around the found place that is no other place, as a share of its sides."""

_KEPT_ROWS = 1 << 21
"""Keypoints of scenes that are kept in memory for the next pictures: 170 MB."""

_RIVAL_SHARE = 0.4
"""Another place with at least this share of the witnesses makes a picture ambiguous."""


@dataclass(frozen=True)
class Finding:
    """Where a picture lies, or that it lies nowhere in the archive."""

    image: Image
    """The picture."""
    verdict: str
    """``found``, ``not found``, or ``ambiguous``: another place fits as well."""
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


def picture_grid(place: Place, entry: Entry, crs_wkt: str, shape: tuple[int, int]) -> PixelGrid:
    """Return the pixel grid of a picture on the ground of a scene."""
    (a, b, c), (d, e, f) = place.to_scene.tolist()
    corner = Affine.translation(0.5, 0.5)
    to_ground = Affine(*entry.transform) * corner * Affine(a, b, c, d, e, f) * ~corner
    return PixelGrid(crs_wkt, tuple(to_ground)[:6], shape)


def check_serves(index: Index) -> None:
    """Raise RunFolderError unless pictures can be found in an index."""
    made = index.contents.made
    if not index.counted.any():
        raise RunFolderError(f"{index} holds no scenes: add some with s2fast index OUT --to {index}")
    if made.upright:
        raise RunFolderError(
            f"{index} holds upright keypoints, which only find pictures that are not rotated: {right_index('INDEX')}"
        )
    if made.octaves < _LEAST_OCTAVES:
        raise RunFolderError(
            f"{index} holds keypoints of {made.octaves} octave, which only find pictures of one scale: "
            f"{right_index('INDEX')}"
        )


class Finder:
    """Finds pictures in an index.

    Parameters
    ----------
    index
        The index.
    keypoints
        Most keypoints of a picture.
    device
        ``compute.device``.
    backend
        Backend of `s2fast_kernels.hamming_top2`.
    by_lists
        Whether to compare only with near keypoints, by the inverted lists of the index.
    trusted
        Buckets besides that of the index whose run folders may be read, and servers that may be asked for scenes.

    Raises
    ------
    RunFolderError
        The index cannot serve: it is not finished, or its keypoints have no orientation.
    """

    def __init__(
        self, index: Index, *, keypoints: int = KEYPOINTS, device: str = "auto", backend: str = "auto",
        by_lists: bool = False, trusted: Sequence[str] = (),
    ) -> None:  # fmt: skip
        check_serves(index)
        self.index = index
        self._kept: OrderedDict[int, Keypoints] = OrderedDict()
        self._keypoints, self._device, self._backend, self._by_lists = keypoints, device, backend, by_lists
        self._trusted = trusted

    def find(self, picture: str, without: Set[str] = frozenset()) -> Finding:
        """Find a picture by its path or address; see `locate`."""
        return self.locate(read_image(picture), without)

    def locate(self, image: Image, without: Set[str] = frozenset()) -> Finding:
        """Find a picture.

        Parameters
        ----------
        image
            The picture.
        without
            Ids of scenes that do not count.

        Raises
        ------
        InputError
            The picture is empty or of one colour.
        """
        query = describe(image, self.index, self._keypoints, self._device)
        return self.judge(image, query, self.votes(query, without))

    def votes(self, query: Keypoints, without: Set[str] = frozenset()) -> Ballot:
        """Return the votes of a picture's keypoints."""
        if self._by_lists:
            from s2fast.retrieval.clusters import vote_by_lists

            return vote_by_lists(self.index, query, without=without)
        return vote(self.index, query, backend=self._backend, device=self._device, without=without)

    def judge(self, image: Image, query: Keypoints, ballot: Ballot) -> Finding:
        """Verify the candidates of a ballot, and try the same rule where the picture cannot be."""
        entries, counted = self.index.entries, self.index.contents
        numbers = ballot.candidates([entry.place for entry in entries], CANDIDATES)
        scenes = {number: self._features(number) for number in numbers}
        places = {}
        for number, train in scenes.items():
            place = find_place(query, train, image.shape, entries[number].shape)
            if place is not None:
                places[number] = place
        names = tuple(entries[number].scene_id for number in numbers)
        if not places:
            return Finding(image, NOT_FOUND, None, "", None, (), names, 0.0, len(numbers), 0, "", len(query))
        best = max(places, key=lambda number: (places[number].judgement.witnesses, -number))
        place, entry = refined(places[best], query, scenes[best]), entries[best]
        crs_wkt = counted.crs[entry.crs]
        agreeing = [best]
        elsewhere = []
        for number, train in scenes.items():
            if number != best and not (crs_wkt and counted.crs[entries[number].crs]):
                # Without a CRS nobody knows whether it shows other ground, so it is no null trial.
                if number in places:
                    agreeing.append(number)
                continue
            here = self._at_place(train.xy, number, best, place, image.shape)
            if number != best and number in places and self._same(places[number], here, train):
                agreeing.append(number)
            elsewhere.append(find_place(query, train.take(~here), image.shape, entries[number].shape))
        rivals = [other for other in elsewhere if other is not None]
        strongest = max((other.judgement.witnesses for other in rivals), default=0.0)
        verdict = AMBIGUOUS if strongest >= _RIVAL_SHARE * place.judgement.witnesses else FOUND
        return Finding(
            image, verdict, entry, crs_wkt, place, tuple(entries[number].scene_id for number in agreeing), names,
            float(ballot.scenes[best]), len(elsewhere), len(rivals), counted.runs[entry.run], len(query),
        )  # fmt: skip

    def _features(self, number: int) -> Keypoints:
        """Return all keypoints of a scene, see `_read`, which are kept for the next pictures."""
        found = self._kept.pop(number, None) or self._read(number)
        self._kept[number] = found
        while sum(map(len, self._kept.values())) > _KEPT_ROWS and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return found

    def _read(self, number: int) -> Keypoints:
        """Read all keypoints of a scene from its run, if they are still there; else those of the index.

        The index may be a stranger's: a run in a bucket is read only if the index lies there too, or the user names it.
        """
        entry = self.index.entries[number]
        address = self.index.contents.runs[entry.run]
        try:
            if _bucket(address) not in ("", _bucket(str(self.index))):
                check_servers([Source.of(address)], self._trusted)
            folder = RunFolder(address)
            if folder.features_key(entry.scene_id) == entry.key:
                found = folder.own_features(entry.scene_id)
                return Keypoints(found.xy, found.size, found.angle, found.descriptors)
        except (RunFolderError, InputError, OSError):
            pass  # the run has been removed or damaged: the index alone is enough to decide
        return self.index.scene(number)

    def _at_place(
        self, xy: npt.NDArray[np.float32], number: int, best: int, place: Place, shape: tuple[int, int]
    ) -> npt.NDArray[np.bool_]:
        """Return which keypoints of a scene lie at the found place or near it."""
        entries, crs = self.index.entries, self.index.contents.crs
        in_best = xy.astype(np.float64)
        if number != best:
            one, other = (
                PixelGrid(crs[entries[at].crs], entries[at].transform, entries[at].shape) for at in (number, best)
            )
            in_best = other.from_map(one.on_map(xy, other.crs_wkt), other.crs_wkt)
        turned, offset = place.to_scene[:, :2], place.to_scene[:, 2]
        in_picture = np.linalg.solve(turned, (in_best - offset).T).T
        rows, columns = shape
        low = -_MARGIN * np.array([columns, rows])
        high = (1 + _MARGIN) * np.array([columns, rows])
        return np.asarray(((in_picture >= low) & (in_picture <= high)).all(axis=1))

    @staticmethod
    def _same(place: Place, here: npt.NDArray[np.bool_], train: Keypoints) -> bool:
        """Return whether a scene shows the picture at the found place: most of its inliers lie there."""
        known = set(map(tuple, train.xy[here].tolist()))
        inlier = place.scene_xy[place.judgement.inlier].astype(np.float32)
        return sum(tuple(xy) in known for xy in inlier.tolist()) > len(inlier) / 2


def _bucket(address: str) -> str:
    """Return scheme and bucket of an address in an object store; empty for a local folder."""
    return "/".join(address.split("/")[:3]) if "://" in address else ""
