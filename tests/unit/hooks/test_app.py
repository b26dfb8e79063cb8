import gzip
import io
import json
from dataclasses import replace

import pytest
from gunicorn.http.errors import InvalidChunkSize
from structlog.testing import capture_logs

from cds.errors import StoreError, Unauthenticated, UpstreamRefused, UpstreamTimeout
from hooks.app import create_app
from tests.fakes.hook_requests import (
    SERVICE,
    TOKEN,
    bundle,
    emptiness,
    hook_request,
    imaging_study,
    patient,
    with_studies,
)


def outcome_of(response, status):
    assert response.status_code == status
    assert response.json["resourceType"] == "OperationOutcome"
    assert not list(emptiness(response.json))
    return response.json["issue"][0]["diagnostics"]


@pytest.mark.parametrize("path", ["/cds-services", "/cds-services/"])
def test_discovery_lists_one_entry_for_each_hook_under_one_id(client, path):
    response = client.get(path)
    assert response.status_code == 200
    services = response.json["services"]
    assert [service["hook"] for service in services] == [
        "patient-view",
        "encounter-start",
        "order-select",
        "order-sign",
        "org.leukocds.imagingstudy-available",
    ]
    assert {service["id"] for service in services} == {"leukemia-smear"}
    assert not list(emptiness(response.json))
    for service in services:
        assert service["description"]
        assert service["title"]
        assert service["prefetch"]["patient"] == "Patient/{{context.patientId}}"
        assert service["prefetch"]["studies"].startswith(
            "ImagingStudy?patient={{context.patientId}}&modality=GM,SM"
        )
        assert service["prefetch"]["reports"].startswith("DiagnosticReport?patient={{context.patientId}}&")


@pytest.mark.parametrize("path", [SERVICE, f"{SERVICE}/"])
def test_the_service_answers_with_and_without_trailing_slash(client, path):
    response = client.post(path, json=with_studies())
    assert (response.status_code, response.json) == (200, {"cards": []})
    assert response.mimetype == "application/json"


@pytest.mark.parametrize("path", ["/cds-services//leukemia-smear", f"{SERVICE}//feedback"])
def test_doubled_slashes_are_another_address_and_lead_nowhere(client, path):
    response = client.post(
        "/", json=with_studies(), headers={"Host": "elsewhere.example"}, environ_overrides={"PATH_INFO": path}
    )
    assert response.status_code == 404
    assert "Location" not in response.headers


def test_an_unknown_service_is_404(client):
    assert "no CDS service" in outcome_of(client.post("/cds-services/other", json=hook_request()), 404)


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
def test_another_method_is_405_and_says_which_is_allowed(client, method):
    response = getattr(client, method)(SERVICE)
    outcome_of(response, 405)
    assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "multipart/form-data", None])
def test_another_content_type_is_415(client, content_type):
    response = client.post(SERVICE, data=b"{}", content_type=content_type)
    assert "application/json" in outcome_of(response, 415)


@pytest.mark.parametrize("path", [SERVICE, f"{SERVICE}/feedback"])
def test_a_compressed_body_is_415_and_says_so(client, path):
    body = gzip.compress(json.dumps(with_studies()).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert "Content-Encoding" in outcome_of(client.post(path, data=body, headers=headers), 415)


def test_a_charset_is_no_other_content_type(client):
    response = client.post(SERVICE, data=b"{}", headers={"Content-Type": "Application/JSON; charset=UTF-8"})
    assert "hook is missing" in outcome_of(response, 400)


@pytest.mark.parametrize("body", [b"nope", b"[]", b'{"hook": NaN}', b"[" * 60, b""])
def test_what_is_no_request_is_400(client, body):
    outcome_of(client.post(SERVICE, data=body, content_type="application/json"), 400)


def test_the_hook_of_another_service_is_400(client):
    assert "hook" in outcome_of(client.post(SERVICE, json=hook_request("order-dispatch")), 400)


def test_a_body_over_the_limit_is_413_whether_its_length_is_told_or_not(client):
    body = b'{"a": "' + b"x" * 200_000 + b'"}'
    outcome_of(client.post(SERVICE, data=body, content_type="application/json"), 413)
    streamed = client.post(
        SERVICE,
        input_stream=io.BytesIO(body),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
    )
    outcome_of(streamed, 413)


class WrongChunks(io.BytesIO):
    """What gunicorn gives where the body is not chunked as it says."""

    def readinto(self, _buffer):
        raise InvalidChunkSize(b"zz")


@pytest.mark.parametrize("path", [SERVICE, f"{SERVICE}/feedback"])
def test_a_body_that_is_not_chunked_as_it_says_is_400_and_no_bug(client, path):
    with capture_logs() as logs:
        response = client.post(
            path,
            input_stream=WrongChunks(),
            content_type="application/json",
            environ_overrides={"wsgi.input_terminated": True},
        )
    assert "Transfer-Encoding" in outcome_of(response, 400)
    assert "bug" not in [entry["event"] for entry in logs]


class BrokenStore:
    def __init__(self, error):
        self.error = error

    def latest(self, study_uid, model_digest):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (StoreError("The assessment store cannot be reached"), 503, "store cannot be reached"),
        (UpstreamTimeout("no answer within 3 s"), 503, "no answer"),
        (UpstreamRefused("the server said 403"), 502, "403"),
        (RuntimeError(f"p-1 {TOKEN}"), 500, "Reference"),
    ],
)
def test_an_error_is_answered_by_the_table_and_never_as_no_cards(context, error, status, words):
    client = create_app(replace(context, store=BrokenStore(error))).test_client()
    with capture_logs() as logs:
        response = client.post(SERVICE, json=with_studies(imaging_study()))
    assert words in outcome_of(response, status)
    for private in ("p-1", TOKEN):
        assert private not in response.text
        assert private not in str(logs)


def test_a_bug_has_a_reference_that_stands_in_the_log_too(context):
    client = create_app(replace(context, store=BrokenStore(KeyError("x")))).test_client()
    with capture_logs() as logs:
        response = client.post(SERVICE, json=with_studies(imaging_study()))
    (bug,) = [entry for entry in logs if entry["event"] == "bug"]
    assert bug["reference"] in outcome_of(response, 500)
    assert (bug["error"], "test_app.py" in str(bug["where"])) == ("KeyError", True)


def test_401_has_an_empty_body(context):
    client = create_app(replace(context, store=BrokenStore(Unauthenticated("bad key")))).test_client()
    response = client.post(SERVICE, json=with_studies(imaging_study()))
    assert (response.status_code, response.data) == (401, b"")


def test_logs_hold_no_token_patient_or_body(client, fhir):
    with capture_logs() as logs:
        client.post(SERVICE, json=hook_request(fhir_server=fhir.url))
        client.post(SERVICE, json=hook_request(fhir_server="https://elsewhere.example/r4"))
        client.post(SERVICE, json=hook_request(patientId=7))
    assert len(logs) >= 3
    for private in (TOKEN, "p-1", "Practitioner"):
        assert private not in str(logs)


def test_security_headers_are_on_every_answer(client):
    for response in (client.get("/"), client.get("/nope"), client.post(SERVICE, data=b"x")):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Security-Policy"].startswith(
            ("default-src 'none'", "default-src 'self'")
        )
        assert response.headers["Referrer-Policy"] in ("no-referrer", "same-origin")


PREFLIGHT = {
    "Origin": "https://ehr.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


def test_browsers_of_a_configured_origin_may_call(client_with):
    client = client_with(cors_origins=("https://ehr.example",))
    response = client.options(SERVICE, headers=PREFLIGHT)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "https://ehr.example"
    assert response.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    answer = client.post(SERVICE, json=with_studies(), headers={"Origin": "https://ehr.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://ehr.example"
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ((), "https://ehr.example", False),
        (("https://ehr.example",), "https://evil.example", False),
        (("*",), "https://any.example", True),
    ],
)
def test_other_origins_may_not(client_with, origins, origin, allowed):
    headers = {**PREFLIGHT, "Origin": origin}
    response = client_with(cors_origins=origins).options(SERVICE, headers=headers)
    assert ("Access-Control-Allow-Origin" in response.headers) is allowed


def test_a_prefetched_patient_other_than_the_context_says_is_400(client):
    body = hook_request(prefetch={"patient": patient("p-2"), "studies": bundle()})
    assert "prefetch.patient" in outcome_of(client.post(SERVICE, json=body), 400)
