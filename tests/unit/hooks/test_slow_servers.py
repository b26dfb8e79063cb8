"""hooks/slow_servers.py: a server that hangs holds a few hooks, and no more."""

import time
from dataclasses import replace

import pytest

from hooks.app import create_app
from hooks.slow_servers import AT_MOST, SLOW_S, SlowServers
from tests.fakes.hook_requests import hook_request, imaging_study, with_studies

SLOW, OTHER = "https://slow.example/r4", "https://other.example/r4"
SERVICE = "/cds-services/leukemia-smear"


def held(servers: SlowServers, server: str, count: int) -> None:
    for _ in range(count):
        assert servers.enter(server)


def test_any_number_may_wait_for_a_server_that_answers():
    servers = SlowServers()
    held(servers, SLOW, 10 * AT_MOST)


def test_once_a_hook_waited_in_vain_few_may_and_the_others_go_on_at_once():
    servers = SlowServers()
    held(servers, SLOW, 1)
    servers.leave(SLOW, in_vain=True)
    held(servers, SLOW, AT_MOST)
    assert not servers.enter(SLOW)
    held(servers, OTHER, AT_MOST + 1)
    servers.leave(SLOW, in_vain=False)
    assert servers.enter(SLOW)


def test_it_is_forgiven_after_a_while():
    now = [0.0]
    servers = SlowServers(clock=lambda: now[0])
    held(servers, SLOW, 1)
    servers.leave(SLOW, in_vain=True)
    held(servers, SLOW, AT_MOST)
    assert not servers.enter(SLOW)
    now[0] = SLOW_S
    assert servers.enter(SLOW)


@pytest.fixture
def crowded(context, fhir):
    """The fixture's FHIR server was waited for in vain, and as many as may wait for it now."""
    slow = SlowServers()
    held(slow, fhir.url, AT_MOST + 1)
    slow.leave(fhir.url, in_vain=True)
    return create_app(replace(context, slow_servers=slow)).test_client()


def test_a_hook_that_needs_a_crowded_server_is_told_so_at_once(crowded, fhir):
    began = time.monotonic()
    answer = crowded.post(SERVICE, json=hook_request(fhir_server=fhir.url))
    assert answer.status_code == 412
    assert "other hooks wait for it" in answer.text
    assert time.monotonic() - began < 1
    assert fhir.received == []


def test_a_hook_that_was_sent_everything_needs_it_less(crowded, fhir):
    body = with_studies(imaging_study()) | {"fhirServer": fhir.url}
    assert crowded.post(SERVICE, json=body).status_code == 200


def test_a_hook_leaves_the_server_when_it_is_answered(context, fhir):
    slow = SlowServers()
    client = create_app(replace(context, slow_servers=slow)).test_client()
    assert client.post(SERVICE, json=hook_request(fhir_server=fhir.url)).status_code == 200
    assert slow._waiting == {}
