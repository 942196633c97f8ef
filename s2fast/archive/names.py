"""Parse the names of files and folders for acquisition, tile and product, and make scene ids unique."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain, zip_longest
from pathlib import PurePath, PurePosixPath
from urllib.parse import unquote

from s2fast.files.legible import identifier
from s2fast.files.source import Source
from s2fast.model import Naming, Scene

_UNKNOWN = "S2"
"""Platform in the ids of scenes whose platform is unknown."""

_PLANET = "PS"
"""Begin of the platforms of PlanetScope; the number of the satellite follows. Its scenes have no tiles."""

_TIME = r"\d{8}T\d{6}"
_TILE = r"(?P<tile>\d{2}[A-Z]{3})"

_NAMES = tuple(
    re.compile(rf"(?<![A-Z0-9]){pattern}(?![A-Z0-9])", re.IGNORECASE)
    for pattern in (
        # S2A_MSIL1C_20160830T083602_N0204_R064_T36UYA_20160830T083600; STAC catalogues omit the baseline
        rf"(?P<platform>S2[A-D])_MSI(?P<level>L1C|L2A)_(?P<time>{_TIME})(?:_N(?P<baseline>\d{{4}}))?_R\d{{3}}_T{_TILE}"
        rf"(?:_(?P<made>{_TIME}))?",
        # products before December 2016, and their granules
        rf"(?P<platform>S2[A-D])_(?:OPER|USER)_PRD_MSI(?P<level>L1C|L2A)_.*?_(?P<made>{_TIME})_R\d{{3}}_V(?P<time>{_TIME})",
        rf"(?P<platform>S2[A-D])_(?:OPER|USER)_MSI_(?P<level>L1C|L2A)_TL_.*_T{_TILE}(?:_N(?P<baseline>\d{{2}}\.\d{{2}}))?",
        # L1C_T36UYA_A006199_20160830T083600
        rf"(?P<level>L1C|L2A)_T{_TILE}_A\d{{6}}",
        # T36UYA_20160830T083602_TCI, L2A_T36UYA_20180101T083339_TCI_10m, T36UYA_TCI
        rf"(?:(?P<level>L1C|L2A)_)?T{_TILE}(?:_(?P<time>{_TIME})|(?=_TCI))",
        # S2A_20160608T153121_T33UUU, S2_20160608_T33UUU, LC08_20190611_T177025: scene ids, as of aligned scenes, also
        # within other names: ref_S2A_20160608T153121_T33UUU_sub
        r"(?P<platform>S2[A-D]?|HLS\.[SL]30|L[A-Z]0\d)_(?P<time>\d{8}(?:T\d{6})?)_T(?P<tile>\d{2}[A-Z]{3}|\d{6})",
        rf"{_PLANET}(?P<satellite>[0-9A-F]{{4}})_(?P<time>{_TIME})",
        # Earth Search: S2A_36UYA_20160830_0_L2A, S2A_T36UYA_20160830T083602_L2A
        r"(?P<platform>S2[A-D])_T?(?P<tile>\d{1,2}[A-Z]{3})_(?P<time>\d{8}(?:T\d{6})?)(?:_\d+)?_(?P<level>L1C|L2A)",
        # Earth Engine: 20160830T083602_20160830T084116_T36UYA
        rf"(?P<time>{_TIME})_{_TIME}_T{_TILE}",
        # HLS.S30.T36UYA.2016243T083602.v2.0
        rf"(?P<platform>HLS\.[SL]30)\.T{_TILE}\.(?P<time>\d{{7}}T\d{{6}})",
        # Landsat: LC08_L1TP_177025_20190611_20190619_01_T1_B8; STAC catalogues omit the time of processing
        r"(?P<platform>L[A-Z]0\d)_(?P<level>L[12][A-Z]{2})_(?P<tile>\d{6})_(?P<time>\d{8})(?:_(?P<made>\d{8}))?_\d{2}"
        r"_(?:T[12]|RT)",
        # Theia, MAJA: SENTINEL2A_20160830-083602-123_L2A_T36UYA_C_V3-0
        rf"SENTINEL(?P<platform>2[A-D])_(?P<time>\d{{8}}-\d{{6}})-\d{{3}}_(?P<level>L1C|L2A)_T{_TILE}",
        # PlanetScope: 20190611_083601_1008_3B_Visual, 20220101_081530_45_2444_3B_AnalyticMS_SR_8b
        r"(?P<time>\d{8}_\d{6})_(?:\d{1,2}_)?(?P<satellite>[0-9A-F]{4})_(?:1[AB]|3[AB])",
    )
)
"""Patterns of the names of files and folders, the most detailed first; case-insensitive."""

_DATE = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<by>[-_.]?)(?P<month>\d\d)(?P=by)(?P<day>\d\d)"
    r"(?:[T_](?P<time>(?:[01]\d|2[0-3])[0-5]\d[0-5]\d)(?!\d)|(?!\d))",
    re.IGNORECASE,
)
"""A date, the year first, with or without a time, in a name that is that of no product: 2016-08-30, 20160830T083602."""

_TILE_FOLDERS = re.compile(r"/(\d{1,2})/([A-Z])/([A-Z]{2})/(\d{4})/(\d{1,2})/(\d{1,2})/\d+/", re.IGNORECASE)
"""tiles/36/U/YA/2016/8/30/0/TCI.jp2: the layout of the public buckets, one folder per date."""

_TIME_FORMATS = {8: "%Y%m%d", 14: "%Y%jT%H%M%S", 15: "%Y%m%dT%H%M%S"}
"""Time formats by the length of the text."""

NO_IMAGE = (
    r"SCL|AOT|WVP|CLD|SNW|DDV|PVI|CLDPRB|SNWPRB|Fmask|SAA|SZA|VAA|VZA"
    r"|BQA|QA_PIXEL|QA_RADSAT|(?:SR_)?QA_AEROSOL|ST_(?:QA|[TUD]RAD|ATRAN|EMIS|EMSD|CDIST)"
    r"|(?:ATB|CLM|DFP|EDG|IAO|MG2|SAT|USI|WVC)_R[12]|QKL_ALL"
    r"|udm2?(?:_clip)?|Analytic\w*_udm2?(?:_clip)?"
)
"""Rasters of a product that are not images: masks, classifications, angles."""

_BANDS = (
    r"B0\d|B1[0-2]|B8A|coastal|blue|green|red|rededge\d?|nir\d*|swir\d*"
    r"|(?:(?<=_T1_)|(?<=_T2_)|(?<=_RT_))(?:B\d|SR_B\d|ST_B\d{1,2})"
    r"|(?:(?<=_FRE_)|(?<=_SRE_))B\d"
    r"|(?:(?<=_1B_)|(?<=_3A_)|(?<=_3B_))Analytic(?!\w*_udm)\w*?"
)
"""Names of bands; those of Landsat and Theia, and the files of all bands of PlanetScope, only after the rest of such a
name."""

ASSET = re.compile(
    rf"^(?P<rest>.*?)(?:^|[_.-])(?:(?P<image>TCI|visual(?:_clip)?)|(?P<band>{_BANDS})|(?P<other>{NO_IMAGE}))"
    r"(?:_R?(?P<resolution>\d+)m)?$",
    re.IGNORECASE,
)
"""Pattern of the part of a file name that identifies a raster within its product."""


def naming(source: Source) -> Naming:
    """Parse platform, sensing time, tile and product from the name of a file and its folders; the nearest name wins."""
    path = PurePosixPath(unquote(source.name)) if source.is_web else source.posix
    asset = ASSET.match(path.stem)
    result = Naming(
        identifier(path.stem),
        asset=("TCI" if asset["image"] else (asset["band"] or asset["other"]).upper()) if asset else "",
    )
    parts = _name_parts(path)
    if "tile" not in parts and not parts.get("platform", "").startswith(_PLANET):
        return replace(result, sensing_time=_plain_date(path.stem))
    result = replace(
        result,
        platform=parts.get("platform", ""),
        tile=parts.get("tile", ""),
        baseline=int(parts.get("baseline", "0").replace(".", "")),
        product_time=parts.get("made", ""),
        level=parts.get("level", ""),
    )
    if "time" not in parts:
        return result
    scene_id = f"{result.platform or _UNKNOWN}_{parts['time']}{result.tile and f'_T{result.tile}'}"
    return replace(result, scene_id=scene_id, sensing_time=_parse_time(parts["time"]))


def _name_parts(path: PurePath) -> dict[str, str]:
    """Return the parts found in the names of a file and its folders, by kind.

    A folder whose tile or time differs from the file's is ignored, since it belongs to another product.
    """
    parts: dict[str, str] = {}
    names = (path.stem, *reversed(path.parts[:-1]))
    for found in (*chain.from_iterable(map(_parse_name, names)), *_parse_tile_folders(path.as_posix())):
        if all(parts.get(key, found.get(key)) == found.get(key, parts.get(key)) for key in ("tile", "time")):
            parts = found | parts
    return parts


def _plain_date(name: str) -> datetime | None:
    """Return the only date in a name; None if it has none, or several.

    Examples
    --------
    >>> print(_plain_date("openEO_2019-06-06Z"), _plain_date("clip_20190606T083601"), _plain_date("20190606_20190616"))
    2019-06-06 00:00:00+00:00 2019-06-06 08:36:01+00:00 None
    """
    found = list(_DATE.finditer(name))
    days = {match["year"] + match["month"] + match["day"] for match in found}
    times = {match["time"] for match in found}
    if len(days) != 1:
        return None
    time = times.pop() if len(times) == 1 else None
    return _parse_time(f"{days.pop()}T{time}" if time else days.pop())


@lru_cache(maxsize=4096)
def _parse_name(name: str) -> list[dict[str, str]]:
    """Return the parts that each matching pattern finds in one name."""
    return [
        parts for pattern in _NAMES if (match := pattern.search(name)) and (parts := _normalized(match.groupdict()))
    ]


def _parse_tile_folders(path: str) -> list[dict[str, str]]:
    match = _TILE_FOLDERS.search(path)
    if match is None:
        return []
    zone, band, square, year, month, day = match.groups()
    parts = _normalized({"tile": zone + band + square, "time": f"{year}{month:0>2}{day:0>2}"})
    return [parts] if parts else []


def _normalized(groups: dict[str, str | None]) -> dict[str, str] | None:
    """Return the parts of a name in a uniform notation; None if the time is invalid, since the match is accidental."""
    parts = {
        key: value.upper() for key, value in groups.items() if value and (key, value.upper()) != ("platform", _UNKNOWN)
    }
    if "tile" in parts:
        parts["tile"] = parts["tile"].zfill(5)
    if parts.get("platform", "").startswith("2"):
        parts["platform"] = "S" + parts["platform"]
    if "satellite" in parts:
        parts["platform"] = _PLANET + parts.pop("satellite")
    if "time" in parts:
        parts["time"] = re.sub("[_-]", "T", parts["time"])
        time = _parse_time(parts["time"])
        if time is None:
            return None
        parts["time"] = time.strftime("%Y%m%d" if len(parts["time"]) == 8 else "%Y%m%dT%H%M%S")
    return parts


def _parse_time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, _TIME_FORMATS[len(text)]).replace(tzinfo=UTC)
    except ValueError:
        return None


def with_unique_ids(scenes: Iterable[Scene]) -> list[Scene]:
    """Return the scenes with unique ids: extend equal ids by level, raster, baseline, product or parts of the paths.

    Examples
    --------
    >>> same = [Scene("clip", source=Source.of(f"/data/2019-08-{day}/clip.tif")) for day in ("05", "15")]
    >>> [scene.scene_id for scene in with_unique_ids(same)]
    ['clip_2019-08-05', 'clip_2019-08-15']
    """
    by_id: dict[str, list[Scene]] = {}
    for scene in scenes:
        by_id.setdefault(scene.scene_id, []).append(scene)
    taken = {scene_id for scene_id, group in by_id.items() if len(group) == 1}
    renamed = []
    for scene_id, group in by_id.items():
        names = [scene_id] * len(group)
        for column in _differences(group) if len(group) > 1 else ():
            times = Counter(names)
            names = [
                f"{name}_{suffix}" if suffix and times[name] > 1 else name
                for name, suffix in zip(names, column, strict=True)
            ]
        for name, scene in zip(names, group, strict=True):
            unique, number = name, 1
            while len(group) > 1 and unique in taken:
                number += 1
                unique = f"{name}_{number}"
            taken.add(unique)
            renamed.append(replace(scene, scene_id=unique))
    return renamed


def _differences(group: Sequence[Scene]) -> Iterator[list[str]]:
    """Yield the properties in which scenes differ, the most significant first: one text per scene, in order."""
    yield from (
        column
        for column in (
            [scene.level for scene in group],
            [scene.asset for scene in group],
            [f"N{scene.baseline:04}" if scene.baseline else "" for scene in group],
            [scene.product_time for scene in group],
        )
        if len(set(column)) > 1
    )
    paths = [scene.source.posix for scene in group]
    names = [(path.stem, path.suffix, *reversed(path.parts[:-1])) for path in paths]
    for parts in zip_longest(*names, fillvalue=""):
        words = [re.findall(r"\w[\w.-]*", part.replace("_", " ")) for part in parts]
        shared = set.intersection(*map(set, words))
        if len(set(parts)) > 1:
            yield ["_".join(word for word in own if word not in shared) for own in words]
