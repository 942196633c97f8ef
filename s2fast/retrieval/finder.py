"""Find the place of a picture in the archive of an index, with a verdict and its null."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast.errors import ConfigError, InputError, RunFolderError, S2FastError, option
from s2fast.files.source import Source
from s2fast.files.trusted import check_servers
from s2fast.folder.run_folder import RunFolder
from s2fast.geometry.pixel_grid import PixelGrid
from s2fast.retrieval.build import check_made
from s2fast.retrieval.finding import AMBIGUOUS, FOUND, NOT_FOUND, Finding
from s2fast.retrieval.index import SEGMENT_SCENES, Index, Keypoints, index_call
from s2fast.retrieval.memory import (
    candidate_bytes,
    check,
    index_bytes,
    kept_bytes,
    kept_rows,
    scenes_at_once,
    search_bytes,
)
from s2fast.retrieval.picture import KEYPOINTS, Image, describe, describing_bytes, image_of, read_image
from s2fast.retrieval.place import Place, find_place, find_place_near, refined
from s2fast.retrieval.votes import CANDIDATES, LATER_CANDIDATES, Ballot, vote
from s2fast_kernels.machine import MIB, available_cores

_LATER_TRIED = 2 * LATER_CANDIDATES / CANDIDATES
"""At most as many times as many places are tried where none of the first candidates shows a picture, near its votes and
in the whole scene; so the expected number of false alarms is at most that of the first candidates once more."""

_LEAST_KEYPOINTS = 16
"""Least number of keypoints of a picture that may be asked for."""

BUDGET_MB = 2048
"""Memory that may be used, as ``compute.budget_mb`` by default [MiB]."""

_MARGIN = 0.25
"""Ground around the found place that is no other place, as a share of its sides."""

_RIVAL_SHARE = 0.4
"""Another place with at least this share of the witnesses makes a picture ambiguous."""


def check_serves(index: Index) -> None:
    """Raise RunFolderError unless pictures can be found in an index."""
    if not index.counted.any():
        raise RunFolderError(f"{index} holds no scenes: add some with {index_call(index)}")
    check_made(index.contents.made, index)


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
    by_lists
        Whether to compare only with near keypoints, by the inverted lists of the index.
    budget_mb
        Memory that may be used [MiB].
    trusted
        Buckets besides that of the index whose run folders may be read, and servers that may be asked for scenes.

    Raises
    ------
    ConfigError
        `keypoints` is below 16.
    RunFolderError
        The index cannot serve: it is not finished, or its keypoints have no orientation.
    """

    def __init__(
        self,
        index: Index,
        *,
        keypoints: int = KEYPOINTS,
        device: str = "auto",
        by_lists: bool = False,
        budget_mb: int = BUDGET_MB,
        trusted: Sequence[str] = (),
    ) -> None:
        if keypoints < _LEAST_KEYPOINTS:
            raise ConfigError(f"{option('keypoints')} is {keypoints}, must be at least {_LEAST_KEYPOINTS}")
        check_serves(index)
        self.index = index
        self._kept: OrderedDict[int, Keypoints] = OrderedDict()
        self._keypoints, self._device, self._by_lists = keypoints, device, by_lists
        self._trusted = trusted
        self._budget_mb = budget_mb
        rows = max((int(segment.offsets[-1]) for segment in index.contents.segments), default=0)
        mapped = "://" not in index.storage.address
        at_once = min(SEGMENT_SCENES, scenes_at_once(keypoints, budget_mb))
        needed = search_bytes(keypoints, at_once, rows, mapped=mapped)
        self._check(needed, f"searching {index}, {len(index.entries)} scenes,")

    def _check(self, needed_bytes: int, what: str, error: type[S2FastError] = ConfigError) -> None:
        """Raise an error if something does not fit into the budget, beside the index and the kept candidates."""
        check(needed_bytes + self._held_bytes(), self._budget_mb, what, error)

    def _held_bytes(self) -> int:
        return index_bytes(len(self.index.entries)) + kept_bytes(self._budget_mb)

    def find(self, picture: Path | str | npt.NDArray[Any], without: Set[str] = frozenset()) -> Finding:
        """Find a picture by its path or address, or as an array, see `image_of`; see `locate`."""
        if isinstance(picture, np.ndarray):
            return self.locate(image_of(picture), without)

        def check(needed_bytes: int) -> None:
            self._check(needed_bytes, f"reading {picture}", InputError)

        return self.locate(read_image(str(picture), check), without)

    def find_all(self, pictures: Iterable[Path | str | npt.NDArray[Any]]) -> Iterator[Finding]:
        """Find pictures one after another; the verdict of one that cannot be used is ``unusable``."""
        for number, picture in enumerate(pictures):
            try:
                yield self.find(picture)
            except InputError as error:
                name = f"array {number}" if isinstance(picture, np.ndarray) else str(picture)
                yield Finding.unusable(name, str(error))

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
        query = describe(image, self.index, self._keypoints, self._device, self._threads(image))
        return self.judge(image, query, self.votes(query, without))

    def _threads(self, image: Image) -> int:
        """Return how many threads may find a picture's keypoints; raise InputError if one is too many."""
        first, two = (describing_bytes(image, self.index, threads) for threads in (1, 2))
        left, each = self._budget_mb * MIB - self._held_bytes() - first, max(1, two - first)
        rows, columns = image.grey.shape
        self._check(first, f"{image.name}: finding keypoints in {rows} x {columns} px", InputError)
        return min(available_cores(), 1 + left // each)

    def votes(self, query: Keypoints, without: Set[str] = frozenset()) -> Ballot:
        """Return the votes of a picture's keypoints."""
        if self._by_lists:
            from s2fast.retrieval.clusters import vote_by_lists

            return vote_by_lists(self.index, query, without=without)
        at_once = min(SEGMENT_SCENES, scenes_at_once(len(query), self._budget_mb))
        return vote(self.index, query, device=self._device, without=without, at_once=at_once)

    def judge(self, image: Image, query: Keypoints, ballot: Ballot) -> Finding:
        """Verify the candidates of a ballot, and try the same rule where the picture cannot be."""
        entries, contents = self.index.entries, self.index.contents

        def anywhere(number: int, train: Keypoints, tried: float = 1.0) -> Place | None:
            rows, columns = entries[number].shape
            return find_place(query, train, image.shape, float(rows * columns), tried)

        def near(number: int, train: Keypoints) -> Place | None:
            where = image.shape, entries[number].shape, ballot.at[number], _LATER_TRIED
            return find_place_near(query, train, *where)

        def anywhere_or_near(number: int, train: Keypoints) -> Place | None:
            return anywhere(number, train, _LATER_TRIED) or near(number, train)

        ground = [entry.place for entry in entries]
        rule: Callable[[int, Keypoints], Place | None] = anywhere
        first = numbers = ballot.candidates(ground, CANDIDATES)
        tried = {number: rule(number, self._features(number)) for number in numbers}
        if not any(tried.values()):
            rule, numbers = anywhere_or_near, ballot.candidates(ground, LATER_CANDIDATES)
            for number in numbers:
                # What is not verified in a whole scene is not if more false alarms are counted.
                tried[number] = (near if number in first else rule)(number, self._features(number))
        places = {number: place for number, place in tried.items() if place is not None}
        names = tuple(entries[number].scene_id for number in numbers)
        if not places:
            return Finding(image, NOT_FOUND, None, "", None, (), names, 0.0, len(numbers), 0, "", len(query))
        best = max(places, key=lambda number: (places[number].judgement.witnesses, -number))
        place, entry = refined(places[best], query, self._features(best)), entries[best]
        crs_wkt = contents.crs[entry.crs]
        agreeing = [best]
        elsewhere = []
        for number in numbers:
            if number != best and not (crs_wkt and contents.crs[entries[number].crs]):
                # Without a CRS nobody knows whether it shows other ground, so it is no null trial.
                if number in places:
                    agreeing.append(number)
                continue
            train = self._features(number)
            here = self._at_place(train.xy, number, best, place, image.shape)
            if number != best and number in places and self._same(places[number], here, train):
                agreeing.append(number)
            elsewhere.append(rule(number, train.take(~here)))
        rivals = [other for other in elsewhere if other is not None]
        strongest = max((other.judgement.witnesses for other in rivals), default=0.0)
        verdict = AMBIGUOUS if strongest >= _RIVAL_SHARE * place.judgement.witnesses else FOUND
        return Finding(
            image, verdict, entry, crs_wkt, place, tuple(entries[number].scene_id for number in agreeing), names,
            float(ballot.scenes[best]), len(elsewhere), len(rivals), contents.runs[entry.run], len(query),
            trusted=tuple(self._trusted),
        )  # fmt: skip

    def _features(self, number: int) -> Keypoints:
        """Return all keypoints of a scene, see `_read`, which are kept for the next pictures."""
        found = self._kept.pop(number, None) or self._read(number)
        self._kept[number] = found  # the latest is last
        while sum(map(len, self._kept.values())) > kept_rows(self._budget_mb) and len(self._kept) > 1:
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
                rows = folder.keypoints(entry.scene_id)
                self._check(candidate_bytes(rows), f"comparing {entry.scene_id}, {rows} keypoints,")
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
