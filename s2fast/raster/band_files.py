"""Read several bands of a product, each a file of its own, as one grey image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS

from s2fast.config import Ingest
from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.geometry.pixel_grid import pixel_side
from s2fast.model import Raster, Window
from s2fast.raster.reader import Reader, open_raster

_SHOWN = 60
"""Characters of a CRS that are shown: one without a code is a long text."""


class BandsReader:
    """A `Reader` of the weighted mean of several bands, each stretched by itself.

    Parameters
    ----------
    readers
        The bands, on one grid.
    weights
        Their weights; empty: equal.
    """

    at_once = 1
    colour = False
    """See `Reader`."""

    def __init__(self, readers: Sequence[Reader], weights: Sequence[float]) -> None:
        self._readers = readers
        given = np.array(weights or [1.0] * len(readers), np.float64)
        given /= given.max()  # their sum may be too large for a number
        self._weights = given / given.sum()
        masked = any(reader.raster.masked for reader in readers)
        self.raster = replace(readers[0].raster, masked=masked, luma=False)
        self.files = files_of(readers[0])
        """Addresses of the files that are read with the first band."""

    @property
    def stretch(self) -> tuple[float, float] | None:
        """The stretch of the first band; see `Reader`."""
        return self._readers[0].stretch

    @property
    def stretches(self) -> Sequence[tuple[float, float]]:
        """See `Reader`."""
        return [stretch for reader in self._readers for stretch in reader.stretches]

    def read(
        self, window: Window, wanted: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Read a window; see `Reader`. A pixel has data if it has in all bands."""
        total, has_data = np.zeros((), np.float64), np.ones((), np.bool_)
        for weight, reader in zip(self._weights, self._readers, strict=True):
            grey, has = reader.read(window, wanted)
            total, has_data = total + weight * grey, has_data & has
        return np.where(has_data, np.maximum(np.rint(total), 1), 0).astype(np.uint8), has_data


def files_of(reader: Reader) -> Sequence[str]:
    """Return the addresses of the files that are read with a raster, and its own."""
    files: Sequence[str] = getattr(reader, "files", ())
    return files


def _grid(raster: Raster, *, place: bool = False, crs: bool = False) -> str:
    """Return the size of a raster, and its place and CRS where these are what differs."""
    text = f"{raster.shape[0]} x {raster.shape[1]} px at {pixel_side(raster.transform):g}"
    if place:
        text += f" from {raster.transform[2]:.10g}, {raster.transform[5]:.10g}"
    return f"{text} in {CRS.from_wkt(raster.crs_wkt).to_string()[:_SHOWN]}" if crs and raster.crs_wkt else text


@contextmanager
def open_bands(
    sources: Sequence[Source],
    settings: Ingest,
    opens: Callable[[Source, Ingest], AbstractContextManager[Reader]] = open_raster,
) -> Iterator[Reader]:
    """Yield a reader of one raster, or of several bands; see `open_raster`.

    Raises
    ------
    SceneError
        A band cannot be read, or has another size or place than the first.
    """
    with ExitStack() as opened:
        readers = [opened.enter_context(opens(source, settings)) for source in sources]
        if len(readers) == 1:
            yield readers[0]
            return
        first = readers[0].raster
        for source, reader in zip(sources, readers, strict=True):
            own = reader.raster
            if (own.shape, own.transform, own.crs_wkt) != (first.shape, first.transform, first.crs_wkt):
                here, there = (
                    _grid(raster, place=_grid(own) == _grid(first), crs=own.crs_wkt != first.crs_wkt)
                    for raster in (own, first)
                )
                raise SceneError(
                    f"{source}: {here}, and {sources[0].posix.name} has {there}: bands of ingest.band "
                    "must have one size and place: choose bands of one resolution"
                )
        yield BandsReader(readers, settings.band_weights)
