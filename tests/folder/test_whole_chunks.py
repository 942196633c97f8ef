"""Arrays written in whole chunks against zarr's own files and reading."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from s2fast.folder.whole_chunks import ChunkWriter, read_array, write_array

DTYPES = ("uint8", "bool", "int16", "int32", "uint64", "float32")


def written(folder: Path) -> Callable[[str, bytes], None]:
    """Write into a folder."""

    def write(name: str, data: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return write


def stored(folder: Path) -> Callable[[str], bytes | None]:
    """Read from a folder."""
    return lambda name: (folder / name).read_bytes() if (folder / name).exists() else None


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def of_zarr(folder: Path, chunks: tuple[int, ...], dtype: Any, fill: Any, values: np.ndarray) -> dict[str, bytes]:
    array = zarr.create_array(
        folder,
        shape=values.shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=fill,
        compressors=(ZstdCodec(level=1), Crc32cCodec()),
    )
    array[...] = values
    return files(folder)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (1,), (257,), (0, 2), (1, 8), (300, 8), (65, 25), (0, 64, 64), (3, 64, 63)])
def test_one_chunk_is_what_zarr_writes(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).integers(-99, 99, shape).astype(dtype)
    write_array(written(tmp_path / "ours"), values)
    ours = files(tmp_path / "ours")
    assert ours == of_zarr(tmp_path / "zarr", (max(1, shape[0]), *shape[1:]), dtype, 0, values)
    assert len(ours) == (2 if values.size else 1)
    for found in (read_array(stored(tmp_path / "ours")), zarr.open_array(tmp_path / "ours", mode="r")[...]):
        np.testing.assert_array_equal(found, values, strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_but_the_fill_value_is_not_written(tmp_path: Path, dtype: str) -> None:
    values = np.zeros((63, 2), dtype)
    write_array(written(tmp_path / "ours"), values)
    assert list(files(tmp_path / "ours")) == ["zarr.json"]
    assert files(tmp_path / "ours") == of_zarr(tmp_path / "zarr", (63, 2), dtype, 0, values)
    np.testing.assert_array_equal(read_array(stored(tmp_path / "ours")), values, strict=True)


def test_minus_zero_and_nan_are_kept(tmp_path: Path) -> None:
    for number, value in enumerate((-0.0, np.nan)):
        values = np.full((5, 2), value, np.float32)
        write_array(written(tmp_path / f"{number}"), values)
        assert files(tmp_path / f"{number}") == of_zarr(tmp_path / f"zarr{number}", (5, 2), "float32", 0, values)
        assert read_array(stored(tmp_path / f"{number}")).tobytes() == values.tobytes()


def test_arrays_in_any_memory_order(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 99, (65, 2)).astype(np.float32)
    for number, same in enumerate((np.asfortranarray(values), np.repeat(values, 2, axis=0)[::2])):
        write_array(written(tmp_path / f"{number}"), same)
        np.testing.assert_array_equal(read_array(stored(tmp_path / f"{number}")), values, strict=True)


@pytest.mark.parametrize(("dtype", "fill"), [("uint8", 0), ("bool", True), ("bool", False)])
@pytest.mark.parametrize("chunks", [(64, 64), (65, 257), (100, 30)])
def test_windows_are_what_zarr_writes(tmp_path: Path, dtype: str, fill: Any, chunks: tuple[int, int]) -> None:
    """Edges are padded; chunks without content, and those of no window, are not written."""
    rng = np.random.default_rng(3)
    values = np.full((65, 257), fill, dtype)
    values[:, 64:200] = rng.integers(0, 2, (65, 136)).astype(dtype)
    ours = ChunkWriter(written(tmp_path / "ours"), values.shape, chunks, dtype, fill)
    for row in range(0, 65, chunks[0]):
        # A window may be several chunks.
        for columns in (slice(0, 2 * chunks[1]), slice(2 * chunks[1], 257)):
            part = values[row : row + chunks[0], columns]
            ours[row : row + part.shape[0], columns] = part
    assert files(tmp_path / "ours") == of_zarr(tmp_path / "zarr", chunks, dtype, fill, values)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "ours", mode="r")[...], values, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "fill"), [("uint8", 0), ("bool", True)])
@pytest.mark.parametrize("chunks", [(64, 64), (65, 257), (7, 257), (1, 300)])
def test_windows_are_what_zarr_reads(tmp_path: Path, dtype: str, fill: Any, chunks: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    values = rng.integers(0, 2, (65, 257)).astype(dtype)
    values[:, 64:200] = fill
    of_zarr(tmp_path, chunks, dtype, fill, values)
    np.testing.assert_array_equal(read_array(stored(tmp_path)), values, strict=True)
    for _ in range(20):
        rows, cols = (slice(*sorted(rng.integers(0, size + 2, 2).tolist())) for size in values.shape)
        found = read_array(stored(tmp_path), (rows, cols))
        np.testing.assert_array_equal(found, values[rows, cols], strict=True)
    np.testing.assert_array_equal(read_array(stored(tmp_path), (slice(None), slice(-9, -1))), values[:, -9:-1])
