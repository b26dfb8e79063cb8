"""The simulated hospital through the clients that meet it: a test double must be strict where servers are."""

import pytest
import requests

from cds.dicomweb import DicomWebArchive
from cds.errors import UpstreamError, UpstreamNotFound, UpstreamRefused
from cds.fhir_client import HttpFhirServer
from cds.microscopy import to_dicom
from hooks.demo.fhir_double import FhirDouble, FhirRefusal
from hooks.demo.hospital import Hospital
from tests.fakes.images import SERIES_UID, STUDY_UID, drawing, encoded

PATIENT = {"resourceType": "Patient", "id": "p1", "identifier": [{"system": "urn:mrn", "value": "7"}]}


def fhir_client(hospital: Hospital, token: str | None = None) -> HttpFhirServer:
    return HttpFhirServer(hospital.fhir_url, token=token, connect_timeout_s=2, read_timeout_s=5)


def transaction(*entries: tuple[str, dict[str, object], str | None]) -> dict[str, object]:
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": url,
                "resource": resource,
                "request": {"method": "POST", "url": resource["resourceType"]}
                | ({"ifNoneExist": criterion} if criterion else {}),
            }
            for url, resource, criterion in entries
        ],
    }


OBSERVATION = {
    "resourceType": "Observation",
    "identifier": [{"system": "urn:o", "value": "1"}],
    "subject": {"reference": "Patient/p1"},
}
REPORT = {
    "resourceType": "DiagnosticReport",
    "subject": {"reference": "Patient/p1"},
    "result": [{"reference": "urn:uuid:00000000-0000-0000-0000-000000000001"}],
}
URL = "urn:uuid:00000000-0000-0000-0000-00000000000"


def test_it_says_everywhere_that_it_is_a_test_double() -> None:
    with Hospital() as hospital:
        for path in ("/fhir/metadata", "/fhir/Patient/nobody", "/dicomweb/studies/1.2/instances"):
            answer = requests.get(hospital.url + path, timeout=5)
            assert "test double" in answer.headers["X-Test-Double"]


def test_read_and_search() -> None:
    with Hospital() as hospital:
        hospital.fhir.put(PATIENT)
        client = fhir_client(hospital)
        assert client.capabilities()["fhirVersion"] == "4.0.1"
        assert client.read("Patient/p1")["id"] == "p1"
        assert [p["id"] for p in client.search("Patient", {"identifier": "urn:mrn|7"})] == ["p1"]
        assert client.search("Patient", {"identifier": "urn:other|7"}) == []
        with pytest.raises(UpstreamNotFound):
            client.read("Patient/nobody")
        with pytest.raises(UpstreamError):
            client.search("Patient", {"favourite-colour": "red"})


def test_studies_by_patient_and_modality_newest_first() -> None:
    fhir = FhirDouble()
    for number, code in ((1, "GM"), (2, "SM"), (3, "CT")):
        study = {
            "resourceType": "ImagingStudy",
            "id": f"s{number}",
            "subject": {"reference": "Patient/p1"},
            "started": f"2026-01-0{number}",
            "series": [{"modality": {"system": "urn:dcm", "code": code}}],
        }
        fhir.put(study)
    query = {"patient": "p1", "modality": "GM,SM", "_sort": "-started"}
    assert [s["id"] for s in fhir.search("ImagingStudy", query)] == ["s2", "s1"]
    assert fhir.search("ImagingStudy", {"patient": "Patient/p2"}) == []


def test_a_transaction_resolves_its_references_and_is_repeatable() -> None:
    bundle = transaction(
        (f"{URL}2", REPORT, "identifier=urn:r|1"), (f"{URL}1", OBSERVATION, "identifier=urn:o|1")
    )
    bundle["entry"][0]["resource"] = REPORT | {"identifier": [{"system": "urn:r", "value": "1"}]}  # type: ignore[index]
    with Hospital() as hospital:
        hospital.fhir.put(PATIENT)
        client = fhir_client(hospital)
        first = client.transaction(bundle)
        again = client.transaction(bundle)
        assert [e["response"]["status"][:3] for e in first["entry"]] == ["201", "201"]
        assert [e["response"]["status"][:3] for e in again["entry"]] == ["200", "200"]
        (report,) = client.search("DiagnosticReport", {"patient": "Patient/p1"})
        (observation,) = client.search("Observation", {})
    assert report["result"] == [{"reference": f"Observation/{observation['id']}"}]


@pytest.mark.parametrize(
    "resource",
    [
        REPORT,
        OBSERVATION | {"subject": {"reference": "Patient/nobody"}},
    ],
    ids=["unresolved", "unknown"],
)
def test_a_transaction_with_a_dangling_reference_leaves_nothing_behind(resource: dict[str, object]) -> None:
    fhir = FhirDouble()
    fhir.put(PATIENT)
    with pytest.raises(FhirRefusal):
        fhir.transaction(transaction((f"{URL}3", OBSERVATION, None), (f"{URL}2", resource, None)))
    assert fhir.counts() == {"Patient": 1}


def test_a_reference_may_name_a_version() -> None:
    """As a signature's Provenance does."""
    fhir = FhirDouble()
    fhir.put(PATIENT)
    of_a_version = OBSERVATION | {"subject": {"reference": f"Patient/{PATIENT['id']}/_history/1"}}
    fhir.transaction(transaction((f"{URL}2", of_a_version, None)))
    assert fhir.counts() == {"Patient": 1, "Observation": 1}


def test_a_conditional_create_with_several_matches_is_refused() -> None:
    fhir = FhirDouble()
    fhir.put(PATIENT)
    fhir.put(PATIENT | {"id": "p2"})
    with pytest.raises(FhirRefusal) as refusal:
        fhir.create(PATIENT, "identifier=urn:mrn|7")
    assert refusal.value.status == 412


def test_the_fhir_part_asks_for_a_token_when_told_to() -> None:
    with Hospital(tokens=("good",)) as hospital:
        hospital.fhir.put(PATIENT)
        assert fhir_client(hospital, "good").read("Patient/p1")
        for token in (None, "bad"):
            with pytest.raises(UpstreamRefused):
                fhir_client(hospital, token).read("Patient/p1")


def test_what_is_stored_is_listed_and_retrieved_unchanged() -> None:
    instances = [
        to_dicom(
            encoded(drawing(seed=n)),
            study_uid=STUDY_UID,
            series_uid=SERIES_UID,
            patient_id="p",
            um_per_px=0.1,
        )
        for n in (1, 2)
    ]
    with Hospital() as hospital:
        archive = DicomWebArchive(hospital.archive_url)
        archive.store(instances)
        archive.store(instances)
        listed = archive.instances(STUDY_UID)
        assert len(listed) == 2
        assert {archive.retrieve(ref) for ref in listed} == set(instances)
        assert archive.instances("2.25.404") == ()


def test_what_is_not_dicom_is_refused() -> None:
    with Hospital() as hospital:
        with pytest.raises(UpstreamError):
            DicomWebArchive(hospital.archive_url).store([b"no DICOM at all"])
        assert requests.post(f"{hospital.archive_url}/studies", data=b"x", timeout=5).status_code == 415
