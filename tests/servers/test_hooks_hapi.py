"""Hooks without prefetch, answered from what a real HAPI FHIR R4 server holds: does it understand our queries?"""

import uuid
from dataclasses import replace

import pytest

from cds.fhir_client import HttpFhirServer
from cds.report import report_bundle
from cds.settings import Settings
from cds.values import ReportState, StudyRef
from hooks.app import create_app
from tests.fakes.assessments import MODEL
from tests.fakes.context import make_context
from tests.fakes.hook_requests import SERVICE, emptiness, hook_request
from tests.fakes.results import AML, result


@pytest.fixture(scope="module")
def fhir(hapi_url):
    with HttpFhirServer(hapi_url, connect_timeout_s=5, read_timeout_s=60) as server:
        yield server


@pytest.fixture
def context(tmp_path):
    # HAPI on a busy machine takes its time; the budget is not what is tested here.
    return make_context(tmp_path, settings=Settings(hook_budget_s=30.0))


@pytest.fixture
def client(context):
    return create_app(context).test_client()


@pytest.fixture
def patient(fhir, hapi_url):
    """Id of a patient with a blood smear of today and one of last year, a CT, and another patient's smear beside."""
    stem = f"t-{uuid.uuid4().hex[:12]}"
    modality = "http://dicom.nema.org/resources/ontology/DCM"
    wado = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
    resources = [
        {"resourceType": "Patient", "id": stem},
        {"resourceType": "Patient", "id": f"{stem}-b"},
        {
            "resourceType": "Endpoint",
            "id": f"{stem}-e",
            "status": "active",
            "connectionType": {"system": wado, "code": "dicom-wado-rs"},
            "payloadType": [{"text": "DICOM"}],
            "address": "http://127.0.0.1:8042/dicom-web",
        },
    ]
    for name, code, owner, started in (
        ("old", "SM", stem, "2025-03-04"),
        ("new", "GM", stem, "2026-03-04"),
        ("ct", "CT", stem, "2026-03-05"),
        ("other", "GM", f"{stem}-b", "2026-03-06"),
    ):
        uid = f"2.25.{uuid.uuid4().int}"
        resources.append(
            {
                "resourceType": "ImagingStudy",
                "id": f"{stem}-{name}",
                "status": "available",
                "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
                "subject": {"reference": f"Patient/{owner}"},
                "started": started,
                "endpoint": [{"reference": f"Endpoint/{stem}-e"}],
                "series": [{"uid": f"{uid}.1", "modality": {"system": modality, "code": code}}],
            }
        )
    entries = [
        {"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}}
        for r in resources
    ]
    fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries})
    return stem


def cards_of(client, body):
    del body["fhirAuthorization"]  # HAPI is open
    response = client.post(SERVICE, json=body)
    assert response.status_code == 200, response.text
    assert not list(emptiness(response.json))
    return response.json["cards"]


def test_the_patients_smears_are_found_newest_first(client, context, hapi_url, patient):
    cards = cards_of(client, hook_request(fhir_server=hapi_url, patientId=patient))
    assert [card["summary"] for card in cards] == [
        "Blood smear of 2026-03-04: analysis queued",
        "Blood smear of 2025-03-04: analysis queued",
    ]
    jobs = [context.store.job(key) for key in context.submit.keys]
    assert [job.study.imaging_study for job in jobs] == [
        f"ImagingStudy/{patient}-new",
        f"ImagingStudy/{patient}-old",
    ]
    assert {job.study.archive_url for job in jobs} == {"http://127.0.0.1:8042/dicom-web"}


def test_the_imaging_hook_reads_the_study_that_it_names(client, hapi_url, patient):
    body = hook_request(
        "org.leukocds.imagingstudy-available",
        fhir_server=hapi_url,
        patientId=patient,
        imagingStudies=[{"reference": f"{hapi_url}/ImagingStudy/{patient}-old"}, "ImagingStudy/not-there"],
    )
    queued, problem = cards_of(client, body)
    assert queued["summary"] == "Blood smear of 2025-03-04: analysis queued"
    assert "does not know this ImagingStudy" in problem["summary"]


def test_a_report_that_we_wrote_is_mentioned_beside_a_later_result(client, context, fhir, hapi_url, patient):
    def assessed(name: str, started: str):
        (resource,) = fhir.search("ImagingStudy", {"_id": f"{patient}-{name}"})
        study = StudyRef(
            study_uid=resource["identifier"][0]["value"].removeprefix("urn:oid:"),
            imaging_study=f"ImagingStudy/{patient}-{name}",
            patient=f"Patient/{patient}",
            started=started,
        )
        return replace(result(AML), study=study, model=MODEL)

    old, new = assessed("old", "2025-03-04"), assessed("new", "2026-03-04")
    fhir.transaction(report_bundle(old))
    context.store.save(new, ReportState.PENDING)
    card, *_ = cards_of(client, hook_request(fhir_server=hapi_url, patientId=patient))
    assert card["summary"].startswith("AML pattern")
    assert "Earlier automated readings" in card["detail"]
    assert "2025-03-04: " in card["detail"]


def test_a_patient_without_studies_has_no_cards_and_an_unknown_one_is_412(client, fhir, hapi_url, patient):
    empty = f"{patient}-empty"
    entry = {
        "resource": {"resourceType": "Patient", "id": empty},
        "request": {"method": "PUT", "url": f"Patient/{empty}"},
    }
    fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
    assert cards_of(client, hook_request(fhir_server=hapi_url, patientId=empty)) == []
    body = hook_request(fhir_server=hapi_url, patientId=f"{patient}-nobody")
    del body["fhirAuthorization"]
    response = client.post(SERVICE, json=body)
    assert response.status_code == 412
    assert "does not know the patient" in response.text
