"""Numbers as text files show them."""

from __future__ import annotations

import pandas as pd

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
