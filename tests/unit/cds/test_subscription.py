"""Our Subscription: made once, found again, put right, removed."""

from dataclasses import replace

import pytest

from cds.errors import UpstreamConflict
from cds.fhir_client import HttpFhirServer
from cds.fhir_writing import AdaptingFhirServer
from cds.subscription import HEADER, Wanted, criteria, ensure, find, remove
from tests.fakes.fhir_server import FakeFhirServer

WANTED = Wanted(
    installation="0f1b5c2e-0000-4000-8000-000000000001",
    criteria=criteria(("GM", "SM")),
    endpoint="https://leuko.example/fhir-notifications",
    secret="a-secret-of-the-test",
)


@pytest.fixture
def server():
    with FakeFhirServer() as fake:
        yield fake


@pytest.fixture(params=[{"transaction", "conditional", "write"}, {"write"}], ids=["transaction", "single"])
def fhir(server, request):
    server.abilities, server.statement = request.param, None
    with HttpFhirServer(server.url) as client:
        yield AdaptingFhirServer(client)


def held(server):
    (subscription,) = server.of_type("Subscription")
    return subscription


def test_it_is_made_once_without_payload_and_with_the_secret_in_a_header(server, fhir):
    made = ensure(WANTED, fhir)
    assert (made.reference, made.status, made.mended) == ("Subscription/subscription-1", "requested", "made")
    assert held(server)["criteria"] == "ImagingStudy?modality=GM,SM"
    assert held(server)["channel"] == {
        "type": "rest-hook",
        "endpoint": "https://leuko.example/fhir-notifications",
        "header": [f"{HEADER}: a-secret-of-the-test"],
    }
    held(server)["status"] = "active"
    again = ensure(WANTED, fhir)
    assert (again.reference, again.status, again.mended) == (made.reference, "active", None)
    assert held(server)["meta"]["versionId"] == "1"


@pytest.mark.parametrize(
    "changes", [{"criteria": criteria(("XC",))}, {"endpoint": "https://new.example/n"}, {"secret": "another"}]
)
def test_what_has_changed_is_put_right(server, fhir, changes):
    ensure(WANTED, fhir)
    wanted = replace(WANTED, **changes)
    assert ensure(wanted, fhir).mended.endswith("brought up to date")
    assert held(server)["criteria"] == wanted.criteria
    assert held(server)["channel"] == wanted.resource()["channel"]
    assert ensure(wanted, fhir).mended is None


@pytest.mark.parametrize("status", ["off", "error"])
def test_what_the_server_switched_off_is_made_active_again(server, fhir, status):
    ensure(WANTED, fhir)
    held(server).update(status=status, error="could not be delivered")
    assert ensure(WANTED, fhir).mended == f"made active again, it was {status}"
    assert held(server)["status"] == "requested"
    assert "error" not in held(server)


def test_a_server_that_keeps_headers_to_itself_is_not_written_to_for_ever(server, fhir):
    ensure(WANTED, fhir)
    del held(server)["channel"]["header"]
    assert ensure(WANTED, fhir).mended is None


def test_of_several_one_stays_and_those_of_others_are_left_alone(server, fhir):
    other = replace(WANTED, installation="0f1b5c2e-0000-4000-8000-000000000002")
    ensure(other, fhir)
    ensure(WANTED, fhir)
    (mine,) = find(fhir, WANTED.installation)
    server.resources["Subscription/twin"] = {**mine, "id": "twin"}
    ensure(WANTED, fhir)
    assert len(find(fhir, WANTED.installation)) == 1
    assert len(find(fhir, None)) == 2
    assert remove(fhir, WANTED.installation) == 1
    assert remove(fhir, WANTED.installation) == 0
    assert [s["meta"]["tag"][0]["code"] for s in server.of_type("Subscription")] == [other.installation]


def test_somebody_who_changes_it_meanwhile_is_not_overwritten(server, fhir, monkeypatch):
    ensure(WANTED, fhir)
    stale = dict(held(server))
    held(server)["meta"]["versionId"] = "9"
    stale["meta"] = {**stale["meta"], "versionId": "1"}
    monkeypatch.setattr("cds.subscription.find", lambda *_: [stale])
    with pytest.raises(UpstreamConflict):
        ensure(replace(WANTED, endpoint="https://new.example/n"), fhir)


def test_the_secret_is_in_no_repr():
    assert "a-secret-of-the-test" not in repr(WANTED)
