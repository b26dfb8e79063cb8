"""From a report that we wrote to a real HAPI, over what a pathologist makes of it there, to the count of agreement."""

import uuid
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
import requests

from cds.fhir_client import HttpFhirServer
from cds.pipeline import write_back
from cds.report import client_resources
from cds.store import SqlAssessmentStore
from cds.values import ModelIdentity, ReportState, StudyRef, utc_now
from hooks.upkeep import Kept, Upkeep
from tests.fakes.results import AML, POOR, result

SCT = "http://snomed.info/sct"
PATTERN = "urn:leukocds:pattern"


@pytest.fixture
def fhir(hapi_url):
    with HttpFhirServer(hapi_url, connect_timeout_s=5, read_timeout_s=60) as server:
        yield server


class Site:
    """A store, its upkeep, and a pathologist at the FHIR server."""

    def __init__(self, folder, fhir):
        self.now = utc_now()
        self.fhir = fhir
        self.store = SqlAssessmentStore(f"sqlite:///{folder}/store.db", clock=lambda: self.now)
        self.store.migrate()
        self.upkeep = Upkeep(
            self.store, fhir, interval_s=60, read_timeout_s=60, follow_for=timedelta(days=9999),
            keep_cards=timedelta(days=9999), clock=lambda: self.now,
        )  # fmt: skip

    def post(self, resource):
        answer = requests.post(f"{self.fhir.base_url}/{resource['resourceType']}", json=resource, timeout=60)
        assert answer.status_code == 201, answer.text
        return f"{resource['resourceType']}/{answer.json()['id']}"

    def assessment(self, outcome=AML):
        """A reading about a patient and a study that the server holds."""
        uid = f"2.25.{uuid.uuid4().int}"
        patient = self.post({"resourceType": "Patient"})
        smear = self.post(
            {
                "resourceType": "ImagingStudy",
                "status": "available",
                "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
                "subject": {"reference": patient},
            }
        )
        study = StudyRef(study_uid=uid, patient=patient, imaging_study=smear)
        model = ModelIdentity(name="test", version="1", digest=uuid.uuid4().hex * 2)
        return replace(result(outcome, study=study, model=model), read_at=self.now)

    def written(self, outcome=AML):
        """Reference of the DiagnosticReport of a new reading."""
        made = self.assessment(outcome)
        self.store.save(made, ReportState.PENDING)
        reference = write_back(made, self.fhir)
        self.store.mark_written(made.key, reference)
        return reference

    def change(self, reference, **changes):
        resource = {**self.fhir.read(reference), **changes}
        answer = requests.put(f"{self.fhir.base_url}/{reference}", json=resource, timeout=60)
        assert answer.status_code == 200, answer.text

    def impression_of(self, reference):
        for item in self.fhir.read(reference)["result"]:
            observation = self.fhir.read(item["reference"])
            if observation["identifier"][0]["value"].endswith(".impression"):
                return item["reference"], observation
        raise AssertionError("no impression")

    def look(self):
        self.now += timedelta(days=30)
        return self.upkeep.round()


@pytest.fixture
def site(tmp_path, fhir):
    made = Site(tmp_path, fhir)
    with closing(made.store):
        yield made


def code(system, value):
    return [{"coding": [{"system": system, "code": value}]}]


def test_a_report_is_followed_from_preliminary_to_signed_to_amended(site):
    reference = site.written()
    assert site.look() == Kept(reports=1)
    site.change(reference, status="final", conclusionCode=code(SCT, "91861009"))
    assert site.look() == Kept(reports=1, signed=1)
    (line,) = site.store.agreement()
    assert (line.pattern, line.signed, line.coded, line.agreed) == ("AML", 1, 1, 1)
    site.change(reference, status="amended", conclusionCode=code(SCT, "91857003"))
    assert site.look() == Kept(reports=1, signed=1)
    (line,) = site.store.agreement()
    assert (line.signed, line.coded, line.agreed) == (1, 1, 0)


def test_a_corrected_impression_is_a_conclusion_and_an_untouched_one_is_none(site):
    reference = site.written()
    site.change(reference, status="final")
    assert site.look() == Kept(reports=1, signed=1)
    assert site.store.agreement()[0].coded == 0
    impression, observation = site.impression_of(reference)
    value = observation["valueCodeableConcept"]
    value["coding"] = [{**coding, "code": "CML", "display": "x"} for coding in value["coding"][:1]]
    assert value["coding"][0]["system"] == PATTERN
    site.change(impression, status="corrected", valueCodeableConcept=value)
    site.look()
    (line,) = site.store.agreement()
    assert (line.signed, line.coded, line.agreed) == (1, 1, 0)


def test_deleted_and_entered_in_error_are_withdrawn(site):
    deleted, wrong, kept = (site.written() for _ in range(3))
    # HAPI keeps what something refers to.
    referring = [
        f"{kind}/{found['id']}"
        for kind, by in (("Provenance", "target"), ("AuditEvent", "entity"))
        for found in site.fhir.search(kind, {by: deleted})
    ]
    assert len(referring) >= 2
    for gone in (*referring, deleted):
        answer = requests.delete(f"{site.fhir.base_url}/{gone}", timeout=60)
        assert answer.status_code == 200, answer.text
    site.change(wrong, status="entered-in-error")
    assert site.look() == Kept(reports=3)
    (line,) = site.store.agreement()
    assert (line.reports, line.signed, line.withdrawn) == (3, 0, 2)
    site.change(kept, status="final", conclusionCode=code("http://hl7.org/fhir/sid/icd-10", "C92.0"))
    assert site.look() == Kept(reports=2, signed=1), "the deleted one is not looked at again"


@pytest.mark.parametrize(("outcome", "number"), [(AML, 3), (POOR, 2)], ids=["finding", "not-analysed"])
def test_what_a_client_is_handed_can_be_created_and_found_by_its_identifiers(site, outcome, number):
    made = site.assessment(outcome)
    resources = client_resources(made)
    references = [site.post(resource) for resource in resources]
    assert len(references) == number
    report = site.fhir.read(references[-1])
    assert report["subject"]["reference"] == made.study.patient
    for item, reference in zip(report["result"], references, strict=False):
        identifier = item["identifier"]
        query = {"identifier": f"{identifier['system']}|{identifier['value']}"}
        (found,) = site.fhir.search("Observation", query)
        assert f"Observation/{found['id']}" == reference
