"""The queue: Celery over an in-memory broker or Redis. Messages are nudges; what is to be done stands in the store.

A message lost with its broker or process is sent again by `hooks.recovery`; one that comes twice finds the job
claimed or over. So no message needs a retry, a result or an ETA of its own.
"""

import importlib.util
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import structlog
from celery import Celery, Task
from kombu.exceptions import KombuError
from kombu.transport import TRANSPORT_ALIASES

from cds.errors import ConfigurationError, UpstreamUnavailable
from cds.settings import Settings
from hooks.broker_loss import CurrentLoop, SettledTask
from hooks.logs import CORRELATION, bind
from hooks.signatures import write_signed
from hooks.stroke import WorkerParts, read_study, write_report

READ_STUDY = "leukocds.read_study"
WRITE_REPORT = "leukocds.write_report"
WRITE_SIGNATURE = "leukocds.write_signature"
#: Two queues, served in turn: a report does not wait behind all the studies that came before it.
STUDIES, REPORTS = "leukocds.studies", "leukocds.reports"
_CORRELATION_HEADER = "leukocds-correlation-id"

#: A hook that finds a new study waits no longer than about this for the broker.
SEND_TIMEOUT_S = 0.2
#: After a failure the broker is left alone that long, so that a hook with several studies waits once.
_REST_S = 1.0


class TaskQueue:
    """Sends keys to the workers. Safe for threads; a process that forks makes one after the fork.

    Every method raises UpstreamUnavailable within a fraction of a second when the broker cannot be reached.
    """

    def __init__(self, settings: Settings) -> None:
        self._app = _sender(settings)
        self._embedded = settings.embedded
        self._failed_at = -_REST_S
        self._lock = threading.Lock()

    def submit_study(self, job_key: str) -> None:
        self._send(READ_STUDY, STUDIES, job_key)

    def submit_report(self, assessment_key: str) -> None:
        self._send(WRITE_REPORT, REPORTS, assessment_key)

    def submit_signature(self, assessment_key: str) -> None:
        self._send(WRITE_SIGNATURE, REPORTS, assessment_key)

    def check(self) -> None:
        """Raises unless the broker answers."""
        if not self._embedded:
            self._ask(lambda: self._depth(STUDIES))

    def close(self) -> None:
        self._app.close()

    def _send(self, task: str, queue: str, key: str) -> None:
        # From the hook's log lines to the worker's; a job that the sweeper sends again has lost its hook.
        correlation = structlog.contextvars.get_contextvars().get(CORRELATION)
        self._ask(
            lambda: self._app.send_task(
                task,
                (key,),
                queue=queue,
                retry=False,
                ignore_result=True,
                headers={_CORRELATION_HEADER: correlation} if correlation else None,
            )
        )

    def _depth(self, queue: str) -> None:
        with self._app.connection_for_write() as connection:
            connection.default_channel.queue_declare(queue, passive=False, durable=True)

    def _ask(self, call: Callable[[], Any]) -> None:
        with self._lock:
            if time.monotonic() - self._failed_at < _REST_S:
                raise UpstreamUnavailable("the queue's broker cannot be reached")
        try:
            call()
        except (KombuError, OSError) as error:
            with self._lock:
                self._failed_at = time.monotonic()
            raise UpstreamUnavailable("the queue's broker cannot be reached") from error


def create_celery(settings: Settings, parts: Callable[[], WorkerParts]) -> Celery:
    """The consuming side, with its tasks. parts: called inside the process that does the work."""
    app = _app(settings)
    app.steps["consumer"].add(CurrentLoop)
    if not settings.embedded:
        app.conf.broker_transport_options = {
            # Past it Redis hands out an unacknowledged message again; the store decides whether that matters.
            "visibility_timeout": int(2 * settings.study_deadline_s + 3600),
            "socket_connect_timeout": settings.connect_timeout_s,
            "socket_timeout": 30.0,
            "socket_keepalive": True,
            "health_check_interval": 10,
        }

    @app.task(name=READ_STUDY, base=SettledTask, shared=False, bind=True)  # type: ignore[untyped-decorator]
    def leukocds_read_study(self: Task, job_key: str) -> None:
        with _correlated(self):
            read_study(parts(), job_key)

    @app.task(name=WRITE_REPORT, base=SettledTask, shared=False, bind=True)  # type: ignore[untyped-decorator]
    def leukocds_write_report(self: Task, assessment_key: str) -> None:
        with _correlated(self):
            write_report(parts(), assessment_key)

    @app.task(name=WRITE_SIGNATURE, shared=False, bind=True)  # type: ignore[untyped-decorator]
    def leukocds_write_signature(self: Task, assessment_key: str) -> None:
        with _correlated(self):
            write_signed(parts(), assessment_key)

    return app


def _correlated(task: Task) -> AbstractContextManager[None]:
    """The correlation id that came with the message, on every line logged meanwhile. It is no instruction: whoever can
    write to the broker can write anything there."""
    correlation = (task.request.headers or {}).get(_CORRELATION_HEADER)
    return bind(**{CORRELATION: str(correlation)[:36]} if correlation else {})


def _sender(settings: Settings) -> Celery:
    app = _app(settings)
    if not settings.embedded:
        app.conf.broker_connection_timeout = SEND_TIMEOUT_S
        app.conf.broker_transport_options = {
            "socket_connect_timeout": SEND_TIMEOUT_S,
            "socket_timeout": SEND_TIMEOUT_S,
            "retry_on_timeout": False,
            # Without these kombu would go on connecting for ever.
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0,
            "interval_max": 0,
        }
    return app


def _app(settings: Settings) -> Celery:
    _check_broker(settings.broker_url)
    # With a host, or kombu warns that it chose one.
    broker_url = "memory://localhost/" if settings.embedded else settings.broker_url
    app = Celery("leukocds", broker=broker_url, set_as_current=False, fixups=[])
    app.conf.update(
        task_queues={name: {"exchange": name, "routing_key": name} for name in (STUDIES, REPORTS)},
        task_default_queue=STUDIES,
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_publish_retry=False,
        # The study's own deadline ends it in order; this is for code that hangs and cannot be asked.
        task_time_limit=settings.study_deadline_s + 2 * settings.job_lease_s,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        event_queue_prefix=f"leukocds.{socket.gethostname()}",
        enable_utc=True,
        timezone="UTC",
    )
    if settings.embedded:
        # The in-memory broker is polled; its default is once a second.
        app.conf.broker_transport_options = {"polling_interval": 0.05}
    return app


def _check_broker(url: str) -> None:
    scheme = url.partition("://")[0]
    if "://" not in url or scheme not in TRANSPORT_ALIASES:
        raise ConfigurationError(
            "LEUKOCDS_BROKER_URL is not a broker's address, such as memory:// or redis://127.0.0.1:6379/0"
        )
    if scheme in ("redis", "rediss") and importlib.util.find_spec("redis") is None:
        raise ConfigurationError(
            "LEUKOCDS_BROKER_URL names Redis but its client is missing: pip install 'leukocds[redis]'"
        )
