"""Scenes by a fragment of their id, and the shortest fragments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2fast.archive.fragments import nearest, scene_named, scenes_named, short_ids
from s2fast.errors import InputError

IDS = [
    "S2A_20180810T083601_T36UXA", "S2A_20180830T083601_T36UXA", "S2B_20180830T083601_T36UYA",
    "S2A_20190606T083601_T36UYA",
]  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("S2A_20180810T083601_T36UXA", 0),
        ("20180810", 0),
        ("2018-08-10", 0),
        ("20180830 UXA", 1),
        ("uxa 0830", 1),
        ("2018-08-30 uya", 2),
        ("s2b", 2),
        ("2019", 3),
        ("T36UYA 2019-06", 3),
    ],
)
def test_a_fragment_names_one_scene(typed: str, found: int) -> None:
    assert scene_named(typed, IDS) == IDS[found]


def test_a_whole_id_is_not_a_fragment_of_another() -> None:
    assert scene_named("a", ["ab", "a", "a b"]) == "a"
    assert scenes_named("a b", ["ab", "a b"]) == ["a b"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("20180830", "'20180830' fits 2 scenes, '20180830 UXA', '20180830 UYA': add a part of the id"),
        ("2018", "fits 3 scenes"),
        ("20180811", "no scene '20180811'; the nearest: S2A_20180810T083601_T36UXA"),
        ("20190607 UYA", "the nearest: S2A_20190606T083601_T36UYA"),
        ("", "no scene ''; the nearest"),
        ("T36UZA 0810", "the nearest: S2A_20180810T083601_T36UXA"),
    ],
)
def test_what_names_no_scene_or_several_is_told(typed: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        scene_named(typed, IDS)
    assert said in str(caught.value)


def test_a_scene_left_out_is_told_with_the_reason() -> None:
    with pytest.raises(InputError, match="S2A_20200101T083601_T36UXA was left out of the run: no CRS"):
        scene_named("2020", IDS, {"S2A_20200101T083601_T36UXA": "no CRS"})


def test_the_nearest_are_those_of_the_words_typed() -> None:
    assert nearest("S2A_20180810T083602_T36UXA", IDS)[0] == IDS[0]
    assert len(nearest("x", IDS, 2)) == 2


def test_short_ids_are_as_long_as_they_must() -> None:
    assert list(short_ids(IDS[:2]).values()) == ["20180810", "20180830"]
    assert list(short_ids(IDS).values()) == ["20180810 UXA", "20180830 UXA", "20180830 UYA", "20190606 UYA"]
    zones = ["S2A_20180810T083601_T36UXA", "S2A_20180810T083601_T37UXA"]
    assert list(short_ids(zones).values()) == ["20180810 36UXA", "20180810 37UXA"]
    assert short_ids([IDS[0], f"{IDS[0]}_L2A"])[IDS[0]] == IDS[0]
    assert short_ids(["mosaic 20180810", IDS[0]]) == {"mosaic 20180810": "mosaic 20180810", IDS[0]: "20180810 UXA"}


_PARTS = (
    st.sampled_from(["S2A", "S2B", "HLS.S30"]),
    st.sampled_from(["20180810", "20180830", "20190606"]),
    st.sampled_from(["083601", "083602"]),
    st.sampled_from(["36UXA", "36UYA", "37UXA"]),
)
_ACQUISITION = st.tuples(*_PARTS).map(lambda part: f"{part[0]}_{part[1]}T{part[2]}_T{part[3]}")
_NAME = st.sampled_from(["mosaic", "scene 20180810", "20180830 UXA", "a 36uya 20190606"])


@given(st.lists(_ACQUISITION | _NAME, min_size=1, max_size=8, unique=True))
def test_a_short_id_names_its_scene_and_no_other(scene_ids: list[str]) -> None:
    short = short_ids(scene_ids)
    assert [scene_named(short[name], scene_ids) for name in scene_ids] == scene_ids
