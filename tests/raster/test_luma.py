"""Luma against the weights of fully decoded bands, whatever the windows, threads and levels."""

import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from rasterio.enums import ColorInterp

from benchmarks.counts import counting
from s2fast.config import Ingest
from s2fast.errors import SceneError
from s2fast.files.ranges import FileRanges
from s2fast.files.source import Source
from s2fast.model import Window
from s2fast.raster import luma, reader
from s2fast.raster.codestream import read_codestream, single_tile, tile_parts
from s2fast.raster.openjpeg import decode_luma
from s2fast.raster.reader import LumaReader, RasterioReader, open_raster, reduce_any, reduce_mean
from s2fast.raster.windows import grid, reduced_shape
from tests.archives import open_ended, textured

SHAPE, TILE_PX = (700, 601), 256
"""Whole tiles and parts of tiles; odd numbers of columns on every level."""

Grey = npt.NDArray[np.uint8]


RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def write(path: Path, pixels: npt.NDArray[np.generic], order: tuple[ColorInterp, ...] = RGB, **options: str) -> Path:
    """Write (bands, rows, cols) as JPEG 2000 with coarser levels, lossy unless told otherwise."""
    defaults = {"QUALITY": "30", "REVERSIBLE": "NO", "RESOLUTIONS": "4"}
    with rasterio.open(
        path, "w", driver="JP2OpenJPEG", width=pixels.shape[2], height=pixels.shape[1], count=len(pixels),
        dtype=pixels.dtype, crs="EPSG:32636", transform=(10, 0, 600000, 0, -10, 5600040), blockxsize=TILE_PX,
        blockysize=TILE_PX, **{**defaults, **options},
    ) as dataset:  # fmt: skip
        if len(pixels) == 3:
            dataset.colorinterp = order
        dataset.write(pixels)
    return path


def colours(shape: tuple[int, int] = SHAPE) -> npt.NDArray[np.uint8]:
    """Draw three different bands, with an area without data and dark specks."""
    rng = np.random.default_rng(11)
    pixels = np.stack([textured(rng, shape) for _ in range(3)])
    pixels[:, 300:420, 100:380] = 0
    pixels[:, 50:90:4, 50:90:4] = np.array([1, 0, 2], np.uint8)[:, None, None]
    return pixels


LOSSLESS = {"QUALITY": "100", "REVERSIBLE": "YES"}


@pytest.fixture(scope="module", params=[LOSSLESS, {"QUALITY": "100"}, {"QUALITY": "25"}], ids=["5/3", "9/7", "lossy"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("luma") / "T36UXA_20160830T083602_TCI.jp2", colours(), **request.param)


def bands(path: Path, factor: int) -> npt.NDArray[np.int64]:
    """Decode all bands of one of the file's levels with rasterio."""
    level = {} if factor == 1 else {"OVERVIEW_LEVEL": factor.bit_length() - 2}
    with rasterio.open(path, **level) as dataset:
        return dataset.read().astype(np.int64)


def reversible(path: Path) -> bool:
    stream = read_codestream(FileRanges(path, 0, path.stat().st_size))
    assert stream is not None
    # The last byte of the marker COD names the wavelet.
    at = stream.header.index(b"\xff\x52")
    return stream.header[at + 13] == 1


def assert_luma(grey: Grey, pixels: npt.NDArray[np.int64], lossless: bool) -> None:
    """Compare luma with the weights; bands that were limited to 0 or 255 do not tell what luma was."""
    inner = ((pixels > 0) & (pixels < 255)).all(axis=0)
    red, green, blue = pixels
    assert inner.mean() > 0.5
    if lossless:
        np.testing.assert_array_equal(grey[inner], ((red + 2 * green + blue) // 4)[inner])
        return
    apart = np.abs(grey - (0.299 * red + 0.587 * green + 0.114 * blue))[inner]
    # Each band was rounded by up to a half, and so was luma; their errors hardly ever agree.
    assert apart.max() <= 1.0
    assert 0.2 < apart.mean() < 0.35


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_luma_is_the_weighted_sum_of_the_bands(path: Path, factor: int) -> None:
    settings = Ingest(reduction=factor, decode="reduced")  # type: ignore[arg-type]  # 1, 2 or 4
    with open_raster(path, settings) as opened:
        assert isinstance(opened, LumaReader)
        assert opened.raster.luma
        assert opened.raster.level == factor
        grey, _ = opened.read(Window(0, 0, SHAPE[0] // factor * factor, SHAPE[1] // factor * factor))
    pixels = bands(path, factor)[:, : grey.shape[0], : grey.shape[1]]
    assert_luma(grey, pixels, reversible(path))


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_no_data_stays_no_data(path: Path, factor: int) -> None:
    """Luma is 0 wherever all bands are, and else only where they are as dark as a band's rounding."""
    settings = Ingest(reduction=factor, decode="reduced")  # type: ignore[arg-type]  # 1, 2 or 4
    with open_raster(path, settings) as opened:
        grey, has_data = opened.read(Window(0, 0, SHAPE[0] // factor * factor, SHAPE[1] // factor * factor))
    red, green, blue = bands(path, factor)[:, : grey.shape[0], : grey.shape[1]]
    black = (red | green | blue) == 0
    assert black.any()
    assert not has_data[black].any()
    assert not grey[black].any()
    # Lossless: less than 1 before rounding down. Else less than a half, after the rounding of each band.
    assert (red + 2 * green + blue)[~has_data].max() < (4 if reversible(path) else 8)
    if factor == 1 and reversible(path):
        # The specks of 1, 0, 2 are data in the bands alone.
        assert np.count_nonzero(~has_data & ~black) == 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reduction", "decode"), [(1, "full"), (2, "full"), (4, "full"), (2, "reduced"), (4, "reduced")]
)
def test_windows_threads_and_order_do_not_matter(
    path: Path, reduction: int, decode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Ingest(reduction=reduction, decode=decode)  # type: ignore[arg-type]  # parametrised
    rows, cols = reduced_shape(SHAPE, reduction)
    whole = {}
    for threads in ("1", "3", "9"):
        monkeypatch.setenv("GDAL_NUM_THREADS", threads)
        with open_raster(path, settings) as opened:
            assert opened.at_once == {"1": 1, "3": 3, "9": luma.MOST_AT_ONCE}[threads]
            whole[threads] = opened.read(Window(0, 0, rows * reduction, cols * reduction))
            # Windows that lie within tiles, across them, and at the image's odd edges.
            for step in (TILE_PX, 100):
                for window in grid((rows, cols), (step, step + 4)):
                    full = Window(*(reduction * side for side in (window.row, window.col, window.height, window.width)))
                    for got, wanted in zip(opened.read(full), whole[threads], strict=True):
                        np.testing.assert_array_equal(got, wanted[window.slices])
    for other in ("3", "9"):
        for got, wanted in zip(whole[other], whole["1"], strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("reduction", [2, 4])
def test_full_decoding_is_reduced_as_bands_are(path: Path, reduction: int) -> None:
    with open_raster(path) as opened:
        grey, has_data = opened.read(Window(0, 0, *SHAPE))
    with open_raster(path, Ingest(reduction=reduction)) as opened:  # type: ignore[arg-type]  # 2 or 4
        small, data = opened.read(Window(0, 0, *SHAPE))
    np.testing.assert_array_equal(small, reduce_mean(grey, reduction))
    np.testing.assert_array_equal(data, ~reduce_any(~has_data, reduction))


@pytest.mark.slow
def test_one_thread_of_the_library_or_four_decode_the_same(path: Path) -> None:
    file = FileRanges(path, 0, path.stat().st_size)
    stream = read_codestream(file)
    assert stream is not None
    parts = tile_parts(stream, file)
    assert sorted(parts) == list(range(9))
    codestream = single_tile(stream, 4, [file.read(*part) for part in parts[4]])
    assert codestream is not None
    one, four = (decode_luma(codestream, 4, 1, threads) for threads in (1, 4))
    assert one is not None
    np.testing.assert_array_equal(one, four)
    assert decode_luma(codestream, 5, 1, 1) is None, "another tile"
    assert decode_luma(codestream, 4, 64, 1) is None, "no such level"
    assert decode_luma(codestream[:-300], 4, 1, 1) is None, "cut off"
    assert single_tile(stream, 5, [file.read(*part) for part in parts[4]]) is None


@pytest.mark.slow
@pytest.mark.parametrize(("options", "of_luma"), [(LOSSLESS, True), ({"QUALITY": "100"}, False)], ids=["5/3", "9/7"])
def test_bands_in_another_order_give_the_same_grey(tmp_path: Path, options: dict[str, str], of_luma: bool) -> None:
    pixels = np.clip(colours(), 3, 252)
    order = (ColorInterp.blue, ColorInterp.green, ColorInterp.red)
    rgb, bgr = (
        write(tmp_path / "rgb.jp2", pixels, **options),
        write(tmp_path / "bgr.jp2", pixels[::-1], order, **options),
    )
    whole = Window(0, 0, *SHAPE)
    with open_raster(Source.of(str(rgb)), Ingest()) as one, open_raster(Source.of(str(bgr)), Ingest()) as other:
        assert isinstance(one, LumaReader)
        assert isinstance(other, LumaReader) == of_luma
        apart = np.abs(one.read(whole)[0].astype(int) - other.read(whole)[0])
    # In a lossy file the exchanged bands are rounded differently.
    assert apart.mean() <= (0 if of_luma else 0.5)


@pytest.mark.slow
def test_only_files_with_luma_are_read_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What GDAL reads otherwise stays GDAL's, and its values stay as they are."""
    pixels = colours((300, 300))

    def kind(path: Path, settings: Ingest | None = None) -> type:
        with open_raster(path, settings) as opened:
            assert opened.raster.luma == isinstance(opened, LumaReader)
            return type(opened)

    plain = write(tmp_path / "plain.jp2", pixels, **LOSSLESS)
    assert kind(plain) is LumaReader
    assert kind(plain, Ingest(grey="opencv")) is RasterioReader
    apart = write(tmp_path / "apart.jp2", pixels, YCC="NO", **LOSSLESS)
    assert kind(apart) is RasterioReader
    with open_raster(apart) as one, open_raster(plain, Ingest(grey="opencv")) as other:
        # Without a transform the weights are applied to the bands.
        np.testing.assert_array_equal(one.read(Window(0, 0, 300, 300))[0], other.read(Window(0, 0, 300, 300))[0])
    assert kind(write(tmp_path / "one.jp2", pixels[:1], **LOSSLESS)) is RasterioReader
    assert kind(write(tmp_path / "four.jp2", np.concatenate([pixels, pixels[:1]]), **LOSSLESS)) is RasterioReader
    marked = tmp_path / "marked.jp2"
    shutil.copy(plain, marked)
    Path(f"{marked}.aux.xml").write_text(
        "<PAMDataset>"
        + "".join(f'<PAMRasterBand band="{n}"><NoDataValue>7</NoDataValue></PAMRasterBand>' for n in (1, 2, 3))
        + "</PAMDataset>"
    )
    assert kind(marked) is RasterioReader
    monkeypatch.setattr(luma, "library", lambda: None)
    assert kind(plain) is RasterioReader


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_stored_member_of_a_zip_is_read_in_place(tmp_path: Path, compression: int) -> None:
    pixels = colours((300, 300))
    plain = write(tmp_path / "plain.jp2", pixels, **LOSSLESS)
    archive = tmp_path / "product.zip"
    with zipfile.ZipFile(archive, "w", compression) as opened_zip:
        opened_zip.writestr("first.txt", "another member")
        opened_zip.write(plain, "in/TCI.jp2")
    member = Source.local(archive).member("in/TCI.jp2")
    window = Window(0, 0, 300, 300)
    with open_raster(member) as zipped, open_raster(plain) as opened:
        assert isinstance(zipped, LumaReader) == (compression == zipfile.ZIP_STORED)
        if isinstance(zipped, LumaReader):
            for got, wanted in zip(zipped.read(window), opened.read(window), strict=True):
                np.testing.assert_array_equal(got, wanted)


@pytest.mark.slow
def test_each_tile_is_decoded_once_and_counted(path: Path) -> None:
    with counting() as done, open_raster(path) as opened:
        opened.read(Window(0, 0, TILE_PX, TILE_PX))
        assert (done["reads"], done["blocks"]) == (1, 1)
        opened.read(Window(TILE_PX, 0, TILE_PX, SHAPE[1]))
    assert (done["reads"], done["blocks"]) == (4, 4)


def test_unwanted_pixels_do_not_change_the_others(path: Path) -> None:
    """Whole tiles are decoded, also for a painted scene."""
    window = Window(0, 0, TILE_PX, TILE_PX)
    wanted = np.zeros((TILE_PX, TILE_PX), bool)
    wanted[5:9, 5:9] = True
    with counting() as done, open_raster(path) as opened:
        whole, part = opened.read(window), opened.read(window, wanted)
    assert done["blocks"] == 2
    for got, all_of_it in zip(part, whole, strict=True):
        np.testing.assert_array_equal(got[wanted], all_of_it[wanted])


@pytest.mark.slow
@pytest.mark.parametrize("adjacent", [True, False])
def test_a_tile_in_parts_is_one_request_if_they_are_adjacent(path: Path, tmp_path: Path, adjacent: bool) -> None:
    """Here each tile has a second part, without packets, right behind its first or behind the first parts of all."""
    file = FileRanges(path, 0, path.stat().st_size)
    stream = read_codestream(file)
    assert stream is not None
    first, second = [], []
    for tile, ((start, length),) in tile_parts(stream, file).items():
        part = bytearray(file.read(start, length))
        part[11] = 2
        first.append(bytes(part))
        second.append(struct.pack(">HHHIBB", 0xFF90, 10, tile, 14, 1, 2) + b"\xff\x93")
    pairs = [part for both in zip(first, second, strict=True) for part in both]
    head = bytearray(path.read_bytes()[: stream.start])
    # The box of the codestream is the last; a length of 0 lets it end with the file.
    head[head.index(b"jp2c") - 4 : head.index(b"jp2c")] = bytes(4)
    split = tmp_path / path.name
    split.write_bytes(bytes(head) + b"".join(pairs if adjacent else first + second) + b"\xff\xd9")
    whole = Window(0, 0, *SHAPE)
    requests: list[tuple[int, int]] = []
    read = FileRanges.read

    def noted(self: FileRanges, offset: int, length: int) -> bytes:
        requests.append((offset, length))
        return read(self, offset, length)

    with open_raster(path) as one, open_raster(split) as opened, pytest.MonkeyPatch.context() as patched:
        patched.setattr(FileRanges, "read", noted)
        assert isinstance(opened, LumaReader)
        got = opened.read(whole)
        # One pass over the headers of 18 parts, then the tiles.
        assert len(requests) == 18 + (9 if adjacent else 18)
        for values, wanted in zip(got, one.read(whole), strict=True):
            np.testing.assert_array_equal(values, wanted)


def test_a_damaged_file_is_reported_by_gdal(path: Path, tmp_path: Path) -> None:
    broken = tmp_path / path.name
    broken.write_bytes(open_ended(path.read_bytes())[:-20_000])
    with open_raster(broken) as opened:
        assert isinstance(opened, LumaReader)
        with pytest.raises(SceneError, match=r"rows 512 to 700 .*truncated or damaged"):
            opened.read(Window(512, 512, 188, 89))


def test_a_tile_that_cancels_the_transform_is_read_from_its_bands(tmp_path: Path) -> None:
    """A tile's own marker COD overrides the file's."""
    pixels = colours((300, 300))
    with_luma = write(tmp_path / "with.jp2", pixels, **LOSSLESS)
    without = write(tmp_path / "without.jp2", pixels, YCC="NO", **LOSSLESS)
    file, other = (FileRanges(p, 0, p.stat().st_size) for p in (with_luma, without))
    stream, plain = read_codestream(file), read_codestream(other)
    assert stream is not None
    assert plain is not None
    at = plain.header.index(b"\xff\x52")
    coding = plain.header[at : at + 2 + struct.unpack(">H", plain.header[at + 2 : at + 4])[0]]
    ((start, length),) = tile_parts(plain, other)[1]
    part = other.read(start, length)
    # The length of the tile-part follows its number; the marker goes right after this header.
    part = part[:6] + struct.pack(">I", length + len(coding)) + part[10:12] + coding + part[12:]
    mixed = tmp_path / "mixed.jp2"
    spans = [span for parts in tile_parts(stream, file).values() for span in parts]
    data = with_luma.read_bytes()
    body = b"".join(part if number == 1 else data[a : a + n] for number, (a, n) in enumerate(spans))
    # The box of the codestream is the last; a length of 0 lets it end with the file.
    head = bytearray(data[: spans[0][0]])
    head[head.index(b"jp2c") - 4 : head.index(b"jp2c")] = bytes(4)
    mixed.write_bytes(bytes(head) + body + b"\xff\xd9")
    with open_raster(mixed) as opened, open_raster(with_luma) as luma_only:
        assert isinstance(opened, LumaReader)
        first, second = Window(0, 0, TILE_PX, TILE_PX), Window(0, TILE_PX, TILE_PX, 44)
        np.testing.assert_array_equal(opened.read(first)[0], luma_only.read(first)[0])
        with open_raster(with_luma, Ingest(grey="opencv")) as full:
            np.testing.assert_array_equal(opened.read(second)[0], full.read(second)[0])


def test_what_only_luma_fails_on_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grey from the bands in its place would be other pixels under the same key."""
    monkeypatch.setattr(luma, "decode_luma", lambda *_: None)
    with open_raster(path) as opened, pytest.raises(SceneError, match="rows 0 to 256 cannot be decoded: get it again"):
        opened.read(Window(0, 0, TILE_PX, TILE_PX))


def test_a_file_that_disappears_is_an_error(path: Path, tmp_path: Path) -> None:
    gone = tmp_path / path.name
    shutil.copy(path, gone)
    with open_raster(gone) as opened:
        gone.unlink()
        with pytest.raises(SceneError, match="cannot be read: No such file"):
            opened.read(Window(0, 0, TILE_PX, TILE_PX))


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", ["paris/T31UDQ_20240105T105339_TCI_10m.jp2", "lebanon/T36SYC_TCI_60m.jp2"])
def test_real_files(shared_data: Path, name: str) -> None:
    path = shared_data / name
    with open_raster(path) as opened:
        assert isinstance(opened, LumaReader)
        grey, has_data = opened.read(Window(0, 0, *opened.raster.shape))
    pixels = bands(path, 1)
    assert reversible(path) == ("60m" in name)
    assert_luma(grey, pixels, reversible(path))
    # Dark pixels that only the bands tell from missing ones: 251 of 3.3 million of the whole tile, none of the crop.
    assert np.count_nonzero(~has_data & pixels.any(axis=0)) <= 1e-4 * grey.size
    assert not has_data[~pixels.any(axis=0)].any()


def test_the_reader_of_bands_is_what_it_was(path: Path) -> None:
    """Without luma, `reader` reads as it did before: its own tests use this setting."""
    with open_raster(path, Ingest(grey="opencv")) as opened:
        assert isinstance(opened, reader.RasterioReader)
        assert not opened.raster.luma
