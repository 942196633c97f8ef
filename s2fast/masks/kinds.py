"""Kinds of masks: one row each in `KINDS`, the best first. The order is that in which "auto" takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from s2fast.config import Ingest
from s2fast.image.prepare import by_brightness

Values = npt.NDArray[np.generic]

SCL_MASKED = (0, 1, 3, 8, 9, 10)
"""Classes of a scene classification that show no ground: no data, defective, shadow of clouds, clouds of medium and
high probability, cirrus. Dark areas, unclassified pixels, water and snow are ground."""

_FMASK_BITS = 0b1110
"""Bits of Fmask: cloud, beside a cloud, shadow of a cloud."""

_QA_BITS = 0b11111
"""Bits of QA_PIXEL: no data, beside a cloud, cirrus, cloud, shadow of a cloud."""

SHAPES = "shapes"
"""Name of the kind of a user's own polygons."""

_UDM2_BANDS = (3, 5, 6)
"""Bands of UDM2: shadow of a cloud, heavy haze, cloud; light haze shows the ground."""

_CLASSI_BANDS = (1, 2)
"""Bands of MSK_CLASSI: opaque clouds, cirrus; the third is snow."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of mask."""

    name: str
    """Its name in records and content keys."""
    asked: str
    """Value of ``ingest.mask`` that asks for it."""
    label: str
    """What the report calls it."""
    files: tuple[str, ...] = ()
    """Names of rasters, or polygons, of a product that are such a mask."""
    flags: Callable[[Values, Ingest], npt.NDArray[np.bool_]] | None = None
    """Returns True on pixels without ground, (rows, cols), of values (bands, rows, cols); None: it holds polygons."""
    bands: tuple[int, ...] = (1,)
    """Numbers, from 1, of the bands that `flags` needs; those that a raster lacks are left out."""
    settings: tuple[str, ...] = ()
    """Settings of ``ingest`` on which `flags` depends."""
    misses_clouds: bool = False
    """Whether it is known to miss many clouds: "auto" also applies the brightness rule."""

    def values(self, settings: Ingest) -> list[object]:
        """Return the values of the settings that affect the mask, as JSON values."""
        return [settings.model_dump(mode="json")[name] for name in (*self.settings, "mask_buffer_m")]


def _any_of(values: Values, classes: Sequence[int]) -> npt.NDArray[np.bool_]:
    if values.dtype != np.uint8:
        return np.isin(values[0], classes)
    table = np.zeros(256, np.bool_)
    table[[value for value in classes if value < len(table)]] = True
    return np.asarray(table[values[0]])


def _scl(values: Values, settings: Ingest) -> npt.NDArray[np.bool_]:
    return _any_of(values, SCL_MASKED if settings.mask_values == "auto" else settings.mask_values)


def _file(values: Values, settings: Ingest) -> npt.NDArray[np.bool_]:
    return values[0] != 0 if settings.mask_values == "auto" else _any_of(values, settings.mask_values)


def _fmask(values: Values, _settings: Ingest) -> npt.NDArray[np.bool_]:
    return np.asarray((values[0].astype(np.int64) & _FMASK_BITS) != 0)


def _qa_pixel(values: Values, _settings: Ingest) -> npt.NDArray[np.bool_]:
    return np.asarray((values[0].astype(np.int64) & _QA_BITS) != 0)


def _any_band(values: Values, _settings: Ingest) -> npt.NDArray[np.bool_]:
    return np.asarray((values != 0).any(axis=0))


def _probability(values: Values, settings: Ingest) -> npt.NDArray[np.bool_]:
    return np.asarray(values[0].astype(np.float64) >= settings.mask_probability)


KINDS = (
    Kind("scl", "scl", "SCL", ("SCL",), _scl, settings=("mask_values",)),
    Kind("fmask", "clouds", "Fmask", ("Fmask",), _fmask),
    Kind("qa_pixel", "clouds", "QA_PIXEL", ("QA_PIXEL",), _qa_pixel),
    Kind("udm2", "clouds", "UDM2", ("udm2", "udm2_clip"), _any_band, _UDM2_BANDS),
    Kind("probability", "probability", "cloud probability", ("MSK_CLDPRB", "CLDPRB", "CLD"), _probability,
         settings=("mask_probability",)),
    Kind("classes", "clouds", "MSK_CLASSI", ("MSK_CLASSI_B00",), _any_band, _CLASSI_BANDS,
         misses_clouds=True),
    Kind("polygons", "clouds", "MSK_CLOUDS", ("MSK_CLOUDS_B00",), misses_clouds=True),
    Kind("file", "file", "own file", (), _file, settings=("mask_values",)),
    Kind(SHAPES, "file", "own polygons"),
)  # fmt: skip
"""All kinds; those without `Kind.files` are never found beside a scene."""

BY_NAME = {kind.name: kind for kind in KINDS}
"""The kinds by name."""

BRIGHT = "brightness"
"""What the report calls the rule that finds bright clouds in a scene's own pixels."""

NOT_JUDGED = "not judged"
"""What the report says of a scene in which nothing looked for clouds."""

TOO_BRIGHT = f"{NOT_JUDGED}: over 60 % bright"
"""What it says where the rule gave up, since most of the scene is bright: snow, cloud or desert."""


def of_scene(settings: Ingest, kind: str) -> Ingest:
    """Return the settings for the pixels of a scene with a mask of this kind: ``mask`` is "bright" or "none".

    A scene that has none, whatever is asked for, is a reference from outside: see `s2fast.planning`.
    """
    wanted = settings.clouds and settings.mask != "none"
    misses = not kind or (settings.mask == "auto" and BY_NAME[kind].misses_clouds)
    applied = wanted and (settings.mask == "bright" or misses)
    return settings.model_copy(update={"mask": "bright" if applied else "none"})


def described(settings: Ingest, kind: str, judged: bool | None, reason: str = "") -> str:
    """Return what a scene's clouds were found by.

    Parameters
    ----------
    settings
        The run's settings.
    kind
        The scene's mask; empty: it has none.
    judged
        Whether the brightness rule found clouds; False: it gave up, or was not applied; None: unknown, since an
        older version wrote the features.
    reason
        Why brightness says nothing of its clouds, see `TileInfo.not_by_brightness`.

    Examples
    --------
    >>> [described(Ingest(), kind, judged) for kind, judged in (("scl", False), ("polygons", True), ("", True))]
    ['SCL', 'MSK_CLOUDS, brightness', 'brightness']
    >>> described(Ingest(), "", False), described(Ingest(mask="none"), "", False)
    ('not judged: over 60 % bright', 'not judged')
    """
    found = [BY_NAME[kind].label] if kind else []
    wanted = by_brightness(of_scene(settings, kind))
    applied = wanted and not reason
    if applied and judged is not False:
        found.append(BRIGHT)
    if found:
        return ", ".join(found)
    if wanted and reason:
        return f"{NOT_JUDGED}: {reason}"
    return TOO_BRIGHT if applied else NOT_JUDGED
