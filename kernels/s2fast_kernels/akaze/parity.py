"""Measure the agreement of two backends' features, for tests and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from s2fast_kernels.features import Features

POSITION_PX = 0.05
"""Keypoints of one level within this distance are the same."""

MIN_FOUND, MAX_BITS, MIN_IDENTICAL = 0.999, 0.02, 0.99
"""Criteria for parity: fraction of keypoints found, mean of differing bits, fraction of identical descriptors."""


@dataclass(frozen=True, slots=True)
class Parity:
    """Agreement of two sets of features."""

    wanted: int
    """Number of keypoints of the reference."""

    got: int
    """Number of keypoints of the other backend."""

    matched: int
    """Number of pairs of the same level within 0.05 px; each keypoint is in at most one pair."""

    bits: int
    """Number of differing bits of all pairs."""

    identical: int
    """Number of pairs without differing bits."""

    def __add__(self, other: Parity) -> Parity:
        """Return the combined agreement of two images."""
        return Parity(
            self.wanted + other.wanted,
            self.got + other.got,
            self.matched + other.matched,
            self.bits + other.bits,
            self.identical + other.identical,
        )

    @property
    def found(self) -> float:
        """Fraction of the keypoints of the larger set that have a partner."""
        return 1.0 if not max(self.wanted, self.got) else self.matched / max(self.wanted, self.got)

    @property
    def mean_bits(self) -> float:
        """Mean number of differing bits per pair."""
        return self.bits / max(self.matched, 1)

    @property
    def identical_rows(self) -> float:
        """Fraction of pairs without differing bits."""
        return 1.0 if not self.matched else self.identical / self.matched

    @property
    def holds(self) -> bool:
        """Whether the agreement satisfies the criteria for parity."""
        return self.found >= MIN_FOUND and self.mean_bits <= MAX_BITS and self.identical_rows >= MIN_IDENTICAL

    def __str__(self) -> str:
        """Return the agreement in one line of text."""
        return (
            f"{self.got} of {self.wanted} keypoints, {100 * self.found:.3f} % within {POSITION_PX} px, "
            f"{self.mean_bits:.4f} bits differ, {100 * self.identical_rows:.2f} % of rows identical"
        )


def parity(wanted: Features, got: Features) -> Parity:
    """Compare features with those of a reference, `wanted`."""
    rows_by_pixel: dict[tuple[int, int, int], list[int]] = {}
    for row, (level, (x, y)) in enumerate(zip(got.level.tolist(), got.xy.tolist(), strict=True)):
        rows_by_pixel.setdefault((level, round(x), round(y)), []).append(row)
    pairs = []
    for row, (level, (x, y)) in enumerate(zip(wanted.level.tolist(), wanted.xy.tolist(), strict=True)):
        # A position near a half may round either way.
        columns = {round(x - POSITION_PX), round(x + POSITION_PX)}
        lines = {round(y - POSITION_PX), round(y + POSITION_PX)}
        rows = [other for cx in columns for cy in lines for other in rows_by_pixel.get((level, cx, cy), ())]
        near = [other for other in rows if np.abs(got.xy[other] - wanted.xy[row]).max() <= POSITION_PX]
        if near:
            level_column_line = level, round(float(got.xy[near[0], 0])), round(float(got.xy[near[0], 1]))
            rows_by_pixel[level_column_line].remove(near[0])
            pairs.append((row, near[0]))
    if not pairs:
        return Parity(len(wanted), len(got), 0, 0, 0)
    left, right = np.array(pairs).T
    bits = np.bitwise_count(wanted.descriptors[left] ^ got.descriptors[right]).sum(axis=1, dtype=np.int64)
    return Parity(len(wanted), len(got), len(pairs), int(bits.sum()), int((bits == 0).sum()))
