"""An index of an archive's keypoints: descriptors of many scenes in few files, which a search maps into memory.

```
INDEX/
  index.json                  how it was made, its scenes, and the checksums of the files below
  segments/KEY.descriptors    (rows, 8) uint64, scene after scene
  segments/KEY.keypoints      (rows, 4) float32: x, y, size [px of the full-resolution scene], angle [rad]
  clusters/KEY.faiss          inverted lists of all descriptors, if they were asked for
```

A segment is written before ``index.json`` names it, and never changes: an interrupted index is one with fewer scenes,
which says so, and the same command continues it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s2fast.errors import DamageError, RunFolderError, caller_hint
from s2fast.files.legible import counted, legible_json
from s2fast.files.open_storage import open_storage
from s2fast.files.storage import content
from s2fast.folder.checksums import describe_mismatch, sealed, unsealed
from s2fast.folder.record import RUN_JSON
from s2fast.model import Transform
from s2fast_kernels.features import WORDS

FORMAT = 1
"""Version of the index's layout."""

INDEX_JSON = "index.json"

SEGMENT_ROWS = 1 << 17
"""Keypoints of a segment: 8 MiB of descriptors."""

SEGMENT_SCENES = 256
"""Most scenes of a segment: the result of a search in one has a row per query and a column per scene."""


_MOST_ROWS = 1 << 40
"""More keypoints than any index has: what is larger was not written by s2fast."""

_Side = Annotated[int, Field(gt=0, lt=1 << 31, strict=True)]


class Made(BaseModel):
    """How the features of an index were made; those of all its scenes were made alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: str
    """``features.detector``."""
    octaves: int
    """``features.octaves``."""
    layers: int
    """``features.layers``."""
    threshold: float
    """``features.threshold``."""
    upright: bool
    """Whether no keypoint has an orientation."""
    contrast: str
    """``ingest.contrast``."""
    clahe_clip: float
    """``ingest.clahe_clip``."""
    per_scene: int
    """Most keypoints of a scene, spread over cells of the ground; 0: all."""


class Entry(BaseModel):
    """One scene of an index."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scene_id: str
    """Its id in that run."""
    run: int
    """Number of its run in `Contents.runs`."""
    key: str
    """Content key of its features in that run."""
    rows: Annotated[int, Field(ge=0, le=_MOST_ROWS)]
    """Number of its keypoints here."""
    tile: str
    """MGRS tile; empty if unknown."""
    time: str = ""
    """Sensing time, ISO 8601; empty if unknown."""
    crs: int
    """Number of its CRS in `Contents.crs`."""
    transform: Transform
    """Affine a ... f of the full-resolution grid, at pixel corners [CRS units]."""
    shape: tuple[_Side, _Side]
    """Rows, columns at full resolution."""

    @property
    def place(self) -> str:
        """The ground that the scene shows, by which votes of several dates are added up."""
        return self.tile or self.scene_id


class Segment(BaseModel):
    """A part of an index: the scenes that share its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[0-9a-f]{32}$")
    """Content key, and name of its files."""
    entries: Annotated[list[Entry], Field(min_length=1)]
    """Its scenes, in the order of their rows."""
    sums: dict[Literal["descriptors", "keypoints"], tuple[int, int]]
    """Size and checksum of each file."""

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(scenes + 1,) first row of each scene."""
        return np.cumsum([0, *(entry.rows for entry in self.entries)], dtype=np.int64)


class Clusters(BaseModel):
    """The FAISS index beside the exact one; see `s2fast.retrieval.clusters`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[0-9a-f]{32}$")
    """Content key of the segments that it covers, and name of its file."""
    lists: Annotated[int, Field(ge=1)]
    """Number of inverted lists."""
    probed: Annotated[int, Field(ge=1)]
    """Number of lists that a search reads for each keypoint."""
    recall: float
    """Share of the votes of the exact search that are found, each as much as it counts."""
    queries: int
    """Number of keypoints for which that was measured."""


class Contents(BaseModel):
    """The content of ``index.json``."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    """`FORMAT`."""
    made: Made
    """How the features were made."""
    complete: bool = False
    """False while it is being written."""
    runs: list[str] = []
    """Addresses of the run folders."""
    crs: list[str] = []
    """Coordinate reference systems, as WKT."""
    segments: list[Segment] = []
    """The parts, in the order in which they were added."""
    dropped: list[str] = []
    """Feature keys of scenes whose features have been replaced since."""
    clusters: Clusters | None = None
    """The inverted lists; None: none were made."""


@dataclass(frozen=True, slots=True)
class Keypoints:
    """Keypoints of one scene, or of a picture."""

    xy: npt.NDArray[np.float32]
    """(n, 2) position [px], pixel centres at integers."""
    size: npt.NDArray[np.float32]
    """(n,) diameter [px]."""
    angle: npt.NDArray[np.float32]
    """(n,) orientation [rad]."""
    descriptors: npt.NDArray[np.uint64]
    """(n, 8) packed descriptors."""

    def __len__(self) -> int:
        return len(self.xy)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Keypoints:
        """Return the selected rows."""
        return Keypoints(self.xy[rows], self.size[rows], self.angle[rows], np.ascontiguousarray(self.descriptors[rows]))


class Index:
    """An index, opened for reading.

    Parameters
    ----------
    address
        Its folder, local or an address of an object store.

    Raises
    ------
    RunFolderError
        There is none, another version wrote it, or it is not finished.
    """

    def __init__(self, address: Path | str) -> None:
        self.storage = open_storage(str(address))
        contents = read_contents(str(address))
        if contents is None and content(self.storage, RUN_JSON) is not None:
            call = caller_hint(f"s2fast index {address} --to INDEX", f's2fast.index("{address}", to="INDEX")')
            raise RunFolderError(f"{address} is a run folder, not an index: make one of it with {call}")
        if contents is None:
            raise RunFolderError(f"{address} holds no index: {INDEX_JSON} is missing; {index_call(address)}")
        if not contents.complete:
            again = caller_hint("run the s2fast index command again", "call s2fast.index again as before")
            raise RunFolderError(f"{address} is not finished: {again}, it continues")
        self.contents = contents
        self.entries = [entry for segment in contents.segments for entry in segment.entries]
        self._intact: set[str] = set()  # files whose checksums are right: they never change

    def __str__(self) -> str:
        return self.storage.address

    def __repr__(self) -> str:
        return f"<index {self}: {counted(int(self.counted.sum()), 'scene')}, {self.keypoint_count} keypoints>"

    @property
    def scene_ids(self) -> list[str]:
        """Ids of the scenes, those whose features have been replaced once."""
        return [entry.scene_id for entry, latest in zip(self.entries, self.counted, strict=True) if latest]

    @property
    def keypoint_count(self) -> int:
        """Number of keypoints of these scenes."""
        return sum(entry.rows for entry, latest in zip(self.entries, self.counted, strict=True) if latest)

    @property
    def recall(self) -> float | None:
        """Share of the exact votes that a search by inverted lists finds; None if the index has no lists."""
        return self.contents.clusters.recall if self.contents.clusters else None

    @cached_property
    def counted(self) -> npt.NDArray[np.bool_]:
        """(scenes,) whether each scene's features are the latest."""
        dropped = set(self.contents.dropped)
        return np.array([entry.key not in dropped for entry in self.entries], np.bool_)

    @cached_property
    def _first(self) -> npt.NDArray[np.int64]:
        return np.cumsum([0, *(len(segment.entries) for segment in self.contents.segments)])

    def descriptors(self, segment: Segment) -> npt.NDArray[np.uint64]:
        """Return the descriptors of a segment's scenes: (rows, 8) uint64, mapped into memory."""
        return self._mapped(segment, "descriptors").view(np.uint64).reshape(-1, WORDS)

    def keypoints(self, segment: Segment) -> npt.NDArray[np.float32]:
        """Return the keypoints of a segment's scenes: (rows, 4) float32, x, y, size, angle."""
        return self._mapped(segment, "keypoints").view(np.float32).reshape(-1, 4)

    def segments(self) -> Iterator[tuple[int, Segment]]:
        """Yield every segment with the number of its first scene."""
        yield from zip(self._first.tolist(), self.contents.segments, strict=False)

    def scene(self, number: int) -> Keypoints:
        """Return the keypoints of a scene of the index, by its number."""
        at = int(np.searchsorted(self._first, number, side="right")) - 1
        segment = self.contents.segments[at]
        first, last = segment.offsets[number - self._first[at] :][:2]
        rows = self.keypoints(segment)[first:last]
        descriptors = np.ascontiguousarray(self.descriptors(segment)[first:last])
        return Keypoints(rows[:, :2].copy(), rows[:, 2].copy(), rows[:, 3].copy(), descriptors)

    def _mapped(self, segment: Segment, name: Literal["descriptors", "keypoints"]) -> npt.NDArray[np.uint8]:
        path = f"segments/{segment.key}.{name}"
        try:
            data = self.storage.mapped(path)
        except FileNotFoundError:
            data = None
        if data is not None and path in self._intact:
            return data
        mismatch = describe_mismatch(None if data is None else data.data, segment.sums[name])
        if data is None or mismatch:
            raise DamageError(f"{self}/{path} is damaged ({mismatch}): remove the index and make it again")
        self._intact.add(path)
        return data


def index_call(address: object, *, lists: bool = False) -> str:
    """Return what makes an index, or its inverted lists, in the words of the caller."""
    return caller_hint(
        f"s2fast index OUT --to {address}{' --lists' * lists}",
        f's2fast.index("OUT", to="{address}"{", lists=True" * lists})',
    )


def read_contents(address: str) -> Contents | None:
    """Return what ``index.json`` of a folder says; None if there is none.

    Raises
    ------
    RunFolderError
        It is damaged, or of another format.
    """
    try:
        data = open_storage(address).read(INDEX_JSON)
    except FileNotFoundError:
        return None
    try:
        fields = unsealed(json.loads(data))
        contents = Contents.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        raise RunFolderError(f"{address}/{INDEX_JSON} is of another format: make the index again") from error
    except ValueError as error:
        raise RunFolderError(f"{address}/{INDEX_JSON} is damaged ({error}): make the index again") from error
    for segment in contents.segments:
        rows = int(segment.offsets[-1])
        sizes = {name: size for name, (size, _) in segment.sums.items()}
        if sizes != {"descriptors": rows * 8 * WORDS, "keypoints": rows * 16}:
            raise RunFolderError(f"{address}/{INDEX_JSON} is damaged (sizes disagree): make the index again")
        for entry in segment.entries:
            if not (0 <= entry.run < len(contents.runs) and 0 <= entry.crs < len(contents.crs)):
                raise RunFolderError(f"{address}/{INDEX_JSON} is damaged (numbers disagree): make the index again")
    return contents


def write_contents(address: str, contents: Contents) -> None:
    """Write ``index.json``."""
    fields = sealed(json.loads(contents.model_dump_json()))
    open_storage(address).write(INDEX_JSON, legible_json(json.dumps(fields, ensure_ascii=False)).encode())
