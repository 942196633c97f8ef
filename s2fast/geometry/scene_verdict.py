"""Whether a scene's offset can be relied on, and what to do about it, in words."""

from __future__ import annotations

import math
from enum import StrEnum

import pandas as pd


class SceneVerdict(StrEnum):
    """Verdict on a scene's offset; files have its value, a plain string."""

    meaning: str
    """What it says about the scene, as the page of an alignment has it."""

    VERIFIED = "verified", "its offset can be relied on"
    NOT_VERIFIED = "not verified", "no pair of the scene is verified"
    NOT_CONNECTED = (
        "not connected",
        "its verified pairs do not link it by plain shifts to the reference or, without one, to the largest group of "
        "its tile",
    )
    DISAGREES = "disagrees with its series", "most of its pairs contradict its offset"
    ALONE = "alone", "no other scene of its tile is in the run, and none that could be its reference"
    REFERENCE = "reference", "it is held fixed"

    def __new__(cls, value: str, meaning: str) -> SceneVerdict:
        """Create the verdict with this value and meaning."""
        verdict = str.__new__(cls, value)
        verdict._value_, verdict.meaning = value, meaning
        return verdict


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
        The value of a `SceneVerdict` for each scene.
    """
    of_tile = scenes.groupby("tile")["tile"].transform("size")
    found = [
        SceneVerdict.REFERENCE if reference == scene_id
        else SceneVerdict.DISAGREES if disagrees
        else SceneVerdict.VERIFIED if math.isfinite(offset)
        else SceneVerdict.ALONE if count == 1 and not reference
        else SceneVerdict.NOT_CONNECTED if n_verified
        else SceneVerdict.NOT_VERIFIED
        for scene_id, count, disagrees, offset, n_verified in zip(
            scenes["scene_id"], of_tile, scenes["disagrees"], scenes["offset_x_m"], scenes["n_verified"], strict=True
        )
    ]  # fmt: skip
    # Tables and map layers take plain strings.
    return [verdict.value for verdict in found]


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
