"""Order scenes so that similar ones are adjacent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def similarity_order(similarity: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Order scenes by the Fiedler vector of their similarities.

    Parameters
    ----------
    similarity : (n, n) float64
        Similarities, at least 0; NaN where not computed. One triangle suffices.

    Returns
    -------
    (n,) intp
        A permutation, reversed if necessary so that scene 0 is in the first half.

    References
    ----------
    J. E. Atkins, E. G. Boman, B. Hendrickson: A Spectral Algorithm for Seriation and the Consecutive Ones Problem,
    SIAM Journal on Computing 28 (1998).

    Examples
    --------
    >>> similarity_order(np.array([[0, 1, 9], [1, 0, 2], [9, 2, 0]], float)).tolist()
    [0, 2, 1]
    """
    known = np.nan_to_num(similarity)
    weight = np.maximum(known, known.T)
    np.fill_diagonal(weight, 0)
    count = len(weight)
    if count < 3:
        return np.arange(count)
    # Connect the graph with small weights: the Fiedler vector of a disconnected graph gives no order.
    weight = weight + max(float(weight.max()), 1.0) * 1e-6
    np.fill_diagonal(weight, 0)
    _, vectors = np.linalg.eigh(np.diag(weight.sum(1)) - weight)
    order = np.argsort(vectors[:, 1], kind="stable")
    return order[::-1] if np.flatnonzero(order == 0)[0] > (count - 1) / 2 else order
