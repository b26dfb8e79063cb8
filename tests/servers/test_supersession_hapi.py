"""Newer readings on a real HAPI FHIR R4 server: the older unsigned report is cancelled, a signed one never touched."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from cds.fhir_client import HttpFhirServer
from cds.pipeline import write_back
from cds.values import Assessment, ModelIdentity, StudyRef
from tests.fakes.results import AML, POOR, READ_AT, result
from tests.fakes.validation import belongings, install_profiles, validate


@pytest.fixture(scope="module")
def fhir(hapi_url):
    with HttpFhirServer(hapi_url, connect_timeout_s=5, read_timeout_s=120) as server:
        install_profiles(server)
        yield server


@pytest.fixture
def study(fhir) -> StudyRef:
    """A patient with an ImagingStudy of a smear, new for each test."""
    patient, smear = uuid.uuid4().urn, uuid.uuid4().urn
    uid = f"2.25.{uuid.uuid4().int}"
    imaging_study = {
        "resourceType": "ImagingStudy",
        "status": "available",
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
        "subject": {"reference": patient},
    }
    resources = {patient: {"resourceType": "Patient", "active": True}, smear: imaging_study}
    entries = [
        {"fullUrl": url, "resource": r, "request": {"method": "POST", "url": r["resourceType"]}}
        for url, r in resources.items()
    ]
    answers = fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries})["entry"]
    references = [answer["response"]["location"].partition("/_history/")[0] for answer in answers]
    return StudyRef(study_uid=uid, patient=references[0], imaging_study=references[1])


def reading(study: StudyRef, number: int, outcome=AML, images: int = 1) -> Assessment:
    """The `number`th reading of a study, each by a package of its own and an hour after the one before."""
    model = ModelIdentity(name="test", version=str(number), digest=uuid.uuid4().hex * 2)
    made = result(outcome, study=study, model=model)
    uids = tuple(f"{study.study_uid}.1.{n}" for n in range(images))
    return replace(made, instance_uids=uids, read_at=READ_AT + timedelta(hours=number))


def sign(fhir: HttpFhirServer, reference: str) -> None:
    """What a hospital's sign-off does: the report is final, by a version-aware update."""
    report = fhir.read(reference)
    version = report["meta"]["versionId"]
    practitioner = {"resourceType": "Practitioner", "id": f"signer-{uuid.uuid4().hex[:12]}", "active": True}
    signed = {
        **report,
        "status": "final",
        "resultsInterpreter": [{"reference": f"Practitioner/{practitioner['id']}"}],
        "conclusion": "Signed by a human.",
        "conclusionCode": [{"text": "Acute myeloid leukemia"}],
    }
    put = {"method": "PUT", "url": f"Practitioner/{practitioner['id']}"}
    entries = [
        {"resource": practitioner, "request": put},
        {"resource": signed, "request": {"method": "PUT", "url": reference, "ifMatch": f'W/"{version}"'}},
    ]
    fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries})


def statuses(fhir: HttpFhirServer, *references: str) -> list[str]:
    return [fhir.read(reference)["status"] for reference in references]


@pytest.mark.parametrize("images", [1, 2], ids=["another package", "and more images"])
def test_a_newer_reading_cancels_the_older_and_says_so_in_both_directions(fhir, study, images):
    old = write_back(reading(study, 1), fhir)
    new = write_back(reading(study, 2, images=images), fhir)
    assert statuses(fhir, old, new) == ["cancelled", "preliminary"]
    report = fhir.read(old)
    assert [e["valueReference"]["reference"] for e in report["extension"]] == [new]
    assert report["conclusion"].startswith("Superseded by a newer reading")
    assert "Superseded by a newer reading" in report["text"]["div"]
    assert statuses(fhir, *(r["reference"] for r in report["result"])) == ["cancelled", "cancelled"]
    revisions = [
        entity["what"]["reference"]
        for provenance in fhir.search("Provenance", {"target": new})
        for entity in provenance["entity"]
        if entity["role"] == "revision"
    ]
    assert revisions == [old]
    everything = belongings(fhir, study.patient)
    assert {r["resourceType"] for r in everything} >= {
        "DiagnosticReport",
        "Observation",
        "Provenance",
        "AuditEvent",
    }
    for resource in everything:
        assert validate(fhir.base_url, resource).errors == []


def test_repeating_it_changes_nothing(fhir, study):
    first, second = reading(study, 1), reading(study, 2, POOR)
    old = write_back(first, fhir)
    new = write_back(second, fhir)
    before = {
        f"{r['resourceType']}/{r['id']}": r["meta"]["versionId"] for r in belongings(fhir, study.patient)
    }
    for assessment in (second, first, second):
        write_back(assessment, fhir)
    after = {
        f"{r['resourceType']}/{r['id']}": r["meta"]["versionId"] for r in belongings(fhir, study.patient)
    }
    assert after == before
    assert statuses(fhir, old, new) == ["cancelled", "preliminary"]


def test_an_older_reading_that_is_written_late_is_the_one_that_is_cancelled(fhir, study):
    new = write_back(reading(study, 2), fhir)
    old = write_back(reading(study, 1), fhir)
    assert statuses(fhir, old, new) == ["cancelled", "preliminary"]


def test_a_chain_of_readings_leaves_one(fhir, study):
    references = [write_back(reading(study, n), fhir) for n in (1, 2, 3)]
    assert statuses(fhir, *references) == ["cancelled", "cancelled", "preliminary"]
    by = [fhir.read(r)["extension"][0]["valueReference"]["reference"] for r in references[:2]]
    assert by == references[1:]


def test_what_is_signed_is_never_changed(fhir, study):
    signed = write_back(reading(study, 1), fhir)
    sign(fhir, signed)
    before = fhir.read(signed)
    new = write_back(reading(study, 2), fhir)
    assert fhir.read(signed) == before
    assert statuses(fhir, *(r["reference"] for r in before["result"])) == ["preliminary"] * 2
    assert statuses(fhir, new) == ["preliminary"]


class SignedMeanwhile:
    """The server, but somebody signs the older report after it was read and before it is changed."""

    def __init__(self, fhir: HttpFhirServer, old: str) -> None:
        self._fhir, self._old, self.came_between = fhir, old, 0

    def __getattr__(self, name):
        return getattr(self._fhir, name)

    def transaction(self, bundle, deadline=None):
        urls = [entry["request"]["url"] for entry in bundle["entry"]]
        if self._old in urls and not self.came_between:
            self.came_between += 1
            sign(self._fhir, self._old)
        return self._fhir.transaction(bundle, deadline)


def test_a_signature_that_comes_at_the_same_moment_wins(fhir, study):
    old = write_back(reading(study, 1), fhir)
    between = SignedMeanwhile(fhir, old)
    new = write_back(reading(study, 2), between)
    assert between.came_between == 1
    report = fhir.read(old)
    assert (report["status"], report["conclusion"]) == ("final", "Signed by a human.")
    assert report["meta"]["versionId"] == "2"
    assert "extension" not in report
    assert statuses(fhir, new, *(r["reference"] for r in report["result"])) == ["preliminary"] * 3
    revisions = [
        p for p in fhir.search("Provenance", {"target": new}) if p["entity"][0]["role"] == "revision"
    ]
    assert revisions == []


def test_many_workers_at_once_leave_one(fhir, study):
    assessments = [reading(study, number) for number in range(1, 5)]
    with ThreadPoolExecutor(4) as pool:
        references = list(pool.map(lambda assessment: write_back(assessment, fhir), assessments))
    assert statuses(fhir, *references) == ["cancelled"] * 3 + ["preliminary"]


def test_other_studies_and_the_reports_of_others_stay(fhir, study):
    stranger = {
        "resourceType": "DiagnosticReport",
        "status": "preliminary",
        "code": {"coding": [{"system": "http://loinc.org", "code": "18314-5"}]},
        "subject": {"reference": study.patient},
        "imagingStudy": [{"reference": study.imaging_study}],
    }
    entry = {"resource": stranger, "request": {"method": "POST", "url": "DiagnosticReport"}}
    answer = fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
    theirs = answer["entry"][0]["response"]["location"].partition("/_history/")[0]
    mine = write_back(reading(study, 1), fhir)
    write_back(reading(study, 2), fhir)
    assert statuses(fhir, theirs, mine) == ["preliminary", "cancelled"]
