"""`leukocds gateway`: one process with the thread that works and the threads that answer."""

import time
from collections.abc import Mapping
from typing import Any

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication

from cds.errors import UpstreamUnavailable
from cds.settings import PREFIX, Settings
from cds.values import StudyRef
from hooks import logs
from hooks.bootstrap import model_identity, open_store
from hooks.connections import timed_worker
from hooks.gateway.door import check_door
from hooks.gateway.gateway import Gateway, prepare
from hooks.serve import GunicornLogger, check_address
from hooks.tasks import TaskQueue

_log = structlog.get_logger(__name__)

_GRACE_S = 20
_LOOK_S = 0.1


class QueueAsAHook:
    """Puts a study where a hook would: the job into the store, a message into the queue."""

    def __init__(self, settings: Settings) -> None:
        self._store = open_store(settings)
        self._digest = model_identity(settings).digest
        # The embedded queue lives in the process of `leukocds serve`, whose sweeper finds the job in the store.
        self._queue = None if settings.embedded else TaskQueue(settings)

    def __call__(self, study: StudyRef) -> None:
        """Raises StoreError."""
        job, fresh = self._store.enqueue(study, self._digest)
        if fresh and self._queue is not None:
            try:
                self._queue.submit_study(job.key)
            except UpstreamUnavailable:
                _log.warning("job not sent to the queue; the sweeper will", job=job.key)


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT (raises SystemExit at the end).

    Raises ConfigurationError, PackageError, StoreError or DiskTrouble when it cannot start.
    """
    check_door(settings)
    check_address(settings.gateway_host, settings.gateway_port, f"{PREFIX}GATEWAY_")
    logs.configure(settings)
    # What is wrong is told before the fork, to whoever typed the command; the claim outlives a serving process that
    # has to be replaced.
    with prepare(settings):
        _ready_store(settings)
        _Server(settings).run()


def run_once(settings: Settings) -> tuple[Mapping[str, int], int]:
    """Take what is there as soon as it counts as completely written, go on until nothing more can be done without a
    person or a server; return the images by state, and how many accession numbers wait for a server."""
    with prepare(settings):
        _ready_store(settings)
        gateway = Gateway(settings, QueueAsAHook(settings))
        try:
            gateway.take_up()
            while gateway.once() or gateway.busy():
                time.sleep(_LOOK_S)
            return gateway.journal.counts(), len(gateway.journal.held_up())
        finally:
            gateway.stop()


def _ready_store(settings: Settings) -> None:
    model_identity(settings)
    store = open_store(settings)
    store.migrate()
    store.close()


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn without its command line and configuration files: one process, since one works on the folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._gateway: Gateway | None = None
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        host = f"[{settings.gateway_host}]" if ":" in settings.gateway_host else settings.gateway_host
        values: dict[str, Any] = {
            "bind": f"{host}:{settings.gateway_port}",
            "workers": 1,
            "worker_class": timed_worker(settings.receive_timeout_s),
            "threads": 4,
            "graceful_timeout": _GRACE_S,
            "timeout": 60,
            "keepalive": 15,
            "limit_request_field_size": 2 * settings.max_header_bytes,
            "proc_name": "leukocds-gateway",
            "loglevel": settings.log_level.lower(),
            "logger_class": GunicornLogger,
            # Otherwise a caller on this machine, or behind a gateway on it, may say below which path it called.
            "forwarder_headers": "",
            "control_socket_disable": True,
            "post_worker_init": self._after_fork,
            "worker_exit": self._before_exit,
        }
        for name, value in values.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """In the serving process, after the fork. What a crash left is entered before anything new comes."""
        from hooks.gateway.app import create_app

        self._gateway = Gateway(self._settings, QueueAsAHook(self._settings))
        self._gateway.take_up()
        return create_app(self._gateway)

    def _after_fork(self, _process: Any) -> None:
        if self._gateway is not None:
            self._gateway.start()
        settings = self._settings
        _log.info("gateway serves", host=settings.gateway_host, port=settings.gateway_port)

    def _before_exit(self, _arbiter: Any, _process: Any) -> None:
        if self._gateway is not None:
            self._gateway.stop(_GRACE_S / 2)
