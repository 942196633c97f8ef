"""Models of a scene's displacement field, and the choice of the simplest that no other beats.

References
----------
Eilers, Marx: Flexible smoothing with B-splines and penalties. Statistical Science 11, 1996. Stone: Cross-validatory
choice and assessment of statistical predictions. Journal of the Royal Statistical Society B 36, 1974. Hotelling: The
generalization of Student's ratio. Annals of Mathematical Statistics 2, 1931.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline, NdBSpline
from scipy.special import fdtri, stdtrit

CELLS = 16
"""Ground cells along each side of a scene. The matches of a cell depend on each other: cells are held out whole."""

SPANS = 8
"""Spans of the spline `Model.GRID` along each side of a scene."""

_NO_ERRORS = np.full((1, 1), np.nan)

_KNOTS = np.arange(-3, SPANS + 4) / SPANS

_STIFFNESS = 0.05
"""Weight of the bending of the spline's coefficients, per average weight of a cell."""

_TETHER = 1e-3
"""Weight of the coefficients themselves: where there are no cells, the spline returns to the affinity."""

_FOLDS = 8
"""Parts into which cells are divided at random; each is predicted from the others."""

_BLOCKS = 4
"""Blocks of cells along each side. Residuals of neighbouring cells are alike, so gains are compared over blocks."""

_CONFIDENCE = 0.995
"""Confidence over the blocks at which a model beats another: by Hotelling's distribution between models of an affinity,
else by Student's."""

_TERMS = {"shift": 2, "similarity": 4, "affine": 6}
"""Real parameters of the models that a geotransform can hold."""

_LEAST_GAIN_PX = 0.035
"""Root mean square of the displacements that a model must take away beyond another's: that of the misregistration
within a series which more matches do not reduce, along two axes (`s2fast.geometry.shift.LEAST_ERROR_PX`)."""

LEAST_CELLS = {"shift": 1, "similarity": 24, "affine": 24, "grid": 96}
"""Cells with matches that a model needs."""

_LEAST_BLOCKS = 8
"""Blocks with matches that any model but a shift needs."""

_MATCHES_PER_CELL = 16.0
"""Number of matches beyond which the error of a cell's mean hardly falls: its matches share an error of their own."""

_Floats = npt.NDArray[np.float64]
_Complex = npt.NDArray[np.complex128]


class Model(StrEnum):
    """Models of a displacement field, the one with fewest parameters first."""

    SHIFT = "shift"
    SIMILARITY = "similarity"
    AFFINE = "affine"
    GRID = "grid"

    @property
    def is_affine(self) -> bool:
        """Whether a geotransform can hold its correction."""
        return self is not Model.GRID


@dataclass(frozen=True, slots=True)
class Cells:
    """Displacements of a scene from its reference, by ground cells."""

    share: _Floats
    """(n, 2) mean position of the cell's matches, right and down, as shares of the scene's width and height."""
    moved_m: _Floats
    """(n, 2) mean displacement, position in the scene minus position in the reference, east and north [m]."""
    count: _Floats
    """(n,) number of matches."""
    sides_m: _Floats
    """(2, 2) the scene's sides on the map, columns for its width and height, east and north [m]."""
    px_m: float
    """Side of a pixel [m]."""

    @property
    def weight(self) -> _Floats:
        """Weight of each cell in a fit: (n,), at most 1."""
        return np.asarray(self.count / (self.count + _MATCHES_PER_CELL))

    @property
    def block(self) -> npt.NDArray[np.intp]:
        """Number of the block of each cell: (n,)."""
        at = np.clip((self.share * _BLOCKS).astype(np.intp), 0, _BLOCKS - 1)
        return np.asarray(at[:, 1] * _BLOCKS + at[:, 0])

    def __getitem__(self, rows: npt.NDArray[np.bool_]) -> Cells:
        """Return some cells."""
        return Cells(self.share[rows], self.moved_m[rows], self.count[rows], self.sides_m, self.px_m)


@dataclass(frozen=True, slots=True)
class Field:
    """A fitted displacement field of a scene: position in the scene minus position in the reference."""

    model: Model
    """The model."""
    sides_m: _Floats
    """See `Cells.sides_m`."""
    coefficients: _Complex
    """(p,) coefficients of the columns of `_design`: east + i north [m]."""
    covariance: _Floats
    """(p, p) covariance of each component of the coefficients [m2]; NaN if it was not asked for."""

    def at(self, share: _Floats) -> _Floats:
        """Return the displacements at (n, 2) shares of the scene's width and height: (n, 2) east and north [m]."""
        plain = Model.AFFINE if self.model is Model.GRID else self.model
        terms = _design(plain, share, self.sides_m)
        found = terms @ self.coefficients[: terms.shape[1]]
        moved = np.column_stack([found.real, found.imag])
        if self.model is Model.GRID:
            spline = self.coefficients[terms.shape[1] :].reshape(SPANS + 3, SPANS + 3, 1).view(np.float64)
            moved += NdBSpline((_KNOTS, _KNOTS), spline, 3)(np.clip(share[:, ::-1], 0, 1))
        return moved

    def error_m(self, share: _Floats) -> _Floats:
        """Return the standard error of each component of the displacements at (n, 2) shares: (n,) [m]."""
        design = _design(self.model, share, self.sides_m)
        variance = ((design @ self.covariance) * design.conj()).sum(axis=1).real
        return np.asarray(np.sqrt(np.maximum(variance, 0)))


@dataclass(frozen=True, slots=True)
class Choice:
    """The simplest model that no other beats."""

    field: Field
    """The model, fitted to all cells."""
    held_out_m: dict[Model, float]
    """Root mean square of the residuals of held-out cells, by the models that were tried [m]."""

    @property
    def model(self) -> Model:
        """The model."""
        return self.field.model

    @property
    def gain_m(self) -> float:
        """By how much the residuals of held-out cells are smaller than after a shift [m]."""
        return self.held_out_m[Model.SHIFT] - self.held_out_m[self.model]


def choose(cells: Cells, models: Sequence[Model] = tuple(Model), seed: int = 0) -> Choice:
    """Choose the model of a scene's displacements by how well it predicts cells that are held out.

    Parameters
    ----------
    cells
        The displacements.
    models
        Models to try; a shift is always tried.
    seed
        Seed by which cells are dealt to folds.

    Returns
    -------
    Choice
        The model with fewest parameters that no other beats by more than its gain's error; deterministic.
    """
    tried = [model for model in Model if model is Model.SHIFT or (model in models and _has_enough(model, cells))]
    fold = np.random.default_rng(seed).permutation(len(cells.count)) % _FOLDS
    left = {model: _held_out(model, cells, fold) for model in tried}
    chosen = Model.SHIFT
    while beating := [model for model in tried if _beats(model, chosen, left, cells)]:
        chosen = beating[0]
    held_out = {model: float(np.sqrt(np.average(np.abs(of) ** 2, weights=cells.weight))) for model, of in left.items()}
    return Choice(fit(chosen, cells), held_out)


def fit(model: Model, cells: Cells) -> Field:
    """Fit a model to cells by least squares, a spline with penalties."""
    return _fitted(model, cells, _design(model, cells.share, cells.sides_m), with_errors=True)


def fit_values(model: Model, cells: Cells) -> Field:
    """Return what `fit` returns, without errors."""
    return _fitted(model, cells, _design(model, cells.share, cells.sides_m), with_errors=False)


def _fitted(model: Model, cells: Cells, design: npt.NDArray[Any], *, with_errors: bool) -> Field:
    weight, moved = cells.weight, cells.moved_m @ (1, 1j)
    pull = design.conj().T * weight
    normal = pull @ design
    if model is Model.GRID:
        normal = normal + weight.sum() / (SPANS + 3) ** 2 * _PENALTY
    # Cells in a line do not determine an affinity; then the smallest one that fits is taken.
    normal = normal + 1e-9 * np.trace(normal).real * np.eye(len(normal))
    coefficients = np.asarray(np.linalg.solve(normal, pull @ moved), np.complex128)
    if not with_errors:
        return Field(model, cells.sides_m, coefficients, _NO_ERRORS)
    bread = np.linalg.inv(normal)
    residual = moved - design @ coefficients
    free = max(1.0, len(moved) - float((bread * (pull @ design).T).sum().real))
    meat = (pull * (weight * np.abs(residual) ** 2 / 2)) @ design * len(moved) / free
    return Field(model, cells.sides_m, coefficients, np.asarray((bread @ meat @ bread).real))


def _design(model: Model, share: _Floats, sides_m: _Floats) -> npt.NDArray[Any]:
    """Return the terms of a model at (n, 2) shares: (n, p); a coefficient is east + i north.

    A similarity multiplies the position, as a complex number, with one coefficient; other models are real.
    """
    x, y = _positions(share, sides_m)
    if model is Model.SIMILARITY:
        return np.column_stack([np.ones(len(share)), x + 1j * y])
    terms = np.column_stack([np.ones(len(share)), x, y])
    if model is not Model.GRID:
        return terms[:, : 1 if model is Model.SHIFT else 3]
    right, down = (BSpline.design_matrix(np.clip(axis, 0, 1), _KNOTS, 3).toarray() for axis in share.T)
    return np.column_stack([terms, (down[:, :, None] * right[:, None, :]).reshape(len(share), -1)])


def _positions(share: _Floats, sides_m: _Floats) -> _Floats:
    """Return positions from the scene's middle, east and north, in units of its side: (2, n)."""
    return np.asarray(sides_m @ (share - 0.5).T / np.sqrt(abs(np.linalg.det(sides_m))))


def _penalty() -> _Floats:
    """Return the penalties of the spline's terms, per average weight: (p, p). Those of an affinity have none."""
    side = SPANS + 3
    bend = np.diff(np.eye(side), 2, axis=0)
    bends = np.vstack([np.kron(np.eye(side), bend), np.kron(bend, np.eye(side))])
    penalty = np.zeros((side**2 + 3, side**2 + 3))
    penalty[3:, 3:] = _STIFFNESS * bends.T @ bends + _TETHER * np.eye(side**2)
    return penalty


_PENALTY = _penalty()


def _has_enough(model: Model, cells: Cells) -> bool:
    return len(cells.count) >= LEAST_CELLS[model.value] and len(np.unique(cells.block)) >= _LEAST_BLOCKS


def _held_out(model: Model, cells: Cells, fold: npt.NDArray[np.intp]) -> _Complex:
    """Return each cell's residual from a fit without its fold, east + i north: (n,) [m]."""
    design, left = _design(model, cells.share, cells.sides_m), np.zeros(len(fold), np.complex128)
    for part in np.unique(fold):
        out = fold == part
        if not out.all():
            fitted = _fitted(model, cells[~out], design[~out], with_errors=False)
            left[out] = cells.moved_m[out] @ (1, 1j) - design[out] @ fitted.coefficients
    return left


def _beats(model: Model, chosen: Model, left: Mapping[Model, _Complex], cells: Cells) -> bool:
    """Return whether a model's residuals are clearly smaller than another's, beyond the error of the difference.

    The error is estimated from how the blocks differ. Between two models of an affinity, the gain should vary as the
    square of their difference, which is small in the middle of the scene: that part of the variation is no error. Half
    the gain divided by its error is then bounded by Hotelling's T for as many parameters as the models differ by, even
    if the residuals of a whole block are alike.
    """
    block, weight = cells.block, cells.weight
    of_block = np.bincount(block, weight)
    held = of_block > 0
    share, blocks = of_block[held] / of_block.sum(), int(held.sum())
    if blocks < _LEAST_BLOCKS:
        return False

    def of(values: _Floats) -> _Floats:
        return np.bincount(block, weight * values)[held] / of_block[held]

    gains = of(np.abs(left[chosen]) ** 2 - np.abs(left[model]) ** 2)
    gain, odd = share @ gains, gains
    bound = float(stdtrit(blocks - 1, _CONFIDENCE))
    more = _TERMS.get(model, 0) - _TERMS.get(chosen, 0)
    if model.is_affine and chosen.is_affine and more > 0:
        odd = gains - of(np.abs(left[chosen] - left[model]) ** 2)
        ratio = float(fdtri(more, blocks - more, _CONFIDENCE))
        bound = float(np.sqrt(more * (blocks - 1) / (blocks - more) * ratio)) / 2
    error = np.sqrt((share**2 * (odd - share @ odd) ** 2).sum() * blocks / (blocks - 1))
    return bool(gain > max(bound * error, (_LEAST_GAIN_PX * cells.px_m) ** 2))
