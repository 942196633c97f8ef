"""Whether a scene's offset can be relied on, and what to do about it, in words."""

from __future__ import annotations

import math

import pandas as pd

VERIFIED = "verified"
"""Verdict of a scene whose offset can be relied on."""

SIGN = (
    "offset_x_m, offset_y_m: how far east and north of its series a scene shows the same ground, so its correction is "
    "the opposite; s2fast align writes corrected scenes."
)
"""Meaning of an offset's sign."""


def scene_verdicts(scenes: pd.DataFrame) -> list[str]:
    """Return a verdict on each scene's offset.

    Parameters
    ----------
    scenes
        One row per scene: ``tile`` and the columns of `s2fast.geometry.network.add_network`.

    Returns
    -------
    list of str
        One of

        - ``verified``;
        - ``alone``: no other scene of its tile is in the run;
        - ``not verified``: no pair of the scene is verified;
        - ``not connected``: its verified pairs do not link it by plain shifts to the largest group of its tile;
        - ``disagrees with its series``: most of its pairs contradict its offset.
    """
    of_tile = scenes.groupby("tile")["tile"].transform("size")
    return [
        "alone" if count == 1
        else "disagrees with its series" if disagrees
        else VERIFIED if math.isfinite(offset)
        else "not connected" if n_verified
        else "not verified"
        for count, disagrees, offset, n_verified in zip(
            of_tile, scenes["disagrees"], scenes["offset_x_m"], scenes["n_verified"], strict=True
        )
    ]  # fmt: skip


def correction_text(offset_x_m: float, offset_y_m: float) -> str:
    """Return how to move a scene with this offset; empty if the offset is NaN.

    Examples
    --------
    >>> correction_text(3.214, -0.5)
    'move 3.21 m west, 0.50 m north'
    """
    if math.isnan(offset_x_m):
        return ""
    east_west, north_south = "west" if offset_x_m > 0 else "east", "south" if offset_y_m > 0 else "north"
    return f"move {abs(offset_x_m):.2f} m {east_west}, {abs(offset_y_m):.2f} m {north_south}"
