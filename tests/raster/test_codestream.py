"""Codestreams put together byte by byte, as the standard allows, and damaged ones."""

import struct
from dataclasses import dataclass

import numpy as np
import pytest

from s2fast.raster.codestream import Codestream, read_codestream, single_tile, tile_parts, without_transform


@dataclass
class Held:
    """A file in memory that notes what is read."""

    data: bytes
    requests: int = 0

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        self.requests += 1
        return self.data[offset : offset + length]


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">HH", marker, len(content) + 2) + content


def size(
    rows: int = 30, cols: int = 50, tile: int = 20, components: bytes = bytes((7, 1, 1)) * 3, x0: int = 0
) -> bytes:
    head = struct.pack(">H8IH", 0, cols, rows, x0, 0, tile, tile, 0, 0, len(components) // 3)
    return segment(0xFF51, head + components)


def coding(transform: int = 1) -> bytes:
    return segment(0xFF52, struct.pack(">BBHB5B", 0, 0, 1, transform, 5, 4, 4, 0, 1))


QUANTISATION = segment(0xFF5C, b"\x40\x40")


def part(tile: int, body: bytes, header: bytes = b"", number: int = 0, length: int | None = None) -> bytes:
    content = header + b"\xff\x93" + body
    whole = 12 + len(content)
    return struct.pack(">HHHIBB", 0xFF90, 10, tile, whole if length is None else length, number, 0) + content


PARTS = [part(tile, bytes(50 + tile)) for tile in range(6)]


def codestream(*segments: bytes, parts: list[bytes] = PARTS) -> bytes:
    return b"\xff\x4f" + b"".join(segments or (size(), coding(), QUANTISATION)) + b"".join(parts) + b"\xff\xd9"


def box(kind: bytes, content: bytes, *, long: bool = False, last: bool = False) -> bytes:
    if long:
        return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content
    return struct.pack(">I4s", 0 if last else 8 + len(content), kind) + content


def parsed(data: bytes) -> Codestream:
    found = read_codestream(Held(data))
    assert found is not None
    return found


def spans(parts: list[bytes], start: int) -> list[tuple[int, int]]:
    lengths = [len(each) for each in parts]
    return [(start + sum(lengths[:number]), length) for number, length in enumerate(lengths)]


@pytest.mark.parametrize("kind", ["bare", "box", "long box", "last box", "far away"])
def test_a_codestream_is_found_and_its_tiles_too(kind: str) -> None:
    stream = codestream()
    before = box(b"jP  ", b"\r\n\x87\n") + box(b"xml ", bytes(30_000 if kind == "far away" else 10))
    after = box(b"xml ", b"after the codestream")
    data = {
        "bare": stream,
        "box": before + box(b"jp2c", stream) + after,
        "long box": before + box(b"jp2c", stream, long=True) + after,
        "last box": before + box(b"jp2c", stream, last=True),
        "far away": before + box(b"jp2c", stream) + after,
    }[kind]
    found = parsed(data)
    assert (found.shape, found.tile_shape, found.grid, found.luma_first) == ((30, 50), (20, 20), (2, 3), True)
    assert data[found.start :].startswith(PARTS[0])
    assert found.header == codestream(parts=[])[:-2]
    expected = {tile: [span] for tile, span in enumerate(spans(PARTS, found.start))}
    assert tile_parts(found, Held(data)) == expected


@pytest.mark.parametrize(
    ("segments", "luma"),
    [
        ((size(), coding()), True),
        ((size(), coding(0)), False),
        ((size(), coding(2)), False),
        ((size(components=bytes((7, 1, 1))), coding()), False),
        ((size(components=bytes((7, 1, 1)) * 4), coding()), False),
        ((size(components=bytes((11, 1, 1)) * 3), coding()), False),
        ((size(components=bytes((7 + 128, 1, 1)) * 3), coding()), False),
        ((size(components=bytes((7, 1, 1, 7, 2, 2, 7, 2, 2))), coding()), False),
    ],
)
def test_luma_needs_three_plain_bands_and_a_transform(segments: tuple[bytes, ...], luma: bool) -> None:
    assert parsed(codestream(*segments)).luma_first == luma


def test_what_cannot_be_followed_is_refused() -> None:
    whole = codestream()
    for data in (
        b"",
        b"text",
        box(b"jP  ", b"") + box(b"xml ", b"no codestream"),
        struct.pack(">I4s", 3, b"xml ") + whole,
        box(b"jp2c", b"no marker"),
        codestream(size()),
        codestream(coding()),
        codestream(size(rows=0), coding()),
        codestream(size(tile=0), coding()),
        codestream(size(x0=5), coding()),
        codestream(size(), coding(), segment(0xFF60, b"packed packet headers")),
        codestream(size(), coding(), b"\x12\x34\x00\x02"),
        codestream(size(), coding(), b"\xff\x64\x00\x00"),
        *(whole[:length] for length in range(len(codestream(parts=[])))),
    ):
        assert read_codestream(Held(data)) is None


def test_any_bytes_are_survived() -> None:
    rng = np.random.default_rng(0)
    whole = box(b"jP  ", b"") + box(b"jp2c", codestream(size(), coding(), QUANTISATION, tlm(PARTS)))
    for _ in range(3000):
        data = bytearray(whole)
        for at in rng.integers(0, 160, rng.integers(1, 6)):
            data[at] = rng.choice([0, 1, 255, rng.integers(0, 256)])
        file = Held(bytes(data))
        found = read_codestream(file)
        if found is not None:
            for tile, places in tile_parts(found, file).items():
                single_tile(found, tile, [file.read(*place) for place in places])
        assert file.requests < 100


def tlm(parts: list[bytes], number: int = 0, tile_bytes: int = 1, length_bytes: int = 4) -> bytes:
    kind = tile_bytes << 4 | (0x40 if length_bytes == 4 else 0)
    entries = b"".join(
        (int.from_bytes(each[4:6]).to_bytes(tile_bytes) if tile_bytes else b"") + len(each).to_bytes(length_bytes)
        for each in parts
    )
    return segment(0xFF55, bytes((number, kind)) + entries)


@pytest.mark.parametrize("tile_bytes", [0, 1, 2])
@pytest.mark.parametrize("length_bytes", [2, 4])
@pytest.mark.parametrize("markers", [1, 2])
def test_lengths_in_the_header_save_the_pass_over_the_tiles(tile_bytes: int, length_bytes: int, markers: int) -> None:
    step = len(PARTS) // markers
    listed = [
        tlm(PARTS[step * number : step * (number + 1)], number, tile_bytes, length_bytes) for number in range(markers)
    ]
    # Their order in the file is not that of their numbers.
    data = codestream(size(), coding(), *listed[::-1])
    found, file = parsed(data), Held(data)
    assert tile_parts(found, file) == {tile: [span] for tile, span in enumerate(spans(PARTS, found.start))}
    assert file.requests == 0
    assert b"\xff\x55" not in found.header


def test_lengths_that_do_not_add_up_are_not_believed() -> None:
    data = codestream(size(), coding(), tlm(PARTS[:-1]))
    found, file = parsed(data), Held(data)
    assert tile_parts(found, file) == {tile: [span] for tile, span in enumerate(spans(PARTS, found.start))}
    assert file.requests == len(PARTS)


def test_tile_parts_may_be_interleaved_and_the_last_may_have_no_length() -> None:
    parts = [part(0, b"a" * 9), part(1, b"b" * 7), part(0, b"c" * 5, number=1), part(1, b"d" * 3, number=1, length=0)]
    data = codestream(parts=parts)
    found = parsed(data)
    places = spans(parts, found.start)
    assert tile_parts(found, Held(data)) == {0: [places[0], places[2]], 1: [places[1], places[3]]}
    single = single_tile(found, 1, [parts[1], parts[3]])
    assert single == found.header + parts[1] + parts[3] + b"\xff\xd9"
    assert single_tile(found, 0, [parts[0], parts[1]]) is None
    assert single_tile(found, 0, []) is None
    # A damaged length ends the pass.
    cut = codestream(parts=[parts[0], part(1, b"b", length=4), parts[2]])
    assert tile_parts(parsed(cut), Held(cut)) == {0: [places[0]]}


def test_a_tile_may_cancel_the_transform() -> None:
    lengths = segment(0xFF58, b"\0" * 40)
    assert not without_transform(part(0, b"body"))
    assert not without_transform(part(0, b"body", lengths))
    assert not without_transform(part(0, b"body", coding(1)))
    assert without_transform(part(0, b"body", coding(0)))
    assert without_transform(part(0, b"body", lengths + QUANTISATION + coding(0)))
    assert not without_transform(part(0, coding(0), lengths)), "the body is no header"
    assert not without_transform(part(0, b"body", lengths)[:20]), "cut off"
