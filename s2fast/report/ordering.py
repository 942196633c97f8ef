"""An order in which scenes that are alike stand side by side."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def likeness_order(similarity: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Order scenes by the Fiedler vector of their similarities.

    Parameters
    ----------
    similarity : (n, n) float64
        Not negative; NaN where not computed. Only one triangle need be filled.

    Returns
    -------
    (n,) intp
        A permutation. Turned so that the scene that stands first of all comes before the middle.

    References
    ----------
    J. E. Atkins, E. G. Boman, B. Hendrickson: A Spectral Algorithm for Seriation and the Consecutive Ones Problem,
    SIAM Journal on Computing 28 (1998).

    Examples
    --------
    >>> likeness_order(np.array([[0, 1, 9], [1, 0, 2], [9, 2, 0]], float)).tolist()
    [0, 2, 1]
    """
    known = np.nan_to_num(similarity)
    alike = np.maximum(known, known.T)
    np.fill_diagonal(alike, 0)
    count = len(alike)
    if count < 3:
        return np.arange(count)
    # A little likeness of everything to everything keeps groups that share nothing from having no order.
    alike = alike + max(float(alike.max()), 1.0) * 1e-6
    np.fill_diagonal(alike, 0)
    _, vectors = np.linalg.eigh(np.diag(alike.sum(1)) - alike)
    order = np.argsort(vectors[:, 1], kind="stable")
    return order[::-1] if np.flatnonzero(order == 0)[0] > (count - 1) / 2 else order
