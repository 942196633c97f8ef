"""Headers of the pages of Parquet files: what a page is decoded to, and the number of its values.

The description at the end of a file says the same of all pages of a column together, but Arrow goes by the headers: a
page of a few kilobytes may be decoded to 2 GiB, or repeat one value two thousand million times.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq

_DECODED_BYTES, _STORED_BYTES = 2, 3
"""Fields of a page's header."""

_KINDS = (5, 7, 8)
"""Fields of which one is there: what is said of a page of data, of a dictionary, of a page of data of version 2."""

_DICTIONARY = 7

_VALUES = 1
"""Field of `_KINDS`."""

_TRUE, _FALSE, _BYTE, _INTEGERS, _DOUBLE, _TEXT, _LISTS, _MAP, _STRUCT = 1, 2, 3, (4, 5, 6), 7, 8, (9, 10), 11, 12
"""Types of Thrift's compact protocol."""

_LONG = 15
"""Length of a list that follows as a number of its own."""

_MOST_SHIFT = 63


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a column."""

    decoded_bytes: int
    """Size after decompression."""
    values: int
    """Number of its values."""


def pages_of(data: memoryview, column: pq.ColumnChunkMetaData) -> Iterator[Page]:
    """Yield the pages of a part of a column.

    Parameters
    ----------
    data
        The file.
    column
        What its end says of the part.

    Raises
    ------
    ValueError
        A header is damaged, or the column is described as lying outside the file.

    References
    ----------
    Apache Parquet, PageHeader in parquet.thrift; Apache Thrift, compact protocol.
    """
    starts = [column.data_page_offset]
    if column.has_dictionary_page and column.dictionary_page_offset:
        starts.append(column.dictionary_page_offset)
    at = min(starts)
    end = at + column.total_compressed_size
    if not 0 <= at <= end <= len(data):
        raise ValueError("a column lies outside the file")
    part = data[:end]
    seen = 0
    while at < end and seen < column.num_values:
        try:
            decoded, stored, values, is_dictionary, at = _header(part, at)
        except (LookupError, RecursionError) as error:
            raise ValueError("the header of a page is damaged") from error
        if min(decoded, stored, values) < 0:
            raise ValueError("the header of a page is damaged")
        yield Page(decoded, values)
        seen += 0 if is_dictionary else values
        at += stored


def _header(data: memoryview, at: int) -> tuple[int, int, int, bool, int]:
    """Return what a header says: decoded and stored bytes, values, whether of a dictionary; and where it ends.

    Tables of a run have thousands of pages: the usual types are read here.
    """
    decoded = stored = -1
    values = number = 0
    is_dictionary = False
    outer: list[int] = []
    while True:
        head = data[at]
        at += 1
        if not head:
            if not outer:
                return decoded, stored, values, is_dictionary, at
            number = outer.pop()
            continue
        kind, step = head & 15, head >> 4
        if step:
            number += step
        else:
            number, at = _integer(data, at)
        if kind in _INTEGERS:
            found, at = _integer(data, at)
            if not outer:
                if number == _DECODED_BYTES:
                    decoded = found
                elif number == _STORED_BYTES:
                    stored = found
            elif number == _VALUES and len(outer) == 1 and outer[0] in _KINDS:
                values = found
        elif kind == _STRUCT:
            is_dictionary |= not outer and number == _DICTIONARY
            outer.append(number)
            number = 0
        elif kind not in (_TRUE, _FALSE):
            at = _value(data, at, kind)


def _value(data: memoryview, at: int, kind: int) -> int:
    """Return where a value ends."""
    if kind in _INTEGERS:
        return _varint(data, at)[1]
    if kind == _TEXT:
        length, at = _varint(data, at)
        return at + length
    if kind in (_BYTE, _DOUBLE):
        return at + (1 if kind == _BYTE else 8)
    if kind == _STRUCT:
        while head := data[at]:
            at += 1
            at = at if head >> 4 else _varint(data, at)[1]
            at = at if head & 15 in (_TRUE, _FALSE) else _value(data, at, head & 15)
        return at + 1
    of: tuple[int, ...]
    if kind in _LISTS:
        count, of = data[at] >> 4, (data[at] & 15,)
        at += 1
        if count == _LONG:
            count, at = _varint(data, at)
    elif kind == _MAP:
        count, at = _varint(data, at)
        of = (data[at] >> 4, data[at] & 15) if count else ()
        at += 1 if count else 0
    else:
        raise IndexError
    for one in itertools.chain.from_iterable(itertools.repeat(of, count)):
        # A truth value has a byte of its own in a list.
        at = at + 1 if one in (_TRUE, _FALSE) else _value(data, at, one)
        if at > len(data):
            raise IndexError
    return at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return an unsigned integer, seven bits per byte, and where it ends."""
    byte = data[at]
    at += 1
    found, shift = byte & 127, 7
    while byte > 127:
        if shift > _MOST_SHIFT:
            raise IndexError
        byte = data[at]
        found |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
    return found, at


def _integer(data: memoryview, at: int) -> tuple[int, int]:
    """Return a signed integer, whose lowest bit is its sign, and where it ends."""
    found, at = _varint(data, at)
    return found >> 1 ^ -(found & 1), at
