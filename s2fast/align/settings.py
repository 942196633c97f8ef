"""What to write of an alignment, from the words of a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from s2fast.align.field_model import Model
from s2fast.align.local import AUTO, models_of
from s2fast.align.output import Form, Kernel
from s2fast.archive.siblings import ALL
from s2fast.errors import InputError, option

_Word = TypeVar("_Word", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Settings:
    """What to write."""

    form: Form
    """Form of the rasters."""
    reference: str | None
    """See `s2fast.align.correction.reference_id`."""
    bands: Sequence[str]
    """See `s2fast.archive.siblings.selected`."""
    kernel: Kernel
    """Interpolation, if they are resampled."""
    max_error_m: float | None
    """See `s2fast.align.correction.corrections`."""
    check: bool
    """Compare the written scenes with each other, and withdraw those that got worse."""
    models: Sequence[Model]
    """Models of local displacements to try; see `s2fast.align.local.models_of`."""

    @classmethod
    def of(
        cls,
        form: str,
        reference: str | None,
        bands: Sequence[str],
        resampling: str,
        max_error_m: float | None,
        check: bool = False,
        model: str = Model.SHIFT,
    ) -> Settings:
        """Create the settings from words; raise InputError for an unknown one, or if they do not fit together."""
        if max_error_m is not None and not max_error_m >= 0:
            raise InputError(f"{option('max_error_m', 'max-error')} is {max_error_m}: it must be a length in metres")
        names = [ALL if name.lower() == ALL else name.upper() for name in bands]
        forms, kernels = _one_of(option("form", "as"), form, Form), _one_of(option("resampling"), resampling, Kernel)
        if model != AUTO:
            _one_of(option("model"), model, Model, AUTO)
        resampled = forms is Form.RESAMPLED
        if model == Model.GRID and not resampled:
            raise InputError(
                f"{option('model')} is 'grid', and {option('form', 'as')} is {form!r}: a geotransform cannot hold a "
                f"grid of displacements; use {option('form', 'as')} resampled, or {option('model')} affine"
            )
        return cls(forms, reference, names, kernels, max_error_m, check, models_of(model, resampled=resampled))

    @property
    def is_local(self) -> bool:
        """Whether displacements within scenes are looked for."""
        return tuple(self.models) != (Model.SHIFT,)


def _one_of(name: str, word: str, words: type[_Word], *others: str) -> _Word:
    try:
        return words(word)
    except ValueError as error:
        raise InputError(f"{name} is {word!r}: it must be one of {', '.join([*words, *others])}") from error
