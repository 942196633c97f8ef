"""No server on the internet makes s2fast ask an address inside one's network."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from s2fast.archive.links import is_inside
from s2fast.errors import InputError, SceneError
from s2fast.files import redirects, web
from s2fast.files.redirects import is_private
from s2fast.files.source import Source
from s2fast.raster.reader import open_raster
from s2fast.regions.file import RegionFile


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str, list[str]]]:
    """Yield a server "on the internet", one inside that it redirects to, and what the inner one was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = (self.headers["Host"] or "").partition(":")[0]
            if host == "internet.example":
                self.send_response(302)
                self.send_header("Location", f"http://inside.example:{self.server.server_port}{self.path}")  # type: ignore[attr-defined]
                self.end_headers()
                return
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    resolve = socket.getaddrinfo

    def resolved(host: Any, *rest: Any, **named: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith(".example") else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr(redirects, "is_private", lambda host: host.partition(":")[0] != "internet.example")
    monkeypatch.setattr(web, "_PAUSES_S", ())
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        port = server.server_port
        yield f"http://internet.example:{port}", f"http://inside.example:{port}", asked
        server.shutdown()
    web._supports_ranges.cache_clear()


@pytest.mark.parametrize("place", ["{}/a.tif", "zip://{}/a.zip!/a.tif"])
def test_a_scene_is_not_redirected_inside(servers: tuple[str, str, list[str]], place: str) -> None:
    internet, _, asked = servers
    with (
        pytest.raises(SceneError, match=r"redirects to inside\.example.*ingest\.trust"),
        open_raster(place.format(internet)),
    ):
        pass
    assert asked == []


def test_polygons_are_not_redirected_inside(servers: tuple[str, str, list[str]]) -> None:
    internet, _, asked = servers
    with pytest.raises(InputError, match=r"redirects to inside\.example"):
        RegionFile.at(f"{internet}/a.geojson")
    assert asked == []


def test_a_virtual_raster_is_not_redirected_inside(servers: tuple[str, str, list[str]], tmp_path: Path) -> None:
    internet, _, asked = servers
    path = tmp_path / "a.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>/vsicurl/{internet}/a.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    source = Source.local(path).trusting((Source.of(internet).address,))
    with pytest.raises(SceneError, match="missing, empty or not readable"), open_raster(source):
        pass
    assert asked == []


def test_what_the_user_gave_or_trusts_is_asked(servers: tuple[str, str, list[str]]) -> None:
    internet, inside, asked = servers
    given = Source.of(f"{inside}/given.tif")
    trusting = Source.of(f"{internet}/trusted.tif").trusting((Source.of("http://inside.example/").address,))
    for source in (given, trusting):
        with pytest.raises(SceneError, match="HTTP 404"), open_raster(source):
            pass
    assert {"/given.tif", "/trusted.tif"} <= set(asked)


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("localhost", True),
        ("10.1.2.3", True),
        ("192.168.0.1", True),
        ("100.64.0.1", True),
        ("169.254.169.254", True),
        ("0.0.0.0", True),
        ("[::1]", True),
        ("fe80::1%1", True),
        ("fd00::1", True),
        ("::ffff:127.0.0.1", True),
        ("2130706433", True),  # 127.0.0.1 as C libraries read it
        ("0x7f.1", True),
        ("8.8.8.8", False),
        ("2606:4700::1111", False),
        ("", False),
        ("no such host.invalid", False),
    ],
)
def test_what_is_inside(host: str, inside: bool) -> None:
    assert is_private(host) == inside
    # What items name is judged by the same rule; what has no host is a file on this machine.
    assert is_inside(host) == (inside or not host)
