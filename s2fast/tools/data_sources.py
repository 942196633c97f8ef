"""List sources of Sentinel-2 scenes and their folder layouts, as ``s2fast fetch`` without options does.

``python -m s2fast.tools.data_sources --markdown`` prints the table of docs/scenes.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DataSource:
    """A place that offers scenes."""

    name: str
    """Its name."""
    address: str
    """Its address on the web, or the command that makes the scenes."""
    what: str
    """What to download."""
    access: str
    """What access needs."""
    looks: tuple[str, ...]
    """Path of a scene of it in a folder that ``--scenes ARCHIVE`` names; several: each will do."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """The paths with ``*`` for what is long, for a terminal."""
        return tuple(look.replace(_IMAGE, _SHORT_IMAGE).replace(_PRODUCT, _SHORT_PRODUCT) for look in self.looks)


_PRODUCT = "S2A_MSIL1C_20190606T083601_N0207_R021_T36UYA_20190606T083602"
_IMAGE = "GRANULE/L1C_T36UYA_A020647_20190606T083602/IMG_DATA/T36UYA_20190606T083601_TCI.jp2"

_SHORT_PRODUCT, _SHORT_IMAGE = "S2A_*", "GRANULE/*/IMG_DATA/*_TCI.jp2"

SOURCES = (
    DataSource(
        "Copernicus Data Space",
        "https://dataspace.copernicus.eu",
        "products L1C or L2A, or of each only the file *_TCI*.jp2",
        "free account",
        (f"ARCHIVE/{_PRODUCT}.SAFE.zip", f"ARCHIVE/{_PRODUCT}.SAFE/{_IMAGE}"),
    ),
    DataSource(
        "Earth Search",
        "https://earth-search.aws.element84.com/v1",
        "`s2fast fetch` does it: the asset `visual` of items of the collection sentinel-2-l2a; or nothing: its address "
        "is a scene",
        "none",
        ("ARCHIVE/S2A_36UYA_20190606_0_L2A/TCI.tif",),
    ),
    DataSource(
        "Planetary Computer",
        "https://planetarycomputer.microsoft.com/dataset/sentinel-2-l2a",
        "the asset `visual` of items, or nothing: its signed address is a scene",
        "none; addresses expire",
        ("ARCHIVE/T36UYA_20190606T083601_TCI_10m.tif",),
    ),
    DataSource(
        "Kaggle",
        "https://www.kaggle.com/datasets",
        '"Deforestation in Ukraine from Sentinel2 data": the data set of the notebook, with its polygons',
        "free account",
        (f"ARCHIVE/{_PRODUCT}/{_PRODUCT}.SAFE/{_IMAGE}",),
    ),
    DataSource(
        "s2fast",
        "s2fast synth ARCHIVE --size 1024",
        "nothing: scenes with known displacements, and polygons, are generated",
        "none",
        (f"ARCHIVE/{_PRODUCT}.SAFE/{_IMAGE}",),
    ),
)


def listing() -> str:
    """Return the sources as text."""
    blocks = (
        f"{source.name}\n    {source.address}\n    download: {source.what}\n    access:   {source.access}\n"
        f"    folder:   {', or '.join(source.patterns)}"
        for source in SOURCES
    )
    return "\n\n".join(blocks) + "\n\nThen: s2fast run --scenes ARCHIVE --out OUT     (--dry-run shows what is found)"


def markdown() -> str:
    """Return the sources as a table, and the paths of their scenes."""
    rows = ["| source | what to download | access |", "|---|---|---|"]
    for source in SOURCES:
        web = source.address.startswith("https://")
        name = f"[{source.name}]({source.address})" if web else f"`{source.address}`"
        what = source.what.replace("*_TCI*.jp2", "`*_TCI*.jp2`")
        rows.append(f"| {name} | {what} | {source.access} |")
    paths = "\n".join(f"{source.name}:\n  " + ", or\n  ".join(source.looks) for source in SOURCES)
    return "\n".join(rows) + f"\n\n```\n{paths}\n```"


if __name__ == "__main__":
    sys.stdout.write((markdown() if "--markdown" in sys.argv[1:] else listing()) + "\n")
