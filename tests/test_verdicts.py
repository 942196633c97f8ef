"""Verdicts on pairs."""

import io
import json
import pickle

import pandas as pd
import pyarrow as pa
import pytest

from s2fast.folder.pair_blocks import parquet
from s2fast.geometry.scene_verdict import SceneVerdict
from s2fast.model import PairVerdict, columns_of
from s2fast.stages.verify import ROW_SCHEMA
from s2fast.verdicts import Verdict, is_verified
from tests.judged import VERDICTS


def test_verdicts_are_written_as_plain_strings() -> None:
    assert [str(verdict) for verdict in Verdict] == VERDICTS
    columns = columns_of([PairVerdict(50.0, verdict=verdict) for verdict in Verdict])
    schema = pa.schema([ROW_SCHEMA.field("verdict")])
    written, plain = (
        parquet(pa.table({"verdict": values}, schema)) for values in (columns["verdict"], VERDICTS)
    )  # fmt: skip
    assert written == plain
    assert pd.read_parquet(io.BytesIO(written))["verdict"].map(type).eq(str).all()
    assert json.dumps({verdict: verdict for verdict in Verdict}) == json.dumps(
        dict(zip(VERDICTS, VERDICTS, strict=True))
    )
    assert pd.DataFrame({"verdict": list(Verdict)}).to_csv() == pd.DataFrame({"verdict": VERDICTS}).to_csv()
    assert pickle.loads(pickle.dumps(Verdict.AMBIGUOUS)) is Verdict.AMBIGUOUS  # workers return it


def test_every_verdict_has_a_meaning_of_its_own() -> None:
    assert len({verdict.meaning for verdict in Verdict}) == len(Verdict) == 6
    assert all(verdict.meaning and verdict.meaning[0].islower() for verdict in Verdict)
    assert len(SceneVerdict) == 6


@pytest.mark.parametrize("dtype", ["boolean", "object"])
def test_pairs_without_a_verdict_are_not_verified(dtype: str) -> None:
    pairs = pd.DataFrame({"verified": pd.array([True, None, False], dtype)}, index=[7, 8, 9])
    pd.testing.assert_series_equal(is_verified(pairs), pd.Series([True, False, False], [7, 8, 9], name="verified"))
    assert is_verified(pairs.iloc[:0]).dtype == bool
