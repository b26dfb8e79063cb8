from types import SimpleNamespace

import pytest

from cds.deadline import Deadline
from cds.errors import (
    EndpointNotAllowed,
    UpstreamConflict,
    UpstreamError,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cds.fhir_client import MAX_PAGES, HttpFhirServer, _page_under, location_reference, relative_reference
from cds.upstream import tell_failures_to
from tests.fakes.fhir_server import FakeFhirServer, Fault, outcome

PATIENT = {"resourceType": "Patient", "id": "p1"}
STUDIES = [
    {"resourceType": "ImagingStudy", "id": f"s{n}", "subject": {"reference": "Patient/p1"}} for n in range(5)
]
BUNDLE = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        {
            "fullUrl": "urn:uuid:7b0b3c1e-6c0e-4f0e-9a53-0d8a3ad8d8f1",
            "resource": {"resourceType": "Device", "identifier": [{"system": "urn:x", "value": "1"}]},
            "request": {"method": "POST", "url": "Device", "ifNoneExist": "identifier=urn:x|1"},
        }
    ],
}


@pytest.fixture
def fhir():
    with FakeFhirServer(PATIENT, *STUDIES) as server:
        yield server


@pytest.fixture
def client(fhir):
    with HttpFhirServer(f"{fhir.url}/", token="t0ken", connect_timeout_s=1, read_timeout_s=0.5) as client:
        yield client


@pytest.fixture
def told(monkeypatch):
    monkeypatch.setattr("cds.upstream._observer", None)  # put back after the test, whatever it is
    told = []
    tell_failures_to(lambda _server, _host, error: told.append(error))
    return told


def test_read(fhir, client):
    assert client.read("Patient/p1") == PATIENT
    assert client.read(f"{fhir.url}/Patient/p1/_history/3") == PATIENT
    assert fhir.received[0].headers["Accept"] == "application/fhir+json"
    assert fhir.received[0].headers["Cache-Control"] == "no-cache"


def test_read_of_what_is_not_there_does_not_say_who(client):
    with pytest.raises(UpstreamNotFound, match=r"HTTP 404.*not-found HAPI-2001") as caught:
        client.read("Patient/secret-7")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "reference", ["http://elsewhere.example/fhir/Patient/p1", "urn:uuid:1", "#x", "Patient/../x"]
)
def test_read_never_leaves_the_server(fhir, client, reference):
    with pytest.raises(EndpointNotAllowed):
        client.read(reference)
    assert fhir.received == []


def test_search_follows_the_pages(fhir, client):
    fhir.page_size = 2
    assert client.search("ImagingStudy", {"patient": "Patient/p1"}) == STUDIES
    assert len(fhir.received) == 3


def test_nothing_found_is_an_empty_list(client):
    assert client.search("ImagingStudy", {"patient": "Patient/p2"}) == []


@pytest.mark.parametrize(
    ("link", "page"),
    [
        ("https://ehr.example/fhir?_getpages=1", "https://ehr.example/fhir?_getpages=1"),
        ("https://EHR.example:443/fhir/ImagingStudy?page=2", "https://ehr.example/fhir/ImagingStudy?page=2"),
        ("/fhir/ImagingStudy?page=2", "https://ehr.example/fhir/ImagingStudy?page=2"),
        ("ImagingStudy?page=2#x", "https://ehr.example/fhir/ImagingStudy?page=2"),
        ("http://ehr.example/fhir?page=2", None),
        ("https://ehr.example:8443/fhir?page=2", None),
        ("https://ehr.example/fhirs?page=2", None),
        ("https://ehr.example/fhir/../admin", None),
        ("https://ehr.example/fhir/%2e%2e/admin", None),
        ("https://ehr.example/fhir/..\\admin", None),
        ("https://ehr.example@evil.example/fhir?page=2", None),
        ("https://user@ehr.example/fhir?page=2", None),
        ("https://evil.example\\@ehr.example/fhir?page=2", None),
        ("//evil.example/fhir?page=2", None),
        ("https://ehr.example:x/fhir?page=2", None),
        ("file:///etc/passwd", None),
    ],
)
def test_a_next_page_lies_under_the_base_or_nowhere(link, page):
    assert _page_under("https://ehr.example/fhir", link) == page


def test_an_entry_that_holds_nothing_is_an_error_not_left_out(fhir, client):
    fhir.search = lambda *_: {"resourceType": "Bundle", "entry": [{"response": {"status": "503"}}]}
    with pytest.raises(UpstreamInvalid, match="hold nothing"):
        client.search("ImagingStudy", {"patient": "Patient/p1"})


@pytest.mark.parametrize("base", ["http://elsewhere.example/fhir", "http://127.0.0.1:1/fhir"])
def test_a_next_page_elsewhere_is_an_error_not_the_end(fhir, client, base):
    fhir.page_size, fhir.next_base = 2, base
    with pytest.raises(UpstreamInvalid, match="another address"):
        client.search("ImagingStudy", {"patient": "Patient/p1"})
    assert len(fhir.received) == 1


def test_too_many_pages_are_an_error_not_the_end():
    studies = [{"resourceType": "ImagingStudy", "id": f"s{n}"} for n in range(MAX_PAGES + 1)]
    with FakeFhirServer(*studies) as fhir, HttpFhirServer(fhir.url) as client:
        fhir.page_size = 1
        with pytest.raises(UpstreamInvalid, match="more than 50 pages"):
            client.search("ImagingStudy", {})


def test_an_outcome_among_the_matches(fhir, client):
    fhir.resources["ImagingStudy/o"] = outcome("informational", "a hint", "warning") | {"id": "o"}
    fhir.search = lambda *_: {
        "resourceType": "Bundle",
        "entry": [{"resource": STUDIES[0]}, {"resource": fhir.resources["ImagingStudy/o"]}],
    }
    assert client.search("ImagingStudy", {}) == [STUDIES[0]]
    fhir.resources["ImagingStudy/o"] = outcome("incomplete", "half of it")
    with pytest.raises(UpstreamInvalid, match="could not complete a search: incomplete"):
        client.search("ImagingStudy", {})


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (Fault.SLOW, UpstreamTimeout, "did not answer in time"),
        (Fault.CUT_OFF, UpstreamUnavailable, "cannot be reached"),
        (Fault.UNAUTHORIZED, UpstreamRefused, r"refused our credentials \(HTTP 401\): login"),
        (Fault.BROKEN, UpstreamUnavailable, "HTTP 500"),
        (Fault.OUTCOME, UpstreamRefused, r"\(HTTP 422\): processing"),
        (Fault.HTML, UpstreamInvalid, "HTML page instead of JSON"),
        (Fault.NOT_JSON, UpstreamInvalid, "not JSON"),
        (Fault.WRONG_TYPE, UpstreamInvalid, "sent Basic where a"),
        (Fault.REDIRECT, UpstreamInvalid, "not followed"),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.read("Patient/p1"),
        lambda client: client.search("ImagingStudy", {"patient": "secret-7"}),
        lambda client: client.transaction(BUNDLE),
        lambda client: client.capabilities(),
    ],
    ids=["read", "search", "transaction", "capabilities"],
)
def test_every_fault_is_an_error_of_its_kind(fhir, client, call, fault, error, message):
    fhir.fault = fault
    with pytest.raises(UpstreamError, match=message) as caught:
        call(client)
    assert type(caught.value) is error
    for word in ("secret", "Doe", "12345678", "t0ken"):
        assert word not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.CUT_OFF, UpstreamUnavailable),
        (Fault.UNAUTHORIZED, UpstreamRefused),
        (Fault.BROKEN, UpstreamUnavailable),
        (Fault.OUTCOME, UpstreamRefused),
        (Fault.HTML, UpstreamInvalid),
        (Fault.NOT_JSON, UpstreamInvalid),
        (Fault.REDIRECT, UpstreamInvalid),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.create({"resourceType": "Device"}, "identifier=a|b"),
        lambda client: client.update({"resourceType": "Device", "id": "d1"}, 'W/"1"'),
        lambda client: client.delete("Device/d1"),
    ],
    ids=["create", "update", "delete"],
)
def test_every_fault_of_a_single_write_is_an_error_of_its_kind(fhir, client, call, fault, error):
    fhir.fault = fault
    with pytest.raises(UpstreamError) as caught:
        call(client)
    assert type(caught.value) is error
    for word in ("secret", "Doe", "12345678", "t0ken"):
        assert word not in str(caught.value)


def test_one_resource_made_changed_and_deleted(fhir, client):
    device = {"resourceType": "Device", "identifier": [{"system": "a", "value": "b"}]}
    reference = client.create(device, "identifier=a|b")
    assert client.create(device, "identifier=a|b") == reference == "Device/device-1"
    held = client.read(reference)
    client.update({**held, "status": "inactive"}, 'W/"1"')
    with pytest.raises(UpstreamConflict, match="HAPI-0974"):
        client.update({**held, "status": "active"}, 'W/"1"')
    assert client.read(reference)["status"] == "inactive"
    client.delete(reference)
    with pytest.raises(UpstreamNotFound):
        client.delete(reference)


@pytest.mark.parametrize(
    ("location", "reference"),
    [
        ("Device/7", "Device/7"),
        ("Device/7/_history/3", "Device/7"),
        ("/fhir/Device/a-7.b/_history/1?_format=json", "Device/a-7.b"),
        ("https://inner.example:8080/r4/Device/7/", "Device/7"),
        (" http://h/Device/7/_history/ ", "Device/7"),
        ("http://h/Patient/7", None),
        ("http://h/Device", None),
        ("http://h/Device/7/extra", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_the_forms_of_a_location(location, reference):
    assert location_reference(location, "Device") == reference


def test_a_server_that_is_down(fhir, client):
    fhir.down()
    with pytest.raises(UpstreamUnavailable):
        client.search("ImagingStudy", {})


def test_a_refused_transaction_says_why(fhir, client):
    fhir.fault = Fault.OUTCOME
    with pytest.raises(UpstreamRefused, match=r"processing HAPI-0099: … of Patient/… has number …$"):
        client.transaction(BUNDLE)


def test_a_transaction_posted_twice_creates_once(fhir, client):
    first, second = client.transaction(BUNDLE), client.transaction(BUNDLE)
    assert len(fhir.of_type("Device")) == 1
    assert first["entry"][0]["response"]["location"] == second["entry"][0]["response"]["location"]
    assert fhir.received[0].headers["Content-Type"] == "application/fhir+json"


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: None))


def test_a_collision_is_tried_again(fhir, client, no_pause, told):
    fhir.collisions = 2
    client.transaction(BUNDLE)
    assert len(fhir.received) == 3
    assert len(fhir.of_type("Device")) == 1
    assert told == []


def test_an_old_version_is_a_conflict_and_sent_once(fhir, client, no_pause, told):
    device = {"resourceType": "Device", "id": "d1"}
    put = {"resource": device, "request": {"method": "PUT", "url": "Device/d1"}, "fullUrl": "urn:uuid:1"}
    client.transaction({**BUNDLE, "entry": [put]})
    versioned = {**put, "request": {**put["request"], "ifMatch": 'W/"1"'}}
    client.transaction({**BUNDLE, "entry": [versioned]})
    with pytest.raises(UpstreamConflict, match="HAPI-0974"):
        client.transaction({**BUNDLE, "entry": [versioned]})
    assert told == [], "whoever sent it reads again"
    assert len(fhir.received) == 3
    assert fhir.of_type("Device")[0]["meta"]["versionId"] == "2"


def test_a_collision_without_end_is_an_outage(fhir, client, no_pause, told):
    fhir.collisions = 1000
    with pytest.raises(UpstreamUnavailable, match="HAPI-0550"):
        client.transaction(BUNDLE, Deadline(30))
    assert len(fhir.received) == 8
    assert told == ["UpstreamUnavailable"]


@pytest.mark.parametrize(
    ("reference", "relative"),
    [
        ("Patient/1", "Patient/1"),
        ("https://ehr.example/fhir/Patient/1", "Patient/1"),
        ("https://ehr.example/fhir/Patient/1/_history/2", "Patient/1"),
        ("https://other.example/fhir/Patient/1", None),
        ("https://ehr.example/fhirs/Patient/1", None),
        ("urn:uuid:1", None),
        ("#p", None),
    ],
)
def test_relative_reference(reference, relative):
    assert relative_reference(reference, "https://ehr.example/fhir/") == relative


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.UNAUTHORIZED, "UpstreamRefused"),
        (Fault.BROKEN, "UpstreamUnavailable"),
        (Fault.OUTCOME, "UpstreamRefused"),
        (Fault.HTML, "UpstreamInvalid"),
        (Fault.CUT_OFF, "UpstreamUnavailable"),
    ],
)
@pytest.mark.parametrize("ask", ["read", "search", "transaction"])
def test_each_failed_exchange_is_told_once(fhir, client, told, fault, error, ask):
    fhir.fault = fault
    with pytest.raises(UpstreamError):
        {
            "read": lambda: client.read("Patient/p1"),
            "search": lambda: client.search("ImagingStudy", {"patient": "Patient/p1"}),
            "transaction": lambda: client.transaction(BUNDLE),
        }[ask]()
    assert told == [error]


def test_a_resource_that_is_not_there_is_an_answer_and_a_wrong_base_is_a_failure(fhir, client, told):
    with pytest.raises(UpstreamNotFound):
        client.read("Patient/nobody")
    assert told == []
    with HttpFhirServer(f"{fhir.url}/wrong") as elsewhere, pytest.raises(UpstreamNotFound):
        elsewhere.capabilities()
    assert told == ["UpstreamNotFound"]
