"""Tables as text files: numbers are rounded, and texts are data, whoever wrote them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pandas as pd
from pandas.api.types import is_object_dtype, is_string_dtype

from s2fast.files.legible import cell

_Table = TypeVar("_Table", bound=pd.DataFrame)

_DECIMALS = 9
"""Decimals of numbers in text files: a nanometre, far below every error, and above what arithmetic leaves of zero."""


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose numbers are rounded, so that 8.9e-16 and -0.0 are 0.

    Examples
    --------
    >>> rounded(pd.DataFrame({"dx_m": [8.9e-16, -0.0, 0.1 + 0.2], "n": [1, 2, 3]})).to_csv(index=False).split()
    ['dx_m,n', '0.0,1', '0.0,2', '0.3,3']
    """
    numbers = table.select_dtypes("float")
    # Adding 0 makes a negative zero positive.
    return table.assign(**{str(name): numbers[name].round(_DECIMALS) + 0.0 for name in numbers})


def csv_bytes(table: pd.DataFrame, **options: Any) -> bytes:
    """Return a table as CSV, its numbers `rounded`, and its texts as a spreadsheet may show them.

    Parameters
    ----------
    table
        The table.
    options
        Of `pandas.DataFrame.to_csv`.

    Examples
    --------
    >>> csv_bytes(pd.DataFrame({"query": ["=1+1", "a"], "dx_m": [-0.0, 1.0]}), index=False).split()
    [b'query,dx_m', b"'=1+1,0.0", b'a,1.0']
    """
    shown = with_texts(rounded(table), cell)
    for axis in (0, 1):
        labels = shown.axes[axis]
        shown = shown.set_axis([cell(label) if isinstance(label, str) else label for label in labels], axis=axis)
    return str(shown.to_csv(**options)).encode()


def with_texts(table: _Table, shown: Callable[[str], str]) -> _Table:
    """Return a table whose texts are replaced by what `shown` returns for them."""
    texts = {}
    for name, dtype in zip(table.columns, table.dtypes, strict=True):
        if isinstance(dtype, pd.CategoricalDtype) or not (is_object_dtype(dtype) or is_string_dtype(dtype)):
            continue
        column = table[name]
        # Of a hundred thousand pairs, few texts differ.
        known = {text: shown(text) for text in column.unique() if isinstance(text, str)}
        if any(text != value for text, value in known.items()):
            texts[name] = column.map(lambda value, known=known: known[value] if isinstance(value, str) else value)
    return table.assign(**texts) if texts else table
