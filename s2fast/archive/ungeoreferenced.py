"""Scenes without georeferencing: which a run can use, and what it cannot do with them."""

from __future__ import annotations

from collections.abc import Mapping

from s2fast.config import Config
from s2fast.errors import ConfigError, InputError, option
from s2fast.model import Raster


def are_accepted(config: Config) -> bool:
    """Return whether scenes without georeferencing are accepted: nothing is expected of where a shift lies."""
    return config.verification.prior == "none"


def not_comparable(rasters: Mapping[str, Raster], reference: str) -> dict[str, str]:
    """Return why scenes without georeferencing are left out, by id; none if all scenes are without.

    Parameters
    ----------
    rasters
        Headers of all scenes by id.
    reference
        Id of the scene that is held fixed; empty if there is none.

    Raises
    ------
    InputError
        The reference has a CRS and no other scene has one, or the reference has none and others do.
    """
    without = [name for name, raster in rasters.items() if not raster.crs_wkt]
    if not without or len(without) == len(rasters):
        return {}
    if reference and (reference in without or len(without) == len(rasters) - 1):
        which = "has no CRS, and the scenes have one" if reference in without else "has a CRS, and no scene has one"
        raise InputError(
            f"the reference {reference} {which}: shifts are either in metres or in pixels; name another "
            f"{option('reference')}, or locate scenes without a CRS in an index with s2fast find"
        )
    with_crs = len(rasters) - len(without)
    reason = (
        f"it has no CRS, and {with_crs} other {'scene has one' if with_crs == 1 else 'scenes have one'}: assign it, "
        "match scenes without a CRS in a run of their own, or locate this one with s2fast find"
    )
    return dict.fromkeys(without, reason)


def check_settings(rasters: Mapping[str, Raster], config: Config, *, regions: bool) -> None:
    """Check that nothing is asked for that scenes without georeferencing cannot have.

    Raises
    ------
    InputError
        Polygons are given.
    ConfigError
        A setting needs to know where the scenes are, or how large their pixels are.
    """
    name = next((name for name, raster in rasters.items() if not raster.crs_wkt), None)
    if name is None:
        return
    if regions and config.regions.mode != "none":
        raise InputError(
            f"{name} has no CRS, so polygons cannot be placed on it: leave out {option('regions')}, or assign a CRS, "
            "for example with gdal_edit.py -a_srs and -a_ullr"
        )
    if config.matching.pairs == "overlapping":
        raise ConfigError(
            f'{name} has no CRS, so whether it overlaps others is unknown: set matching.pairs = "all" or "similar" '
            'instead of "overlapping"'
        )
