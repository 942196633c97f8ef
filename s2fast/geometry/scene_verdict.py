"""Whether a scene's offset can be relied on, and what to do about it, in words."""

from __future__ import annotations

import math

import pandas as pd

VERIFIED = "verified"
"""Verdict of a scene whose offset can be relied on."""

REFERENCE = "reference"
"""Verdict of the scene that is held fixed."""

DISAGREES = "disagrees with its series"
"""Verdict of a scene most of whose pairs contradict its offset."""

NOT_CONNECTED = "not connected"
"""Verdict of a scene whose verified pairs link it to no datum."""

_ON_MAP = ("m", "east", "west", "north", "south")

SIGN = (
    "offset_x_m, offset_y_m: how far east and north of its datum a scene shows the same ground, so its correction is "
    "the opposite; s2fast align writes corrected scenes."
)
"""Meaning of an offset's sign."""


def scene_verdicts(scenes: pd.DataFrame, reference: str = "") -> list[str]:
    """Return a verdict on each scene's offset.

    Parameters
    ----------
    scenes
        One row per scene: ``scene_id``, ``tile`` and the columns of `s2fast.geometry.datum.add_network`.
    reference
        Id of the scene that is held fixed; empty if there is none.

    Returns
    -------
    list of str
        One of

        - ``verified``;
        - ``alone``: no other scene of its tile is in the run, and none that could be its reference;
        - ``not verified``: no pair of the scene is verified;
        - ``not connected``: its verified pairs do not link it by plain shifts to the reference or, without one, to the
          largest group of its tile;
        - ``disagrees with its series``: most of its pairs contradict its offset;
        - ``reference``: it is held fixed.
    """
    of_tile = scenes.groupby("tile")["tile"].transform("size")
    return [
        REFERENCE if reference == scene_id
        else DISAGREES if disagrees
        else VERIFIED if math.isfinite(offset)
        else "alone" if count == 1 and not reference
        else NOT_CONNECTED if n_verified
        else "not verified"
        for scene_id, count, disagrees, offset, n_verified in zip(
            scenes["scene_id"], of_tile, scenes["disagrees"], scenes["offset_x_m"], scenes["n_verified"], strict=True
        )
    ]  # fmt: skip


def correction_text(offset_x_m: float, offset_y_m: float, *, in_pixels: bool = False) -> str:
    """Return how to move a scene with this offset, in metres or in pixels; empty if the offset is NaN.

    Examples
    --------
    >>> correction_text(3.214, -0.5)
    'move 3.21 m west, 0.50 m north'
    >>> correction_text(3.214, -0.5, in_pixels=True)
    'move 3.21 px left, 0.50 px up'
    """
    if math.isnan(offset_x_m):
        return ""
    unit, east, west, north, south = ("px", "right", "left", "up", "down") if in_pixels else _ON_MAP
    across, along = west if offset_x_m > 0 else east, south if offset_y_m > 0 else north
    return f"move {abs(offset_x_m):.2f} {unit} {across}, {abs(offset_y_m):.2f} {unit} {along}"
