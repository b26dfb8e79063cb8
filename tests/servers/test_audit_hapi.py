"""The audit on a real HAPI FHIR R4 server: valid AuditEvents, each once, found by patient and agent."""

import uuid
from datetime import UTC, datetime

import pytest
import requests

from cds.access import AuditAction, AuditEntry, AuditOutcome
from cds.audit_event import AUDIT_SYSTEM, audit_event
from cds.fhir_client import HttpFhirServer
from cds.store import SqlAssessmentStore
from hooks.audit_delivery import AuditDelivery, Delivered

SITE = "https://leuko.example"


def entry(**values) -> AuditEntry:
    filled = {
        "id": str(uuid.uuid4()),
        "at": datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        "user": "Practitioner/1",
        "name": "Dr. Test",
        "issuer": "https://ehr.example/fhir",
        "action": AuditAction.VIEW,
        "what": "study 3f0c",
        "patient": "Patient/p-1",
        "outcome": AuditOutcome.ALLOWED,
        "address": "192.0.2.7",
    }
    return AuditEntry(**{**filled, **values})


@pytest.fixture(scope="module")
def fhir(hapi_url):
    with HttpFhirServer(hapi_url, connect_timeout_s=5, read_timeout_s=60) as server:
        yield server


@pytest.fixture
def people(hapi_url) -> tuple[str, str]:
    """References of a new patient and a new practitioner."""
    made = []
    for kind in ("Patient", "Practitioner"):
        answer = requests.post(f"{hapi_url}/{kind}", json={"resourceType": kind, "active": True}, timeout=30)
        made.append(f"{kind}/{answer.json()['id']}")
    return made[0], made[1]


@pytest.mark.parametrize("literal", [True, False])
@pytest.mark.parametrize("action", list(AuditAction))
def test_every_event_is_valid(hapi_url, action, literal):
    for values in ({}, {"outcome": AuditOutcome.DENIED}, {"user": None, "name": None, "patient": None}):
        event = audit_event(entry(action=action, **values), SITE, literal=literal)
        answer = requests.post(f"{hapi_url}/AuditEvent/$validate", json=event, timeout=60).json()
        wrong = [i for i in answer["issue"] if i["severity"] in ("error", "fatal")]
        assert wrong == []


@pytest.fixture
def store(tmp_path):
    made = SqlAssessmentStore(f"sqlite:///{tmp_path / 'store.db'}")
    made.migrate()
    yield made
    made.close()


def delivery(store, fhir) -> AuditDelivery:
    return AuditDelivery(store, fhir, site=SITE, session_idle_s=60, tick_s=1)


def test_a_look_is_found_by_its_patient_and_sent_once(fhir, store, people):
    patient, practitioner = people
    look = entry(user=practitioner, patient=patient)
    store.record(look)
    assert delivery(store, fhir).deliver() == Delivered(sent=1)
    assert delivery(store, fhir).deliver() == Delivered()
    (found,) = fhir.search("AuditEvent", {"patient": patient})
    assert found["agent"][0]["who"]["reference"] == practitioner
    assert found["meta"]["tag"][0]["code"] == look.id
    # Sent again, as after a crash between the server's answer and our note of it.
    store.record(entry(id=look.id, user=practitioner, patient=patient))
    store.audit_refused(look.id, "as if", 0.0)
    delivery(store, fhir).deliver()
    assert len(fhir.search("AuditEvent", {"_tag": f"{AUDIT_SYSTEM}|{look.id}"})) == 1


def test_somebody_whom_the_server_does_not_hold_is_named_by_number(fhir, store):
    stranger = entry(user="Practitioner/nobody-here", patient=f"Patient/{uuid.uuid4()}")
    store.record(stranger)
    assert delivery(store, fhir).deliver() == Delivered(refused=1)
    assert delivery(store, fhir).deliver() == Delivered(sent=1)
    (found,) = fhir.search("AuditEvent", {"_tag": f"{AUDIT_SYSTEM}|{stranger.id}"})
    assert found["agent"][0]["who"]["identifier"]["value"] == "Practitioner/nobody-here"
    assert store.audit_counts() == {"waiting": 0, "set-aside": 0}
