"""A web server of our own: files with range requests, some of them signed, and the search of a STAC API."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

SECRET = "sv=2024&sig=Zq7Kk1xW%2BvY5tQ2eH%3D"
LEAKS = ("Zq7Kk1xW", "vY5tQ2eH", "tok3nWord")
"""Parts of secrets, none of which may be in any file or message."""

PAGE = 2
"""Items of one page of a search."""


class StacServer(ThreadingHTTPServer):
    """Serves a folder; what lies in its folder "signed" only with the secret."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.items = folder, list[dict[str, Any]]()
        self.asked: list[str] = []
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.missing = 404
        """Answer for what there is not; 403 in buckets that may not be listed."""
        self.valid = True
        """Whether signatures are still valid."""


class _Handler(BaseHTTPRequestHandler):
    server: StacServer

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer with a file, a part of it, or a search."""
        self.server.asked.append(self.path)
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if path.startswith("/api"):
            return self._answer_api(path.removeprefix("/api"), parse_qs(parts.query))
        if "/signed/" in path and (parts.query != SECRET or not self.server.valid):
            return self.send_error(403)
        file = self.server.folder / path.lstrip("/")
        if not file.is_file():
            return self.send_error(self.server.missing)
        data = file.read_bytes()
        part = re.match(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        self.send_response(206 if part else 200)
        if part:
            first, last = int(part[1]), min(int(part[2] or len(data)), len(data) - 1)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            data = data[first : last + 1]
        self.send_header("ETag", f'"{file.stat().st_mtime_ns}"')
        return self._send(data)

    def _answer_api(self, path: str, query: dict[str, list[str]]) -> None:
        here = f"{self.server.address}/api"
        if query.get("token") != ["tok3nWord"]:
            return self.send_error(403)
        if path in ("", "/"):
            search = {"rel": "search", "href": f"{here}/search", "type": "application/geo+json", "method": "GET"}
            classes = ["core", "item-search", "collections", "ogcapi-features"]
            body: dict[str, Any] = {
                "type": "Catalog", "id": "api", "description": "", "stac_version": "1.0.0",
                "links": [search, {"rel": "self", "href": here}, {"rel": "root", "href": here}],
                "conformsTo": [f"https://api.stacspec.org/v1.0.0/{name}" for name in classes],
            }  # fmt: skip
        elif path == "/search":
            start = int(query.get("start", ["0"])[0])
            west, south, east, north = map(float, query["bbox"][0].split(","))
            found = [
                item
                for item in self.server.items
                if item["collection"] in query["collections"][0].split(",")
                and west <= item["bbox"][2] and item["bbox"][0] <= east
                and south <= item["bbox"][3] and item["bbox"][1] <= north
            ]  # fmt: skip
            rest = re.sub(r"&start=\d+", "", urlsplit(self.path).query)
            after = {"rel": "next", "href": f"{here}/search?{rest}&start={start + PAGE}"}
            links = [after] if start + PAGE < len(found) else []
            body = {"type": "FeatureCollection", "features": found[start : start + PAGE], "links": links}
        else:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        return self._send(json.dumps(body).encode())

    def _send(self, data: bytes) -> None:
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(folder: Path) -> Iterator[StacServer]:
    """Run a server of a folder."""
    server = StacServer(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def item(name: str, href: str, key: str = "visual", **properties: Any) -> dict[str, Any]:
    """A STAC item of one asset, as catalogues of Sentinel-2 write it."""
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "sentinel-2-l2a",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        "geometry": {"type": "Polygon", "coordinates": [[[34, 50], [35, 50], [35, 51], [34, 51], [34, 50]]]},
        "bbox": [34, 50, 35, 51], "links": [],
        "properties": {
            "datetime": "2019-08-05T08:36:01.024000Z", "platform": "sentinel-2a", "eo:cloud_cover": 12.5,
            "grid:code": "MGRS-36UXA", "s2:processing_baseline": "02.07", "s2:product_type": "S2MSI1C", **properties,
        },
        "assets": {
            "thumbnail": {"href": "preview.jpg"}, "SCL": {"href": "SCL.tif"}, "B08": {"href": "B08.tif"},
            key: {"href": href, "roles": ["visual"]},
        },
    }  # fmt: skip
