"""Check the types of what a script passes: a wrong one ends in one line, and not in a traceback from within.

The command line parses its options itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any

from s2fast.errors import InputError


@dataclass(frozen=True, slots=True)
class Kind:
    """What an argument may be."""

    types: tuple[type, ...]
    """Its types; numbers of NumPy are numbers, and True and False are not."""
    wanted: str
    """Name of these types in a message."""

    def fits(self, value: object) -> bool:
        """Return whether a value is of this kind."""
        return isinstance(value, self.types) and not isinstance(value, bool)


PLACE = Kind((str, PurePath), "a path or an address")
TEXT = Kind((str,), "a string")
WHOLE_NUMBER = Kind((Integral,), "a whole number")
NUMBER = Kind((Real,), "a number")


def wrong_type(name: str, value: object, wanted: str) -> str:
    """Return a message about an argument of a wrong type.

    Examples
    --------
    >>> wrong_type("workers", "2", WHOLE_NUMBER.wanted)
    'workers is of type str, must be a whole number'
    """
    return f"{name} is of type {type(value).__name__}, must be {wanted}"


def check_type(kind: Kind, /, *, optional: bool = False, **given: object) -> None:
    """Check arguments by name.

    Parameters
    ----------
    kind
        What each of them must be.
    optional
        Whether they may be None.
    given
        The arguments.

    Raises
    ------
    InputError
        One is of another type.
    """
    for name, value in given.items():
        if not (kind.fits(value) or (optional and value is None)):
            raise InputError(wrong_type(name, value, kind.wanted))


def as_list(kind: Kind, name: str, value: Any) -> list[Any]:
    """Return the elements of an argument that is one value of a kind, or several.

    Raises
    ------
    InputError
        It is neither, or one of the elements is of another type.

    Examples
    --------
    >>> as_list(TEXT, "bands", "B04"), as_list(TEXT, "bands", ("B04", "SCL"))
    (['B04'], ['B04', 'SCL'])
    """
    if kind.fits(value):
        return [value]
    if not isinstance(value, Iterable):
        raise InputError(wrong_type(name, value, f"{kind.wanted}, or a sequence of these"))
    found = list(value)
    for element in found:
        if not kind.fits(element):
            raise InputError(f"{name} holds an element of type {type(element).__name__}, must be {kind.wanted}")
    return found
