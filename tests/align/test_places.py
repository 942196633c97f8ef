"""Other bands of scenes that are in zips or on a server: the whole way from the match to corrected rasters."""

from __future__ import annotations

import http.server
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

import s2fast
from tests.archives import ORIGINS, PIXEL_M, UTM36, textured, write_scene

pytestmark = pytest.mark.slow

SIDE = 400
TILE = "36UYA"
TABLES = ("csv", "html", "parquet")
MOVED = {"20190427": (0, 0), "20190507": (0, 0), "20190517": (2, -1)}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Products with an image of 10 m and classes of 20 m."""
    folder = tmp_path_factory.mktemp("places") / "archive"
    rng = np.random.default_rng(3)
    ground = textured(rng, (SIDE + 20, SIDE + 20))
    for day, (right, down) in MOVED.items():
        seen = ground[10 - down : 10 - down + SIDE, 10 - right : 10 - right + SIDE] + rng.normal(0, 3, (SIDE, SIDE))
        images = folder / f"S2A_MSIL2A_{day}T083601_N0207_R021_T{TILE}_{day}T100000.SAFE" / "GRANULE/G/IMG_DATA"
        name = images / "R10m" / f"T{TILE}_{day}T083601_TCI_10m.tif"
        write_scene(name, np.stack([np.clip(seen, 1, 255).astype(np.uint8)] * 3), ORIGINS[TILE])
        classes = images / "R20m" / f"T{TILE}_{day}T083601_SCL_20m.tif"
        classes.parent.mkdir()
        with rasterio.open(
            classes, "w", driver="GTiff", width=SIDE // 2, height=SIDE // 2, count=1, dtype="uint8", crs=UTM36,
            transform=from_origin(*ORIGINS[TILE], 2 * PIXEL_M, 2 * PIXEL_M),
        ) as dataset:  # fmt: skip
            # Classes of ground: with others, nothing would be left to match.
            dataset.write(rng.choice(np.array([2, 4, 5], np.uint8), (1, SIDE // 2, SIDE // 2)))
    return folder


@pytest.fixture
def server(archive: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Handler, directory=str(archive))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=partial(running.serve_forever, 0.02))
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


def check(aligned: Path, archive: Path) -> None:
    for day, (right, down) in MOVED.items():
        for band, pixel_m in (("TCI", PIXEL_M), ("SCL", 2 * PIXEL_M)):
            (path,) = archive.rglob(f"*{day}T083601_{band}_*.tif")
            (written,) = aligned.glob(f"*{day}*_{band}.*")
            with rasterio.open(path) as source, rasterio.open(written) as found:
                assert found.res == (pixel_m, pixel_m)
                np.testing.assert_array_equal(found.read(), source.read())
                moved = found.transform.c - source.transform.c, found.transform.f - source.transform.f
                np.testing.assert_allclose(moved, (-10 * right, 10 * down), atol=0.5)


def test_bands_of_products_in_a_zip(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "products.zip", "w") as zipped:
        for path in archive.rglob("*.tif"):
            zipped.write(path, path.relative_to(archive))
    run = s2fast.run(scenes=tmp_path / "products.zip", out=tmp_path / "out")
    table = run.align(tmp_path / "aligned", bands=["TCI", "SCL"])
    assert table["reason"].tolist() == [""] * len(MOVED)
    check(tmp_path / "aligned", archive)
    told: list[tuple[str, int, int]] = []
    run.align(tmp_path / "all", bands=["all"], progress=lambda *state: told.append(state))
    assert told == [("align", done, len(MOVED)) for done in range(len(MOVED) + 1)]
    assert len(list((tmp_path / "all").glob("*.vrt"))) == 2 * len(MOVED)


def test_bands_of_products_on_a_server(archive: Path, server: str, tmp_path: Path) -> None:
    images = [f"{server}/{path.relative_to(archive)}" for path in archive.rglob("*TCI*.tif")]
    run = s2fast.run(scenes=images, out=tmp_path / "out")
    # This server does not serve parts of files: a VRT would have to be downloaded anew at each use.
    table = run.align(tmp_path / "vrt", bands=["TCI", "SCL"])
    assert table["reason"].str.contains("use form cog").all()
    assert not list((tmp_path / "vrt").glob("*.vrt"))
    table = run.align(tmp_path / "cog", bands=["TCI", "SCL"], form="cog")
    assert table["reason"].tolist() == [""] * len(MOVED)
    check(tmp_path / "cog", archive)
    table = run.align(tmp_path / "none", bands=["B11"], form="cog")
    assert table["reason"].str.startswith("no B11 in the product of http").all()
    assert {path.name for path in (tmp_path / "none").iterdir()} == {f"alignment.{kind}" for kind in TABLES}
