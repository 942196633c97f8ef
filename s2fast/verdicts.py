"""Verdicts on pairs and what they mean."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class Verdict(StrEnum):
    """Verdict on a pair of scenes; files have its value, a plain string."""

    meaning: str
    """What it says about the pair, as the report page has it."""

    VERIFIED = "verified", "the matches agree, and chance cannot explain it"
    NOT_VERIFIED = (
        "not verified",
        "chance explains the matches; this does not mean that the scenes show different ground",
    )
    PRIOR_SUSPECT = "prior suspect", "the matches indicate a shift beyond the search radius"
    AMBIGUOUS = (
        "ambiguous",
        "two shifts explain the matches about equally well, as on ground with a repeating pattern",
    )
    NOT_ENOUGH_GROUND = (
        "not enough ground",
        "too few matches are on ground that is neither painted, filled nor missing",
    )
    NO_COMMON_GROUND = "no common ground", "the scenes share too little clear ground"

    def __new__(cls, value: str, meaning: str) -> Verdict:
        """Create the verdict with this value and meaning."""
        verdict = str.__new__(cls, value)
        verdict._value_, verdict.meaning = value, meaning
        return verdict


def is_verified(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Return which pairs are verified; False for those without a verdict, which have not been through `verify`."""
    return pairs["verified"].fillna(False).astype(bool)
