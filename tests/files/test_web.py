"""Scenes on web servers of every kind; secrets of an address are never shown or stored."""

import errno
import gzip
import logging
import re
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely

from s2fast import cli
from s2fast.archive.identity import identity
from s2fast.config import Regions, load_config
from s2fast.errors import InputError, SceneError
from s2fast.files import web
from s2fast.files.source import Source
from s2fast.model import Window
from s2fast.pipeline import run_stages
from s2fast.planning import Job
from s2fast.raster.reader import open_raster
from s2fast.regions.file import RegionFile
from s2fast.regions.rows import load_regions
from tests.archives import Archive, textured, write_scene

SECRET = "sv=2024&sig=Zq7Kk1xW%2BvY5tQ2eH%3D"
LEAKS = ("Zq7Kk1xW", "vY5tQ2eH", "wo:rd", "d286cmQ")


class Handler(BaseHTTPRequestHandler):
    """Serves a folder in one of several ways; asks for the secret, as a query or as user and password."""

    folder: Path
    kind: str

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Refuse."""
        self.send_error(403 if self.kind == "signed for GET" else 405)

    def do_GET(self) -> None:
        """Answer with the file or the part asked for."""
        path, _, query = self.path.partition("?")
        if query != SECRET and self.headers["Authorization"] != "Basic bWU6d286cmQ=":
            self.send_error(403, "Forbidden")
            return
        if path.startswith("/from/"):
            here = f"http://me:wo%3Ard@127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
            to = {
                "redirects": f"{path.removeprefix('/from')}?{SECRET}", "loops": f"{path}?{SECRET}",
                "away": f"file:///etc/passwd?{SECRET}", "redirects with a login": here + path.removeprefix("/from"),
            }[self.kind]  # fmt: skip
            self.send_response(302)
            self.send_header("Location", to)
            self.end_headers()
            return
        beginning = self.headers["Range"] in (None, "bytes=0-0", "bytes=0-16383")
        if self.kind.startswith("expires") and (not beginning or self.server.expired):  # type: ignore[attr-defined]  # set below
            self.server.expired = self.kind == "expires for good"  # type: ignore[attr-defined]  # set below
            self.send_error(403)
            return
        first, self.server.busy = not self.server.busy, True  # type: ignore[attr-defined]  # set below
        if self.kind.startswith("busy") and first:
            self.send_response(503)
            self.send_header("Retry-After", self.kind.partition(" ")[2] or "0")
            self.end_headers()
            return
        file = self.folder / unquote(path).lstrip("/")
        if not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        part = re.match(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        if self.kind in ("whole", "short"):
            part = None
        self.send_response(206 if part else 200)
        if part:
            start, last = int(part[1]), min(int(part[2] or len(data)), len(data) - 1)
            if self.kind == "more than asked for":
                start, last = start // 4096 * 4096, min(last + 999, len(data) - 1)
            self.send_header("Content-Range", f"bytes {start}-{last}/{'*' if self.kind == 'no size' else len(data)}")
            data = data[start : last + 1]
        if self.kind == "gzip":
            data = gzip.compress(data)
            self.send_header("Content-Encoding", "gzip")
        if self.kind != "no length":
            self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        short = self.kind == "short" or (self.kind == "breaks off once" and first)
        with suppress(ConnectionError):  # who wanted the header alone has hung up
            self.wfile.write(data[: len(data) // 2] if short else data)


Serve = Callable[[str, Path], str]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start servers; each call gives the address of one."""
    monkeypatch.setattr(web, "_PAUSES_S", (0.01, 0.01))
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "1")
    running = []

    def start(kind: str, folder: Path) -> str:
        handler = type("", (Handler,), {"kind": kind, "folder": folder})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.expired = False  # type: ignore[attr-defined]
        server.busy = False  # type: ignore[attr-defined]
        threading.Thread(target=partial(server.serve_forever, 0.05), daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()
    web._whole.cache_clear()
    web._supports_ranges.cache_clear()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    write_scene(folder / "a b.tif", textured(np.random.default_rng(5), (256, 300)))
    (folder / "fields.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    (folder / "log in.html").write_text("<html>Who are you?</html>" * 1000)
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.write(folder / "a b.tif", "in/a.tif")
    return folder


KINDS = [
    "parts", "signed for GET", "whole", "gzip", "redirects", "redirects with a login", "busy", "more than asked for",
    "no length", "no size", "breaks off once",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["{}/a b.tif?{}", "zip://{}/a.zip?{}!/in/a.tif"])
def test_any_server_gives_the_scene_on_disk(serve: Serve, served: Path, kind: str, place: str) -> None:
    url = serve(kind, served) + ("/from" if "redirects" in kind else "")
    window = Window(0, 0, 256, 300)
    path = Source.of(place.format(url, SECRET))
    with open_raster(path) as remote, open_raster(served / "a b.tif") as on_disk:
        assert remote.raster == on_disk.raster
        np.testing.assert_array_equal(remote.read(window)[0], on_disk.read(window)[0])
    assert identity(path) == identity(path)
    assert not any(secret in identity(path) for secret in LEAKS)
    user = Source.of(place.format(url.replace("//", "//me:wo:rd@"), "").replace("?", ""))
    with open_raster(user) as remote:
        np.testing.assert_array_equal(remote.read(window)[0], open_and_read(served / "a b.tif", window))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_any_server_gives_polygons(serve: Serve, served: Path, kind: str) -> None:
    url = serve(kind, served) + ("/from" if "redirects" in kind else "")
    data = (served / "fields.geojson").read_bytes()
    assert RegionFile.at(f"{url}/fields.geojson?{SECRET}").data == data
    user = RegionFile.at(f"{url.replace('//', '//me:wo%3Ard@')}/fields.geojson")
    assert (user.data, user.source) == (data, Source.of(f"{url}/fields.geojson"))
    zipped = RegionFile.at(f"zip://{url}/a.zip?{SECRET}!/in/a.tif")
    with zipped.datasets() as files:
        assert [file.read_bytes() for file in files] == [(served / "a b.tif").read_bytes()]


@pytest.mark.parametrize(
    ("kind", "told"), [("away", "HTTP 302 Found; it redirects"), ("loops", "HTTP 302"), ("", "no such file")]
)
def test_errors_about_polygons_contain_no_secrets(serve: Serve, served: Path, kind: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        RegionFile.at(f"{serve(kind, served)}{'/from' if kind else '/gone'}/a.geojson?{SECRET}")
    assert not any(secret in str(caught.value) for secret in LEAKS)


def test_a_truncated_file_of_a_server_is_named_by_its_address(serve: Serve, tmp_path: Path) -> None:
    shapes = [shapely.box(34 + n / 100, 50, 34 + n / 100 + 0.005, 50.01) for n in range(50)]
    for name in ("fields.fgb", "fields.parquet"):
        frame = geopandas.GeoDataFrame(geometry=shapes, crs=4326)
        frame.to_parquet(tmp_path / name) if name.endswith("parquet") else frame.to_file(tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:900])
        url = serve("parts", tmp_path)
        with pytest.raises(InputError, match=f"cannot read polygons from {url}/{name}: ") as caught:
            load_regions(RegionFile.at(f"{url}/{name}?{SECRET}"), Regions())
        assert tempfile.gettempdir() not in str(caught.value)


def test_a_full_disk_is_not_the_servers_fault(serve: Serve, served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(web, "_copy", full)
    with pytest.raises(SceneError, match="cannot be copied to .*: No space left on device; free disk space there"):
        web.downloaded(Source.of(f"{serve('whole', served)}/a b.tif?{SECRET}"))


def test_parts_of_a_file_are_those_asked_for(serve: Serve, served: Path) -> None:
    data = (served / "a b.tif").read_bytes()
    for kind in ("parts", "more than asked for", "breaks off once"):
        ranges = web.WebRanges(Source.of(f"{serve(kind, served)}/a b.tif?{SECRET}"))
        assert ranges.read(5000, 1000) == data[5000:6000]


@pytest.mark.parametrize(
    ("wanted", "pause_s"),
    [
        ("7", 7.0), ("86400", 60.0), ("0", 0.01), ("tomorrow", 0.01), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.01),
        ("Thu, 31 Dec 2099 23:59:59 GMT", 60.0),
    ],
)  # fmt: skip
def test_a_busy_server_is_asked_again_when_it_says(
    serve: Serve, served: Path, wanted: str, pause_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(f"busy {wanted}", served)
    pauses: list[float] = []
    monkeypatch.setattr(web.time, "sleep", pauses.append)
    assert web.content(f"{url}/fields.geojson?{SECRET}", 1 << 20) == (served / "fields.geojson").read_bytes()
    assert pauses == [pause_s]


def open_and_read(path: Path, window: Window) -> np.ndarray:
    with open_raster(path) as reader:
        return reader.read(window)[0]


def test_a_downloaded_copy_is_removed(
    serve: Serve, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    url = serve("whole", served)
    for name in ("a b.tif", "a.zip"):
        place = f"zip://{url}/{name}?{SECRET}!/in/a.tif" if name.endswith("zip") else f"{url}/{name}?{SECRET}"
        with open_raster(Source.of(place)):
            assert [path.suffix for path in tmp_path.glob("*/*")] == [Path(name).suffix]
    web._whole.cache_clear()
    vars(web._own).clear()
    assert list(tmp_path.iterdir()) == []


def test_a_threads_copy_outlives_downloads_of_others(
    serve: Serve, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    url = serve("whole", served)
    own = web.downloaded(Source.of(f"{url}/a b.tif?{SECRET}"))
    with ThreadPoolExecutor(1) as other:
        away = other.submit(web.downloaded, Source.of(f"{url}/a.zip?{SECRET}")).result()
        assert own is not None
        assert away is not None
        assert Path(own.name).exists()
        assert Path(away.name).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "place", "told"),
    [
        ("parts", "{}/gone.tif?{}", "HTTP 404"),
        ("parts", "{}/a b.tif?sig=Zq7Kk1xW", "HTTP 403 Forbidden; its signature may have expired"),
        ("short", "{}/a b.tif?{}", "the response ends after"),
        ("parts", "{}/log in.html?{}", "not recognized as being in a supported file format"),
        ("whole", "{}/log in.html?{}", r"log%20in\.html: .* not recognized"),
        ("loops", "{}/from/a b.tif?{}", "HTTP 302 Found"),
        ("away", "{}/from/a b.tif?{}", "HTTP 302 Found"),
        ("", "http://127.0.0.1:1/a.tif?{1}", "refused"),
        ("", "http://me:wo:rd@nowhere.invalid/a.tif", "nowhere.invalid"),
    ],
)
def test_server_errors_contain_no_secrets(serve: Serve, served: Path, kind: str, place: str, told: str) -> None:
    path = Source.of(place.format(serve(kind, served), SECRET))
    with pytest.raises(SceneError, match=told) as caught, open_raster(path):
        pass
    error: BaseException | None = caught.value
    assert "\n" not in str(error)
    # As a traceback shows it.
    while error is not None:
        assert not any(secret in str(error) for secret in LEAKS)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_what_a_server_stops_giving_is_no_black_scene(serve: Serve, tmp_path: Path) -> None:
    pixels = textured(np.random.default_rng(5), (600, 600))
    for name, options in {"plain.tif": {}, "deflate.tif": {"compress": "deflate"}}.items():
        path = write_scene(tmp_path / name, pixels)
        with rasterio.open(path) as plain:
            rasterio.shutil.copy(plain, tmp_path / f"copy {name}", driver="GTiff", TILED=True, **options)
        url = f"{serve('expires', tmp_path)}/copy {name}?{SECRET}"
        with pytest.raises(SceneError, match="its server failed") as caught, open_raster(Source.of(url)) as reader:
            reader.read(Window(0, 0, 600, 600))
        assert not any(secret in str(caught.value) for secret in LEAKS)


def test_a_signature_that_expires_is_told(serve: Serve, tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", textured(np.random.default_rng(5), (600, 600)))
    url = f"{serve('expires for good', tmp_path)}/{path.name}?{SECRET}"
    with (
        pytest.raises(SceneError, match="its signature may have expired") as caught,
        open_raster(Source.of(url)) as reader,
    ):
        reader.read(Window(0, 0, 600, 600))
    assert not any(secret in str(caught.value) for secret in LEAKS)


def leaks(folder: Path) -> list[str]:
    """Name the files that hold a secret."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    return [path.name for path in files if any(secret.encode() in path.read_bytes() for secret in LEAKS)]


@pytest.mark.slow
def test_secrets_are_neither_printed_nor_stored(
    serve: Serve,
    archive: Archive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    url = serve("parts", archive.scenes)
    names = sorted(path.relative_to(archive.scenes).as_posix() for path in archive.scenes.rglob("*_TCI.jp2"))[:2]
    places = [f"{url}/{names[0]}?{SECRET}", f"{url}/{names[1]}?{SECRET}", f"{url}/gone.tif?{SECRET}"]
    places.append(f"{url.replace('//', '//me:wo:rd@')}/gone_too.tif")
    words = [word for place in places for word in ("--scenes", place)]
    monkeypatch.setattr(
        sys, "argv", ["s2fast", "run", "configs/default.toml", *words, "--out", str(tmp_path / "out"), "-v"]
    )
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 3
    printed = "".join(capfd.readouterr())
    assert "gone.tif" in printed
    assert not any(secret in printed for secret in LEAKS)
    assert leaks(tmp_path / "out") == []
    assert f"--scenes {url}/{names[0]}" in (tmp_path / "out/run.log").read_text()


@pytest.mark.slow
def test_workers_open_what_may_not_be_written_and_another_signature_is_the_same_run(
    serve: Serve, archive: Archive, tmp_path: Path
) -> None:
    paths = sorted(archive.scenes.rglob("*_TCI.jp2"))[:2]
    url = serve("parts", archive.scenes)
    places = [f"{url}/{path.relative_to(archive.scenes)}" for path in paths]
    settings, out = load_config(), tmp_path / "out"
    first = run_stages(
        Job(settings, [f"{place}?{SECRET}" for place in places], None, out), stages=["ingest"], workers=2
    )
    assert first.history.problems == {}
    assert leaks(out) == []
    again = run_stages(
        Job(settings, [place.replace("//", "//me:wo:rd@") for place in places], None, out), stages=["ingest"]
    )
    assert again.history.stages == first.history.stages
    assert [item.scene.source.name for item in again.found.scenes] == [f"/vsicurl/{place}" for place in places]
