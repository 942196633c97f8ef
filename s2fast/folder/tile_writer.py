"""Write a scene's masked tile into a run folder."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast.folder.geozarr import DIMENSIONS, spatial_attributes
from s2fast.folder.sealed_groups import GroupWriter
from s2fast.folder.whole_chunks import ChunkWriter, write_array
from s2fast.model import TileInfo, Window


class TileWriter:
    """Writes one scene's masked tile window by window, and finally its key."""

    def __init__(
        self,
        group: GroupWriter,
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
        if thumbnail is None:
            self._group.finish(_attributes(info))
        else:
            finish_without_pixels(self._group, info, thumbnail)


def finish_without_pixels(group: GroupWriter, info: TileInfo, thumbnail: npt.NDArray[np.uint8]) -> None:
    """Write the thumbnail of a tile without pixels, its attributes and its content key."""
    write_array(group.files("thumbnail"), thumbnail)
    group.finish({**_attributes(info), "pixels": False})


def _attributes(info: TileInfo) -> dict[str, Any]:
    return {**info.to_attributes(), **spatial_attributes(info)}
