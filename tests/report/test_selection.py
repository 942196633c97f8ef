"""Which rows `s2fast pairs` and `s2fast scenes` list."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from s2fast.errors import InputError
from s2fast.report.selection import Selection, period, select_pairs, select_scenes
from s2fast.verdicts import Verdict

IDS = [f"S2A_{date}T083601_T36{tile}" for tile in ("UXA", "UYA") for date in ("20180810", "20180830", "20190606")]


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    both = [(query, train) for at, query in enumerate(IDS) for train in IDS[at + 1 :]]
    rows = pd.DataFrame(both, columns=["query", "train"])
    for side in ("query", "train"):
        rows[f"{side}_tile"] = rows[side].str[-5:]
        rows[f"{side}_time"] = pd.to_datetime(rows[side].str[4:19], format="%Y%m%dT%H%M%S", utc=True)
    rows["similarity_pct"] = np.arange(15) * 5.0
    rows["dx_m"], rows["dy_m"] = [*np.arange(14.0), np.nan], 0.0
    rows["verdict"] = [[*Verdict][at % 6].value for at in range(15)]
    rows["verified"] = pd.array([True, None, *[False] * 13], "boolean")
    return rows


@pytest.mark.parametrize(
    ("selection", "count"),
    [
        (Selection(), 15),
        (Selection(tile="36UXA"), 3),
        (Selection(tile="uya"), 3),
        (Selection(tile="T36UYA"), 3),
        (Selection(scenes=["20180810"]), 9),
        (Selection(scenes=["2018-08-10 uxa"]), 5),
        (Selection(scenes=["20180810", "20180830"]), 14),
        (Selection(since="2019"), 1),
        (Selection(until="2018-08-10"), 1),
        (Selection(since="2018-08", until="2018"), 6),
        (Selection(verdicts=["verified"]), 3),
        (Selection(verdicts=["suspect", "ambig"]), 5),
        (Selection(verified=True), 1),
        (Selection(max_shift_m=3.0), 4),
        (Selection(min_similarity=35.0), 8),
        (Selection(max_similarity=35.0), 7),
        (Selection(limit=2), 2),
        (Selection(limit=0), 0),
    ],
)
def test_filters(pairs: pd.DataFrame, selection: Selection, count: int) -> None:
    chosen = select_pairs(pairs, selection)
    assert len(chosen) == count
    assert list(chosen.columns) == list(pairs.columns)
    assert chosen["similarity_pct"].is_monotonic_decreasing


def test_order(pairs: pd.DataFrame) -> None:
    assert select_pairs(pairs, Selection(sort="shift_m"))["dx_m"].tolist()[:2] == [0.0, 1.0]
    falling = select_pairs(pairs, Selection(sort="-dx"))["dx_m"]
    assert falling.iloc[0] == 13.0
    assert np.isnan(falling.iloc[-1])


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (Selection(tile="36UZA"), "no tile '36UZA'; there are 36UXA, 36UYA"),
        (Selection(verdicts=["proven"]), "no verdict 'proven'; there are verified, not verified"),
        (Selection(since="10.8.2018"), "'10.8.2018' is no date: write 2018, 2018-08 or 2018-08-10"),
        (Selection(until="2018-13"), "is no date"),
        (Selection(since="2018", until="2016"), "since 2018 is later than until 2016"),
        (Selection(since="2018-08-11", until="2018-08-10"), "swap the dates"),
        (Selection(min_similarity=50, max_similarity=40), "min_similarity 50 is not below max_similarity 40"),
        (Selection(until="9999"), "is no date"),
        (Selection(scenes=["20180811"]), "no scene '20180811'; the nearest: S2A_20180810T083601_T36UXA"),
        (Selection(sort="simlarity_pct"), "did you mean similarity_pct"),
    ],
)
def test_wrong_values_name_the_valid_ones(pairs: pd.DataFrame, selection: Selection, said: str) -> None:
    with pytest.raises(InputError) as caught:
        select_pairs(pairs, selection)
    assert said in str(caught.value)


def test_scenes_keep_their_order() -> None:
    scenes = pd.DataFrame(
        {
            "scene_id": IDS,
            "tile": [name[-5:] for name in IDS],
            "sensing_time": pd.to_datetime([name[4:19] for name in IDS], format="%Y%m%dT%H%M%S", utc=True),
            "n_verified": [3, 1, 2, 0, 5, 4],
            "verdict": ["verified"] * 5 + ["alone"],
        }
    )
    assert select_scenes(scenes, Selection(tile="UXA"))["scene_id"].tolist() == IDS[:3]
    assert select_scenes(scenes, Selection(since="2019", verdicts=["alone"]))["scene_id"].tolist() == IDS[5:]
    assert select_scenes(scenes, Selection(sort="-n_v", limit=1))["scene_id"].tolist() == [IDS[4]]


def test_a_period_ends_where_the_next_begins() -> None:
    assert period("20181231")[1] == period("2019")[0] == pd.Timestamp("2019-01-01", tz="UTC")
