"""The bands of sensors: which name a product of each gives to a band that is called by its colour or number."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SENTINEL = {
    "COASTAL": "B01", "BLUE": "B02", "GREEN": "B03", "RED": "B04", "REDEDGE": "B05", "REDEDGE1": "B05",
    "REDEDGE2": "B06", "REDEDGE3": "B07", "NIR": "B08", "NIR08": "B8A", "SWIR16": "B11", "SWIR22": "B12",
}  # fmt: skip

_OLI = {
    "COASTAL": "B01", "BLUE": "B02", "GREEN": "B03", "RED": "B04", "NIR": "B05", "NIR08": "B05", "SWIR16": "B06",
    "SWIR22": "B07", "PAN": "B08",
}  # fmt: skip

_TM = {
    "BLUE": "B01", "GREEN": "B02", "RED": "B03", "NIR": "B04", "NIR08": "B04", "SWIR16": "B05", "SWIR22": "B07",
    "PAN": "B08",
}  # fmt: skip

_SENSORS: Mapping[str, Mapping[str, str]] = {
    r"S2[A-D]?|HLS\.S30": _SENTINEL,
    r"L[CO]0[89]|HLS\.L30": _OLI,
    r"L[TE]0[4-7]": _TM,
}
"""Numbers of bands by colour, by a pattern of the platform."""


def names_of(band: str, platform: str) -> tuple[str, ...]:
    """Return the names that a platform's products may have for a band, as in `Naming.asset`, the given one first.

    Examples
    --------
    >>> names_of("RED", "S2A"), names_of("B04", "S2B"), names_of("B8A", "HLS.S30")
    (('RED', 'B04'), ('B04',), ('B8A',))
    >>> names_of("RED", "LC09"), names_of("NIR", "LE07"), names_of("PAN", "S2A")
    (('RED', 'B4', 'SR_B4'), ('NIR', 'B4', 'SR_B4'), ('PAN',))
    """
    numbers = next((table for pattern, table in _SENSORS.items() if re.fullmatch(pattern, platform)), {})
    number = numbers.get(band, band)
    names = [band]
    if landsat := re.fullmatch(r"B0?(\d{1,2})", number) if re.fullmatch(r"L[A-Z]0\d", platform) else None:
        names += [f"B{landsat[1]}", f"SR_B{landsat[1]}"]
    else:
        names.append(number)
    return tuple(dict.fromkeys(names))
