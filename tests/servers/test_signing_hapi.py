"""Signatures on a real HAPI FHIR R4 server: valid, versioned, written once, and never undone by the machine."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import requests

from cds.errors import UpstreamConflict
from cds.fhir_client import HttpFhirServer
from cds.language import words
from cds.pipeline import write_back
from cds.review import Signature, Verdict
from cds.signed_report import signed_bundle
from cds.signing import write_signature
from cds.values import Assessment, Differential, ModelIdentity, Pattern, StudyRef
from fhir_profiles.codes import PATTERN
from tests.fakes.findings import told
from tests.fakes.results import AML, POOR, result
from tests.fakes.validation import install_profiles, validate

SIGNED_AT = datetime(2026, 3, 3, 8, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def fhir(hapi_url):
    with HttpFhirServer(hapi_url, connect_timeout_s=5, read_timeout_s=60) as server:
        install_profiles(server)
        yield server


@pytest.fixture
def chart(fhir) -> tuple[StudyRef, str]:
    """A study of a new patient, and a clinician."""
    uid = f"2.25.{uuid.uuid4().int}"
    patient, clinician, smear = (uuid.uuid4().urn for _ in range(3))
    resources = {
        patient: {"resourceType": "Patient", "active": True},
        clinician: {"resourceType": "Practitioner", "name": [{"family": "Hem"}]},
        smear: {
            "resourceType": "ImagingStudy",
            "status": "available",
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
            "subject": {"reference": patient},
        },
    }
    entries = [
        {"fullUrl": url, "resource": r, "request": {"method": "POST", "url": r["resourceType"]}}
        for url, r in resources.items()
    ]
    answer = fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries})
    p, c, s = (e["response"]["location"].partition("/_history/")[0] for e in answer["entry"])
    return StudyRef(study_uid=uid, imaging_study=s, patient=p, started="2026-03-02"), c


def assess(study: StudyRef, outcome=AML) -> Assessment:
    model = ModelIdentity(name="test", version="1", digest=uuid.uuid4().hex * 2)
    return replace(result(outcome, study=study, model=model), instance_uids=(f"{study.study_uid}.1.1",))


def signature(assessment: Assessment, user: str, number: int = 1, **changes) -> Signature:
    values = {
        "verdict": Verdict.AMEND,
        "conclusion": Pattern.AML,
        "remark": "Auer rods in two cells <here>",
        "differential": Differential({"myeloblast": 40, "segmented_neutrophil": 58}, {"smudge_cell": 2}),
        "evidence": ("40 of 98 white cells are blasts.",),
        "retyped": 9,
        "excluded": 2,
    }
    return Signature(
        assessment_key=assessment.key, number=number, signed_at=SIGNED_AT, user=user, name="Dr Hem",
        **{**values, **changes},
    )  # fmt: skip


def observations(fhir, report) -> list[dict]:
    return [fhir.read(r["reference"]) for r in report["result"]]


def test_a_signature_makes_the_report_final_and_the_clinicians(fhir, chart):
    study, clinician = chart
    made = assess(study)
    reference = write_back(made, fhir)
    before = fhir.read(reference)
    assert write_signature(made, signature(made, clinician), reference, fhir)
    report = fhir.read(reference)
    assert report["status"] == "final"
    assert report["resultsInterpreter"][0]["reference"] == clinician
    assert report["conclusionCode"][0]["coding"][0]["system"] == PATTERN
    assert report["conclusionCode"][0]["coding"][0]["code"] == "AML"
    assert "not reviewed by a human" not in report["conclusion"]
    assert "Auer rods in two cells <here>." in report["conclusion"]
    assert {c["code"] for c in report["meta"]["security"]} == {"AIAST", "CLINAST"}
    differential, impression = observations(fhir, report)
    machine_differential, machine_impression = observations(fhir, before)
    for mine in (differential, impression):
        assert mine["status"] == "final"
        assert mine["performer"][0]["reference"] == clinician
    assert {"reference": f"Observation/{machine_differential['id']}"} in differential["derivedFrom"]
    assert {"reference": f"Observation/{machine_impression['id']}"} in impression["derivedFrom"]
    assert [o["meta"]["versionId"] for o in (machine_differential, machine_impression)] == ["1", "1"]
    provenances = fhir.search("Provenance", {"target": reference})
    human = [p for p in provenances if p["agent"][0]["who"]["reference"] == clinician]
    assert len(human) == 1
    assert [a["type"]["coding"][0]["code"] for a in human[0]["agent"]] == ["verifier", "author"]


def test_a_german_signature_makes_a_german_report_that_conforms(fhir, chart):
    study, clinician = chart
    made = assess(study)
    german = words("de")
    reference = write_back(made, fhir, words=german)
    said = told("AML").evidence
    assert write_signature(made, signature(made, clinician, evidence=said), reference, fhir, words=german)
    report = fhir.read(reference)
    assert report["language"] == "de"
    assert report["conclusion"].startswith(
        "Die automatische Auswertung wurde von Dr Hem geprüft und geändert."
    )
    assert "Auer rods in two cells <here>." in report["conclusion"]
    for resource in (report, *observations(fhir, report)):
        assert resource["language"] == "de"
        verdict = validate(fhir.base_url, resource)
        assert (verdict.errors, verdict.about_language) == ([], [])


def test_signing_twice_is_signing_once_and_a_later_signature_amends(fhir, chart):
    study, clinician = chart
    made = assess(study)
    reference = write_back(made, fhir)
    first = signature(made, clinician)
    assert write_signature(made, first, reference, fhir)
    assert not write_signature(made, first, reference, fhir)
    assert fhir.read(reference)["meta"]["versionId"] == "2"
    later = signature(made, clinician, 7, conclusion=Pattern.INDETERMINATE, verdict=Verdict.AMEND)
    assert write_signature(made, later, reference, fhir)
    report = fhir.read(reference)
    assert report["status"] == "amended"
    assert "conclusionCode" not in report
    assert not write_signature(made, first, reference, fhir), "an older one arrives late"
    assert fhir.read(reference)["meta"]["versionId"] == "3"


def test_the_machine_never_changes_a_signed_report(fhir, chart):
    study, clinician = chart
    made = assess(study)
    reference = write_back(made, fhir)
    write_signature(made, signature(made, clinician), reference, fhir)
    signed = fhir.read(reference)
    assert write_back(made, fhir) == reference
    newer = replace(made, model=replace(made.model, digest=uuid.uuid4().hex * 2))
    assert write_back(newer, fhir) != reference
    assert fhir.read(reference) == signed


def test_a_rejected_reading_is_cancelled_and_one_that_was_final_is_withdrawn(fhir, chart):
    study, clinician = chart
    made = assess(study)
    reference = write_back(made, fhir)
    reject = {"verdict": Verdict.REJECT, "conclusion": None}
    write_signature(made, signature(made, clinician, 1, **reject), reference, fhir)
    report = fhir.read(reference)
    assert (report["status"], "conclusionCode" in report) == ("cancelled", False)
    write_signature(made, signature(made, clinician, 2), reference, fhir)
    assert fhir.read(reference)["status"] == "final"
    write_signature(made, signature(made, clinician, 3, **reject), reference, fhir)
    assert fhir.read(reference)["status"] == "entered-in-error"


def test_a_report_that_changed_since_it_was_read_is_not_overwritten(fhir, chart):
    study, clinician = chart
    made = assess(study)
    reference = write_back(made, fhir)
    stale = fhir.read(reference)
    other = {**stale, "conclusion": "changed by the laboratory"}
    requests.put(f"{fhir.base_url}/{reference}", json=other, timeout=30).raise_for_status()
    with pytest.raises(UpstreamConflict):
        fhir.transaction(signed_bundle(made, signature(made, clinician), stale, {}))
    assert fhir.read(reference)["conclusion"] == "changed by the laboratory"
    assert write_signature(made, signature(made, clinician), reference, fhir)
    assert fhir.read(reference)["status"] == "final"


@pytest.mark.parametrize(
    ("outcome", "changes"),
    [
        (AML, {}),
        (AML, {"verdict": Verdict.AGREE, "retyped": 0, "excluded": 0, "remark": ""}),
        (AML, {"verdict": Verdict.REJECT, "conclusion": None}),
        (AML, {"conclusion": Pattern.INDETERMINATE}),
        (POOR, {"verdict": Verdict.AGREE, "conclusion": None, "differential": None, "evidence": ()}),
    ],
    ids=["amended", "agreed", "rejected", "indeterminate", "not-analysed"],
)
def test_every_resource_is_valid(fhir, chart, outcome, changes):
    study, clinician = chart
    made = assess(study, outcome)
    reference = write_back(made, fhir)
    bundle = signed_bundle(made, signature(made, clinician, **changes), fhir.read(reference), {})
    for entry in bundle["entry"]:
        resource = entry["resource"]
        assert resource["meta"]["profile"]
        assert validate(fhir.base_url, resource).errors == []
    assert write_signature(made, signature(made, clinician, **changes), reference, fhir)
