"""Verdicts on pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def is_verified(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Return which pairs are verified; False for those without a verdict, which have not been through `verify`."""
    return pairs["verified"].fillna(False).astype(bool)
