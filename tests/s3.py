"""An S3 server of our own, which injects the failures of real servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Fault = Literal["500", "503", "slow", "cut answer", "cut request", "lost answer", "lie", "403"]
Fate = Callable[[int, str], Fault | None]
"""Says what goes wrong with a request, given its number, and its method and path as one text."""

SLOW_S = 0.3


def nothing(number: int, request: str) -> None:
    """All is well."""


@dataclass
class Proxy:
    """What the server does wrong, and has seen."""

    url: str = ""
    fate: Fate = nothing
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of every request, in order."""
    faults: list[Fault] = field(default_factory=list)
    """What went wrong, in order."""
    ignores: tuple[str, ...] = ()
    """Headers of requests that the server does not know."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy
    moto: Any
    """The WSGI application that answers."""
    lock: threading.Lock

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.lock:
            self.proxy.seen.append((self.command, self.path))
            fault = self.proxy.fate(len(self.proxy.seen), f"{self.command} {self.path}")
            if fault:
                self.proxy.faults.append(fault)
        if fault in ("500", "503", "403"):
            self._answer(int(fault), {}, b"<Error><Code>SlowDown</Code></Error>")
        elif fault == "cut request":
            # Half the body arrived, the rest did not: S3 keeps nothing of it.
            self.close_connection = True
        else:
            if fault == "slow":
                time.sleep(SLOW_S)
            status, headers, content = self._forward(body)
            if fault == "lost answer":
                self.close_connection = True
            elif fault == "cut answer" and content:
                self._answer(status, headers, content, sent=len(content) // 2)
                self.close_connection = True
            elif fault == "lie":
                self._answer(status, headers, content[: len(content) // 2])
            else:
                self._answer(status, headers, content)

    def _forward(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        from werkzeug.test import create_environ, run_wsgi_app

        headers = {name: value for name, value in self.headers.items() if name.title() not in self.proxy.ignores}
        environ = create_environ(self.path, method=self.command, headers=headers, data=body)
        content, status, found = run_wsgi_app(self.moto, environ, buffered=True)
        return int(status.partition(" ")[0]), found, b"".join(content)

    def _answer(self, status: int, headers: Mapping[str, str], content: bytes, sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                self.send_header(name, value)
        # HEAD says how long the body would be.
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:sent])

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815  the standard library asks for these names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def s3_server(bucket: str) -> Iterator[Proxy]:
    """Run moto with one bucket on a free port of this machine."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.test import Client

    moto = DomainDispatcherApplication(create_backend_app)
    proxy = Proxy()
    handler = type("Handler", (_Handler,), {"proxy": proxy, "moto": staticmethod(moto), "lock": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        assert Client(moto).put(f"/{bucket}").status_code == 200
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
