"""What GDAL may open: rasters of a few formats, told by their content, and virtual rasters that stay in their folder.

GDAL has over a hundred drivers, and some files make it read other files or ask servers: a virtual raster under any
name, an overview or mask beside a raster that is one, or an entry in the metadata. What such a file leads to would be
read with the rights of whoever runs s2fast, and shown in the results.
"""

from __future__ import annotations

import posixpath
import re
import stat
import xml.etree.ElementTree as ET
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from s2fast.errors import SceneError
from s2fast.files.crs_definitions import CURE, xml_names_file
from s2fast.files.ranges import byte_ranges
from s2fast.files.source import Source
from s2fast.files.trusted import within

DRIVERS = ("JP2OpenJPEG", "GTiff", "PNG", "JPEG", "Zarr")
"""GDAL's drivers for rasters that hold their own pixels."""

_FORMATS = re.compile(
    rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"  # JPEG 2000, as a file and as a bare codestream
    rb"|II[*+]\x00|MM\x00[*+]"  # TIFF and BigTIFF
    rb"|\x89PNG\r\n|\xff\xd8\xff"
)
"""First bytes of these formats, but for Zarr, which is a folder."""

_TIFF = re.compile(rb"II[*+]\x00|MM\x00[*+]")

_VIRTUAL = re.compile(rb"(\xef\xbb\xbf)?\s*<(\?xml|VRTDataset)")

_MAX_VRT_BYTES = 16 << 20

_MAX_DEPTH = 4
"""Virtual rasters of virtual rasters are followed to this depth."""

_TAGS = frozenset(
    re.findall(
        r"\w+",
        """
    VRTDataset SRS GeoTransform GCPList GCP Metadata MDI Description VRTRasterBand ColorInterp ColorTable Entry
    NoDataValue HideNoDataValue UnitType Offset Scale CategoryNames Category Histograms HistItem HistMin HistMax
    BucketCount IncludeOutOfRange Approximate HistCounts MaskBand OverviewList Overview SimpleSource ComplexSource
    AveragedSource SourceFilename SourceBand SourceProperties SrcRect DstRect NODATA UseMaskBand ScaleOffset
    ScaleRatio ColorTableComponent Exponent SrcMin SrcMax DstMin DstMax Clamp LUT BlockXSize BlockYSize
""",
    )
)
"""Elements of virtual rasters that copy or scale pixels of other rasters."""

_HEADER = _TAGS & {
    "SRS", "GeoTransform", "Metadata", "MDI", "Description", "VRTRasterBand", "ColorInterp", "ColorTable", "Entry",
    "NoDataValue",
}  # fmt: skip
"""Those that describe a virtual raster, and lead nowhere."""

_SIDE_FILES = (".ovr", ".msk")
"""Suffixes of the rasters that GDAL reads beside a raster, with the raster's whole name before it."""


def drivers(source: Source) -> list[str]:
    """Return the names of the GDAL drivers that may open a source.

    Raises
    ------
    SceneError
        The source is a virtual raster that leads outside its folder and those it trusts, or does more than copy pixels;
        or a file beside it is a raster of another format than TIFF.
    """
    if source.path is not None:
        _check_side_files(source.path)
    if not _is_virtual(source):
        return list(DRIVERS)
    _check_virtual(source, [_folder(source), *map(Source.of, source.trusted)], _MAX_DEPTH)
    return [*DRIVERS, "VRT"]


def check_opened(dataset: rasterio.DatasetReader, source: Source) -> None:
    """Raise SceneError if a raster's metadata name another file as its overviews."""
    if dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE"):
        raise SceneError(f"{source}: its metadata name another file as its overviews (OVERVIEW_FILE): remove the entry")


def explanation(source: Source) -> str:
    """Return why a file that none of `DRIVERS` opens may be a virtual raster after all; else an empty text."""
    if source.path is None or _is_virtual(source) or not source.path.is_file():
        return ""
    if not _VIRTUAL.match(_head(source)):
        return ""
    return "its content is XML: a virtual raster must be named .vrt, so that it is not taken for an image"


def stored_tags(path: Path) -> Mapping[str, str] | None:
    """Return the metadata of a raster on disk without opening what it leads to; None if it is no raster."""
    try:
        with header(path) as dataset:
            return dict(dataset.tags())
    except (SceneError, RasterioError):
        return None


def header(path: Path) -> DatasetReader:
    """Open a raster on disk for its header, without opening what it leads to, wherever that lies.

    Of a virtual raster, the result has everything but pixels.

    Raises
    ------
    SceneError, RasterioError
        It is no raster, or may not be opened.
    """
    source = Source.local(path)
    if not _is_virtual(source):
        _check_side_files(path)
        return DatasetReader(str(path), driver=list(DRIVERS))
    root = _root(source)
    if root.tag != "VRTDataset" or root.get("subClass"):
        raise SceneError(f"{source}: it is no virtual raster that copies pixels")
    for parent in list(root.iter()):
        for child in list(parent):
            plain = child.get("subClass") in (None, "VRTSourcedRasterBand") and child.get("domain") is None
            if child.tag not in _HEADER or not plain:
                parent.remove(child)
    return DatasetReader(ET.tostring(root, "unicode"), driver=["VRT"])


def _is_virtual(source: Source) -> bool:
    return source.name.lower().endswith(".vrt")


def _folder(source: Source) -> Source:
    return Source.of(posixpath.dirname(source.absolute().address))


def _check_side_files(path: Path) -> None:
    """Check a raster on disk and the files beside it."""
    _check_is_file(path)
    try:
        names = _names(path.parent, path.parent.stat().st_mtime_ns)
    except OSError:
        return  # opening the raster says what is wrong
    whole, stem = path.name.lower(), path.stem.lower()
    for lower, name in names[bisect_left(names, (f"{stem}.", "")) :]:
        if not lower.startswith(f"{stem}."):
            break
        beside = Source.local(path.parent / name)
        _check_is_file(path.parent / name)
        if lower.startswith(f"{whole}.") and lower.endswith(_SIDE_FILES) and not _TIFF.match(_head(beside)):
            raise SceneError(f"{path}: {name} beside it is no TIFF: remove it, or convert it")
        if lower in (f"{whole}.aux", f"{stem}.aux") and _head(beside).startswith(b"EHFA_HEADER_TAG"):
            raise SceneError(f"{path}: {name} beside it may name other files: remove it")
        if lower == f"{whole}.aux.xml" and xml_names_file(_head(beside, _MAX_VRT_BYTES)):
            raise SceneError(f"{path}: the CRS in {name} beside it names a file: {CURE}")


def _check_is_file(path: Path) -> None:
    """Raise SceneError for a pipe or a device: to open a pipe would wait for a writer."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # opening it says what is wrong
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise SceneError(f"{path}: it is a pipe or a device, not a file: copy its content to a file")


@lru_cache(maxsize=8)
def _names(folder: Path, _mtime_ns: int) -> list[tuple[str, str]]:
    """Return the names in a folder in lower case, sorted, and as they are; GDAL does not distinguish their case.

    A folder may hold an archive, and each of its scenes is opened several times: it is listed once per change.
    """
    return sorted((file.name.lower(), file.name) for file in folder.iterdir())


def _check_virtual(source: Source, folders: Sequence[Source], depth: int) -> None:
    """Check a virtual raster, the rasters that it names, and theirs."""
    for part in _parts(source):
        if not within(part, folders):
            raise SceneError(
                f"{source}: it reads {part}, which is not in its folder: put both in one folder, or trust that of the "
                'other: ingest.trust = ["FOLDER"]'
            )
        if part.path is not None:
            _check_side_files(part.path)
        if _is_virtual(part):
            if depth == 0:
                raise SceneError(f"{source}: virtual rasters of virtual rasters are followed {_MAX_DEPTH} deep")
            _check_virtual(part, folders, depth - 1)
        elif not _FORMATS.match(_head(part)):
            raise SceneError(f"{source}: it reads {part}, which is none of JPEG 2000, TIFF, PNG and JPEG")


def _parts(source: Source) -> Iterator[Source]:
    """Yield the rasters that a virtual raster names."""
    for element in _root(source).iter():
        if element.tag not in _TAGS:
            raise SceneError(f"{source}: it has <{element.tag[:40]}>: only virtual rasters that copy pixels are opened")
        kind = element.get("subClass")
        if kind not in (None, "VRTSourcedRasterBand"):
            raise SceneError(f"{source}: it is a {kind[:40]}: only virtual rasters that copy pixels are opened")
        if element.tag == "SourceFilename":
            name = element.text or ""
            if len(element) or not name or re.match(r"[A-Za-z0-9_]+:|<|\{", name):
                raise SceneError(f"{source}: it reads {name[:80]!r}, which is no file")
            if element.get("relativeToVRT") == "1":
                yield Source.of(posixpath.normpath(posixpath.join(_folder(source).address, name)))
            else:
                yield Source.of(name) if name.startswith("/vsi") else Source.local(Path(name).absolute())


def _root(source: Source) -> ET.Element:
    """Return the root of a virtual raster, read so that GDAL cannot read anything else in it."""
    ranges = byte_ranges(source)
    if ranges is None:
        raise SceneError(f"{source}: a virtual raster must be a file of its own, or stored uncompressed in a zip")
    if ranges.size > _MAX_VRT_BYTES:
        raise SceneError(f"{source}: it has {ranges.size} bytes, a virtual raster at most {_MAX_VRT_BYTES}")
    try:
        content = ranges.read(0, ranges.size)
        if xml_names_file(content):
            raise SceneError(f"{source}: its CRS names a file: {CURE}")
        text = content.decode()
        body = re.sub(r"\A\ufeff?\s*(<\?xml [^>]*\?>)?", "", text)
        # GDAL's parser treats these differently, and knows no encoding but UTF-8.
        if found := re.search(r"<[!?]|\x00", body):
            raise SceneError(f"{source}: it contains {found[0]!r}, which virtual rasters need not")
        return ET.fromstring(body)  # noqa: S314  no declarations, so no entities
    except (UnicodeDecodeError, ET.ParseError) as error:
        raise SceneError(f"{source}: it is no complete XML: {error}") from error


def _head(source: Source, most_bytes: int = 64) -> bytes:
    """Return a source's first bytes; none if it cannot be read."""
    try:
        ranges = byte_ranges(source)
        return b"" if ranges is None or ranges.size == 0 else ranges.read(0, min(most_bytes, ranges.size))
    except SceneError:
        return b""
