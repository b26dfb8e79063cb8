import json
from uuid import UUID

import pytest

from cds.errors import BadRequest
from hooks.cds_requests import PrefetchState, hooks, parse_request
from tests.fakes.hook_requests import INSTANCE, TOKEN, bundle, hook_request, imaging_study, patient


def parse(body):
    return parse_request(json.dumps(body).encode())


def refused(body):
    with pytest.raises(BadRequest) as caught:
        parse_request(body if isinstance(body, bytes) else json.dumps(body).encode())
    return str(caught.value)


@pytest.mark.parametrize("hook", hooks())
def test_each_hook_is_understood(hook):
    request = parse(hook_request(hook, fhir_server="https://fhir.example/r4/"))
    assert (request.hook, request.hook_instance, request.patient_id) == (hook, UUID(INSTANCE), "p-1")
    assert (request.fhir_server, request.token) == ("https://fhir.example/r4", TOKEN)
    assert request.patient_reference == "Patient/p-1"


def test_the_token_is_in_no_representation():
    request = parse(hook_request(fhir_server="https://fhir.example/r4"))
    assert TOKEN not in repr(request)
    assert "p-1" not in repr(request)


def test_draft_orders_selections_and_encounter_are_kept():
    request = parse(hook_request("order-select", encounterId="e-1"))
    assert [r["id"] for r in request.draft_orders] == ["draft-1"]
    assert request.selections == ("ServiceRequest/draft-1",)
    assert request.encounter_id == "e-1"
    assert [r["id"] for r in parse(hook_request("order-sign")).draft_orders] == ["draft-1"]


def test_unknown_fields_are_ignored():
    body = hook_request(somethingNew=3)
    body["extension"] = {"com.example.x": {}}
    body["somethingElse"] = None
    assert parse(body).patient_id == "p-1"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"hook=patient-view", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe\xff", "not in UTF-8"),
        # Bytes of UTF-16 that look like quotes would hide brackets from the limits.
        (json.dumps(hook_request()).encode("utf-16"), "not in UTF-8"),
        (json.dumps(hook_request()).encode("utf-16-le"), "not JSON"),
        (b'{"hook": NaN}', "not JSON"),
        (b'{"hook": -Infinity}', "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1, 2]", "must be a JSON object"),
        (b'"patient-view"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
    ],
)
def test_what_is_no_json_object_is_refused(body, words):
    assert words in refused(body)


def test_a_hook_of_another_service_is_refused():
    message = refused(hook_request("appointment-book"))
    assert "hook does not belong to this service" in message
    assert "appointment-book" not in message
    assert "patient-view" in message


def change(path, value):
    """A request with the value at `path` replaced, or removed when it is `...`."""
    body = hook_request(fhir_server="https://fhir.example/r4", prefetch={})
    parent = body
    *parents, last = path.split(".")
    for name in parents:
        parent = parent[name]
    if value is ...:
        parent.pop(last)
    else:
        parent[last] = value
    return body


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("hook", ..., "hook is missing"),
        ("hook", 7, "hook must be a string"),
        ("hookInstance", ..., "hookInstance is missing"),
        ("hookInstance", "seven", "hookInstance must be a UUID"),
        ("hookInstance", INSTANCE.replace("-", ""), "hookInstance must be a UUID"),
        ("context", ..., "context is missing"),
        ("context", [], "context must be an object"),
        ("context.patientId", ..., "context.patientId is missing"),
        ("context.patientId", 1288992, "context.patientId must be a string"),
        ("context.patientId", "", "context.patientId must be a FHIR id"),
        ("context.patientId", "a/../../b?x=1", "context.patientId must be a FHIR id"),
        ("context.userId", ..., "context.userId is missing"),
        ("context.userId", "", "context.userId must not be empty"),
        ("context.encounterId", {"id": 1}, "context.encounterId must be a string"),
        ("fhirServer", ..., "fhirServer is required when fhirAuthorization is present"),
        ("fhirServer", "fhir.example/r4", "fhirServer must be an absolute http(s) address"),
        ("fhirServer", "file:///etc/passwd", "fhirServer must be an absolute http(s) address"),
        ("fhirServer", "https://user:pw@fhir.example", "fhirServer must be an absolute http(s) address"),
        ("fhirServer", "http://[::1", "fhirServer must be an absolute http(s) address"),
        ("fhirAuthorization", "token", "fhirAuthorization must be an object"),
        ("fhirAuthorization.access_token", ..., "fhirAuthorization.access_token is missing"),
        ("fhirAuthorization.access_token", "a\r\nX: b", "fhirAuthorization.access_token must be a bearer token"),
        ("fhirAuthorization.token_type", "MAC", "fhirAuthorization.token_type must be Bearer"),
        ("fhirAuthorization.expires_in", "300", "fhirAuthorization.expires_in must be a whole number"),
        ("prefetch", [], "prefetch must be an object"),
        ("prefetch.patient", 3, "prefetch.patient must be an object"),
        ("prefetch.patient", {"resourceType": "Bundle"}, "prefetch.patient must be Patient"),
        ("prefetch.studies", {"entry": []}, "prefetch.studies must be a FHIR resource"),
        ("prefetch.studies", {"resourceType": "Bundle", "entry": 3}, "prefetch.studies must be a Bundle whose entry"),
        ("prefetch.studies", patient(), "prefetch.studies must be Bundle"),
        ("extension", [1], "extension must be an object"),
    ],
)  # fmt: skip
def test_each_wrong_field_is_named_and_no_value_repeated(path, value, words):
    message = refused(change(path, value))
    assert words in message
    if isinstance(value, str) and len(value) > 5:
        assert value not in message
    assert TOKEN not in message


def test_all_wrong_fields_are_named_at_once():
    body = hook_request("order-select", selections="none", draftOrders=[], patientId=None)
    message = refused(body)
    for name in ("context.selections", "context.draftOrders", "context.patientId"):
        assert name in message


def test_a_flood_of_wrong_fields_is_cut():
    message = refused(hook_request("order-select", selections=[1] * 10_000))
    assert "more" in message
    assert len(message) < 2000


@pytest.mark.parametrize(
    ("studies", "state", "found"),
    [
        (None, PrefetchState.NO_DATA, 0),
        (bundle(), PrefetchState.COMPLETE, 0),
        ({"resourceType": "Bundle"}, PrefetchState.COMPLETE, 0),
        (bundle(imaging_study(1), imaging_study(2)), PrefetchState.COMPLETE, 2),
        (bundle(imaging_study(), link=[{"relation": "next", "url": "x"}]), PrefetchState.PAGED, 1),
        (bundle(imaging_study(), link=[{"relation": "self", "url": "x"}]), PrefetchState.COMPLETE, 1),
        ({"resourceType": "OperationOutcome"}, PrefetchState.FAILED, 0),
        (
            bundle({"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}),
            PrefetchState.FAILED,
            0,
        ),
        (
            bundle(imaging_study(), {"resourceType": "OperationOutcome", "issue": [{"severity": "warning"}]}),
            PrefetchState.COMPLETE,
            1,
        ),
        (
            bundle(imaging_study(), {"resourceType": "OperationOutcome", "issue": [{"severity": "fatal"}]}),
            PrefetchState.FAILED,
            1,
        ),
        ({"resourceType": "Bundle", "entry": [{"response": {"status": "503"}}]}, PrefetchState.FAILED, 0),
        ({"resourceType": "Bundle", "total": 3}, PrefetchState.PAGED, 0),
        (bundle(imaging_study(1), imaging_study(2), total=3), PrefetchState.PAGED, 2),
        (bundle(imaging_study(1), imaging_study(2), total=2), PrefetchState.COMPLETE, 2),
        (
            bundle(imaging_study(), total=2)
            | {
                "entry": [
                    {"resource": imaging_study(), "search": {"mode": "match"}},
                    {"resource": {"resourceType": "Endpoint", "id": "1"}, "search": {"mode": "include"}},
                ]
            },
            PrefetchState.PAGED,
            2,
        ),
    ],
)
def test_the_states_of_a_prefetch_key_are_told_apart(studies, state, found):
    request = parse(hook_request(prefetch={"studies": studies}))
    assert (request.studies.state, len(request.studies.resources)) == (state, found)
    assert request.patient.state is PrefetchState.ABSENT


@pytest.mark.parametrize("prefetch", [None, {}])
def test_without_prefetch_every_key_is_absent(prefetch):
    body = hook_request()
    body["prefetch"] = prefetch
    assert parse(body).studies.state is PrefetchState.ABSENT


IMAGING = "org.leukocds.imagingstudy-available"


@pytest.mark.parametrize(
    ("named", "references", "resources"),
    [
        (["ImagingStudy/a", {"reference": "ImagingStudy/b"}], ("ImagingStudy/a", "ImagingStudy/b"), 0),
        (["https://fhir.example/r4/ImagingStudy/a/_history/3"], ("ImagingStudy/a",), 0),
        ([imaging_study()], (), 1),
        (bundle(imaging_study(1), imaging_study(2)), (), 2),
        (bundle(), (), 0),
    ],
)
def test_the_imaging_hook_takes_references_resources_and_bundles(named, references, resources):
    request = parse(hook_request(IMAGING, fhir_server="https://fhir.example/r4", imagingStudies=named))
    assert request.study_references == references
    assert len(request.study_resources) == resources


@pytest.mark.parametrize(
    "named",
    [
        [],
        [7],
        "ImagingStudy/a",
        {"resourceType": "Patient"},
        ["Patient/a"],
        ["http://elsewhere.example/ImagingStudy/a"],
        ["ImagingStudy/../Patient/a"],
        [{"resourceType": 3}],
        [{"reference": {"display": "x"}}],
        None,
    ],
)
def test_the_imaging_hook_refuses_what_names_no_study(named):
    assert "context.imagingStudies" in refused(
        hook_request(IMAGING, fhir_server="https://fhir.example/r4", imagingStudies=named)
    )
