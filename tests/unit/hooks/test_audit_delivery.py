"""The audit on its way to the FHIR server: an outage is waited for, a refusal bounded, nothing lost."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from cds.access import AuditAction, AuditEntry, AuditOutcome
from cds.errors import UpstreamRefused, UpstreamUnavailable
from cds.store import SqlAssessmentStore
from hooks.audit_delivery import MAX_REFUSALS, AuditDelivery, Delivered

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


class Server:
    """A FHIR server that answers as told."""

    def __init__(self):
        self.error, self.bundles = None, []

    def transaction(self, bundle, deadline=None):
        if self.error is not None:
            raise self.error
        self.bundles.append(bundle)
        return {"resourceType": "Bundle"}


@pytest.fixture
def clock():
    return [NOW]


@pytest.fixture
def store(tmp_path, clock):
    made = SqlAssessmentStore(f"sqlite:///{tmp_path / 'store.db'}", clock=lambda: clock[0])
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def delivery(store, server):
    return AuditDelivery(store, server, site="https://leuko.example", session_idle_s=60, tick_s=0.01)


def look(store, at=NOW):
    entry = AuditEntry(
        id=str(uuid.uuid4()), at=at, user="Practitioner/1", name="Dr. Test", issuer="https://ehr.example",
        action=AuditAction.VIEW, what="study x", patient="Patient/p-1", outcome=AuditOutcome.ALLOWED,
    )  # fmt: skip
    store.record(entry)
    return entry


def test_an_outage_loses_nothing_and_costs_no_attempt(store, server, delivery, clock):
    entries = [look(store) for _ in range(3)]
    server.error = UpstreamUnavailable("out")
    for _ in range(50):
        with pytest.raises(UpstreamUnavailable):
            delivery.deliver()
        clock[0] += timedelta(minutes=10)
    server.error = None
    assert delivery.deliver() == Delivered(sent=3)
    sent = {bundle["entry"][0]["resource"]["meta"]["tag"][0]["code"] for bundle in server.bundles}
    assert sent == {entry.id for entry in entries}
    assert delivery.deliver() == Delivered()


def test_a_refused_entry_is_tried_in_another_form_and_in_the_end_set_aside(store, server, delivery, clock):
    entry = look(store)
    server.error = UpstreamRefused("no")
    tries = 0
    for _ in range(200):
        tries += delivery.deliver().refused
        clock[0] += timedelta(minutes=10)
    assert tries == MAX_REFUSALS
    assert store.audit_counts() == {"waiting": 0, "set-aside": 1}
    assert [kept.id for kept in store.audit()] == [entry.id]
    # Others are sent meanwhile.
    server.error = None
    look(store, clock[0])
    assert delivery.deliver() == Delivered(sent=1)


def test_the_second_form_names_people_by_number(store, server, delivery):
    look(store)
    server.error = UpstreamRefused("no such Practitioner")
    delivery.deliver()
    server.error = None
    assert delivery.deliver() == Delivered(sent=1)
    event = server.bundles[0]["entry"][0]["resource"]
    assert event["agent"][0]["who"] == {
        "display": "Dr. Test",
        "identifier": {"system": "https://ehr.example", "value": "Practitioner/1"},
    }
    assert "reference" not in event["entity"][0]["what"]


def test_of_two_workers_one_sends(store, server, delivery):
    look(store)
    (entry,) = store.unsent_audit(9)
    assert store.take_unsent(entry.id, 60)
    assert not store.take_unsent(entry.id, 60)
    assert delivery.deliver() == Delivered()


def test_without_a_fhir_server_the_record_stays_in_the_store(store):
    look(store)
    assert AuditDelivery(store, None, site="x", session_idle_s=60, tick_s=1).deliver() == Delivered()
    assert len(store.unsent_audit(9)) == 1


def test_the_thread_outlives_an_outage(store, server, delivery):
    look(store)
    server.error = UpstreamUnavailable("out")
    delivery.start()
    server.error = None
    end = datetime.now(UTC) + timedelta(seconds=10)
    while not server.bundles and datetime.now(UTC) < end:
        store._clock = lambda: datetime.now(UTC) + timedelta(days=1)
    delivery.stop()
    assert len(server.bundles) == 1
