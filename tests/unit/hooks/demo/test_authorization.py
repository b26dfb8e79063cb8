"""The authorization server that is a double must be strict where real ones are."""

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from hooks.demo import authorization
from hooks.demo.authorization import CLIENT_ID, AuthorizationDouble, Launch
from hooks.demo.hospital import Hospital

BACK = "http://127.0.0.1:1/sign-in/callback"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def hospital() -> Hospital:
    made = Hospital(tokens=("t0ken",))
    made.stop()
    return made


@pytest.fixture
def double(hospital: Hospital) -> AuthorizationDouble:
    made = AuthorizationDouble(hospital.url, BACK)
    made.add_to(hospital.app)
    return made


@pytest.fixture
def client(hospital: Hospital, double: AuthorizationDouble) -> FlaskClient:
    return hospital.app.test_client()


@pytest.fixture
def asked(hospital: Hospital, double: AuthorizationDouble) -> dict[str, str]:
    handle = double.launch(Launch(person="demo-ward", patient="demo-1", app_context="{}"))
    return {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": BACK,
        "aud": hospital.fhir_url,
        "scope": "openid fhirUser launch",
        "launch": handle,
        "state": "s",
        "nonce": "n",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }


def answered(client: FlaskClient, asked: dict[str, str]) -> dict[str, str]:
    """What the browser is sent back with."""
    there = client.get("/oauth/authorize", query_string=asked)
    assert there.status_code == 303
    assert there.location.startswith(f"{BACK}?")
    return {name: values[0] for name, values in parse_qs(urlsplit(there.location).query).items()}


def exchange(client: FlaskClient, code: str, **form: str) -> TestResponse:
    sent = {
        "grant_type": "authorization_code",
        "client_id": CLIENT_ID,
        "redirect_uri": BACK,
        "code": code,
        "code_verifier": VERIFIER,
    }
    return client.post("/oauth/token", data=sent | form)


def test_a_launch_says_who_and_whose_chart_once(
    client: FlaskClient, hospital: Hospital, asked: dict[str, str]
) -> None:
    back = answered(client, asked)
    assert back["state"] == "s"
    token: dict[str, Any] = exchange(client, back["code"]).json
    assert (token["patient"], token["appContext"]) == ("demo-1", "{}")
    (key,) = client.get("/oauth/jwks").json["keys"]
    claims = jwt.decode(token["id_token"], jwt.PyJWK(key), algorithms=["ES384"], audience=CLIENT_ID)
    assert (claims["nonce"], claims["name"]) == ("n", "Dr. Gale Ward")
    assert claims["fhirUser"] == f"{hospital.fhir_url}/Practitioner/demo-ward"
    assert exchange(client, back["code"]).json == {"error": "invalid_grant"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "https://elsewhere.example/fhir"},
        {"launch": "guessed"},
        {"scope": "launch"},
        {"response_type": "token"},
        {"code_challenge_method": "plain"},
        {"code_challenge": "short"},
    ],
)
def test_a_wrong_request_is_sent_back_without_a_code(
    client: FlaskClient, asked: dict[str, str], wrong: dict[str, str]
) -> None:
    back = answered(client, asked | wrong)
    assert back["error"] == "invalid_request"
    assert "code" not in back


@pytest.mark.parametrize("wrong", [{"client_id": "another"}, {"redirect_uri": "https://attacker.example/"}])
def test_an_address_that_is_not_registered_is_sent_nothing(
    client: FlaskClient, asked: dict[str, str], wrong: dict[str, str]
) -> None:
    assert client.get("/oauth/authorize", query_string=asked | wrong).status_code == 400


@pytest.mark.parametrize(
    "wrong",
    [{"code_verifier": "w" * 64}, {"redirect_uri": "x"}, {"grant_type": "password"}],
)
def test_a_code_is_exchanged_by_whoever_asked_for_it(
    client: FlaskClient, asked: dict[str, str], wrong: dict[str, str]
) -> None:
    refused = exchange(client, answered(client, asked)["code"], **wrong)
    assert (refused.status_code, refused.json) == (400, {"error": "invalid_grant"})
    assert exchange(client, "guessed").status_code == 400
    assert exchange(client, "guessed", client_id="another").status_code == 401


def test_a_code_grows_old(
    client: FlaskClient, asked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorization, "CODE_S", -1.0)
    assert exchange(client, answered(client, asked)["code"]).status_code == 400


def test_its_configuration_needs_no_token_and_the_rest_of_fhir_does(
    client: FlaskClient, hospital: Hospital
) -> None:
    answer = client.get("/fhir/.well-known/smart-configuration")
    assert answer.json["issuer"] == hospital.url
    assert "test double" in answer.headers["X-Test-Double"]
    assert client.get("/fhir/Patient/demo-1").status_code == 401
