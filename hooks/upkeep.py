"""What workers do now and then besides reading: look whether reports were signed, and delete what is old."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from cds.agreement import Fate, WrittenReport
from cds.deadline import Deadline
from cds.errors import LeukoError, StoreError, UpstreamError
from cds.ports import FhirServer, UpkeepStore
from cds.signed_reports import look_at
from cds.values import utc_now
from hooks.recurring import Recurring

_log = structlog.get_logger(__name__)

#: In one round; the rest are due at the next.
REPORTS_AT_ONCE = 20
CARDS_AT_ONCE = 1000
RESOURCES_AT_ONCE = 1000
#: A report that one client's EHR has created may be asked for by another client's for so long.
KEEP_HANDED = timedelta(days=7)
#: An old report is looked at ever more rarely, but not more rarely than that.
LONGEST_PAUSE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Kept:
    """What one round did: reports looked at, of these signed, cards and reports for clients deleted."""

    reports: int = 0
    signed: int = 0
    cards: int = 0
    resources: int = 0


class Upkeep:
    """A thread in each worker; of several, one looks at each report.

    fhir: where reports are written; None: nowhere, nothing is followed. interval_s: pause between two rounds, and the
    first between two looks at one report, which grows with its age. follow_for: age from which a report is no longer
    looked at. keep_cards: age from which a card without feedback is deleted, and a report that no client was handed.
    """

    def __init__(
        self,
        store: UpkeepStore,
        fhir: FhirServer | None,
        *,
        interval_s: float,
        read_timeout_s: float,
        follow_for: timedelta,
        keep_cards: timedelta,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store, self._fhir, self._clock = store, fhir, clock
        self._interval, self._read_timeout_s = timedelta(seconds=interval_s), read_timeout_s
        self._follow_for, self._keep_cards = follow_for, keep_cards
        self._thread = Recurring("upkeep", self._again, interval_s, pause_first=True)
        self._trouble: LeukoError | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        self._thread.stop(timeout_s)

    def round(self) -> Kept:
        """One look. Raises StoreError, and UpstreamError while the FHIR server is out; what was not looked at is left
        for a later round."""
        now = self._clock()
        cards = self._store.purge_cards(now - self._keep_cards, CARDS_AT_ONCE)
        resources = self._store.purge_resources(now - self._keep_cards, now - KEEP_HANDED, RESOURCES_AT_ONCE)
        looked = signed = 0
        if self._fhir is not None:
            for report in self._store.written_reports(REPORTS_AT_ONCE):
                if self._thread.stopped:
                    break
                if self._store.take_written(report, self._interval.total_seconds()):
                    looked += 1
                    signed += self._look(report, self._fhir)
        return Kept(looked, signed, cards, resources)

    def _look(self, report: WrittenReport, fhir: FhirServer) -> bool:
        now = self._clock()
        deadline = Deadline(3 * self._read_timeout_s)
        try:
            looked = look_at(report.reference, report.assessment_key, fhir, deadline)
        except UpstreamError as error:
            if error.retryable:
                raise
            # This one alone; it is due again after its pause.
            _log.warning("report not followed", assessment=report.assessment_key, error=type(error).__name__)
            return False
        age = now - report.read_at
        # A signed one may still be amended or withdrawn; a deleted one does not come back.
        over = looked.fate is Fate.DELETED or age > self._follow_for
        pause = max(self._interval, min(age / 8, LONGEST_PAUSE))
        self._store.looked_at(report.assessment_key, looked, None if over else now + pause)
        return looked.fate is Fate.SIGNED

    def _again(self) -> None:
        try:
            kept = self.round()
            if kept.cards or kept.resources or kept.signed:
                _log.info(
                    "upkeep",
                    signed=kept.signed, cards_deleted=kept.cards, client_reports_deleted=kept.resources,
                )  # fmt: skip
            # A round in which no report was due says nothing of the FHIR server.
            if kept.reports or isinstance(self._trouble, StoreError):
                self._trouble = None
        except LeukoError as error:
            # Once for each outage, not at every round.
            if str(error) != str(self._trouble):
                self._trouble = error
                _log.warning("upkeep not done", error=type(error).__name__, reason=str(error))
        except Exception:  # noqa: BLE001 - the thread must outlive a bug
            _log.exception("upkeep failed: bug")
