"""Scenes that are an `xarray.DataArray`: read in windows, and only when they are needed."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from s2fast.errors import SceneError
from s2fast.files.legible import legible
from s2fast.files.source import Source
from s2fast.raster.array_dataset import ArrayDataset, Layout
from s2fast.raster.spatial import TIME_NAMES, X_NAMES, Y_NAMES, find_crs, find_transform

_BLOCK_PX = 1024
"""Side of a block of an array without chunks."""

_Y_UP, _WESTWARD = 'hand over da.sortby("{y}", ascending=False)', 'hand over da.sortby("{x}")'

_NODATA = ("_FillValue", "nodata", "missing_value")

_MOST_REASON = 200
"""Characters of an error of xarray, Dask, or what an array is read by, that are shown."""

_SHOWN = 40
"""Characters of a wrong value that are shown."""


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
        return _opened(array, source)
    except SceneError as error:
        raise SceneError(f"{source}: {error}") from error
    except Exception as error:  # whatever computes its coordinates may raise an error of any type
        raise SceneError(f"{source}: cannot be opened ({_reason(source, error)})") from error


def _reason(source: Source, error: Exception) -> str:
    """Return an error of what computes an array, in one line and without secrets of addresses."""
    first = source.redacted(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {legible(first)[:_MOST_REASON]}".rstrip(": ")


def _opened(array: Any, source: Source) -> ArrayDataset:
    if not hasattr(array, "dtype"):
        held = [str(name) for name in getattr(array, "data_vars", ())]
        example = f"ds[{held[0]!r}]" if held else "one that has any"
        raise SceneError(f"it is a Dataset with {', '.join(held) or 'no arrays'}: hand over an array of it: {example}")
    names = {str(name).lower(): name for name in array.dims}
    x, y = (next((names[name] for name in known if name in names), None) for known in (X_NAMES, Y_NAMES))
    others = [name for name in array.dims if name not in (x, y)]
    dates = [name for name in others if array.sizes[name] > 1 and _is_time(array, name)]
    if dates:
        raise SceneError(
            f"its dimension {dates[0]} has {array.sizes[dates[0]]} dates: hand over each date as an array: "
            f"scenes=[da.isel({dates[0]}=i) for i in range({array.sizes[dates[0]]})]"
        )
    if x is None or y is None or len(others) > 1:
        single = x is not None and y is not None and sum(array.sizes[name] != 1 for name in others) <= 1
        raise SceneError(
            f"its dimensions are {', '.join(map(str, array.dims))}; they must be y, x or band, y, x"
            f"{': hand over da.squeeze()' if single else ''}"
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
    native = array.dtype.newbyteorder("=")
    layout = Layout(
        (bands, array.sizes[y], array.sizes[x]),
        str(native),
        _block(array, y, x),
        crs,
        transform,
        _nodata(array),
        tuple(map(str, labels)),
    )

    def read_window(of_bands: slice, rows: slice, cols: slice) -> npt.NDArray[Any]:
        part = array.isel({y: rows, x: cols, **({others[0]: of_bands} if others else {})})
        try:
            values = np.array(part.values)  # a copy: the caller may write to it, and the array is the user's
        except Exception as error:  # whatever computes it may raise an error of any type
            reason = _reason(source, error)
            raise SceneError(f"{source}: rows {rows.start} to {rows.stop} cannot be read ({reason})") from error
        if values.shape != part.shape or values.dtype != array.dtype:
            raise SceneError(
                f"{source}: a part of it is computed as {values.shape} {values.dtype} where it says {part.shape} "
                f"{array.dtype}: hand over da.compute()"
            )
        values = values.astype(native, copy=False)
        return values if others else values[None]

    return ArrayDataset(layout, read_window)


def _nodata(array: Any) -> float | None:
    """Return the value of missing pixels; NaN is missing anyway."""
    said = {**array.encoding, **array.attrs}
    name, value = next(((name, said[name]) for name in _NODATA if said.get(name) is not None), ("", np.nan))
    try:
        number = float(np.asarray(value).item())
    except (OverflowError, TypeError, ValueError) as error:
        raise SceneError(
            f"its {name} is {legible(str(value))[:_SHOWN]}, which is no number: hand over "
            f"da.assign_attrs({name}=NUMBER), or without it"
        ) from error
    return number if np.isfinite(number) else None


def _is_time(array: Any, name: Any) -> bool:
    """Return whether a dimension is time: by its coordinate, or by its name if it has none."""
    if name not in array.coords:
        return str(name).lower() in TIME_NAMES
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
    try:
        for coordinate in array.coords.values():
            digest.update(str(np.asarray(coordinate.values).tolist()).encode())
        digest.update(name.encode() if isinstance(name, str) else _digest_of_values(array))
    except Exception as error:  # whatever reads it may raise an error of any type
        raise SceneError(f"{source}: its values and coordinates cannot be read ({_reason(source, error)})") from error
    return digest.hexdigest()


def _digest_of_values(array: Any) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    rows = array.dims[-2] if array.ndim > 1 else array.dims[0]
    for start in range(0, array.sizes[rows], _BLOCK_PX):
        digest.update(np.ascontiguousarray(array.isel({rows: slice(start, start + _BLOCK_PX)}).values).tobytes())
    return digest.digest()
