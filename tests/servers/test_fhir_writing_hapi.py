"""One resource after the other on a real HAPI, as on a server without transactions: one of each, also in parallel."""

import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from cds.fhir_capabilities import Capabilities, Way
from cds.fhir_client import HttpFhirServer
from cds.fhir_writing import AdaptingFhirServer
from cds.pipeline import write_back
from cds.report_attachments import Attachments
from cds.values import Assessment, ModelIdentity, StudyRef
from fhir_profiles.codes import ASSESSMENT_SYSTEM, MODEL_SYSTEM
from tests.fakes.results import AML, READ_AT, result

WRITERS = 4


class WithoutConditionalCreate(HttpFhirServer):
    """As a server that does not know `If-None-Exist`."""

    def capabilities(self, deadline=None):
        statement = super().capabilities(deadline)
        for rest in statement["rest"]:
            for resource in rest["resource"]:
                resource["conditionalCreate"] = False
        return statement


@pytest.fixture(scope="module")
def client(hapi_url):
    with HttpFhirServer(hapi_url, connect_timeout_s=5, read_timeout_s=120) as server:
        yield server


@pytest.fixture
def study(client) -> StudyRef:
    patient = client.create({"resourceType": "Patient", "active": True})
    uid = f"2.25.{uuid.uuid4().int}"
    smear = client.create(
        {
            "resourceType": "ImagingStudy",
            "status": "available",
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
            "subject": {"reference": patient},
        }
    )
    return StudyRef(study_uid=uid, patient=patient, imaging_study=smear)


def reading(study: StudyRef, number: int) -> Assessment:
    model = ModelIdentity(name="test", version=str(number), digest=uuid.uuid4().hex * 2)
    made = result(AML, study=study, model=model)
    return replace(made, read_at=READ_AT + timedelta(hours=number))


def counts(client, assessment: Assessment) -> dict[str, int]:
    """What the server holds of that reading."""
    key, digest = assessment.key, assessment.model.digest
    tags = [key, f"{key}.images-read", f"{key}.report-written"]
    found = [
        *client.search("Device", {"identifier": f"{MODEL_SYSTEM}|{digest}"}),
        *client.search("DocumentReference", {"identifier": f"{MODEL_SYSTEM}|{digest}"}),
        *(
            r
            for name in ("differential", "impression")
            for r in client.search("Observation", {"identifier": f"{ASSESSMENT_SYSTEM}|{key}.{name}"})
        ),
        *client.search("DiagnosticReport", {"identifier": f"{ASSESSMENT_SYSTEM}|{key}"}),
        *(
            r
            for kind in ("Provenance", "AuditEvent")
            for tag in tags
            for r in client.search(kind, {"_tag": f"{ASSESSMENT_SYSTEM}|{tag}"})
        ),
    ]
    return dict(Counter(r["resourceType"] for r in found))


ONCE = {
    "Device": 1,
    "DocumentReference": 1,
    "Observation": 2,
    "DiagnosticReport": 1,
    "Provenance": 1,
    "AuditEvent": 2,
}
CARD = Attachments(pictures=(), model_card=b"{}")


def test_what_hapi_says_of_itself(client):
    said = Capabilities.of(client.capabilities())
    assert said.way is Way.TRANSACTION
    assert said.creates_conditionally("DiagnosticReport") is True
    assert said.has("Subscription") is True


@pytest.mark.parametrize("kind", [HttpFhirServer, WithoutConditionalCreate])
@pytest.mark.parametrize("way", [Way.SINGLE, None])
def test_a_report_is_written_once_and_a_newer_one_takes_its_place(client, study, hapi_url, kind, way):
    first, second = reading(study, 1), reading(study, 2)
    with kind(hapi_url, read_timeout_s=120) as server:
        fhir = AdaptingFhirServer(server, way)
        references = {write_back(first, fhir, attachments=CARD) for _ in range(2)}
        newer = write_back(second, fhir, attachments=CARD)
        assert write_back(second, fhir, attachments=CARD) == newer
    assert len(references) == 1
    assert counts(client, first) == counts(client, second) == ONCE
    assert client.read(references.pop())["status"] == "cancelled"
    assert client.read(newer)["status"] == "preliminary"


@pytest.mark.parametrize("kind", [HttpFhirServer, WithoutConditionalCreate])
def test_writers_at_the_same_moment_write_one_of_each(client, study, hapi_url, kind):
    assessment = reading(study, 1)

    def write(_number: int) -> str:
        with kind(hapi_url, read_timeout_s=120) as server:
            return write_back(assessment, AdaptingFhirServer(server, Way.SINGLE), attachments=CARD)

    with ThreadPoolExecutor(WRITERS) as pool:
        references = set(pool.map(write, range(WRITERS)))
    assert counts(client, assessment) == ONCE
    assert len(references) == 1
