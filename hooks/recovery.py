"""Sends again what a crash, a full queue or an outage left behind: jobs without a worker, reports without a server."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from cds.errors import LeukoError
from cds.ports import WorkerStore
from cds.values import utc_now
from hooks.recurring import Outage, Recurring

_log = structlog.get_logger(__name__)

#: Reports sent in one sweep; the rest are due at the next.
_REPORTS_AT_ONCE = 50
#: A job that waits in a long queue is sent again ever more rarely, but not more rarely than that many intervals.
_MOST_INTERVALS = 15


@dataclass(frozen=True, slots=True)
class Swept:
    """How many jobs, reports and signatures one sweep sent again."""

    jobs: int = 0
    reports: int = 0
    signatures: int = 0


class Sweeper:
    """A thread in each worker. Several may sweep one store: each thing left behind is sent by one of them.

    interval_s: a queued job that nobody touched for so long counts as lost. tick_s: pause between two looks.
    submit_study, submit_report, submit_signature: send a key to the queue; check: raises while the broker is out.
    """

    def __init__(
        self,
        store: WorkerStore,
        *,
        submit_study: Callable[[str], None],
        submit_report: Callable[[str], None],
        submit_signature: Callable[[str], None],
        check: Callable[[], None],
        interval_s: float,
        tick_s: float,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store, self._clock = store, clock
        self._submit_study, self._submit_report, self._check = submit_study, submit_report, check
        self._submit_signature = submit_signature
        self._interval = timedelta(seconds=interval_s)
        self._thread = Recurring("sweeper", self._again, tick_s)
        self._outage = Outage(_log, "cannot look for work left behind", over="sweeping again")

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        self._thread.stop(timeout_s)

    def sweep(self) -> Swept:
        """One look. Raises StoreError, and UpstreamUnavailable while the broker is out; what was not sent is left
        for a later sweep."""
        now = self._clock()
        orphans = self._store.orphans(now, now - self._interval)
        reports = self._store.unwritten(_REPORTS_AT_ONCE)
        signatures = self._store.unwritten_signatures(_REPORTS_AT_ONCE)
        if not orphans and not reports and not signatures:
            return Swept()
        self._check()
        sent_jobs = sent_reports = sent_signatures = 0
        for orphan in orphans:
            # Twice its age: a job that merely waits its turn does not fill the queue with copies of its message.
            age = max(self._interval, min(now - orphan.created_at, _MOST_INTERVALS * self._interval))
            if self._store.take_orphan(orphan, now + age):
                self._submit_study(orphan.key)
                sent_jobs += 1
        for key in reports:
            if self._store.take_unwritten(key, 2 * self._interval.total_seconds()):
                self._submit_report(key)
                sent_reports += 1
        for key in signatures:
            if self._store.take_unwritten_signature(key, 2 * self._interval.total_seconds()):
                self._submit_signature(key)
                sent_signatures += 1
        return Swept(sent_jobs, sent_reports, sent_signatures)

    def _again(self) -> None:
        try:
            swept = self.sweep()
            if swept != Swept():
                _log.info(
                    "sent again what was left behind",
                    jobs=swept.jobs,
                    reports=swept.reports,
                    signatures=swept.signatures,
                )
            self._outage.end()
        except LeukoError as error:
            self._outage.tell(error)
        except Exception:  # noqa: BLE001 - the thread must outlive a bug, or nothing would be taken up again
            _log.exception("sweep failed: bug")
