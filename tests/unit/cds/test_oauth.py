"""Our own access tokens, from a token endpoint on a real socket that verifies what we sign."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cds.deadline import Deadline
from cds.errors import (
    DeadlineExceeded,
    UpstreamInvalid,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cds.fhir_client import HttpFhirServer
from cds.oauth import AccessToken, ClientCredentials, ClientSecret, PrivateKeyJwt, SmartDiscovery
from cds.signing_key import SigningKey
from cds.upstream import tell_failures_to
from tests.fakes.authorization_server import AuthorizationServer, Guard
from tests.fakes.fhir_server import FakeFhirServer, Fault

KEY = SigningKey.new("ES384")
PATIENT = {"resourceType": "Patient", "id": "1"}


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def authority():
    with AuthorizationServer(KEY.jwk) as server:
        yield server


def credentials(authority, key=KEY, *, clock=time.monotonic, scopes=("system/Patient.r",), client=None):
    client = client or PrivateKeyJwt("leukocds", key)
    return ClientCredentials(lambda deadline: authority.token_url, client, scopes, clock=clock)


@pytest.fixture
def guarded(authority):
    with FakeFhirServer(PATIENT) as fhir, Guard(fhir.url, authority) as guard:
        yield guard


@pytest.mark.parametrize("alg", ["ES384", "RS384"])
def test_an_assertion_of_either_algorithm_is_accepted_and_its_token_opens_the_server(alg):
    key = SigningKey.new(alg)
    with AuthorizationServer(key.jwk) as authority, FakeFhirServer(PATIENT) as fhir:
        with Guard(fhir.url, authority) as guard:
            client = HttpFhirServer(guard.url, credentials=credentials(authority, key))
            assert client.read("Patient/1") == PATIENT
            assert client.read("Patient/1") == PATIENT
    assert (len(authority.issued), authority.refused) == (1, [])
    assert [through for *_, through in guard.seen] == [True, True]


def test_each_request_for_a_token_carries_an_assertion_of_its_own(authority):
    ours = credentials(authority)
    assert {ours.fetch().value for _ in range(3)} == set(authority.issued)
    assert len(authority.issued) == 3


def test_a_token_is_renewed_before_it_ends(authority):
    clock = Clock()
    ours = credentials(authority, clock=clock)
    first = ours.authorization(None)
    clock.now += 269  # of 300 s, less 30
    assert ours.authorization(None) == first
    clock.now += 2
    assert ours.authorization(None) != first
    assert len(authority.issued) == 2


def test_a_short_token_is_renewed_in_its_last_fifth(authority):
    authority.lifetime_s, clock = 10.0, Clock()
    ours = credentials(authority, clock=clock)
    first = ours.authorization(None)
    clock.now += 7.9
    assert ours.authorization(None) == first
    clock.now += 0.2
    assert ours.authorization(None) != first


def test_a_token_that_ended_is_never_sent(authority, guarded):
    authority.lifetime_s = 0.5
    client = HttpFhirServer(guarded.url, credentials=credentials(authority))
    for _ in range(3):
        assert client.read("Patient/1") == PATIENT
        time.sleep(0.55)
    assert len(authority.issued) == 3
    assert all(through for *_, through in guarded.seen)


def test_a_revoked_token_is_replaced_once_and_the_request_sent_again(authority, guarded):
    client = HttpFhirServer(guarded.url, credentials=credentials(authority))
    client.read("Patient/1")
    authority.revoke()
    assert client.read("Patient/1") == PATIENT
    assert len(authority.issued) == 2
    assert [through for *_, through in guarded.seen] == [True, False, True]


def test_a_server_that_refuses_every_token_is_asked_twice_and_no_more(authority):
    with FakeFhirServer(PATIENT) as fhir:
        fhir.fault = Fault.UNAUTHORIZED
        client = HttpFhirServer(fhir.url, credentials=credentials(authority))
        with pytest.raises(UpstreamRefused, match="HTTP 401"):
            client.read("Patient/1")
        assert len(fhir.received) == 2
    assert len(authority.issued) == 2


def test_threads_share_one_fetch(authority, guarded):
    client = HttpFhirServer(guarded.url, credentials=credentials(authority))
    authority.gate.clear()
    with ThreadPoolExecutor(12) as pool:
        reads = [pool.submit(client.read, "Patient/1") for _ in range(12)]
        time.sleep(0.3)
        authority.gate.set()
        assert all(read.result(10) == PATIENT for read in reads)
        authority.revoke()
        assert all(read == PATIENT for read in pool.map(client.read, ["Patient/1"] * 12))
    assert len(authority.issued) == 2


def test_threads_share_one_failure(authority):
    ours = credentials(authority)
    authority.gate.clear()
    authority.status = 502
    with ThreadPoolExecutor(6) as pool:
        tries = [pool.submit(ours.authorization, None) for _ in range(6)]
        time.sleep(0.3)
        authority.gate.set()
        for one in tries:
            with pytest.raises(UpstreamUnavailable, match=r"token endpoint .*HTTP 502"):
                one.result(20)
    assert authority.asked == 3  # attempts of the one fetch


def test_others_go_on_with_the_old_token_while_one_renews_it(authority):
    clock = Clock()
    ours = credentials(authority, clock=clock)
    first = ours.authorization(None)
    clock.now += 280
    authority.gate.clear()
    renewing = threading.Thread(target=ours.authorization, args=(None,))
    renewing.start()
    while authority.asked < 2:
        time.sleep(0.01)
    assert ours.authorization(None) == first  # at once
    authority.gate.set()
    renewing.join(10)
    assert ours.authorization(None) != first


def test_while_the_endpoint_is_out_the_old_token_serves_to_its_end(authority, caplog):
    clock = Clock()
    ours = credentials(authority, clock=clock)
    first = ours.authorization(None)
    authority.down()
    clock.now += 280
    with caplog.at_level(logging.WARNING):
        assert ours.authorization(None) == ours.authorization(None) == first
    assert caplog.text.count("access token not renewed") == 1  # not at every request
    clock.now += 21
    with pytest.raises(UpstreamUnavailable, match="does not accept connections"):
        ours.authorization(None)
    authority.up()
    assert ours.authorization(None) != first


def test_a_client_that_is_no_longer_known_goes_on_to_the_end_of_its_token(authority):
    clock = Clock()
    ours = credentials(authority, clock=clock)
    first = ours.authorization(None)
    authority.jwks = []
    clock.now += 280
    assert ours.authorization(None) == first
    clock.now += 21
    with pytest.raises(UpstreamRefused, match="invalid_client"):
        ours.authorization(None)


def test_an_endpoint_that_fails_now_and_then_is_asked_again(authority):
    authority.failing = 2
    assert credentials(authority).authorization(None).startswith("Bearer ")
    assert authority.asked == 3


def test_an_endpoint_that_hangs_costs_no_more_than_the_deadline(authority):
    authority.gate.clear()
    began = time.monotonic()
    with pytest.raises(UpstreamTimeout, match="token endpoint"):
        credentials(authority).authorization(Deadline(0.4))
    assert time.monotonic() - began < 1.5
    with pytest.raises(DeadlineExceeded):
        credentials(authority).authorization(Deadline(0.0))


def test_its_failure_is_told_as_its_own(authority, monkeypatch):
    monkeypatch.setattr("cds.upstream._observer", None)
    told = []
    tell_failures_to(lambda *what: told.append(what))
    authority.down()
    with FakeFhirServer(PATIENT) as fhir, pytest.raises(UpstreamUnavailable):
        HttpFhirServer(fhir.url, credentials=credentials(authority)).read("Patient/1")
    assert {server for server, _, _ in told} == {"token endpoint"}


@pytest.mark.parametrize(
    ("ours", "why"),
    [
        (PrivateKeyJwt("leukocds", SigningKey.new()), "InvalidKeyError"),
        (PrivateKeyJwt("somebody", KEY), "iss or sub"),
        (
            PrivateKeyJwt("leukocds", SigningKey(SigningKey.new().private_key, KEY.kid)),
            "InvalidSignatureError",
        ),
    ],
    ids=["unknown key", "unknown client", "another key under our kid"],
)
def test_a_client_that_is_not_known_is_told_so_and_nothing_of_the_assertion(authority, caplog, ours, why):
    with pytest.raises(UpstreamRefused) as caught:
        credentials(authority, client=ours).authorization(None)
    said = str(caught.value)
    assert authority.refused == [why]
    assert "(invalid_client); our client id, key or secret is not what it has registered" in said
    assert f"it says: {why}" in said
    assert "eyJ" not in said + caplog.text  # the server quotes all that it was sent


@pytest.mark.parametrize(
    ("offset_s", "why"),
    [(200.0, "exp is past"), (-100.0, "iat is in the future"), (-250.0, "exp is too late")],
)
def test_clocks_that_differ_are_named_as_the_cause(authority, offset_s, why):
    authority.offset_s = offset_s
    with pytest.raises(UpstreamRefused, match=r"clock and ours differ by \d+ s: set both by NTP"):
        credentials(authority).authorization(None)
    assert authority.refused == [why]


@pytest.mark.parametrize("offset_s", [90.0, -4.0])
def test_clocks_that_differ_a_little_do_not_matter(authority, offset_s):
    authority.offset_s = offset_s
    assert credentials(authority).authorization(None)


def test_scopes_that_are_not_granted_are_named(authority):
    authority.grants = {"system/Observation.c"}
    with pytest.raises(UpstreamRefused, match=r"invalid_scope.*does not grant"):
        credentials(authority).authorization(None)
    granted = credentials(authority, scopes=["system/Observation.c", "system/Patient.r"]).fetch()
    assert granted.scopes == {"system/Observation.c"}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"access_token": ""}, "no usable access_token"),
        ({"access_token": "two words"}, "no usable access_token"),
        ({"access_token": "line\r\nbreak"}, "no usable access_token"),
        ({"token_type": "mac"}, "token_type other than Bearer"),
        ({"expires_in": "soon"}, "no number of seconds"),
        ({"expires_in": -1}, "no number of seconds"),
        ({"expires_in": float("nan")}, "no number of seconds"),
    ],
)
def test_an_answer_that_cannot_be_used_is_named(authority, extra, message):
    authority.extra = extra
    with pytest.raises(UpstreamInvalid, match=message):
        credentials(authority).authorization(None)


def test_a_token_is_in_no_repr():
    assert "hush" not in repr(AccessToken(value="hush", lifetime_s=1.0, scopes=None))


@pytest.mark.parametrize(("in_form", "way"), [(False, "client_secret_basic"), (True, "client_secret_post")])
def test_a_shared_secret_in_the_header_or_the_form(in_form, way):
    with AuthorizationServer(secret="s:e c%ret+ä") as authority:
        client = ClientSecret("leukocds", "s:e c%ret+ä", in_form=in_form)
        assert credentials(authority, client=client).authorization(None)
        assert authority.ways == [way]
        with pytest.raises(UpstreamRefused, match="invalid_client") as caught:
            credentials(authority, client=ClientSecret("leukocds", "hush hush", in_form=in_form)).fetch()
        assert "hush" not in str(caught.value)


def test_the_endpoint_is_found_in_the_smart_configuration(authority, guarded):
    ours = ClientCredentials(
        SmartDiscovery(guarded.url, alg="ES384"), PrivateKeyJwt("leukocds", KEY), ["system/Patient.r"]
    )
    assert HttpFhirServer(guarded.url, credentials=ours).read("Patient/1") == PATIENT
    guarded.configuration = {}
    ours.fetch()  # what was found is kept


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({}, "names no token_endpoint"),
        ({"token_endpoint": "http://auth.example/token"}, "token_endpoint must begin with https"),
        (
            {"token_endpoint": "https://a.example/t", "grant_types_supported": ["authorization_code"]},
            "grant_types_supported does not hold client_credentials",
        ),
        (
            {
                "token_endpoint": "https://a.example/t",
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            },
            "does not hold private_key_jwt",
        ),
        (
            {
                "token_endpoint": "https://a.example/t",
                "token_endpoint_auth_signing_alg_values_supported": ["RS384"],
            },
            "does not hold ES384",
        ),
    ],
)
def test_a_smart_configuration_without_what_we_need_says_what(guarded, configuration, message):
    guarded.configuration = configuration
    with pytest.raises(UpstreamInvalid, match=message):
        SmartDiscovery(guarded.url, alg="ES384")(Deadline(5))


def test_an_assertion_that_comes_twice_is_refused(authority):
    """So that the endpoint of these tests would notice if ours did."""

    class Replaying(PrivateKeyJwt):
        def prove(self, token_url):
            self.proof = getattr(self, "proof", None) or super().prove(token_url)
            return self.proof

    ours = credentials(authority, client=Replaying("leukocds", KEY))
    assert ours.fetch()
    with pytest.raises(UpstreamRefused, match="jti was used"):
        ours.fetch()
