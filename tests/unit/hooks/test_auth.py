"""Attacks on the door of CDS clients, over the app: each is 401 without a body, and fetches nothing unconfigured."""

import base64
import hashlib
import hmac
import json
import logging
import random
import string
import time
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import g
from structlog.testing import capture_logs

from cds.errors import StoreError
from cds.settings import Settings
from cds.store import SqlAssessmentStore
from hooks.app import create_app
from hooks.authentication import MAX_TOKEN_BYTES, Authenticator
from hooks.clients import load_clients
from hooks.signing import Signer, clients_toml
from tests.fakes.context import make_context
from tests.fakes.hook_requests import SERVICE, with_studies
from tests.fakes.jwks_server import JwksServer

BASE = "https://leuko.example"  # as `make_context` has it
DISCOVERY = f"{BASE}/cds-services"
ISS, OTHER_ISS, FETCHED_ISS = "https://ehr.example/", "https://other.example/", "https://fetched.example/"
NOW = 1_800_000_000

EHR, OTHER, FETCHED, STRANGER = (
    Signer.new(ISS),
    Signer.new(OTHER_ISS, "RS384"),
    Signer.new(FETCHED_ISS),
    Signer.new(ISS),
)


def claims(**changes):
    """Valid for discovery; a change to None leaves the claim out."""
    valid = {
        "iss": ISS,
        "aud": DISCOVERY,
        "iat": NOW,
        "exp": NOW + 120,
        "jti": f"jti-{time.perf_counter_ns()}",
    }
    return {name: value for name, value in {**valid, **changes}.items() if value is not None}


def header(**changes):
    valid = {"alg": "ES384", "kid": EHR.kid, "typ": "JWT"}
    return {name: value for name, value in {**valid, **changes}.items() if value is not None}


def b64(data):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload, head=None, signer=EHR):
    """Signed by that key, whatever the header says."""
    head = header(alg=signer.alg, kid=signer.kid) if head is None else head
    text = f"{b64(head)}.{b64(payload)}"
    algorithm = jwt.PyJWS().get_algorithm_by_name(signer.alg)
    return f"{text}.{b64(algorithm.sign(text.encode(), signer._key))}"


@pytest.fixture
def jwks_server():
    with JwksServer(FETCHED.jwk) as server:
        yield server


@pytest.fixture
def door(tmp_path, jwks_server):
    """A service that knows three clients: two by keys in the file, one by the server's."""
    file = tmp_path / "clients.toml"
    file.write_text(
        clients_toml(EHR, name="EHR")
        + clients_toml(OTHER, name="Other")
        + f'[[client]]\nname = "Fetched"\niss = "{FETCHED_ISS}"\njku = "{jwks_server.url}"\n'
    )
    return Door(tmp_path, file)


class Door:
    def __init__(self, folder, file, *, skew_s=30.0, lifetime_s=300.0):
        settings = Settings(clients=str(file), public_url=BASE)
        self.now = NOW
        self.context = make_context(folder, settings=settings)
        self.store = self.context.store
        self.authenticator = Authenticator(
            load_clients(settings),
            self.store,
            clock_skew_s=skew_s,
            max_lifetime_s=lifetime_s,
            clock=lambda: self.now,
        )
        self.client = create_app(replace(self.context, authenticator=self.authenticator)).test_client()

    def send(self, token, path="/cds-services", scheme="Bearer", method="GET"):
        with capture_logs() as self.logs:
            return self.client.open(path, method=method, headers={"Authorization": f"{scheme} {token}"})

    def refuses(self, token, reason=None, **kwargs):
        response = self.send(token, **kwargs)
        assert (response.status_code, response.data) == (401, b"")
        assert response.headers["WWW-Authenticate"] == "Bearer"
        (line,) = [line for line in self.logs if line["event"] == "client refused"]
        if reason is not None:
            assert line["reason"] == reason
        for part in token.split("."):
            assert len(part) < 9 or part not in str(self.logs)

    def admits(self, token, **kwargs):
        response = self.send(token, **kwargs)
        assert response.status_code == 200, self.logs
        assert response.json["services"]


@pytest.mark.parametrize(("signer", "iss"), [(EHR, ISS), (OTHER, OTHER_ISS), (FETCHED, FETCHED_ISS)])
def test_each_client_passes_with_its_key(door, signer, iss):
    door.admits(signed(claims(iss=iss), signer=signer))


def test_the_signer_of_our_commands_makes_valid_tokens(door):
    door.now = time.time()
    door.admits(EHR.token(DISCOVERY))
    door.admits(EHR.token([DISCOVERY]))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/cds-services"),
        ("get", "/cds-services/"),
        ("post", SERVICE),
        ("post", f"{SERVICE}/"),
        ("post", f"{SERVICE}/feedback"),
        ("post", "/cds-services/unknown"),
        ("delete", SERVICE),
        ("get", "/cds-services/a/b/c"),
    ],
)
def test_nothing_of_the_surface_answers_without_a_token(door, method, path):
    with capture_logs() as logs:
        response = getattr(door.client, method)(path)
    assert (response.status_code, response.data) == (401, b"")
    assert [line["reason"] for line in logs if line["event"] == "client refused"] == ["no-token"]


@pytest.mark.parametrize(
    "path", ["//cds-services", "///cds-services/", "/cds-services//", "//cds-services//x"]
)
def test_doubled_slashes_lead_round_no_token(door, path):
    response = door.client.get("/", environ_overrides={"PATH_INFO": path})
    assert (response.status_code, response.data) == (401, b"")


def test_health_pages_and_preflights_need_none(door):
    assert door.client.get("/health").status_code == 200
    assert door.client.get("/sign-in").status_code == 200
    assert door.client.options(SERVICE).status_code == 200


def test_a_service_is_called_with_its_own_address_as_audience(door):
    headers = {"Authorization": f"Bearer {signed(claims(aud=BASE + SERVICE))}"}
    response = door.client.post(f"{SERVICE}/", json=with_studies(), headers=headers)
    assert (response.status_code, response.json) == (200, {"cards": []})


def test_handlers_know_the_caller(door):
    app = create_app(replace(door.context, authenticator=door.authenticator))
    app.add_url_rule(
        "/cds-services/who", view_func=lambda: f"{g.client.name} {g.client.tenant} {g.client_issuer}"
    )
    token = signed(claims(aud=f"{DISCOVERY}/who", tenant="t-1"))
    response = app.test_client().get("/cds-services/who", headers={"Authorization": f"Bearer {token}"})
    assert response.text == f"EHR t-1 {ISS}"


# -- the header


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "", "HS256", "HS384", "ES256", "RS256", "PS384", "EdDSA"]
)
def test_another_alg(door, alg):
    door.refuses(f"{b64(header(alg=alg))}.{b64(claims())}.", "alg")
    door.refuses(signed(claims(), header(alg=alg)), "alg")


@pytest.mark.parametrize("alg", [None, 384, ["ES384"], {"x": 1}, True])
def test_an_alg_that_is_no_text(door, alg):
    door.refuses(signed(claims(), header(alg=alg)))


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512", "ES384", "RS384"])
@pytest.mark.parametrize("signer", [EHR, OTHER])
def test_the_public_key_as_a_shared_secret(door, alg, signer):
    public = signer._key.public_key()
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(signer.jwk).encode(),
    ):
        text = f"{b64(header(alg=alg, kid=signer.kid))}.{b64(claims(iss=signer.iss))}"
        for digest in (hashlib.sha256, hashlib.sha384, hashlib.sha512):
            door.refuses(f"{text}.{b64(hmac.new(secret, text.encode(), digest).digest())}")


def test_the_algorithm_of_another_kind_of_key(door):
    door.refuses(signed(claims(), header(alg="RS384")), "alg-of-key")
    door.refuses(signed(claims(iss=OTHER_ISS), header(kid=OTHER.kid), OTHER), "alg-of-key")


@pytest.mark.parametrize("typ", [None, "jwt", "JWS", "at+jwt", "", 1])
def test_another_typ(door, typ):
    door.refuses(signed(claims(), header(typ=typ)))


@pytest.mark.parametrize("kid", [None, "", 7, ["x"], "../../etc/passwd", "' OR 1=1 --", "x" * 4000])
def test_another_kid(door, kid):
    door.refuses(signed(claims(), header(kid=kid)))


def test_a_kid_of_another_issuer_finds_no_key(door):
    door.refuses(signed(claims(), header(alg="RS384", kid=OTHER.kid), OTHER), "kid-unknown")
    door.refuses(signed(claims(iss=OTHER_ISS)), "kid-unknown")


def test_a_strangers_key_under_a_known_kid(door):
    door.refuses(signed(claims(), header(), STRANGER), "signature")


@pytest.mark.parametrize("name", ["jwk", "x5c", "x5u"])
def test_a_key_that_the_token_brings_itself(door, name):
    key = {"jwk": STRANGER.jwk, "x5c": ["MIIB"], "x5u": "http://127.0.0.1:1/cert"}[name]
    door.refuses(signed(claims(), header(**{name: key}), STRANGER), "signature")
    door.refuses(signed(claims(), header(kid=STRANGER.kid, **{name: key}), STRANGER), "kid-unknown")


def test_crit_and_b64(door):
    for extra in (
        {"crit": ["exp"], "exp": NOW},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"crit": ["b64"]},
    ):
        door.refuses(signed(claims(), header(**extra)))


# -- the jku


def test_a_foreign_jku_is_never_fetched(door, jwks_server):
    with JwksServer(STRANGER.jwk, FETCHED.jwk) as evil:
        for jku in (
            evil.url,
            jwks_server.url + "/",
            jwks_server.url.replace("127.0.0.1", "localhost"),
            "",
            None,
            7,
        ):
            head = {**header(kid=STRANGER.kid), "jku": jku}
            door.refuses(signed(claims(), head, STRANGER), "jku")
            door.refuses(signed(claims(iss=FETCHED_ISS), head, STRANGER), "jku")
        assert evil.asked == []
    assert jwks_server.asked == []


def test_the_configured_jku_may_be_named(door, jwks_server):
    door.admits(signed(claims(iss=FETCHED_ISS), header(kid=FETCHED.kid, jku=jwks_server.url), FETCHED))
    assert jwks_server.asked == ["/jwks"]


def test_a_redirect_of_the_jku_is_not_followed(door, jwks_server):
    with JwksServer(FETCHED.jwk) as inside:
        jwks_server.status, jwks_server.location = 302, inside.url
        door.refuses(signed(claims(iss=FETCHED_ISS), signer=FETCHED), "kid-unknown")
        assert inside.asked == []
    assert len(jwks_server.asked) == 1


def test_invented_kids_make_no_stream_of_fetches(door, jwks_server):
    for number in range(20):
        door.refuses(
            signed(claims(iss=FETCHED_ISS), header(kid=f"invented-{number}"), STRANGER), "kid-unknown"
        )
    assert len(jwks_server.asked) == 1


def test_what_cannot_pass_anyway_fetches_nothing(door, jwks_server):
    door.refuses(signed(claims(iss=FETCHED_ISS, exp=NOW - 60, iat=NOW - 90), signer=FETCHED), "exp-past")
    door.refuses(signed(claims(iss=FETCHED_ISS, aud="https://elsewhere.example"), signer=FETCHED), "aud")
    door.refuses(f"{b64(header(alg='none', kid=FETCHED.kid))}.{b64(claims(iss=FETCHED_ISS))}.", "alg")
    assert jwks_server.asked == []


def test_two_keys_under_one_kid(door, jwks_server):
    jwks_server.publish(FETCHED.jwk, {**STRANGER.jwk, "kid": FETCHED.kid})
    for signer in (FETCHED, STRANGER):
        door.refuses(signed(claims(iss=FETCHED_ISS), header(kid=FETCHED.kid), signer), "kid-unknown")


def test_a_weak_or_contradictory_fetched_key(door, jwks_server):
    weak = Signer(FETCHED_ISS, rsa.generate_private_key(public_exponent=65537, key_size=1024))
    jwks_server.publish(weak.jwk, {**FETCHED.jwk, "use": "enc"})
    door.refuses(signed(claims(iss=FETCHED_ISS), signer=weak), "kid-unknown")
    door.refuses(signed(claims(iss=FETCHED_ISS), signer=FETCHED), "kid-unknown")


# -- the claims


@pytest.mark.parametrize("name", ["iss", "aud", "exp", "iat", "jti"])
def test_a_claim_that_is_missing_or_null(door, name):
    door.refuses(signed(claims(**{name: None})), f"{name}-missing")
    door.refuses(signed({**claims(), name: None}), f"{name}-missing")


@pytest.mark.parametrize(
    "iss", ["", "https://ehr.example", "https://EHR.example/", "https://ehr.example/ ", 1, [ISS]]
)
def test_an_issuer_that_is_not_configured(door, iss):
    door.refuses(signed(claims(iss=iss)), "iss")


@pytest.mark.parametrize(
    "aud",
    [
        "",
        BASE,
        f"{DISCOVERY}/",
        f"{DISCOVERY}?x=1",
        "http://leuko.example/cds-services",
        "https://elsewhere.example/cds-services",
        f"{DISCOVERY}/leukemia-smear",
        [],
        [BASE],
        [DISCOVERY, 7],
        [[DISCOVERY]],
        {"aud": DISCOVERY},
        7,
    ],
)
def test_another_audience(door, aud):
    door.refuses(signed(claims(aud=aud)))


def test_an_audience_among_others(door):
    door.admits(signed(claims(aud=["https://elsewhere.example", DISCOVERY])))


def test_the_token_of_one_endpoint_opens_no_other(door):
    token = signed(claims())
    for path in (SERVICE, f"{SERVICE}/feedback", "/cds-services/other"):
        door.refuses(token, "aud", path=path)
    door.refuses(signed(claims(aud=BASE + SERVICE)), "aud", path=f"{SERVICE}/feedback")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iat": NOW - 100, "exp": NOW - 31}, "exp-past"),
        ({"iat": NOW - 100, "exp": NOW - 30}, "exp-past"),
        ({"iat": NOW + 31, "exp": NOW + 60}, "iat-future"),
        ({"iat": NOW + 10**8, "exp": NOW + 10**8 + 60}, "iat-future"),
        ({"nbf": NOW + 31}, "nbf-future"),
        ({"iat": NOW, "exp": NOW + 301}, "lifetime"),
        ({"iat": 0}, "lifetime"),
        ({"iat": NOW + 5, "exp": NOW + 5}, "lifetime"),
        ({"iat": NOW + 20, "exp": NOW + 5}, "lifetime"),
    ],
)
def test_times_that_do_not_hold(door, changes, reason):
    door.refuses(signed(claims(**changes)), reason)


@pytest.mark.parametrize(
    "changes",
    [
        {"iat": NOW - 100, "exp": NOW - 29},
        {"iat": NOW + 29},
        {"iat": NOW + 0.5, "exp": NOW + 60.25},
        {"nbf": NOW + 29},
        {"nbf": 0, "sub": "client_id", "azp": ["x"], "https://ext.example/": {"deep": [None]}},
    ],
)
def test_times_within_the_skew_and_unknown_claims(door, changes):
    door.admits(signed(claims(**changes)))


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "value", ["1800000060", True, [NOW], {}, -1, 1e300, 10**400, float("nan"), float("inf")]
)
def test_a_time_that_is_no_time(door, name, value):
    door.refuses(signed({**claims(), name: value}), name)


@pytest.mark.parametrize("jti", ["", 7, ["x"], True, {}])
def test_a_jti_that_is_no_text(door, jti):
    door.refuses(signed(claims(jti=jti)), "jti")


@pytest.mark.parametrize("jti", ["x" * 4000, "\x00", "\ud800", "'; DROP TABLE used_jtis; --", "日本"])
def test_an_odd_jti_is_as_good_as_another_and_opens_once(door, jti):
    token = signed(claims(jti=jti))
    door.admits(token)
    door.refuses(token, "jti-reused")


def test_a_tenant_only_where_it_is_one_of_the_clients(tmp_path):
    file = tmp_path / "clients.toml"
    file.write_text(clients_toml(EHR, name="EHR").replace("\n\n", '\ntenants = ["north"]\n\n', 1))
    door = Door(tmp_path, file)
    door.admits(signed(claims(tenant="north")))
    for tenant in (None, "south", "", 7, ["north"]):
        door.refuses(signed(claims(tenant=tenant)), "tenant")


def test_a_trailing_slash_only_where_the_client_has_that_quirk(tmp_path):
    file = tmp_path / "clients.toml"
    file.write_text(clients_toml(EHR, name="EHR").replace("\n\n", "\ntrailing_slash = true\n\n", 1))
    door = Door(tmp_path, file)
    for aud in (DISCOVERY, f"{DISCOVERY}/", [f"{DISCOVERY}/"]):
        door.admits(signed(claims(aud=aud)))
    door.refuses(signed(claims(aud=f"{DISCOVERY}//")), "aud")


def test_another_address_of_ours_where_the_client_knows_us_by_it(tmp_path):
    file = tmp_path / "clients.toml"
    file.write_text(clients_toml(EHR, name="EHR", audience="https://inside.example/leuko/"))
    door = Door(tmp_path, file)
    door.admits(signed(claims(aud="https://inside.example/leuko/cds-services")))
    door.refuses(signed(claims()), "aud")


# -- replay


def test_a_token_opens_once(door):
    token = signed(claims())
    door.admits(token)
    door.refuses(token, "jti-reused")
    door.now += 60
    door.refuses(token, "jti-reused")


def test_a_jti_is_refused_in_another_token_too_but_not_of_another_issuer(door):
    door.admits(signed(claims(jti="same")))
    door.refuses(signed(claims(jti="same", exp=NOW + 90)), "jti-reused")
    door.admits(signed(claims(jti="same", iss=OTHER_ISS), signer=OTHER))


def test_a_jti_is_remembered_as_long_as_its_token_could_pass(door):
    token = signed(claims())
    door.admits(token)
    for later in (120, 149, 151, 200, 10_000):
        door.now = NOW + later
        # Another call, which deletes what ran out.
        door.store._next_sweep = 0.0
        door.admits(signed(claims(iat=door.now, exp=door.now + 60, jti=f"sweeps-{later}")))
        door.refuses(token, "jti-reused" if later < 150 else "exp-past")


def test_other_processes_know_it_too(door, tmp_path):
    token = signed(claims())
    door.admits(token)
    other = SqlAssessmentStore(door.context.settings.database_url)
    door.authenticator._store = other
    door.refuses(token, "jti-reused")
    other.close()


def test_a_forged_token_does_not_use_up_a_jti(door):
    door.refuses(signed(claims(jti="mine"), header(), STRANGER), "signature")
    door.admits(signed(claims(jti="mine")))


def test_a_store_that_is_down_lets_nobody_in(door):
    class Down:
        def use_jti(self, *_):
            raise StoreError("the assessment store cannot be reached")

    door.authenticator._store = Down()
    response = door.send(signed(claims()))
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert "store" in response.json["issue"][0]["diagnostics"]


# -- the text of a token


def test_a_tampered_token(door):
    head, payload, signature = signed(claims()).split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    for position in (0, 47, 48, 95):
        flipped = bytearray(raw)
        flipped[position] ^= 1
        door.refuses(f"{head}.{payload}.{b64(bytes(flipped))}", "signature")
    door.refuses(f"{head}.{b64(claims(sub='admin'))}.{signature}", "signature")
    door.refuses(f"{b64(header(x=1))}.{payload}.{signature}", "signature")
    for wrong in (b"", b"\0" * 96, bytes(raw[:95]), bytes(raw) + b"\0", b"\xff" * 96):
        door.refuses(f"{head}.{payload}.{b64(wrong)}", "signature")


def test_no_other_character_anywhere_makes_another_token(door):
    chance, token = random.Random(7), signed(claims())
    for _ in range(400):
        position = chance.randrange(len(token))
        other = chance.choice(
            [c for c in string.ascii_letters + string.digits + "-_.=+/ %" if c != token[position]]
        )
        changed = token[:position] + other + token[position + 1 :]
        door.refuses(chance.choice([changed, token[:position], token[:position] + token[position + 1 :]]))
    door.admits(token)


def test_the_mirrored_signature_of_ecdsa_is_the_same_token(door):
    """(r, n - s) verifies as well: only the jti keeps it from being a second token."""
    token = signed(claims())
    door.admits(token)
    text, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    n = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
    mirrored = (n - int.from_bytes(raw[48:])).to_bytes(48)
    door.refuses(f"{text}.{b64(raw[:48] + mirrored)}", "jti-reused")


def test_a_huge_token(door):
    door.refuses("x" * (MAX_TOKEN_BYTES + 1), "token-too-large")
    door.refuses(signed(claims(pad="x" * 1_000_000)), "token-too-large")
    door.refuses(f"{b64(b'[' * 2900)}.{b64(b'[' * 2900)}.")


@pytest.mark.parametrize(
    "token",
    ["", "x", "a.b", "a.b.c", "a.b.c.d", "..", "é.é.é", "a b.c.d", f"{b64(b'[]')}.{b64(b'[]')}.x",
     f"{b64(header())}.{b64(b'[]')}.", f"{b64(header())}.{b64(b'not json')}.", f"{b64(header())}.{b64(b'1')}.",
     f"{b64(b'{' * 2000)}.{b64(b'{}')}.", f"{b64(header())}.{b64(b'[' * 4000)}.", f"{b64(b'9' * 5000)}.e30.",
     f"{b64(header())}.{b64(b'9' * 5000)}."],
)  # fmt: skip
def test_what_is_no_token(door, token):
    door.refuses(token)


@pytest.mark.parametrize("scheme", ["Basic", "JWT", "Digest", "Bearer,", "Bearer\t"])
def test_another_scheme(door, scheme):
    door.refuses(signed(claims()), "not-bearer", scheme=scheme)


def test_the_scheme_is_no_matter_of_case(door):
    door.admits(signed(claims()), scheme="bearer")


def test_the_header_is_read_once(door):
    token = signed(claims())
    for header_value in (f"Bearer {token}, Bearer {token}", f"Bearer {token} {token}", token, "Bearer"):
        with capture_logs():
            response = door.client.get("/cds-services", headers={"Authorization": header_value})
        assert (response.status_code, response.data) == (401, b"")


def test_a_token_elsewhere_than_in_the_header_does_not_count(door):
    token = signed(claims())
    response = door.client.get(f"/cds-services?access_token={token}", headers={"Cookie": f"token={token}"})
    assert response.status_code == 401


# -- what the log holds


def test_no_log_line_holds_the_token_or_what_it_says(door, caplog):
    caplog.set_level(logging.DEBUG)
    secret = {"jti": "jti-secret", "tenant": "tenant-secret", "sub": "sub-secret", "patient": "p-secret"}
    tokens = [
        signed(claims(**secret)),
        signed(claims(**secret)),
        signed(claims(**secret, aud="https://aud-secret.example")),
        signed(claims(**secret, iss="https://iss-secret.example")),
        signed(claims(**secret), header(kid="kid-secret")),
        signed(claims(**secret), header(jku="https://jku-secret.example/")),
        signed(claims(**secret), header(alg="alg-secret", typ="typ-secret")),
        signed(claims(**secret), header(), STRANGER),
    ]
    logs = []
    for token in tokens:
        door.send(token)
        logs += door.logs
    told = str(logs) + caplog.text
    assert len(logs) >= len(tokens) - 1
    assert "secret" not in told
    for token in tokens:
        assert not any(part in told for part in token.split(".") if len(part) > 8)


def test_the_log_names_the_configured_client_and_the_reason(door):
    door.refuses(signed(claims(aud=BASE)), "aud")
    (line,) = [line for line in door.logs if line["event"] == "client refused"]
    assert (line["client"], line["log_level"]) == ("EHR", "warning")


# -- the specification's own example

# CDS Hooks 2.0, "Trusting CDS Clients", Example (HL7, CC BY 4.0): the public key and the complete JWT as printed.
SPECIFIED_KEY = {
    "kty": "EC",
    "use": "sig",
    "crv": "P-384",
    "kid": "example-kid",
    "x": "46SDH7Znh821wblCBglA61sNE9ZrHYKKt3qRtRTmSXyOI_FIGBLWrWa0GPUkDCEk",
    "y": "XMcRuuoGW7CXjQdy-F5i3FeBE0x9hPLdeFdSoDd3ELmx404tLX0VRRcqzAsPhXcI",
    "alg": "ES384",
}
SPECIFIED_TOKEN = (
    "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCIsImtpZCI6ImV4YW1wbGUta2lkIiwiamt1IjoiaHR0cHM6Ly9maGlyLWVoci5leGFtcGxlLmNvbS"
    "9qd2tfdXJpIn0.eyJpc3MiOiJodHRwczovL2ZoaXItZWhyLmV4YW1wbGUuY29tLyIsInN1YiI6ImNsaWVudF9pZCIsImF1ZCI6Imh0dHBzOi8v"
    "Y2RzLmV4YW1wbGUub3JnL2Nkcy1zZXJ2aWNlcy9zb21lLXNlcnZpY2UiLCJleHAiOjE0MjI1Njg4NjAsImlhdCI6MTMxMTI4MDk3MCwianRpIj"
    "oiZWUyMmIwMjEtZTFiNy00NjExLWJhNWItOGVlYzZhMzNhYzFlIiwidGVuYW50IjoiMmRkZDZjM2EtOGU5YS00NGM2LWEzMDUtNTIxMTFhZDMw"
    "MmEyIn0.CUFPkplnWd6YGIvzoHolWCQBDsCL8QtTWKGg_QFpS169WrqDGzktRi-_we6-6rVzbjerU27ZKww_SW0-b9RTz-dPJNcqsueMio8r6E"
    "qXUXhbLm_ch3XFSbDlGHDl_tqo"
)
SPECIFIED_IAT, SPECIFIED_EXP = 1_311_280_970, 1_422_568_860


@pytest.fixture
def specified(tmp_path):
    """The service and the client of the example; the token is meant to live for years."""
    file = tmp_path / "clients.toml"
    key = "\n".join(f"{name} = {json.dumps(value)}" for name, value in SPECIFIED_KEY.items())
    file.write_text(
        '[[client]]\nname = "Example"\niss = "https://fhir-ehr.example.com/"\n'
        'jku = "https://fhir-ehr.example.com/jwk_uri"\naudiences = ["https://cds.example.org"]\n'
        'tenants = ["2ddd6c3a-8e9a-44c6-a305-52111ad302a2"]\n[[client.jwks.keys]]\n' + key
    )
    return Door(tmp_path, file, lifetime_s=SPECIFIED_EXP - SPECIFIED_IAT)


def test_the_printed_example_of_the_specification_verifies_in_its_time(specified):
    specified.now = SPECIFIED_EXP - 60
    response = specified.send(SPECIFIED_TOKEN, path="/cds-services/some-service", method="POST")
    # Through the door, behind which there is no service of that name.
    assert (response.status_code, response.json["issue"][0]["code"]) == (404, "not-found")
    specified.refuses(SPECIFIED_TOKEN, "jti-reused", path="/cds-services/some-service")


def test_the_printed_example_is_refused_as_expired_today(specified):
    specified.now = time.time()
    specified.refuses(SPECIFIED_TOKEN, "exp-past", path="/cds-services/some-service")


def test_the_printed_example_lives_too_long_for_the_settings_as_they_come(specified):
    specified.now = SPECIFIED_EXP - 60
    specified.authenticator._max_lifetime_s = Settings().jwt_max_lifetime_s
    specified.refuses(SPECIFIED_TOKEN, "lifetime", path="/cds-services/some-service")
