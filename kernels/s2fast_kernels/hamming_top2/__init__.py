"""Find the two nearest neighbours by Hamming distance of every query descriptor in each of many scenes.

All backends return identical results. See ``README.md`` in this folder for the derivation and measured rates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s2fast_kernels.backends import Backend, needs_package, resolve
from s2fast_kernels.machine import gpu_missing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from s2fast_kernels.hamming_top2.reference import Top2

__all__ = ["BACKENDS", "hamming_top2"]


def _triton_missing() -> str | None:
    reason = needs_package("triton", "torch")() or gpu_missing()
    if reason is not None:
        return reason
    import torch

    if not torch.cuda.is_available():
        return f"torch {torch.__version__} finds no GPU it can use"
    # int8 products need compute capability 8.0; ROCm numbers its devices differently: gfx942 is 9.4.
    capability = torch.cuda.get_device_capability()
    return None if capability >= (8, 0) else f"needs compute capability 8.0, got {'.'.join(map(str, capability))}"


BACKENDS = (
    Backend("triton", f"{__name__}.triton_gpu", "hamming_top2", "gpu", _triton_missing),
    Backend("numba", f"{__name__}.numba_cpu", "hamming_top2", "cpu", needs_package("numba")),
    Backend("faiss", f"{__name__}.faiss_cpu", "hamming_top2", "cpu", needs_package("faiss")),
    Backend("opencv", f"{__name__}.opencv_cpu", "hamming_top2", "cpu", needs_package("cv2")),
    Backend("torch", f"{__name__}.torch_any", "hamming_top2", "any", needs_package("torch")),
    Backend("reference", f"{__name__}.reference", "hamming_top2", "cpu", needs_package("numpy")),
)
"""Fastest first."""


def hamming_top2(
    query: npt.NDArray[np.uint64],
    train: npt.NDArray[np.uint64],
    train_offsets: npt.NDArray[np.int64],
    *,
    backend: str = "auto",
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
        The backend is unknown or cannot run here.
    """
    from s2fast_kernels.hamming_top2.reference import check_operands

    check_operands(query, train, train_offsets)
    result: Top2 = resolve(BACKENDS, backend).load()(query, train, train_offsets)
    return result
