"""The worker as a thread of the serving process: real Celery over its in-memory broker."""

import threading
import time
from collections.abc import Callable

import structlog
from celery import Celery, signals
from celery.worker import WorkController, state

from cds.settings import Settings
from hooks.bootstrap import (
    audit_delivery,
    open_store,
    say_how_reports_are_written,
    study_watch,
    sweeper,
    upkeep,
    worker_parts,
)
from hooks.lease import Flag
from hooks.stroke import WorkerParts
from hooks.tasks import TaskQueue, create_celery

_log = structlog.get_logger(__name__)

_RESTART_PAUSE_S = 1.0


class EmbeddedWorker:
    """`start` and `stop` are called once. The process that has it is the only worker of its store."""

    def __init__(
        self, settings: Settings, make_parts: Callable[[Settings, Flag], WorkerParts] = worker_parts
    ) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._store = open_store(settings)
        self._parts = make_parts(settings, self._stopping)
        self._app = create_celery(settings, self._the_parts)
        self._queue = TaskQueue(settings)
        self._sweeper = sweeper(settings, self._store)
        self._audit = audit_delivery(settings, self._store)
        self._upkeep = upkeep(settings, self._store)
        self._watch = study_watch(settings, self._store)
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Take up at once what the last process left: its queue died with it. Raises StoreError."""
        self._store.take_all_up_again()
        self._thread.start()
        self._sweeper.start()
        self._audit.start()
        self._upkeep.start()
        if self._watch is not None:
            self._watch.start()
        say_how_reports_are_written(self._settings)

    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End in order: a study that is nearly read is finished, another goes back to the queue."""
        self._stopping.set()
        state.should_stop = 0  # Celery's own switch for workers that have no signals
        self._wake()
        self._sweeper.stop()
        self._audit.stop()
        self._upkeep.stop(1.0)  # what it reads may be read again
        if self._watch is not None:
            self._watch.stop(1.0)
        self._thread.join(timeout_s)
        self._store.close()

    def _wake(self) -> None:
        """Celery looks at its switch when a message came or two seconds have passed, and then waits once more."""
        for _ in range(2):
            self._queue.submit_report("for nothing")

    def _the_parts(self) -> WorkerParts:
        return self._parts

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                _work(self._app, self._settings)
            except Exception:  # noqa: BLE001 - whatever it was, the worker is started again
                _log.exception("the embedded worker failed")
            if not self._stopping.is_set():
                _log.error("the embedded worker ended; it is started again")
                time.sleep(_RESTART_PAUSE_S)


def _work(app: Celery, settings: Settings) -> None:
    state.should_stop = (
        None  # a switch of the whole process: another embedded worker may have ended here before
    )
    # The pools of threads look their tasks up in the current app, whatever app they work for.
    app.set_current()
    app.set_default()
    # Without a receiver Celery would set up logging of its own.
    signals.setup_logging.connect(_keep_logging, weak=False)
    controller = WorkController(
        app=app,
        hostname="embedded@leukocds",
        pool="solo" if settings.worker_concurrency == 1 else "threads",
        concurrency=settings.worker_concurrency,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    controller.start()


def _keep_logging(**_: object) -> None:
    """Logging stays as `hooks.logs` set it up."""
