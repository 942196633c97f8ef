"""GeoZarr: where the arrays of a tile lie, as attributes of their group by the conventions ``proj`` and ``spatial``."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pyproj
from affine import Affine

from s2fast.model import TileInfo

DIMENSIONS = ("y", "x")
"""Names of the dimensions of a tile's arrays."""

_CONVENTIONS = [
    {
        "schema_url": f"https://raw.githubusercontent.com/zarr-conventions/{name}/refs/tags/v1/schema.json",
        "spec_url": f"https://github.com/zarr-conventions/{name}/blob/v1/README.md",
        "uuid": uuid,
    }
    for name, uuid in (
        ("geo-proj", "f17cb550-5864-4468-aeb7-f3180cfb622f"),
        ("spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4"),
    )
]
"""The conventions, version 1, which GDAL reads and writes too."""


def spatial_attributes(info: TileInfo) -> dict[str, Any]:
    """Return the attributes of a tile's group that say where its pixels lie."""
    corner = info.centre_px + 0.5 - info.reduction / 2
    grid = Affine(*info.transform) @ Affine.translation(corner, corner) @ Affine.scale(info.reduction)
    return {
        "zarr_conventions": _CONVENTIONS,
        **(_crs(info.crs) if info.crs else {}),
        "spatial:dimensions": list(DIMENSIONS),
        "spatial:shape": [side // info.reduction for side in info.full_shape],
        "spatial:transform": [*grid[:6]],
        "spatial:registration": "pixel",
    }


@lru_cache(maxsize=64)
def _crs(wkt: str) -> dict[str, str]:
    crs = pyproj.CRS(wkt)
    code = crs.to_authority()
    return {"proj:code": ":".join(code)} if code else {"proj:wkt2": crs.to_wkt()}
