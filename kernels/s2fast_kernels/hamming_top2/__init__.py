"""Find the two nearest neighbours by Hamming distance of every query descriptor in each of many scenes.

All backends return identical results. See ``README.md`` in this folder for the derivation and measured rates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s2fast_kernels.backends import Backend, needs_package, needs_triton, resolve

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from s2fast_kernels.hamming_top2.reference import Top2

__all__ = ["BACKENDS", "hamming_top2"]

BACKENDS = (
    Backend("triton", f"{__name__}.triton_gpu", "hamming_top2", "gpu", needs_triton),
    Backend("numba", f"{__name__}.numba_cpu", "hamming_top2", "cpu", needs_package("numba")),
    Backend("faiss", f"{__name__}.faiss_cpu", "hamming_top2", "cpu", needs_package("faiss")),
    Backend("opencv", f"{__name__}.opencv_cpu", "hamming_top2", "cpu", needs_package("cv2")),
    Backend("torch", f"{__name__}.torch_any", "hamming_top2", "any", needs_package("torch")),
    Backend("reference", f"{__name__}.reference", "hamming_top2", "cpu", needs_package("numpy")),
)
"""Fastest first; on a GPU, "auto" selects the rows that run there first."""


def hamming_top2(
    query: npt.NDArray[np.uint64],
    train: npt.NDArray[np.uint64],
    train_offsets: npt.NDArray[np.int64],
    *,
    backend: str = "auto",
    device: str = "auto",
) -> Top2:
    """Find the two nearest train rows of every query row, separately in each train scene.

    Parameters
    ----------
    query : (n, 8) uint64
        Packed descriptors: 486 of 512 bits, padded with zeros.
    train : (m, 8) uint64
        The packed descriptors of s scenes, one scene after another.
    train_offsets : (s + 1,) int64
        The rows of scene t are ``train_offsets[t]:train_offsets[t + 1]``.
    backend
        ``"auto"`` or a name from `BACKENDS`.
    device
        Where it runs, see `s2fast_kernels.backends.find_device`.

    Returns
    -------
    Top2
        Row of the best neighbour within its scene, and the best and second-best distance, each (n, s). Ties go to the
        lowest row.

    Raises
    ------
    ValueError
        The operands have the wrong shape, type or offsets.
    s2fast_kernels.backends.BackendError
        The backend or device is unknown or cannot run here.
    """
    from s2fast_kernels.hamming_top2.reference import check_operands

    check_operands(query, train, train_offsets)
    result: Top2 = resolve(BACKENDS, backend, device).load()(query, train, train_offsets)
    return result
