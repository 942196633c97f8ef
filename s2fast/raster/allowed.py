"""What GDAL may open: rasters of a few formats, told by their content, and virtual rasters that stay in their folder.

GDAL has over a hundred drivers, and some files make it read other files or ask servers: a virtual raster under any
name, an overview or mask beside a raster that is one, or an entry in the metadata. What such a file leads to would be
read with the rights of whoever runs s2fast, and shown in the results.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
import warnings
import xml.etree.ElementTree as ET
import zipfile
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from s2fast.errors import InputError, SceneError
from s2fast.files.crs_definitions import CURE, xml_names_file
from s2fast.files.ranges import byte_ranges
from s2fast.files.source import Source
from s2fast.files.trusted import within
from s2fast.files.zips import zip_head, zip_names

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
"""Largest virtual raster that is read."""

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

_OVERVIEW_FILE = "OVERVIEW_FILE"

_OVERVIEWS = "name another file as its overviews (OVERVIEW_FILE): remove the entry"

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
    _check_side_files(source)
    if not _is_virtual(source):
        return list(DRIVERS)
    _check_virtual(source, [_folder(source), *map(Source.of, source.trusted)], _MAX_DEPTH)
    return [*DRIVERS, "VRT"]


def check_opened(dataset: rasterio.DatasetReader, source: Source) -> None:
    """Raise SceneError if a raster's metadata name another file as its overviews."""
    if _names_overviews(dataset):
        raise SceneError(f"{source}: its metadata {_OVERVIEWS}")


def _names_overviews(dataset: rasterio.DatasetReader) -> bool:
    """Return whether a raster's metadata name another file as its overviews; GDAL does not distinguish their case."""
    return any(key.upper() == _OVERVIEW_FILE for key in dataset.tags(ns="OVERVIEWS"))


def explanation(source: Source) -> str:
    """Return why none of `DRIVERS` opens a file on disk, and what to do; empty if GDAL's own message says it."""
    # A Path would raise for names that are too long.
    if source.path is None or _is_virtual(source) or not os.path.isfile(source.path):  # noqa: PTH113
        return ""
    if not os.path.getsize(source.path):  # noqa: PTH202
        return "it is empty: get it again"
    head = _head(source)
    if _VIRTUAL.match(head):
        return "its content is XML: a virtual raster must be named .vrt, so that it is not taken for an image"
    if source.path.suffix.lower() == ".zip":
        return "it is no zip, or only a part of one: get it again"
    if head and not _FORMATS.match(head):
        return "its content is none of JPEG 2000, TIFF, PNG and JPEG: get it again, or convert it with gdal_translate"
    return ""


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
        _check_side_files(source)
        return _read(str(path), DRIVERS)
    root = _root(source)
    if root.tag != "VRTDataset" or root.get("subClass"):
        raise SceneError(f"{source}: it is no virtual raster that copies pixels")
    for parent in list(root.iter()):
        for child in list(parent):
            plain = child.get("subClass") in (None, "VRTSourcedRasterBand") and child.get("domain") is None
            if child.tag not in _HEADER or not plain:
                parent.remove(child)
    return _read(ET.tostring(root, "unicode"), ["VRT"])


def _read(name: str, drivers: Sequence[str]) -> DatasetReader:
    """Open a raster by these drivers, which GDAL has only once an environment was entered."""
    with rasterio.Env():
        return DatasetReader(name, driver=list(drivers))


def _is_virtual(source: Source) -> bool:
    return source.name.lower().endswith(".vrt")


def _folder(source: Source) -> Source:
    return Source.parsed(posixpath.dirname(source.absolute().address))


def _check_side_files(source: Source) -> None:
    """Check a raster on disk, or in a zip on disk, and the files beside it."""
    if source.is_remote or source.is_held:
        return  # nothing beside it is read
    if source.path is not None:
        _check_is_file(source.path)
    own = source.posix
    whole, stem = own.name.lower(), own.stem.lower()
    for lower, name in _names_beside(source, f"{stem}."):
        beside = _beside(source, name)
        if beside.path is not None:
            _check_is_file(beside.path)
        if lower.startswith(f"{whole}.") and lower.endswith(_SIDE_FILES):
            _check_tiff(source, name, beside)
        if lower in (f"{whole}.aux", f"{stem}.aux") and _head(beside).startswith(b"EHFA_HEADER_TAG"):
            raise SceneError(f"{source}: {name} beside it may name other files: remove it")
        if lower == f"{whole}.aux.xml" and xml_names_file(_head(beside, _MAX_VRT_BYTES)):
            raise SceneError(f"{source}: the CRS in {name} beside it names a file: {CURE}")


def _check_tiff(source: Source, name: str, beside: Source) -> None:
    """Check a raster beside another, which GDAL would open whatever it is."""
    if not _TIFF.match(_head(beside)):
        raise SceneError(f"{source}: {name} beside it is no TIFF: remove it, or convert it")
    if _leads_elsewhere(beside):
        raise SceneError(f"{source}: the metadata of {name} beside it {_OVERVIEWS}")


def _leads_elsewhere(source: Source) -> bool:
    """Return whether the metadata of a raster name a file; False if it cannot be opened, as GDAL says later."""
    listing = "EMPTY_DIR" if source.is_remote else "FALSE"
    try:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN=listing), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with DatasetReader(source.address, driver=list(DRIVERS)) as dataset:
                return _names_overviews(dataset)
    except (RasterioError, CPLE_BaseError):
        return False


def _names_beside(source: Source, begin: str) -> Iterator[tuple[str, str]]:
    """Yield the names of files in a raster's folder that begin so, in lower case, and as they are."""
    archive, member = source.zip_parts or (source, "")
    place = Path(archive.outermost.name)
    try:
        changed_ns = (place if member else place.parent).stat().st_mtime_ns
        names = (
            _names_in_zip(archive, posixpath.dirname(member), changed_ns)
            if member
            else _names(place.parent, changed_ns)
        )
    except (OSError, zipfile.BadZipFile):
        return  # opening the raster says what is wrong
    for lower, name in names[bisect_left(names, (begin, "")) :]:
        if not lower.startswith(begin):
            break
        yield lower, name


def _beside(source: Source, name: str) -> Source:
    """Return a file beside a raster."""
    archive, member = source.zip_parts or (source, "")
    if member:
        return archive.member(posixpath.join(posixpath.dirname(member), name))
    return Source.local(Path(source.name).parent / name)


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


@lru_cache(maxsize=8)
def _names_in_zip(archive: Source, folder: str, _mtime_ns: int) -> list[tuple[str, str]]:
    """As `_names`, of a folder in a zip."""
    below = [PurePosixPath(name) for name in zip_names(archive)]
    return sorted((path.name.lower(), path.name) for path in below if path.parent == PurePosixPath(folder))


def _check_virtual(source: Source, folders: Sequence[Source], depth: int) -> None:
    """Check a virtual raster, the rasters that it names, and theirs."""
    for part in _parts(source):
        if not within(part, folders):
            raise SceneError(
                f"{source}: it reads {part}, which is not in its folder: put both in one folder, or trust that of the "
                'other: ingest.trust = ["FOLDER"]'
            )
        _check_side_files(part)
        if _is_virtual(part):
            if depth == 0:
                raise SceneError(f"{source}: virtual rasters of virtual rasters are followed {_MAX_DEPTH} deep")
            _check_virtual(part, folders, depth - 1)
        elif not _FORMATS.match(head := _head(part)):
            fault = "is none of JPEG 2000, TIFF, PNG and JPEG" if head else "is missing, empty or not readable: get it"
            raise SceneError(f"{source}: it reads {part}, which {fault}")
        elif _leads_elsewhere(part):
            raise SceneError(f"{source}: it reads {part}, whose metadata {_OVERVIEWS}")


def _parts(source: Source) -> Iterator[Source]:
    """Yield the rasters that a virtual raster names."""
    for element in _root(source).iter():
        if element.tag not in _TAGS:
            raise SceneError(f"{source}: it has <{element.tag[:40]}>: only virtual rasters that copy pixels are opened")
        kind = element.get("subClass")
        if kind not in (None, "VRTSourcedRasterBand"):
            raise SceneError(f"{source}: it is a {kind[:40]}: only virtual rasters that copy pixels are opened")
        if (element.get("domain") or "").upper() == "OVERVIEWS":
            raise SceneError(f"{source}: its metadata {_OVERVIEWS}")
        if element.tag == "SourceFilename":
            name = element.text or ""
            if len(element) or not name or re.match(r"[A-Za-z0-9_]+:|<|\{", name):
                raise SceneError(f"{source}: it reads {name[:80]!r}, which is no file")
            if element.get("relativeToVRT") == "1":
                yield _named(source, posixpath.normpath(posixpath.join(_folder(source).address, name)))
            else:
                yield _named(source, name) if name.startswith("/vsi") else Source.local(Path(name).absolute())


def _named(source: Source, name: str) -> Source:
    """Return what a virtual raster names; raise SceneError if that is no address that can be read."""
    try:
        return Source.parsed(name)
    except InputError as error:
        raise SceneError(f"{source}: it reads what cannot be read: {error}") from error


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
        if ranges is None and source.zip_parts and not source.is_remote:
            return zip_head(*source.zip_parts, most_bytes)
        return b"" if ranges is None or ranges.size == 0 else ranges.read(0, min(most_bytes, ranges.size))
    except (SceneError, OSError, zipfile.BadZipFile):
        return b""
