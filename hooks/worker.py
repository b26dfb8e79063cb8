"""`leukocds worker`: reads queued studies in processes of its own, as many machines as one likes."""

import atexit
import mmap
import os
import shutil
import socket
import tempfile
import threading
from functools import cache
from typing import TYPE_CHECKING

import structlog
from celery import signals

from cds.errors import ConfigurationError
from cds.settings import Settings
from cds.store import SqlAssessmentStore
from hooks import logs
from hooks.bootstrap import (
    audit_delivery,
    model_identity,
    open_store,
    say_how_reports_are_written,
    study_watch,
    sweeper,
    upkeep,
    worker_parts,
)
from hooks.outbound import check_outbound, open_private_keys
from hooks.stroke import WorkerParts
from hooks.tasks import create_celery

if TYPE_CHECKING:
    from hooks.worker_metrics import WorkerMetrics

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT; then finish what is nearly done and queue the rest again.

    Raises ConfigurationError with the embedded broker; SystemExit with the worker's exit status at its end.
    """
    if settings.embedded:
        raise ConfigurationError(
            "LEUKOCDS_BROKER_URL is memory://: `leukocds serve` then reads the studies itself. "
            "A worker of its own needs a broker that both reach, for example redis://127.0.0.1:6379/0"
        )
    check_outbound(settings)
    logs.configure(settings)
    for sentence in open_private_keys(settings):
        _log.warning("a private key is open to others", reason=sentence, remedy="chmod o= FILE")
    model_identity(settings)  # a package that is missing or altered is said now, not at the first study
    store = open_store(settings)
    store.migrate()
    store.close()  # its connections must not be carried over the fork; it opens new ones when asked
    stopping = _SharedFlag()
    metrics = _metrics(settings, store)

    @cache
    def parts_of(_pid: int) -> WorkerParts:
        return worker_parts(settings, stopping)

    app = create_celery(settings, lambda: parts_of(os.getpid()))
    sweeping, keeping = sweeper(settings, store), upkeep(settings, store)
    auditing = audit_delivery(settings, store)
    watching = study_watch(settings, store)

    def on_ready(**_: object) -> None:
        sweeping.start()
        keeping.start()
        auditing.start()
        if watching is not None:
            watching.start()
        say_how_reports_are_written(settings)
        if metrics is not None:
            metrics.start()
        _log.info("worker ready", concurrency=settings.worker_concurrency)

    def on_shutdown(**_: object) -> None:
        stopping.set()
        threading.Thread(target=sweeping.stop, daemon=True).start()
        threading.Thread(target=auditing.stop, daemon=True).start()
        threading.Thread(target=keeping.stop, daemon=True).start()
        if watching is not None:
            threading.Thread(target=watching.stop, daemon=True).start()

    signals.setup_logging.connect(_keep_logging, weak=False)
    signals.worker_ready.connect(on_ready, weak=False)
    signals.worker_shutting_down.connect(on_shutdown, weak=False)
    worker = app.Worker(
        hostname=f"leukocds-{os.getpid()}@{socket.gethostname()}",
        pool="prefork",
        concurrency=settings.worker_concurrency,
        optimization="fair",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    if metrics is not None:
        metrics.stop()
    store.close()
    raise SystemExit(worker.exitcode or 0)


def _metrics(settings: Settings, store: SqlAssessmentStore) -> "WorkerMetrics | None":
    """Counts what fails upstream, in this process and those forked from it. Raises ConfigurationError."""
    if not settings.worker_metrics:
        return None
    # Files that all of them write; prometheus_client looks for the folder when it is imported.
    folder = tempfile.mkdtemp(prefix="leukocds-metrics-")
    atexit.register(_forget, folder, os.getpid())
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    from cds.upstream import tell_failures_to
    from hooks.metrics import count_upstream_error
    from hooks.worker_metrics import WorkerMetrics

    tell_failures_to(count_upstream_error)
    return WorkerMetrics(settings, store)


def _forget(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # those forked from it inherit what is to be done at the end
        shutil.rmtree(folder, ignore_errors=True)


class _SharedFlag:
    """One byte that the pool's processes share with the main one, when it is made before they are.

    Not `multiprocessing.Event`: a process that is killed while it holds that one's lock stops all others.
    """

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def set(self) -> None:
        self._byte[0] = 1

    def is_set(self) -> bool:
        return self._byte[0] == 1


def _keep_logging(**_: object) -> None:
    """Logging stays as `hooks.logs` set it up."""


if __name__ == "__main__":
    run(Settings.from_env())
