"""What is left out of a report for servers that do not take every type of resource."""

import pytest

from cds.fhir_capabilities import Ability, Capabilities
from cds.fhir_optional import not_taken, without

CREATES = Ability(interactions=frozenset({"read", "create"}))


@pytest.mark.parametrize(
    ("resources", "lacking"),
    [
        ({}, ()),
        ({"Patient": CREATES}, ()),
        ({"DiagnosticReport": CREATES, "Media": CREATES}, ("AuditEvent", "DocumentReference", "Provenance")),
        (
            {"DiagnosticReport": CREATES, "Media": Ability(interactions=frozenset({"read"}))},
            ("AuditEvent", "DocumentReference", "Media", "Provenance"),
        ),
        ({"DiagnosticReport": Ability(interactions=frozenset({"read"}))}, ()),
    ],
)
def test_only_who_tells_of_reports_is_believed(resources, lacking):
    assert not_taken(Capabilities(transaction=True, resources=resources)) == lacking


def entry(kind, **resource):
    return {"fullUrl": f"urn:uuid:{kind}", "resource": {"resourceType": kind, **resource}, "request": {}}


def test_what_refers_to_what_is_gone_goes_and_nothing_else():
    media = {"reference": "urn:uuid:Media"}
    report = entry(
        "DiagnosticReport",
        result=[{"reference": "urn:uuid:Observation"}],
        media=[{"comment": "a cell", "link": media}],
        conclusion="",
        extension=[],
    )
    provenance = entry(
        "Provenance",
        target=[{"reference": "urn:uuid:DiagnosticReport"}, media],
        entity=[{"role": "source", "what": media}, {"role": "source", "what": {"reference": "Patient/1"}}],
    )
    kept = without([entry("Media"), report, provenance], {"Media"})
    assert [e["resource"] for e in kept] == [
        {
            "resourceType": "DiagnosticReport",
            "result": [{"reference": "urn:uuid:Observation"}],
            "conclusion": "",
            "extension": [],
        },
        {
            "resourceType": "Provenance",
            "target": [{"reference": "urn:uuid:DiagnosticReport"}],
            "entity": [{"role": "source", "what": {"reference": "Patient/1"}}],
        },
    ]


def test_where_all_is_taken_nothing_is_touched():
    entries = [entry("Media"), entry("DiagnosticReport")]
    assert without(entries, ()) == entries
