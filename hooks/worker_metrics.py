"""`/metrics` of `leukocds worker`, which has no other door: one address, one path, nothing else."""

import hmac
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from cds.errors import ConfigurationError, StoreError
from cds.ports import HookStore
from cds.settings import Settings
from hooks.metrics import exposition


class WorkerMetrics:
    """A thread that answers Prometheus. Raises ConfigurationError where it cannot listen."""

    def __init__(self, settings: Settings, store: HookStore) -> None:
        host, port = settings.worker_metrics_address

        class Handler(_Handler):
            pass

        Handler.store, Handler.token = store, settings.metrics_token
        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise ConfigurationError(
                f"LEUKOCDS_WORKER_METRICS: cannot listen on {host}, port {port}: {error.strerror or error}"
            ) from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    store: HookStore
    token: str
    server_version, sys_version = "leukocds", ""
    timeout = 10

    def do_GET(self) -> None:
        if self.path.partition("?")[0].rstrip("/") != "/metrics":
            return self._answer(HTTPStatus.NOT_FOUND)
        given = self.headers.get("Authorization", "").encode()
        if self.token and not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            return self._answer(HTTPStatus.UNAUTHORIZED)
        try:
            return self._answer(HTTPStatus.OK, exposition(self.store))
        except StoreError:
            return self._answer(HTTPStatus.SERVICE_UNAVAILABLE)

    def _answer(self, status: HTTPStatus, body: bytes = b"") -> None:
        self.send_response(status)
        if body:
            self.send_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """No access log."""
