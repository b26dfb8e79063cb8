"""A written report, as a FHIR server gives it later; tests/servers asks a real one."""

import pytest

from cds.agreement import Fate, Looked
from cds.errors import UpstreamUnavailable
from cds.fhir_client import HttpFhirServer
from cds.signed_reports import look_at
from fhir_profiles.codes import profile
from tests.fakes.fhir_server import FakeFhirServer

KEY = "00000000-0000-5000-8000-000000000001"
SCT = "http://snomed.info/sct"


def identifier(value):
    return [{"system": "urn:leukocds:assessment", "value": value}]


def concept(system, code):
    return {"coding": [{"system": system, "code": code}]}


def report(**changes):
    made = {
        "resourceType": "DiagnosticReport",
        "id": "1",
        "status": "final",
        "identifier": identifier(KEY),
        "result": [{"display": "x"}, {"reference": "Observation/d"}, {"reference": "Observation/i"}],
    }
    return {**made, **changes}


def impression(**changes):
    value = concept("urn:leukocds:pattern", "AML")
    made = {
        "status": "preliminary",
        "identifier": identifier(f"{KEY}.impression"),
        "valueCodeableConcept": value,
    }
    return {"resourceType": "Observation", "id": "i", **made, **changes}


def look(*resources):
    with FakeFhirServer(*resources) as server, HttpFhirServer(server.url) as fhir:
        return look_at("DiagnosticReport/1", KEY, fhir)


@pytest.mark.parametrize("status", ["preliminary", "partial", "registered", "unknown"])
def test_until_a_human_signs_it_is_open(status):
    assert look(report(status=status), impression()) == Looked(fate=Fate.OPEN, status=status)


@pytest.mark.parametrize("status", ["final", "amended", "corrected", "appended"])
def test_a_signed_one_concludes_what_its_code_says(status):
    signed = report(status=status, conclusionCode=[concept(SCT, "91857003")])
    assert look(signed, impression()) == Looked(fate=Fate.SIGNED, status=status, conclusion="ALL")


def test_without_a_code_the_impression_counts_where_it_was_signed_too():
    corrected = impression(status="corrected", valueCodeableConcept=concept("urn:leukocds:pattern", "CML"))
    assert look(report(), corrected).conclusion == "CML"
    assert (
        look(report(conclusionCode=[concept("urn:x", "y")]), impression(status="final")).conclusion == "AML"
    )


def test_an_impression_that_still_is_ours_is_nobodys_agreement():
    assert look(report(), impression()) == Looked(fate=Fate.SIGNED, status="final")
    assert look(report()).conclusion is None, "the impression is gone"
    assert look(report(result="x")).conclusion is None


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
def test_withdrawn(status):
    signed = report(status=status, conclusionCode=[concept(SCT, "91857003")])
    assert look(signed) == Looked(fate=Fate.WITHDRAWN, status=status)


def test_one_that_our_own_newer_reading_replaced_is_superseded_and_not_withdrawn():
    by = {"url": profile("superseded-by"), "valueReference": {"reference": "DiagnosticReport/2"}}
    cancelled = report(status="cancelled", extension=["x", {"url": "urn:x"}, by])
    assert look(cancelled) == Looked(fate=Fate.SUPERSEDED, status="cancelled")
    assert look({**cancelled, "status": "entered-in-error"}).fate is Fate.WITHDRAWN, "somebody did that"
    assert look({**cancelled, "status": "final"}).fate is Fate.SIGNED
    assert look(report(status="cancelled", extension=[{"url": "urn:x"}])).fate is Fate.WITHDRAWN


def test_one_that_is_gone_or_is_another_by_now_is_deleted():
    assert look() == Looked(fate=Fate.DELETED)
    assert look(report(identifier=identifier("another"))).fate is Fate.DELETED
    assert look(report(identifier=None)).fate is Fate.DELETED


def test_an_outage_is_no_deletion():
    with FakeFhirServer(report()) as server, HttpFhirServer(server.url, connect_timeout_s=1) as fhir:
        server.down()
        with pytest.raises(UpstreamUnavailable):
            look_at("DiagnosticReport/1", KEY, fhir)
