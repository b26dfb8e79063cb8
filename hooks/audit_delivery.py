"""Sends the record of who saw what to the FHIR server, and forgets the sessions that are over.

A thread beside each sweeper; several may work on one store. An outage is waited for without end; what the server
refuses is tried again a bounded number of times and then set aside: nothing is ever deleted here.
"""

from dataclasses import dataclass

import structlog

from cds.audit_event import audit_bundle
from cds.deadline import Deadline
from cds.errors import LeukoError, UpstreamError
from cds.ports import AuditStore, FhirServer
from hooks.recurring import Outage, Recurring

_log = structlog.get_logger(__name__)

#: Times that the FHIR server may refuse an entry before it is set aside.
MAX_REFUSALS = 6
#: Pause after the first refusal; doubles.
REFUSED_PAUSE_S = 60.0
#: Time in which one entry is sent or left for later.
_SEND_S = 60.0
_AT_ONCE = 100
_PURGE_EVERY = 60  # rounds


@dataclass(frozen=True, slots=True)
class Delivered:
    sent: int = 0
    refused: int = 0


class AuditDelivery:
    """fhir: None: entries stay in the store, and sessions are still purged. site: our address, for the events."""

    def __init__(
        self, store: AuditStore, fhir: FhirServer | None, *, site: str, session_idle_s: float, tick_s: float
    ) -> None:
        self._store, self._fhir, self._site = store, fhir, site
        self._idle_s, self._rounds = session_idle_s, 0
        self._thread = Recurring("audit", self._again, tick_s)
        self._outage = Outage(_log, "audit entries wait in the store", over="audit entries are sent again")

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        self._thread.stop(timeout_s)

    def deliver(self) -> Delivered:
        """Send what is due. Raises StoreError, and UpstreamError while the FHIR server is out."""
        if self._fhir is None:
            return Delivered()
        sent = refused = 0
        for entry in self._store.unsent_audit(_AT_ONCE):
            if self._thread.stopped or not self._store.take_unsent(entry.id, 2 * _SEND_S):
                continue
            try:
                # A server that keeps references whole refuses somebody whom it does not hold: then by number.
                bundle = audit_bundle(entry, self._site, literal=entry.refusals == 0)
                self._fhir.transaction(bundle, Deadline(_SEND_S))
            except UpstreamError as error:
                if error.retryable:
                    raise
                refused += 1
                last = entry.refusals + 1 >= MAX_REFUSALS
                # The first time another form is tried, and at once.
                pause = 0.0 if entry.refusals == 0 else REFUSED_PAUSE_S * 2 ** (entry.refusals - 1)
                self._store.audit_refused(entry.id, str(error), None if last else pause)
                if last:
                    _log.error("audit entry set aside: the FHIR server refuses it", entry=entry.id)
            else:
                sent += 1
                self._store.audit_sent(entry.id)
        return Delivered(sent, refused)

    def _again(self) -> None:
        try:
            if self._rounds % _PURGE_EVERY == 0:
                self._store.purge_sessions(self._idle_s)
            self.deliver()
            self._outage.end()
        except LeukoError as error:
            self._outage.tell(error)
        except Exception:  # noqa: BLE001 - the thread must outlive a bug, or nothing would be sent any more
            _log.exception("audit delivery failed: bug")
        self._rounds += 1
