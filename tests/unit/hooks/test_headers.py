import re
import uuid
from dataclasses import replace

import pytest
import structlog
from structlog.testing import capture_logs

from cds.errors import ConfigurationError
from cds.settings import Settings
from hooks.app import create_app
from hooks.logs import CORRELATION
from tests.fakes.hook_requests import INSTANCE, SERVICE, hook_request, imaging_study, with_studies

PREFLIGHT = {
    "Origin": "https://ehr.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}

_DATA_POLICY = {"default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"}
_PAGE_POLICY = {
    *("default-src 'self'", "img-src 'self' data:", "object-src 'none'"),
    *("base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"),
}


def test_every_answer_says_what_browsers_may_do_with_it(client):
    answers = [
        client.get(path) for path in ("/", "/nope", "/cds-services", "/health", f"/studies/{uuid.uuid4()}")
    ]
    answers += [client.post(SERVICE, json=with_studies()), client.post(SERVICE, data=b"x")]
    for response in answers:
        headers = response.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        page = response.mimetype == "text/html"
        assert headers["Referrer-Policy"] == ("same-origin" if page else "no-referrer")
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        policy = set(headers["Content-Security-Policy"].split("; "))
        assert policy == (_PAGE_POLICY if page else _DATA_POLICY)
        assert headers["Strict-Transport-Security"]
        assert "Set-Cookie" not in headers


def test_configured_ehrs_may_show_the_pages_in_a_frame(client_with):
    headers = (
        client_with(frame_ancestors=("https://ehr.example", "https://b.example")).get("/sign-in").headers
    )
    assert "frame-ancestors https://ehr.example https://b.example" in headers["Content-Security-Policy"]
    assert "X-Frame-Options" not in headers


@pytest.mark.parametrize("origins", ["*", "ehr.example", "https://ehr.example/chart", "https://a.example;x"])
def test_what_frames_no_page_is_a_wrong_setting(origins):
    with pytest.raises(ConfigurationError, match="FRAME_ANCESTORS"):
        Settings.from_env({"LEUKOCDS_FRAME_ANCESTORS": origins})


def test_no_page_needs_what_the_policy_forbids(client):
    for page in (client.get("/sign-in").text, client.get("/nope").text):
        assert not re.search(r"<script(?! src=\"/static/)|\son\w+=|\sstyle=|javascript:", page)


def test_strict_transport_is_for_https(context):
    plain = replace(context, settings=replace(context.settings, public_url="http://127.0.0.1:8702"))
    assert "Strict-Transport-Security" not in create_app(plain).test_client().get("/").headers


def test_a_preflight_is_answered_before_anything_is_asked_of_it(client_with):
    client = client_with(cors_origins=("https://ehr.example",))
    for path in (SERVICE, f"{SERVICE}/", "/cds-services"):
        response = client.options(path, headers=PREFLIGHT)
        assert response.status_code == 200
        assert response.headers["Access-Control-Allow-Origin"] == "https://ehr.example"
        assert response.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
        assert "Access-Control-Allow-Credentials" not in response.headers
    assert client.options("/cds-services/a/b/c", headers=PREFLIGHT).status_code == 404


def test_any_origin_is_never_named_nor_trusted_with_credentials(client_with):
    response = client_with(cors_origins=("*",)).post(SERVICE, json=with_studies(), headers=PREFLIGHT)
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in response.headers


def test_browsers_may_read_the_headers_that_help(client_with):
    client = client_with(cors_origins=("https://ehr.example",))
    response = client.post(SERVICE, data=b"x", headers={"Origin": "https://ehr.example"})
    assert response.status_code == 415
    assert response.headers["Access-Control-Expose-Headers"] == "X-Correlation-Id, Retry-After"


@pytest.mark.parametrize(
    "origins", ["ehr.example", "https://ehr.example/", "https://*.example", "null", "https://u@ehr.example",
                "*,https://ehr.example"],
)  # fmt: skip
def test_what_is_no_origin_is_a_wrong_setting(origins):
    with pytest.raises(ConfigurationError, match="CORS_ORIGINS"):
        Settings.from_env({"LEUKOCDS_CORS_ORIGINS": origins})


def test_pages_are_not_shared_with_other_origins(client_with):
    response = client_with(cors_origins=("*",)).get("/", headers={"Origin": "https://ehr.example"})
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("body", [with_studies(), hook_request("order-dispatch"), hook_request(patientId=7)])
def test_the_correlation_id_is_the_hook_instance_also_where_the_request_is_refused(client, body):
    response = client.post(SERVICE, json=body)
    assert response.headers["X-Correlation-Id"] == INSTANCE


@pytest.mark.parametrize("instance", ["x", 7, None, f"{INSTANCE}0", "\r\nSet-Cookie: a=b"])
def test_without_a_usable_hook_instance_it_is_random(client, instance):
    seen = {
        client.post(SERVICE, json={**with_studies(), "hookInstance": instance}).headers["X-Correlation-Id"]
        for _ in range(2)
    }
    assert len(seen) == 2
    assert all(str(uuid.UUID(one)) == one for one in seen)


def test_every_line_of_a_request_carries_it_and_no_line_of_the_next(client, context):
    context.submit.broken = RuntimeError("the broker is out")
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        client.post(SERVICE, json=with_studies(imaging_study()))
        client.get("/nope")
    assert [line["event"] for line in logs] == [
        "job not sent to the queue; the sweeper will",
        "hook answered",
    ]
    assert {line[CORRELATION] for line in logs} == {INSTANCE}
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        client.post(SERVICE, data=b"x", content_type="application/json")
    assert logs[0][CORRELATION] != INSTANCE


def test_nothing_of_it_stays_with_the_thread(client):
    client.post(SERVICE, json=with_studies())
    assert CORRELATION not in structlog.contextvars.get_contextvars()


def test_lines_of_the_threads_that_fetch_carry_it_too(context, fhir):
    class Telling:
        def read(self, reference, deadline):
            structlog.get_logger().info("read")
            return {"resourceType": "Patient"}

        def search(self, kind, query, deadline):
            structlog.get_logger().info("searched")
            return []

    client = create_app(replace(context, fhir_server=lambda url, token: Telling())).test_client()
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        assert client.post(SERVICE, json=hook_request(fhir_server=fhir.url)).status_code == 200
    assert [line["event"] for line in logs].count("searched") == 2
    assert {line[CORRELATION] for line in logs} == {INSTANCE}
