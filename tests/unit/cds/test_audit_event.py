from datetime import UTC, datetime

import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from cds.access import AuditAction, AuditEntry, AuditOutcome
from cds.audit_event import AUDIT_SYSTEM, audit_bundle, audit_event

ENTRY = AuditEntry(
    id="6b1f", at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), user="Practitioner/1", name="Dr. Test",
    issuer="https://ehr.example/fhir", action=AuditAction.VIEW, what="study 3f0c", patient="Patient/p-1",
    outcome=AuditOutcome.ALLOWED, address="192.0.2.7",
)  # fmt: skip


def changed(**values):
    return AuditEntry(**{**{name: getattr(ENTRY, name) for name in ENTRY.__slots__}, **values})


def roles(event):
    return [agent["type"]["coding"][0]["code"] for agent in event["agent"]]


def test_a_look_says_who_what_whose_when_and_whether():
    event = audit_event(ENTRY, "https://leuko.example")
    AuditEvent.model_validate(event)
    assert (event["action"], event["outcome"], event["recorded"]) == (
        "R",
        "0",
        "2026-03-04T05:06:07.000+00:00",
    )
    assert event["agent"][0]["who"] == {"display": "Dr. Test", "reference": "Practitioner/1"}
    assert [entity["what"] for entity in event["entity"]] == [
        {"reference": "Patient/p-1"},
        {"identifier": {"system": AUDIT_SYSTEM, "value": "study 3f0c"}},
    ]
    # BALP, "Patient Read": data flow from the server to the client.
    assert roles(event) == ["IRCP", "110152", "110153"]


def test_a_change_flows_the_other_way():
    assert roles(audit_event(changed(action=AuditAction.CHANGE), "x")) == ["AUT", "110153", "110152"]


def test_a_refusal_says_so():
    event = audit_event(changed(outcome=AuditOutcome.DENIED), "x")
    assert (event["outcome"], event["outcomeDesc"]) == ("4", "refused")


@pytest.mark.parametrize("literal", [True, False])
@pytest.mark.parametrize("action", list(AuditAction))
@pytest.mark.parametrize(
    "values", [{}, {"user": None, "name": None, "issuer": None, "patient": None, "address": None}]
)
def test_every_form_is_an_audit_event(action, values, literal):
    event = audit_event(changed(action=action, **values), "https://leuko.example", literal=literal)
    AuditEvent.model_validate(event)


def test_somebody_of_another_server_is_named_by_identifier():
    event = audit_event(changed(user="https://other.example/fhir/Practitioner/1"), "x")
    assert event["agent"][0]["who"]["identifier"] == {
        "system": "https://ehr.example/fhir",
        "value": "https://other.example/fhir/Practitioner/1",
    }


def test_sent_again_it_is_the_same_one():
    (entry,) = audit_bundle(ENTRY, "x")["entry"]
    assert entry["request"]["ifNoneExist"] == f"_tag={AUDIT_SYSTEM}|6b1f"
    assert entry["resource"]["meta"]["tag"] == [{"system": AUDIT_SYSTEM, "code": "6b1f"}]


def test_a_patient_of_another_server_is_named_by_identifier():
    theirs = "https://theirs.example/fhir/Patient/p-1"
    event = audit_event(changed(patient=theirs), "https://leuko.example")
    AuditEvent.model_validate(event)
    assert event["entity"][0]["what"] == {
        "type": "Patient",
        "identifier": {"system": "urn:leukocds:patient", "value": theirs},
    }
