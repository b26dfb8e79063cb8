"""The record of who saw what. Rows are added and never deleted; those for the FHIR server are sent by a worker."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Row, and_, func, select, update

from cds.access import AuditAction, AuditEntry, AuditOutcome
from cds.store_engine import insert_or_ignore, reading, writing
from cds.store_schema import audit_entries


class AuditRows:
    """The part of `cds.store.SqlAssessmentStore` that is about the audit."""

    _engine: Engine
    _clock: Callable[[], datetime]

    def record(self, entry: AuditEntry) -> None:
        """Store it, once for its id. Raises StoreError: then nothing may be shown."""
        row = {
            "id": entry.id,
            "at": entry.at,
            "user_reference": entry.user,
            "user_name": entry.name,
            "issuer": entry.issuer,
            "action": entry.action.value,
            "what": entry.what,
            "patient": entry.patient,
            "outcome": entry.outcome.value,
            "address": entry.address,
            "refusals": 0,
            "send_at": entry.at,
        }
        with writing(self._engine) as connection:
            connection.execute(insert_or_ignore(self._engine, audit_entries, row))

    def audit(self, *, limit: int = 100) -> list[AuditEntry]:
        """The newest entries, the newest first."""
        query = select(audit_entries).order_by(audit_entries.c.at.desc(), audit_entries.c.id).limit(limit)
        with reading(self._engine) as connection:
            return [_entry(row) for row in connection.execute(query)]

    def unsent_audit(self, limit: int) -> list[AuditEntry]:
        """Entries that the FHIR server has not taken and whose pause is over, the oldest first."""
        due = audit_entries.c.send_at <= self._clock()
        query = select(audit_entries).where(due).order_by(audit_entries.c.send_at, audit_entries.c.at)
        with reading(self._engine) as connection:
            return [_entry(row) for row in connection.execute(query.limit(limit))]

    def take_unsent(self, entry_id: str, pause_s: float) -> bool:
        """True for the one worker that may send that entry now; it is due again after the pause unless it was sent."""
        now = self._clock()
        due = (audit_entries.c.id == entry_id, audit_entries.c.send_at <= now)
        later = now + timedelta(seconds=pause_s)
        with writing(self._engine) as connection:
            taken = connection.execute(update(audit_entries).where(*due).values(send_at=later))
            return taken.rowcount == 1

    def audit_sent(self, entry_id: str) -> None:
        self._change(entry_id, {"send_at": None, "sent_at": self._clock(), "problem": None})

    def audit_refused(self, entry_id: str, problem: str, pause_s: float | None) -> None:
        """The FHIR server would not have it. pause_s: until the next try; None: none, the row is kept as it is."""
        again = None if pause_s is None else self._clock() + timedelta(seconds=pause_s)
        refusals = audit_entries.c.refusals + 1
        self._change(entry_id, {"send_at": again, "refusals": refusals, "problem": problem[:500]})

    def audit_counts(self) -> Mapping[str, int]:
        """Entries that wait for the FHIR server, and those that it refused for good."""
        waits = audit_entries.c.send_at.is_not(None)
        aside = and_(audit_entries.c.send_at.is_(None), audit_entries.c.sent_at.is_(None))
        with reading(self._engine) as connection:
            return {
                name: connection.scalar(select(func.count()).select_from(audit_entries).where(which)) or 0
                for name, which in (("waiting", waits), ("set-aside", aside))
            }

    def _change(self, entry_id: str, values: dict[str, Any]) -> None:
        with writing(self._engine) as connection:
            connection.execute(update(audit_entries).where(audit_entries.c.id == entry_id).values(values))


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        at=row.at,
        user=row.user_reference,
        name=row.user_name,
        issuer=row.issuer,
        action=AuditAction(row.action),
        what=row.what,
        patient=row.patient,
        outcome=AuditOutcome(row.outcome),
        address=row.address,
        refusals=row.refusals,
    )
