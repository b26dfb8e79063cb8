import base64
import time

import pytest
import requests

from cds.deadline import Deadline
from cds.errors import (
    DeadlineExceeded,
    UpstreamError,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cds.upstream import FixedCredentials, json_object, open_session, send, tell_failures_to
from tests.fakes.fhir_server import FakeFhirServer, Fault

STUDY = {"resourceType": "ImagingStudy", "id": "1", "description": "x" * 200_000}


@pytest.fixture
def fhir():
    with FakeFhirServer(STUDY) as server:
        yield server


def get(url, **options):
    limits = {"connect_timeout_s": 1, "read_timeout_s": 1, **options}
    return send(open_session(FixedCredentials(token="t0ken")), "GET", url, server="FHIR server", **limits)


def test_a_good_answer_is_read_whole(fhir):
    response = get(f"{fhir.url}/ImagingStudy/1")
    assert json_object(response, server="FHIR server") == STUDY
    assert fhir.received[0].headers["Authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (Fault.SLOW, UpstreamTimeout, "did not answer in time"),
        (Fault.CUT_OFF, UpstreamUnavailable, "the connection broke off"),
        (Fault.UNAUTHORIZED, UpstreamRefused, "refused our credentials"),
        (Fault.BROKEN, UpstreamUnavailable, "HTTP 500"),
        (Fault.OUTCOME, UpstreamRefused, "HTTP 422"),
        (Fault.REDIRECT, UpstreamInvalid, "redirects to another address, which is not followed"),
    ],
)
def test_every_failure_is_named_without_saying_what_was_asked(fhir, fault, error, message):
    fhir.fault = fault
    with pytest.raises(UpstreamError, match=message) as caught:
        get(f"{fhir.url}/ImagingStudy?patient=secret-7", read_timeout_s=0.2)
    assert type(caught.value) is error
    assert f"FHIR server 127.0.0.1:{fhir.url.split(':')[2].partition('/')[0]}" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "t0ken" not in str(caught.value)
    assert len(fhir.received) == 1


def test_an_unknown_resource(fhir):
    with pytest.raises(UpstreamNotFound, match="does not know"):
        get(f"{fhir.url}/Patient/2")


def test_nobody_listens(fhir):
    fhir.down()
    with pytest.raises(UpstreamUnavailable, match="does not accept connections"):
        get(fhir.url)


@pytest.mark.parametrize("url", ["http://[broken/", "http://", "ftp://127.0.0.1/", "http://exa mple/"])
def test_an_address_that_cannot_be_used(url):
    with pytest.raises(UpstreamInvalid, match="malformed"):
        get(url)


def test_a_body_that_drips_meets_the_deadline(fhir):
    fhir.fault = Fault.DRIP
    began = time.monotonic()
    with pytest.raises(UpstreamTimeout):
        get(fhir.url, deadline=Deadline(0.3))
    assert time.monotonic() - began < 0.9


@pytest.mark.parametrize("limits", [{"deadline": Deadline(1e9)}, {}], ids=["deadline", "no deadline"])
def test_a_header_that_drips_meets_the_deadline(fhir, limits, monkeypatch):
    fhir.fault = Fault.DRIP_HEADER
    monkeypatch.setattr("cds.upstream.TOTAL_TIMEOUT_S", 0.3)
    began = time.monotonic()
    with pytest.raises(UpstreamTimeout):
        get(fhir.url, **limits)
    assert time.monotonic() - began < 0.9


def test_a_user_name_of_any_letters():
    # RFC 7617 section 2.1
    sent = FixedCredentials(user="Jörg", password="名前").authorization(None)
    assert base64.b64decode(sent.removeprefix("Basic ")).decode() == "Jörg:名前"


def test_a_redirect_takes_no_credentials_elsewhere():
    with FakeFhirServer(STUDY) as elsewhere, FakeFhirServer(STUDY) as ours:
        ours.fault, ours.redirect_to = Fault.REDIRECT, elsewhere.url
        with pytest.raises(UpstreamInvalid, match="not followed"):
            get(f"{ours.url}/ImagingStudy/1")
    assert (len(ours.received), elsewhere.received) == (1, [])


def test_a_deadline_that_is_over_sends_nothing(fhir):
    with pytest.raises(DeadlineExceeded):
        get(fhir.url, deadline=Deadline(0))
    assert fhir.received == []


def test_a_body_that_is_too_large(fhir):
    with pytest.raises(UpstreamInvalid, match="larger than the 1000 bytes"):
        get(f"{fhir.url}/ImagingStudy/1", max_bytes=1000)


def test_a_status_can_be_accepted(fhir):
    fhir.fault = Fault.OUTCOME
    assert get(fhir.url, accept_statuses=(422,)).status_code == 422


@pytest.mark.parametrize(
    ("fault", "message"),
    [(Fault.HTML, "an HTML page instead of JSON"), (Fault.NOT_JSON, r"not JSON \(text/plain\)")],
)
def test_what_came_instead_of_json(fhir, fault, message):
    fhir.fault = fault
    with pytest.raises(UpstreamInvalid, match=message):
        json_object(get(fhir.url), server="FHIR server")


def test_a_netrc_entry_does_not_replace_the_token(fhir, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    get(f"{fhir.url}/metadata")
    send(
        open_session(),
        "GET",
        f"{fhir.url}/metadata",
        server="FHIR server",
        connect_timeout_s=1,
        read_timeout_s=1,
    )
    requests.get(f"{fhir.url}/metadata", timeout=1)
    sent = [received.headers.get("Authorization") for received in fhir.received]
    assert sent[:2] == ["Bearer t0ken", None]
    assert sent[2] is not None, "requests no longer reads netrc: this test proves nothing"


def test_an_observer_is_told_of_each_failure_and_of_nothing_else(fhir, monkeypatch):
    monkeypatch.setattr("cds.upstream._observer", None)  # put back after the test, whatever it is
    told = []
    tell_failures_to(lambda *what: told.append(what))
    get(f"{fhir.url}/ImagingStudy/1")
    assert told == []
    fhir.fault = Fault.BROKEN
    with pytest.raises(UpstreamUnavailable):
        get(f"{fhir.url}/ImagingStudy?patient=secret-7")
    host = fhir.url.partition("//")[2].partition("/")[0]
    assert told == [("FHIR server", host, "UpstreamUnavailable")]
