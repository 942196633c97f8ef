"""Statistics of inliers, against pandas and against the matches that Python users see."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import s2fast
from s2fast.report.displacements import KeypointPositions
from s2fast.report.inlier_statistics import STATISTICS, inlier_statistics
from s2fast.report.match_columns import MatchColumns
from tests.judged import Judged, shown_matches

pytestmark = pytest.mark.slow


def by_pandas(shift: pd.DataFrame) -> list[float]:
    """Compute the statistics of one pair."""
    length = (shift["x"] ** 2 + shift["y"] ** 2) ** 0.5
    square = (shift**2).mean() ** 0.5
    return [*length.quantile([0.9, 0.95]), *square, *shift.mean(), *shift.std(ddof=0)]


@given(
    seed=st.integers(0, 2**32 - 1), counts=st.lists(st.lists(st.sampled_from([0, 1, 2, 63]), max_size=4), max_size=3)
)
def test_statistics_are_those_of_pandas(seed: int, counts: list[list[int]]) -> None:
    rng = np.random.default_rng(seed)
    numbers = iter(rng.permutation(sum(map(len, counts))))
    of_pairs = [np.repeat(sorted(next(numbers) for _ in part), part).astype(np.intp) for part in counts]
    parts = [(pair, rng.normal(3, 20, (len(pair), 2))) for pair in of_pairs]
    found = inlier_statistics(parts, sum(map(len, counts)) + 1)
    assert tuple(found.columns) == STATISTICS
    table = pd.concat([pd.DataFrame(shift, columns=["x", "y"]).assign(pair=pair) for pair, shift in parts] or [
        pd.DataFrame({"x": [], "y": [], "pair": []})
    ])  # fmt: skip
    for row, values in zip(found.index, found.to_numpy(), strict=True):
        own = table.loc[table["pair"] == row, ["x", "y"]]
        np.testing.assert_allclose(
            values, by_pandas(own) if len(own) else np.full(len(STATISTICS), np.nan), rtol=1e-12, atol=1e-12
        )


def test_statistics_are_those_of_the_stored_inliers(judged: Judged) -> None:
    run = s2fast.open_run(judged.out)
    pairs = run.pairs()
    found = shown_matches(run.folder, pairs).statistics
    positions = KeypointPositions(run.folder, run.scene_ids)
    number_of = {name: number for number, name in enumerate(run.scene_ids)}
    seen = 0
    for row, (query, train) in enumerate(zip(pairs["query"], pairs["train"], strict=True)):
        matches = run.matches(query, train)
        inliers = pa.Table.from_pandas(matches[matches["inlier"]], preserve_index=False)
        shift = positions.displacements(MatchColumns.of_table(inliers, number_of)).shift
        seen += len(shift)
        expected = (
            by_pandas(pd.DataFrame(shift, columns=["x", "y"])) if len(shift) else np.full(len(STATISTICS), np.nan)
        )
        np.testing.assert_allclose(found.iloc[row], expected, rtol=1e-12, atol=1e-9)
    assert seen > 20
