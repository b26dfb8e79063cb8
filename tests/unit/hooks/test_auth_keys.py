"""JWK Sets of CDS clients: which keys are taken, and how a fetched set is kept and renewed."""

import base64
import json
import threading
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cds.errors import LeukoError
from hooks.client_keys import MAX_KEYS, MAX_SET_BYTES, FetchedKeys, KeySetError, parse_key_set
from hooks.signing import Signer
from tests.fakes.jwks_server import JwksServer

ISS = "https://ehr.example/"
EC, RSA, NEXT = Signer.new(ISS), Signer.new(ISS, "RS384"), Signer.new(ISS)


def rsa_jwk(bits):
    return Signer(ISS, rsa.generate_private_key(public_exponent=65537, key_size=bits)).jwk


def test_a_set_of_both_kinds():
    keys = parse_key_set({"keys": [EC.jwk, RSA.jwk]})
    assert {kid: key.alg for kid, key in keys.items()} == {EC.kid: "ES384", RSA.kid: "RS384"}


def test_alg_and_use_may_be_left_out_and_others_are_ignored():
    jwk = {name: EC.jwk[name] for name in ("kty", "crv", "x", "y", "kid")}
    assert parse_key_set({"keys": [{**jwk, "x5t": "abc", "key_ops": ["verify"]}]})[EC.kid].alg == "ES384"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kid": None}, "kid: is missing"),
        ({"kid": 7}, "kid: is missing"),
        ({"kty": "oct", "k": "c2VjcmV0"}, "private or symmetric"),
        ({"kty": "OKP"}, "kty: must be"),
        ({"kty": ["EC"]}, "kty: must be"),
        ({"kty": "RSA"}, "alg: must be RS384"),
        ({"alg": "ES256"}, "alg: must be ES384"),
        ({"alg": "RS384"}, "alg: must be ES384"),
        ({"alg": "none"}, "alg: must be ES384"),
        ({"use": "enc"}, "use: must be sig"),
        ({"key_ops": ["sign"]}, "key_ops"),
        ({"key_ops": "verify"}, "key_ops"),
        ({"crv": "P-256"}, "crv: must be P-384"),
        ({"crv": None}, "crv: must be P-384"),
        ({"x": None}, "x: is missing"),
        ({"y": 5}, "y: is missing"),
        ({"x": "AAAA"}, "is no EC key"),
        ({"y": EC.jwk["x"]}, "is no EC key"),
        ({"x": "é"}, "is no EC key"),
        ({"d": "c2VjcmV0"}, "private"),
    ],
)
def test_a_key_that_is_not_what_it_says(changes, words):
    jwk = {name: value for name, value in {**EC.jwk, **changes}.items() if value is not None}
    with pytest.raises(KeySetError, match=r"keys\[1\]\.") as caught:
        parse_key_set({"keys": [RSA.jwk, jwk]})
    assert words in str(caught.value)
    assert set(parse_key_set({"keys": [RSA.jwk, jwk]}, lenient=True)) == {RSA.kid}


@pytest.mark.parametrize("bits", [1024, 2040])
def test_a_short_rsa_key(bits):
    with pytest.raises(KeySetError, match="2048 to 8192 bits"):
        parse_key_set({"keys": [rsa_jwk(bits)]})


def test_an_rsa_key_that_is_long_enough_and_one_that_would_cost_too_much():
    assert parse_key_set({"keys": [rsa_jwk(2048)]})
    n = base64.urlsafe_b64encode(((1 << 9000) + 1).to_bytes(1126)).decode().rstrip("=")
    with pytest.raises(KeySetError, match=r"bits|no RSA key"):
        parse_key_set({"keys": [{**RSA.jwk, "n": n}]})


@pytest.mark.parametrize("jwk", [{"n": ""}, {"e": ""}, {"e": "AA"}, {"e": "Ag"}, {"n": "***"}])
def test_a_broken_rsa_key(jwk):
    with pytest.raises(KeySetError):
        parse_key_set({"keys": [{**RSA.jwk, **jwk}]})


def test_the_private_halves_that_we_make_are_refused_as_public_ones():
    for signer in (EC, RSA):
        with pytest.raises(KeySetError, match="private"):
            parse_key_set({"keys": [signer.private_jwk]})


@pytest.mark.parametrize("lenient", [False, True])
def test_two_keys_of_one_kid_are_refused_whatever_they_are_for(lenient):
    for other in (NEXT.jwk, RSA.jwk, {**NEXT.jwk, "use": "enc"}, EC.jwk):
        with pytest.raises(KeySetError, match="same"):
            parse_key_set({"keys": [EC.jwk, {**other, "kid": EC.kid}]}, lenient=lenient)


@pytest.mark.parametrize(
    "document", [None, [], {}, {"keys": None}, {"keys": {}}, {"keys": ["x"]}, {"keys": [None]},
                 {"keys": [{}] * (MAX_KEYS + 1)}]
)  # fmt: skip
def test_what_is_no_set(document):
    for lenient in (False, True):
        with pytest.raises(KeySetError, match=r"^keys: "):
            parse_key_set(document, lenient=lenient)


def test_a_key_of_another_curve_of_our_own_making():
    with pytest.raises(KeySetError, match="crv"):
        parse_key_set({"keys": [Signer(ISS, ec.generate_private_key(ec.SECP256R1())).jwk]})


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def server():
    with JwksServer(EC.jwk) as running:
        yield running


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def keys(server, clock):
    return FetchedKeys(server.url, ttl_s=600, max_age_s=3600, cool_down_s=30, clock=clock)


def settled(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_set_is_fetched_when_first_asked_for_and_kept(server, keys):
    assert server.asked == []
    assert keys.find(EC.kid).alg == "ES384"
    assert keys.find(EC.kid)
    assert len(server.asked) == 1


def test_an_unknown_kid_fetches_again_at_most_once_in_a_cool_down(server, keys, clock):
    assert keys.find(EC.kid)
    server.publish(EC.jwk, NEXT.jwk)
    assert keys.find(NEXT.kid) is None
    clock.now += 31
    assert keys.find(NEXT.kid)
    assert keys.find("other") is None
    assert keys.find(EC.kid)
    assert len(server.asked) == 2


def test_a_key_that_the_client_withdrew_is_gone_after_the_next_fetch(server, keys, clock):
    assert keys.find(EC.kid)
    server.publish(NEXT.jwk)
    clock.now += 601
    assert keys.find(EC.kid)  # answered at once, while the fetch is on its way
    settled(lambda: keys.find(EC.kid) is None)
    assert keys.find(NEXT.kid)
    assert len(server.asked) == 2


@pytest.mark.parametrize("how", ["status", "redirect", "not-json", "not-a-set", "huge", "two-of-one-kid"])
def test_old_keys_serve_while_the_fetch_fails_but_not_for_ever(server, keys, clock, how):
    assert keys.find(EC.kid)
    if how == "status":
        server.status = 500
    elif how == "redirect":
        server.status, server.location = 301, server.url
    elif how == "two-of-one-kid":
        server.publish(EC.jwk, EC.jwk)
    else:
        whole = json.dumps({"keys": [EC.jwk], "pad": "x" * MAX_SET_BYTES}).encode()
        server.answer = {"not-json": b"<html>", "not-a-set": b"[]", "huge": whole}[how]
    asked = 1
    for age in (601, 700, 3590):
        clock.now = 1000.0 + age
        assert keys.find(EC.kid)
        asked += 1
        settled(lambda wanted=asked: len(server.asked) == wanted and not keys._fetching.locked())
    clock.now = 1000.0 + 3601
    assert keys.find(EC.kid) is None  # within the cool-down: not even asked
    clock.now += 30
    assert keys.find(EC.kid) is None
    assert len(server.asked) == asked + 1
    server.status, server.location = 200, None
    server.publish(EC.jwk)
    clock.now += 31
    assert keys.find(EC.kid)


def test_many_who_come_at_once_make_one_fetch(server, keys):
    server.gate.clear()
    found = []
    threads = [threading.Thread(target=lambda: found.append(keys.find(EC.kid))) for _ in range(8)]
    for thread in threads:
        thread.start()
    settled(lambda: server.asked)
    time.sleep(0.1)
    server.gate.set()
    for thread in threads:
        thread.join(10)
    assert all(found)
    assert len(found) == 8
    assert len(server.asked) == 1


def test_a_server_that_hangs_holds_nobody_who_has_a_key(server, keys, clock):
    assert keys.find(EC.kid)
    server.gate.clear()
    clock.now += 601
    began = time.monotonic()
    for _ in range(50):
        assert keys.find(EC.kid)
    assert time.monotonic() - began < 1.5
    settled(lambda: len(server.asked) == 2)


def test_a_server_that_hangs_is_given_up(server, keys):
    server.gate.clear()
    with pytest.raises(LeukoError, match="in time"):
        keys.fetch()


def test_a_server_that_is_not_there_is_no_key():
    with JwksServer() as gone:
        pass
    keys = FetchedKeys(gone.url, ttl_s=600, max_age_s=3600)
    assert keys.find("any") is None
