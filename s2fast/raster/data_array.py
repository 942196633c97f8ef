"""Scenes that are an `xarray.DataArray`: read in windows, and only when they are needed."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.raster.array_dataset import ArrayDataset, Layout
from s2fast.raster.spatial import X_NAMES, Y_NAMES, find_crs, find_transform

_BLOCK_PX = 1024
"""Side of a block of an array without chunks."""

_Y_UP, _WESTWARD = 'hand over da.sortby("{y}", ascending=False)', 'hand over da.sortby("{x}")'

_TIMES = ("time", "t", "date")
"""Names of a dimension of dates, in lower case."""

_NODATA = ("_FillValue", "nodata", "missing_value")


def open_held(source: Source, level: int | None = None) -> ArrayDataset:
    """Open a DataArray.

    Raises
    ------
    SceneError
        It is not here, or its dimensions, coordinates or CRS do not make it a scene; the message has the line to add.
    """
    del level
    array = source.held
    if array is None:
        raise SceneError(f"{source}: it was a DataArray in memory: hand it over again, with s2fast.run(scenes=[...])")
    try:
        return _opened(array)
    except SceneError as error:
        raise SceneError(f"{source}: {error}") from error


def _opened(array: Any) -> ArrayDataset:
    if not hasattr(array, "dtype"):
        held = [str(name) for name in getattr(array, "data_vars", ())]
        example = f"ds[{held[0]!r}]" if held else "one that has any"
        raise SceneError(f"it is a Dataset with {', '.join(held) or 'no arrays'}: hand over an array of it: {example}")
    names = {str(name).lower(): name for name in array.dims}
    x, y = (next((names[name] for name in known if name in names), None) for known in (X_NAMES, Y_NAMES))
    others = [name for name in array.dims if name not in (x, y)]
    if x is None or y is None or len(others) > 1:
        raise SceneError(f"its dimensions are {', '.join(map(str, array.dims))}; they must be y, x or band, y, x")
    if others and array.sizes[others[0]] > 1 and _is_time(array, others[0]):
        raise SceneError(
            f"its dimension {others[0]} has {array.sizes[others[0]]} dates: hand over each date as an array: "
            f"scenes=[da.isel({others[0]}=i) for i in range({array.sizes[others[0]]})]"
        )
    order = (*others, y, x)
    if array.dims != order:
        array = array.transpose(*order)
    described = _described(array)
    crs = find_crs(described)
    if crs is None:
        raise SceneError('it has no CRS: add it with da = da.rio.write_crs("EPSG:32636"), of the rioxarray package')
    places = [np.asarray(array.coords[name]) if name in array.coords else None for name in (x, y)]
    transform = find_transform(places[0], places[1], described, _Y_UP.format(y=y), _WESTWARD.format(x=x))
    bands = array.sizes[others[0]] if others else 1
    labels = array.coords[others[0]].values.tolist() if others and others[0] in array.coords else []
    if array.dtype.kind not in "iuf":
        raise SceneError(f"its values are {array.dtype}; they must be real numbers")
    nodata = next(
        (value for name in _NODATA if (value := {**array.encoding, **array.attrs}.get(name)) is not None), None
    )
    layout = Layout(
        (bands, array.sizes[y], array.sizes[x]),
        str(array.dtype),
        _block(array, y, x),
        crs,
        transform,
        None if nodata is None or not np.isfinite(nodata) else float(nodata),
        tuple(map(str, labels)),
    )

    def read_window(of_bands: slice, rows: slice, cols: slice) -> npt.NDArray[Any]:
        part = array.isel({y: rows, x: cols, **({others[0]: of_bands} if others else {})})
        try:
            values = np.asarray(part.values)
        except (OSError, RuntimeError, ValueError) as error:
            raise SceneError(f"rows {rows.start} to {rows.stop} cannot be read: {error}") from error
        return values if others else values[None]

    return ArrayDataset(layout, read_window)


def _is_time(array: Any, name: Any) -> bool:
    """Return whether a dimension is time: by its coordinate, or by its name if it has none."""
    if name not in array.coords:
        return str(name).lower() in _TIMES
    return bool(array.coords[name].dtype.kind == "M")


def _described(array: Any) -> list[dict[str, Any]]:
    """Return the attributes that may name a CRS: of its grid mapping, of other scalar coordinates, its own."""
    mapping = array.encoding.get("grid_mapping") or array.attrs.get("grid_mapping") or "spatial_ref"
    scalars = [name for name in array.coords if array.coords[name].ndim == 0]
    scalars.sort(key=lambda name: name != mapping)
    found = [dict(array.coords[name].attrs) for name in scalars]
    codes = [{"proj:epsg": array.coords[name].item()} for name in scalars if name in ("epsg", "proj:epsg")]
    codes += [{"proj:code": array.coords[name].item()} for name in scalars if name == "proj:code"]
    return [*found, dict(array.attrs), *codes]


def _block(array: Any, y: Any, x: Any) -> tuple[int, int]:
    chunks = dict(zip(array.dims, array.chunks or (), strict=False))
    rows, cols = (chunks.get(name, (_BLOCK_PX,))[0] for name in (y, x))
    return int(rows), int(cols)


def held_version(source: Source) -> str:
    """Return a text that identifies a DataArray's values and coordinates.

    Dask names an array by what it is computed from. Of any other, all values are read.
    """
    if source.held is None:
        open_held(source)
    array = source.held
    name = getattr(array.data if array.chunks else None, "name", None)
    digest = hashlib.blake2b(digest_size=16)
    for part in (str(array.dims), str(array.dtype), str(array.shape), repr(array.attrs), repr(_described(array))):
        digest.update(part.encode())
    for coordinate in array.coords.values():
        digest.update(str(np.asarray(coordinate.values).tolist()).encode())
    digest.update(name.encode() if isinstance(name, str) else _digest_of_values(array))
    return digest.hexdigest()


def _digest_of_values(array: Any) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    rows = array.dims[-2] if array.ndim > 1 else array.dims[0]
    for start in range(0, array.sizes[rows], _BLOCK_PX):
        digest.update(np.ascontiguousarray(array.isel({rows: slice(start, start + _BLOCK_PX)}).values).tobytes())
    return digest.digest()
