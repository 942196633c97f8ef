"""What a pair's row holds, and that all lists of its columns agree."""

from dataclasses import fields
from typing import get_type_hints

import pyarrow as pa

from s2fast.model import PairResult, PairVerdict
from s2fast.report import listing, payload, tables
from s2fast.stages.verify import ROW_SCHEMA
from s2fast.verdicts import Verdict

ARROW = {str: pa.string(), Verdict: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
NULLS = {"null_trials", "null_verified"}


def test_rows_of_verification_hold_every_field() -> None:
    # What was searched is in the verdict, as `searched_m`.
    hints = get_type_hints(PairResult) | get_type_hints(PairVerdict)
    plain = {
        name: (getattr(hint, "__args__", None) or (hint,))[0] for name, hint in hints.items() if name != "radius_m"
    }
    assert {field.name: field.type for field in ROW_SCHEMA} == {name: ARROW[kind] for name, kind in plain.items()}
    after_verdict = [field.name for field in fields(PairVerdict)]
    after_verdict = after_verdict[after_verdict.index("verdict") :]
    assert ROW_SCHEMA.names[-len(after_verdict) :] == after_verdict


def test_tables_and_page_hold_every_field_of_a_verdict() -> None:
    wanted = {field.name for field in fields(PairVerdict)} - NULLS
    assert wanted <= set(tables._PAIR_COLUMNS)
    assert wanted <= set(payload._PAIR_COLUMNS)


def test_listing_holds_the_columns_by_which_a_shift_is_trusted() -> None:
    shown = set(listing._PAIR_COLUMNS)
    assert {"verdict", "shift_error_m", "network_residual_m", "n_witnesses"} <= shown
    assert shown - {"query", "train"} <= set(tables._PAIR_COLUMNS)
