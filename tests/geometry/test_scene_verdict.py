"""Verdicts on scenes' offsets."""

import pandas as pd

from s2fast.geometry.scene_verdict import SceneVerdict, correction_text, scene_verdicts

NAN = float("nan")


def test_each_verdict() -> None:
    rows = {
        "verified": ("A", 3, 1.0, False),
        "disagrees with its series": ("A", 3, 5.0, True),
        "not verified": ("A", 0, NAN, False),
        "not connected": ("A", 1, NAN, False),
        "alone": ("B", 2, NAN, False),
    }
    scenes = pd.DataFrame(rows.values(), columns=["tile", "n_verified", "offset_x_m", "disagrees"])
    scenes["scene_id"] = list("abcde")
    assert scene_verdicts(scenes) == list(rows)
    assert {type(verdict) for verdict in scene_verdicts(scenes)} == {str}
    assert {*rows, "reference"} == {*SceneVerdict}
    assert scene_verdicts(scenes[:0]) == []
    # With a reference, no scene is alone; without an offset, nothing connects it to the reference.
    assert scene_verdicts(scenes, "a") == ["reference", *list(rows)[1:4], "not connected"]
    # A scene that is alone in its tile may be tied to neighbouring tiles.
    scenes.loc[4, "offset_x_m"] = 1.0
    assert scene_verdicts(scenes)[4] == "verified"


def test_a_correction_is_opposite_to_the_offset() -> None:
    assert correction_text(2.0, 3.0) == "move 2.00 m west, 3.00 m south"
    assert correction_text(-2.0, -3.0) == "move 2.00 m east, 3.00 m north"
    assert correction_text(NAN, NAN) == ""
