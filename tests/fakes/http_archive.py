"""An archive that answers each path as a test says, over HTTP in a thread."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    body: bytes
    authorization: str | None = None


@dataclass(frozen=True)
class Answer:
    """announced: Content-Length, where it is not that of the body."""

    body: bytes = b""
    status: int = 200
    announced: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


class HttpArchive:
    """url: root. answer: called for each request. asked: so far."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.asked: list[Asked] = []

        class Handler(BaseHTTPRequestHandler):
            def do(handler) -> None:  # noqa: N805
                size = int(handler.headers.get("Content-Length") or 0)
                parts = urlsplit(handler.path)
                query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
                asked = Asked(
                    handler.command,
                    parts.path,
                    query,
                    handler.rfile.read(size),
                    handler.headers.get("Authorization"),
                )
                self.asked.append(asked)
                given = answer(asked)
                handler.send_response(given.status)
                length = len(given.body) if given.announced is None else given.announced
                handler.send_header("Content-Length", str(length))
                for name, value in given.headers.items():
                    handler.send_header(name, value)
                handler.end_headers()
                handler.wfile.write(given.body)
                if given.announced is not None:
                    handler.close_connection = True

            do_GET = do_POST = do  # noqa: N815

            def log_message(handler, *_: Any) -> None:  # noqa: N805
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
