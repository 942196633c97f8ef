"""Zarr stores of strangers: what a small file is decoded to, and descriptions that contradict each other."""

from __future__ import annotations

import bz2
import gzip
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
import zarr.codecs
import zarr.codecs.numcodecs

from s2fast.errors import SceneError
from s2fast.files.source import Source
from s2fast.files.zstandard import decoded_bytes
from s2fast.raster.zarr_store import open_zarr

SIDE = 64
PLACED = {"proj:code": "EPSG:32636", "proj:transform": [10, 0, 600000, 0, -10, 5600040]}
PIXELS = (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 251).astype(np.uint8)
MEGABYTES = 64 << 20


def described(store: Path, *, chunk: bytes = b"", said: dict[str, Any] | None = None, **fields: Any) -> Source:
    """Write an array of version 2 as a stranger would; `said` changes what the list of the whole store says of it."""
    array = {
        "zarr_format": 2, "shape": [SIDE, SIDE], "chunks": [SIDE, SIDE], "dtype": "|u1", "order": "C",
        "fill_value": 0, "compressor": None, "filters": None, **fields,
    }  # fmt: skip
    files = {".zgroup": {"zarr_format": 2}, ".zattrs": PLACED, "tci/.zattrs": {"_ARRAY_DIMENSIONS": ["y", "x"]}}
    (store / "tci").mkdir(parents=True)
    for name, content in {**files, "tci/.zarray": array}.items():
        (store / name).write_text(json.dumps(content))
    if said is not None:
        listed = {"zarr_consolidated_format": 1, "metadata": {**files, "tci/.zarray": {**array, **said}}}
        (store / ".zmetadata").write_text(json.dumps(listed))
    if chunk:
        (store / "tci/0.0").write_bytes(chunk)
    return Source.local(store / "tci")


def described_3(store: Path, codecs: list[dict[str, Any]], chunk: bytes) -> Source:
    """Write an array of version 3."""
    (store / "tci/c/0").mkdir(parents=True)
    group = {"zarr_format": 3, "node_type": "group", "attributes": PLACED}
    array = {
        "zarr_format": 3, "node_type": "array", "shape": [SIDE, SIDE], "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [SIDE, SIDE]}}, "fill_value": 0,
        "chunk_key_encoding": {"name": "default"}, "codecs": codecs, "dimension_names": ["y", "x"],
    }  # fmt: skip
    (store / "zarr.json").write_text(json.dumps(group))
    (store / "tci/zarr.json").write_text(json.dumps(array))
    (store / "tci/c/0/0").write_bytes(chunk)
    return Source.local(store / "tci")


def repeated(size: int) -> bytes:
    """Return a frame of Zstandard that does not say its size: blocks of 128 kB of one byte."""
    blocks = [struct.pack("<I", 128 << 13 | 1 << 1)[:3] + b"\0"] * (size >> 17)
    return b"\x28\xb5\x2f\xfd\x00\x58" + b"".join(blocks) + struct.pack("<I", 1 << 3 | 1 << 1 | 1)[:3] + b"\0"


def frame(size: int) -> bytes:
    """Return a frame that does not say its size: one block of a byte."""
    return b"\x28\xb5\x2f\xfd\x00\x58" + struct.pack("<I", size << 3 | 1 << 1 | 1)[:3] + b"\0"


BOMBS: dict[str, Callable[[], bytes]] = {
    "zlib": lambda: zlib.compress(bytes(MEGABYTES)),
    "gzip": lambda: gzip.compress(bytes(MEGABYTES >> 2)) * 4,
    "bz2": lambda: bz2.compress(bytes(MEGABYTES >> 2)) * 4,
    "lz4": lambda: struct.pack("<I", MEGABYTES) + bytes(100),
    "blosc": lambda: numcodecs.Blosc().encode(bytes(MEGABYTES)),
    "zstd": lambda: repeated(MEGABYTES),
    "zstd of two frames": lambda: frame(SIDE * SIDE) + repeated(MEGABYTES),
    "zstd after nothing": lambda: struct.pack("<II", 0x184D2A53, 3) + b"abc" + repeated(MEGABYTES),
}
"""Makes each when its test runs: every process of the tests imports this module."""


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_chunks_are_decoded_up_to_their_size(tmp_path: Path, name: str) -> None:
    kind, bomb = name.partition(" ")[0], BOMBS[name]()
    in_version_3 = kind if kind in ("gzip", "blosc", "zstd") else f"numcodecs.{kind}"
    sources = [
        described(tmp_path / "a.zarr", compressor={"id": kind}, chunk=bomb),
        described(tmp_path / "b.zarr", filters=[{"id": kind}], chunk=bomb),
        described_3(tmp_path / "c.zarr", [{"name": "bytes"}, {"name": in_version_3}], bomb),
    ]
    for source in sources:
        with pytest.raises(SceneError, match="a chunk is decoded to more than"):
            open_zarr(source).read(1)


def test_a_frame_says_its_size() -> None:
    for size in (0, 1, 255, 256, 65_791, 65_792, 1 << 20):
        assert decoded_bytes(numcodecs.Zstd().encode(bytes(size))) in range(size, size + 256)
    assert MEGABYTES <= decoded_bytes(repeated(MEGABYTES)) <= MEGABYTES + 1
    assert decoded_bytes(frame(9) + repeated(1 << 20) + frame(7)) in range((1 << 20) + 16, (1 << 20) + 18)
    for broken in (
        b"", b"PK\3\4", repeated(1 << 20)[:-2], repeated(1 << 20)[:9], b"\x28\xb5\x2f\xfd\xc0", frame(9) + b"PK\3\4",
        numcodecs.Zstd(checksum=True).encode(b"abc")[:-1],
    ):  # fmt: skip
        with pytest.raises(ValueError, match="truncated|no frame"):
            decoded_bytes(broken)


OLD = (
    None, numcodecs.Zlib(), numcodecs.GZip(), numcodecs.BZ2(), numcodecs.LZ4(), numcodecs.Blosc(), numcodecs.Zstd(),
    numcodecs.Zstd(checksum=True),
)  # fmt: skip


@pytest.mark.parametrize("compressor", OLD, ids=str)
def test_all_compression_is_read(tmp_path: Path, compressor: Any) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2, attributes=PLACED)
    filters = [numcodecs.Delta(dtype="u1"), numcodecs.Zlib()]
    array = group.create_array(
        "tci", shape=PIXELS.shape, chunks=(40, SIDE), dtype="u1", compressors=compressor, filters=filters
    )
    array[:] = PIXELS
    array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x"]
    np.testing.assert_array_equal(open_zarr(Source.local(tmp_path / "a.zarr/tci")).read(1), PIXELS)


NEW = (
    [zarr.codecs.GzipCodec()], [zarr.codecs.ZstdCodec(checksum=True)], [zarr.codecs.BloscCodec()],
    [zarr.codecs.Crc32cCodec(), zarr.codecs.ZstdCodec()],
)  # fmt: skip


@pytest.mark.parametrize("shards", [None, (48, 64)])
@pytest.mark.parametrize("codecs", NEW, ids=lambda codecs: type(codecs[-1]).__name__)
def test_all_compression_of_version_3_is_read(tmp_path: Path, codecs: Any, shards: tuple[int, int] | None) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3, attributes=PLACED)
    array = group.create_array(
        "tci", shape=PIXELS.shape, chunks=(24, 32), shards=shards, dtype="u2", compressors=codecs,
        dimension_names=["y", "x"],
    )  # fmt: skip
    array[:] = PIXELS
    np.testing.assert_array_equal(open_zarr(Source.local(tmp_path / "a.zarr/tci")).read(1), PIXELS)


WIDE = ("<U250000", "|S1000000", "|V1000000", "O", "<f8,<f8", "<M8[s]", 7)


@pytest.mark.parametrize("wide", WIDE, ids=str)
@pytest.mark.parametrize("codec", ["delta", "fixedscaleoffset"])
def test_values_are_decoded_to_numbers_only(tmp_path: Path, codec: str, wide: Any) -> None:
    settings = {"scale": 1, "offset": 0} if codec == "fixedscaleoffset" else {}
    for number, types in enumerate(({"dtype": wide, "astype": "|u1"}, {"dtype": "|u1", "astype": wide})):
        old = described(
            tmp_path / f"{number}.zarr", filters=[{"id": codec, **types, **settings}], chunk=PIXELS.tobytes()
        )
        said = {"name": f"numcodecs.{codec}", "configuration": {**types, **settings}}
        for source in (old, described_3(tmp_path / f"{number}-3.zarr", [said, {"name": "bytes"}], PIXELS.tobytes())):
            with pytest.raises(SceneError, match="its values are decoded to no numbers|no array or group of Zarr"):
                open_zarr(source)


def test_filters_do_not_make_a_chunk_larger_again_and_again(tmp_path: Path) -> None:
    widen = {"id": "fixedscaleoffset", "scale": 1, "offset": 0, "dtype": "<f8", "astype": "|u1"}
    chunk = zlib.compress(bytes(SIDE * SIDE))
    source = described(tmp_path / "a.zarr", filters=[widen] * 8, compressor={"id": "zlib"}, chunk=chunk)
    with pytest.raises(SceneError, match="a chunk is decoded to more than"):
        open_zarr(source).read(1)
    source = described(tmp_path / "b.zarr", filters=[{"id": "delta", "dtype": "|u1"}] * 17)
    with pytest.raises(SceneError, match="it has 17 codecs, at most 16 are decoded"):
        open_zarr(source)


def test_an_array_is_read_as_the_description_that_was_checked(tmp_path: Path) -> None:
    source = described(
        tmp_path / "a.zarr", filters=[{"id": "delta", "dtype": "|u1"}], said={"filters": None}, chunk=PIXELS.tobytes()
    )
    np.testing.assert_array_equal(open_zarr(source).read(1), PIXELS)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"shape": [4096, 4096], "chunks": [1, 1]}, "it has 16777216 chunks"),
        ({"fill_value": 10**400}, "no array or group of Zarr"),
        ({"fill_value": -1}, "cannot be opened"),
        ({"fill_value": "A" * 10_000}, "cannot be opened: .{,320}$"),
    ],
)
def test_what_describes_no_image_is_one_line(tmp_path: Path, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(SceneError, match=told):
        open_zarr(described(tmp_path / "a.zarr", **fields))


def test_shards_of_too_many_chunks_are_refused(tmp_path: Path) -> None:
    inside = {"chunk_shape": [1, 1], "codecs": [{"name": "bytes"}], "index_codecs": [{"name": "bytes"}]}
    source = described_3(tmp_path / "a.zarr", [{"name": "sharding_indexed", "configuration": inside}], b"")
    document = json.loads((tmp_path / "a.zarr/tci/zarr.json").read_text())
    document["chunk_grid"]["configuration"]["chunk_shape"] = [8192, 8192]
    (tmp_path / "a.zarr/tci/zarr.json").write_text(json.dumps(document))
    with pytest.raises(SceneError, match=r"its shards of \(8192, 8192\) hold more than 1048576 chunks"):
        open_zarr(source)
