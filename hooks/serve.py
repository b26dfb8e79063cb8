"""`leukocds serve`: the request stroke behind gunicorn, with the embedded worker where no broker is configured."""

import errno
import gc
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from cds.errors import ConfigurationError
from cds.settings import Settings
from hooks import logs
from hooks.bootstrap import context, model_identity, next_steps, open_store
from hooks.clients import check_door
from hooks.connections import timed_worker
from hooks.context import Context
from hooks.embedded import EmbeddedWorker
from hooks.issuers import check_sign_in
from hooks.outbound import check_outbound, open_private_keys

_log = structlog.get_logger(__name__)

THREADS = 8
#: Objects made, beyond those let go, before the youngest are looked through for garbage.
GC_THRESHOLD = 20_000
_METRICS_FOLDER = "leukocds-metrics-"
#: Requests under way at SIGTERM have that long, and the embedded worker's study.
GRACE_S = 12
WORKER_GRACE_S = 8


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT (raises SystemExit at the end).

    Raises ConfigurationError, PackageError or StoreError when it cannot start.
    """
    check_door(settings)
    check_sign_in(settings)
    check_address(settings.host, settings.port)
    check_outbound(settings)
    if settings.embedded and settings.web_processes > 1:
        raise ConfigurationError(
            "LEUKOCDS_WEB_PROCESSES is above 1 with the embedded broker, which lives in one process only: "
            "set LEUKOCDS_BROKER_URL to a broker that all reach, for example redis://127.0.0.1:6379/0"
        )
    logs.configure(settings)
    for sentence in open_private_keys(settings):
        _log.warning("a private key is open to others", reason=sentence, remedy="chmod o= FILE")
    if not settings.clients:
        _log.warning(
            "OPEN MODE: CDS clients are not authenticated, whoever reaches this address may ask for any patient",
            address=settings.base_url,
            remedy="name the clients in LEUKOCDS_CLIENTS",
        )
    if settings.development_login:
        _log.warning(
            "DEVELOPMENT LOGIN: whoever sits at this machine may be anybody, and see every patient's smears",
            address=settings.base_url,
            remedy="unset LEUKOCDS_DEVELOPMENT_LOGIN; name the EHRs that vouch for people in LEUKOCDS_SIGN_IN",
        )
    model_identity(settings)
    next_steps(settings)
    store = open_store(settings)
    store.migrate()
    store.close()
    if settings.web_processes > 1:
        # Counters begin at zero with each start, as they do in one process; `_forget_metrics` removes the folder.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix=_METRICS_FOLDER)
    _Server(settings).run()


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn without its command line and configuration files."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker: EmbeddedWorker | None = None
        self._context: Context | None = None
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        values: dict[str, Any] = {
            "bind": f"{host}:{settings.port}",
            "workers": settings.web_processes,
            "worker_class": timed_worker(settings.receive_timeout_s),
            "threads": THREADS,
            "graceful_timeout": GRACE_S,
            # A process whose main loop stands still for so long is replaced; requests run in threads of their own.
            "timeout": 60,
            "keepalive": 15,
            # Coarser than our own limit, which says which setting it is.
            "limit_request_field_size": 2 * settings.max_header_bytes,
            "proc_name": "leukocds",
            "loglevel": settings.log_level.lower(),
            "logger_class": GunicornLogger,
            # Otherwise a caller on this machine, or behind a gateway on it, may say below which path it called.
            "forwarder_headers": "",
            "control_socket_disable": True,
            "post_worker_init": self._after_fork,
            "worker_exit": self._before_exit,
            "on_exit": _forget_metrics,
        }
        for name, value in values.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """In the serving process, after the fork."""
        # Not before the folder of the metrics is named: prometheus_client looks for it when it is imported.
        from hooks.app import create_app

        if self._settings.embedded:
            self._worker = EmbeddedWorker(self._settings)
        self._context = context(self._settings, self._worker.alive if self._worker else None)
        app = create_app(self._context)
        # What is there by now stays, so nobody has to look through it for garbage. A hook makes hundreds of objects and
        # next to no cycles.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        return app

    def _after_fork(self, _process: Any) -> None:
        if self._worker is not None:
            self._worker.start()
        _log.info("serving", address=self._settings.base_url, embedded_worker=self._worker is not None)

    def _before_exit(self, _arbiter: Any, _process: Any) -> None:
        if self._worker is not None:
            self._worker.stop(WORKER_GRACE_S)
        if self._context is not None and (lost := self._context.late_cards.write(self._context.store)):
            _log.error("cards sent but not remembered: feedback on them will be unknown", count=lost)


def _forget_metrics(_arbiter: Any) -> None:
    """In the main process, at its end."""
    folder = Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""))
    if folder.name.startswith(_METRICS_FOLDER):
        shutil.rmtree(folder, ignore_errors=True)


class GunicornLogger(Logger):  # type: ignore[misc]
    """gunicorn's lines go where all others go; no access log, which would hold addresses with their queries."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers = []
        self.error_log.propagate = True


def check_address(host: str, port: int, prefix: str = "LEUKOCDS_") -> None:
    """Raises ConfigurationError, naming the settings `prefix`HOST and `prefix`PORT, where nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            why = {
                errno.EADDRINUSE: f"the port is taken; stop what listens there or set {prefix}PORT",
                errno.EACCES: f"no permission for that port; set {prefix}PORT to one above 1023",
                errno.EADDRNOTAVAIL: f"that is no address of this machine; set {prefix}HOST",
            }.get(error.errno or 0, str(error.strerror or error))
            raise ConfigurationError(f"cannot listen on {host}, port {port}: {why}") from None


if __name__ == "__main__":
    run(Settings.from_env())
