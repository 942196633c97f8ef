"""Write a scene's masked tile into a run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from s2fast.folder.geozarr import DIMENSIONS, spatial_attributes
from s2fast.folder.whole_chunks import ChunkWriter
from s2fast.model import TileInfo, Window


class Group(Protocol):
    """A group of arrays that is being written."""

    def files(self, array: str) -> Callable[[str, bytes], None]:
        """Return a function that writes a file of an array, given its name and content."""

    def finish(self, attributes: Mapping[str, Any]) -> None:
        """Write the attributes with the key, which marks the group as finished."""

    def finish_without_pixels(self, attributes: Mapping[str, Any], thumbnail: npt.NDArray[np.uint8]) -> None:
        """Write the thumbnail of a tile without pixels and finish the group."""


class TileWriter:
    """Writes one scene's masked tile window by window, and finally its key."""

    def __init__(
        self,
        group: Group,
        shape: tuple[int, int],
        chunks: tuple[int, int],
        valid_outside: bool,
        with_missing: bool,
        with_pixels: bool,
    ) -> None:
        self._group = group
        whole = (min(chunks[0], shape[0]), min(chunks[1], shape[1]))
        self._valid = ChunkWriter(group.files("valid"), shape, whole, np.bool_, valid_outside, DIMENSIONS)
        self._grey = self._missing = None
        if with_pixels:
            self._grey = ChunkWriter(group.files("grey"), shape, whole, np.uint8, 0, DIMENSIONS)
        if with_pixels and with_missing:
            self._missing = ChunkWriter(group.files("missing"), shape, whole, np.bool_, False, DIMENSIONS)

    def write(
        self,
        window: Window,
        grey: npt.NDArray[np.uint8],
        valid: npt.NDArray[np.bool_],
        missing: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Write a window of the tile; it covers whole chunks, so that concurrent writes never share a chunk."""
        if self._grey is not None:
            self._grey[window.slices] = grey
        self._valid[window.slices] = valid
        if self._missing is not None and missing is not None:
            self._missing[window.slices] = missing

    def finish(self, info: TileInfo, thumbnail: npt.NDArray[np.uint8] | None = None) -> None:
        """Write the tile's attributes and content key, which mark it as complete; without pixels it has a thumbnail."""
        attributes = {**info.to_attributes(), **spatial_attributes(info)}
        if thumbnail is None:
            self._group.finish(attributes)
        else:
            self._group.finish_without_pixels(attributes, thumbnail)
