"""What the EHR's own server does for its pages, and for nobody else."""

from dataclasses import replace
from typing import Any

import jwt
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from hooks.demo.authorization import AuthorizationDouble
from hooks.demo.desk import CSRF_HEADER, Desk, add_desk, to_html
from hooks.demo.hospital import Hospital
from hooks.signing import Signer

SERVICE = "http://127.0.0.1:1"


@pytest.fixture
def hospital() -> Hospital:
    made = Hospital()
    made.stop()
    return made


@pytest.fixture
def desk() -> Desk:
    return Desk(service_url=SERVICE, signer=Signer.new("https://ehr.example/"), fhir_token="t0ken")


@pytest.fixture
def client(hospital: Hospital, desk: Desk) -> FlaskClient:
    add_desk(hospital.app, hospital, desk)
    return hospital.app.test_client()


def ask(client: FlaskClient, hospital: Hospital, desk: Desk, path: str, body: Any) -> TestResponse:
    return client.post(path, json=body, headers={"Origin": hospital.url, CSRF_HEADER: desk.csrf})


def test_a_jwt_is_signed_for_one_endpoint_of_the_service(
    client: FlaskClient, hospital: Hospital, desk: Desk
) -> None:
    endpoint = f"{SERVICE}/cds-services/leukemia-smear"
    answers = [ask(client, hospital, desk, "/ehr/jwt", {"aud": endpoint}).json["token"] for _ in range(2)]
    claims = [
        jwt.decode(t, jwt.PyJWK(desk.signer.jwk), algorithms=["ES384"], audience=endpoint) for t in answers
    ]
    assert [c["iss"] for c in claims] == ["https://ehr.example/"] * 2
    assert claims[0]["jti"] != claims[1]["jti"]
    assert claims[0]["exp"] - claims[0]["iat"] <= 300


@pytest.mark.parametrize(
    "aud",
    [None, 7, "", SERVICE, f"{SERVICE}/cds-services-of-another", "https://elsewhere.example/cds-services"],
)
def test_nothing_else_is_signed(client: FlaskClient, hospital: Hospital, desk: Desk, aud: Any) -> None:
    assert ask(client, hospital, desk, "/ehr/jwt", {"aud": aud}).status_code == 400


@pytest.mark.parametrize("path", ["/ehr/jwt", "/ehr/access", "/ehr/markdown"])
def test_other_pages_get_nothing(client: FlaskClient, hospital: Hospital, desk: Desk, path: str) -> None:
    body = {"aud": f"{SERVICE}/cds-services", "texts": []}
    assert ask(client, hospital, desk, path, body).status_code == 200
    for headers in (
        {},
        {"Origin": hospital.url},
        {"Origin": hospital.url, CSRF_HEADER: "guessed"},
        {CSRF_HEADER: desk.csrf},
        {"Origin": "http://attacker.example", CSRF_HEADER: desk.csrf},
        {"Origin": "null", CSRF_HEADER: desk.csrf},
    ):
        assert client.post(path, json=body, headers=headers).status_code == 403
    assert ask(client, hospital, desk, path, ["no object"]).status_code == 400


def test_the_pages_are_lent_what_a_hook_lends(client: FlaskClient, hospital: Hospital, desk: Desk) -> None:
    access = ask(client, hospital, desk, "/ehr/access", {}).json
    assert (access["access_token"], access["token_type"]) == ("t0ken", "Bearer")
    assert access["expires_in"] > 0


def test_apps_are_launched_only_where_there_is_an_authorization_server(
    client: FlaskClient, hospital: Hospital, desk: Desk
) -> None:
    asked = {"person": "demo-ward", "patient": "demo-1"}
    assert ask(client, hospital, desk, "/ehr/launch", asked).status_code == 404
    able = Hospital()
    able.stop()
    offering = replace(desk, authorization=AuthorizationDouble(able.url, "http://127.0.0.1:1/back"))
    add_desk(able.app, able, offering)
    there = able.app.test_client()
    assert ask(there, able, offering, "/ehr/launch", asked).json["launch"]
    for wrong in ({"person": "nobody"}, {"patient": 7}, {"appContext": 7}):
        assert ask(there, able, offering, "/ehr/launch", asked | wrong).status_code == 400
    assert there.post("/ehr/launch", json=asked).status_code == 403


def test_markdown_becomes_html_in_order(client: FlaskClient, hospital: Hospital, desk: Desk) -> None:
    answer = ask(client, hospital, desk, "/ehr/markdown", {"texts": ["**bold**", "- one"]})
    assert [h.strip() for h in answer.json["html"]] == [
        "<p><strong>bold</strong></p>",
        "<ul>\n<li>one</li>\n</ul>",
    ]
    for wrong in (None, "text", [7], ["x" * 50_001], ["x"] * 51):
        assert ask(client, hospital, desk, "/ehr/markdown", {"texts": wrong}).status_code == 400


def test_a_table_keeps_its_alignment_without_a_style() -> None:
    html = to_html("| a | b |\n| --- | ---: |\n| 1 | 2 |")
    assert '<td class="align-right">2</td>' in html
    assert "style" not in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>1</script>",
        "a <b onclick=x>b</b>",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>1</script>)",
        "![x](http://192.0.2.1/x.png)",
        "<iframe src=x></iframe>",
    ],
)
def test_markdown_lets_nothing_active_through(text: str) -> None:
    html = to_html(text)
    for active in ("<script", "<b ", 'href="javascript', 'href="data', "<img", "<iframe"):
        assert active not in html
