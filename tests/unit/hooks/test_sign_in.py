"""Signing in against a real authorization server on loopback, and every way in that must stay shut."""

import json
import re
import time
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from joserfc.jwk import ECKey, KeySet, RSAKey
from structlog.testing import capture_logs

from cds.access import AuditAction, AuditOutcome
from cds.values import ReportState
from hooks.app import create_app
from tests.fakes.assessments import assessment, study
from tests.fakes.signed_in import sign_in
from tests.fakes.smart_server import AuthorizationServer, Registered

BASE = "https://leuko.example"
CALLBACK = f"{BASE}/sign-in/callback"
PAGE = {"Accept": "text/html"}


@pytest.fixture
def ehr():
    with AuthorizationServer(clients={"leukocds": Registered(CALLBACK)}) as server:
        server.launches = {"launch-1": "p-1", "launch-2": "p-2", "no-patient": None}
        yield server


@pytest.fixture
def site(context, ehr, tmp_path):
    """Makes the app with one issuer, whose table may be added to."""

    def make(more="same_ids = true", **settings):
        path = tmp_path / "sign-in.toml"
        path.write_text(
            f'[[issuer]]\nname = "Example EHR"\niss = "{ehr.iss}"\nclient_id = "leukocds"\n{more}\n'
        )
        changed = replace(context, settings=replace(context.settings, sign_in=str(path), **settings))
        return create_app(changed)

    return make


@pytest.fixture
def browser(site):
    return site().test_client()


def launch(browser, ehr, handle="launch-1"):
    """To the EHR and back with the code; the address of our callback."""
    away = browser.get("/launch", query_string={"iss": ehr.iss, "launch": handle})
    assert away.status_code == 303, away.text
    return authorize(away.location)


def authorize(address):
    answer = requests.get(address, allow_redirects=False, timeout=5)
    assert answer.status_code == 302, answer.text
    assert answer.headers["Location"].startswith(CALLBACK)
    return answer.headers["Location"].removeprefix(BASE)


def visitor_page(browser):
    return browser.get("/worklist", headers=PAGE)


def refused(browser, address, words):
    """The answer refuses, says why, opens no session and tells no secret."""
    with capture_logs():
        answer = browser.get(address, headers=PAGE)
    assert answer.status_code == 403
    assert words in answer.text
    assert "leukocds=" not in str(answer.headers.getlist("Set-Cookie"))
    assert visitor_page(browser).status_code == 303
    return answer


def test_an_ehr_launch_signs_in_for_the_patient_of_the_launch(browser, ehr, context):
    back = launch(browser, ehr)
    answer = browser.get(back)
    assert (answer.status_code, answer.location) == (303, "/worklist")
    page = visitor_page(browser).text
    assert "Dr. Grace Example" in page
    assert "one patient" in page
    own, other = assessment(1), assessment(2)
    other = replace(other, study=study(2, patient="Patient/p-2"))
    for made in (own, other):
        context.store.save(made, ReportState.PENDING)
    assert browser.get(f"/studies/{own.key}").status_code == 200
    denied = browser.get(f"/studies/{other.key}")
    assert denied.status_code == 403
    assert "another" in denied.text
    assert "Myeloblast" not in denied.text
    seen = [(e.action, e.what, e.patient, e.outcome, e.user) for e in context.store.audit()]
    allowed, refusal = AuditOutcome.ALLOWED, AuditOutcome.DENIED
    assert seen == [
        (AuditAction.VIEW, f"study {other.key}", "Patient/p-2", refusal, "Practitioner/1"),
        (AuditAction.VIEW, f"study {own.key}", "Patient/p-1", allowed, "Practitioner/1"),
        (AuditAction.LIST, "worklist", None, allowed, "Practitioner/1"),
        (AuditAction.SIGN_IN, "callback", "Patient/p-1", allowed, "Practitioner/1"),
    ]


def test_a_standalone_launch_leads_back_to_the_page_that_was_asked_for(site, ehr, context):
    browser = site('all_patients = ["Practitioner/*"]\nreviewers = ["groups=hematology"]').test_client()
    context.store.save(assessment(), ReportState.PENDING)
    wanted = f"/studies/{assessment().key}?a=b"
    first = browser.get(wanted, headers=PAGE)
    assert first.status_code == 303
    link = re.findall(r'class="button" href="([^"]+)"', browser.get(first.location).text)[0].replace(
        "&amp;", "&"
    )
    ehr.claims = {"groups": ["staff", "hematology"]}
    away = browser.get(link)
    asked = parse_qs(urlsplit(away.location).query)
    assert asked["scope"] == ["openid fhirUser launch/patient"]
    assert "launch" not in asked
    answer = browser.get(authorize(away.location))
    assert (answer.status_code, answer.location) == (303, wanted)
    page = visitor_page(browser).text
    assert "reviewer" in page
    assert "one patient" not in page
    assert browser.get(wanted).status_code == 200
    # Numbers of another server name somebody else here: the user keeps the whole address.
    assert context.store.audit()[0].user == f"{ehr.iss}/Practitioner/1"


@pytest.mark.parametrize(
    ("handed_on", "target"),
    [
        (assessment().key, f"/studies/{assessment().key}"),
        (json.dumps({"study": assessment().key}), f"/studies/{assessment().key}"),
        ('{"study": "../feedback"}', "/worklist"),
        ('{"study": 7}', "/worklist"),
        ("{" * 5000, "/worklist"),
        ("//evil.example", "/worklist"),
        ("../feedback", "/worklist"),
        (["x"], "/worklist"),
        ("", "/worklist"),
    ],
)
def test_a_launch_from_a_card_leads_to_its_study(browser, ehr, handed_on, target):
    """CDS Hooks 2.0, `link.appContext` of a link of type smart."""
    ehr.app_context = handed_on
    assert browser.get(launch(browser, ehr)).location == target


@pytest.mark.parametrize("algorithm", ["RS256", "ES384"])
def test_id_tokens_of_both_algorithms_are_verified(browser, ehr, algorithm):
    ehr.algorithm = algorithm
    assert browser.get(launch(browser, ehr)).status_code == 303
    assert visitor_page(browser).status_code == 200


def test_a_client_with_a_secret(site, ehr, tmp_path):
    (tmp_path / "secret").write_text("some-opaque-secret\n")
    ehr.clients["leukocds"] = Registered(CALLBACK, secret="some-opaque-secret")
    browser = site('same_ids = true\nclient_secret_file = "secret"').test_client()
    assert browser.get(launch(browser, ehr)).status_code == 303
    (tmp_path / "secret").write_text("another")
    wrong = site('same_ids = true\nclient_secret_file = "secret"').test_client()
    refused(wrong, launch(wrong, ehr), "invalid_client")


@pytest.mark.parametrize(
    "key", [RSAKey.generate_key(2048), ECKey.generate_key("P-384")], ids=["RS384", "ES384"]
)
def test_a_client_with_a_key_of_its_own(site, ehr, tmp_path, key):
    (tmp_path / "key.pem").write_bytes(key.as_pem(private=True))
    public = type(key).import_key(key.as_dict(private=False) | {"kid": "ours"})
    ehr.clients["leukocds"] = Registered(CALLBACK, keys=KeySet([public]))
    browser = site('same_ids = true\nprivate_key_file = "key.pem"\nkey_id = "ours"').test_client()
    assert browser.get(launch(browser, ehr)).status_code == 303
    # What an EHR fetches of us is enough to know us by, and no more.
    (published,) = browser.get("/sign-in/jwks.json").json["keys"]
    assert not {"d", "p", "q"} & set(published)
    ehr.clients["leukocds"] = Registered(CALLBACK, keys=KeySet([type(key).import_key(published)]))
    assert browser.get(launch(browser, ehr)).status_code == 303


def test_an_unknown_issuer_is_refused_and_nothing_is_fetched(browser, ehr):
    with AuthorizationServer() as evil:
        for iss in (
            evil.iss,
            evil.base,
            f"{ehr.iss}@{evil.base}",
            f"{ehr.iss}.evil.example",
            f"{ehr.iss}/../x",
            "",
        ):
            answer = browser.get("/launch", query_string={"iss": iss, "launch": "launch-1"})
            assert answer.status_code == 403
            assert "not among those" in answer.text
        assert evil.asked == []
    assert ehr.asked == []


@pytest.mark.parametrize("handle", ["", "a\nb", "x" * 5000])
def test_a_malformed_launch_is_400(browser, ehr, handle):
    assert browser.get("/launch", query_string={"iss": ehr.iss, "launch": handle}).status_code == 400


def test_the_state_must_be_the_one_that_was_sent(browser, ehr):
    back = launch(browser, ehr)
    forged = re.sub(r"state=[^&]+", "state=other", back)
    refused(browser, forged, "not begun in this browser")
    # The forgery has not used up the sign-in that goes on.
    assert browser.get(back).status_code == 303


def test_another_browser_cannot_finish_a_sign_in(site, ehr):
    """A link with an attacker's code would sign the victim in as the attacker (login CSRF)."""
    app = site()
    back = launch(app.test_client(), ehr)
    refused(app.test_client(), back, "not begun in this browser")


def test_a_callback_works_once(browser, ehr):
    back = launch(browser, ehr)
    assert browser.get(back).status_code == 303
    browser.delete_cookie("__Host-leukocds")
    refused(browser, back, "not begun in this browser")


def test_a_code_works_once_at_the_server_too(browser, ehr):
    code = parse_qs(urlsplit(launch(browser, ehr)).query)["code"][0]
    second = launch(browser, ehr)
    assert browser.get(second).status_code == 303
    browser.delete_cookie("__Host-leukocds")
    third = launch(browser, ehr)
    # The first code belongs to another verifier.
    refused(browser, re.sub(r"code=[^&]+", f"code={code}", third), "invalid_grant")


def test_a_code_that_is_too_old_is_refused(browser, ehr):
    ehr.code_age_s = -1
    refused(browser, launch(browser, ehr), "invalid_grant")


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"nonce": "another"}, "invalid_claim"),
        ({"nonce": None}, "missing_claim"),
        ({"aud": "another-client"}, "invalid_claim"),
        ({"aud": ["leukocds", "another-client"]}, "missing_claim"),  # azp
        ({"aud": ["leukocds", "another-client"], "azp": "another-client"}, "invalid_claim"),
        ({"iss": "https://evil.example"}, "invalid_claim"),
        ({"iss": None}, "missing_claim"),
        ({"exp": int(time.time()) - 3600, "iat": int(time.time()) - 7200}, "expired_token"),
        ({"exp": None}, "missing_claim"),
        ({"iat": int(time.time()) + 3600}, "invalid_claim"),
        ({"nbf": int(time.time()) + 3600}, "invalid_claim"),
        ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "invalid_claim"),
        ({"fhirUser": None}, "no fhirUser"),
        ({"fhirUser": "Patient/p-1"}, "for clinicians"),
        ({"fhirUser": "javascript:alert(1)//Practitioner/1"}, "no reference"),
        ({"fhirUser": ["Practitioner/1"]}, "no fhirUser"),
    ],
)
def test_an_id_token_that_says_the_wrong_thing_is_refused(browser, ehr, context, claims, words):
    ehr.claims = claims
    refused(browser, launch(browser, ehr), words)
    failed = context.store.audit()[0]
    assert (failed.action, failed.outcome, failed.user) == (AuditAction.SIGN_IN, AuditOutcome.DENIED, None)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_an_unsigned_id_token_and_a_shared_secret_are_refused(browser, ehr, algorithm):
    ehr.algorithm = algorithm
    refused(browser, launch(browser, ehr), "cannot be believed")


def test_an_id_token_of_another_key_is_refused(browser, ehr):
    ehr.signing_key = RSAKey.generate_key(2048, {"kid": "key-1"})
    refused(browser, launch(browser, ehr), "cannot be believed: bad_signature")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"access_token": "x", "token_type": "Bearer"},
        {"id_token": 7},
        {"id_token": "a.b.c"},
        {"error": "p-1 !"},
    ],
)
def test_an_answer_without_a_usable_id_token_is_refused(browser, ehr, answer):
    ehr.token_answer = answer
    refused(browser, launch(browser, ehr), "could not be signed in")


@pytest.mark.parametrize(
    "configuration",
    [
        {"code_challenge_methods_supported": ["plain"]},
        {"code_challenge_methods_supported": None},
        {"jwks_uri": None},
        {"issuer": 7},
        {"token_endpoint": "http://evil.example/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
)
def test_an_ehr_that_offers_less_than_smart_asks_for_is_refused(browser, ehr, configuration):
    ehr.configuration = configuration
    answer = browser.get("/launch", query_string={"iss": ehr.iss, "launch": "launch-1"})
    assert answer.status_code == 403


def test_an_ehr_that_is_out_is_no_refusal(site, ehr):
    browser = site().test_client()
    back = launch(browser, ehr)
    ehr.__exit__(None, None, None)
    assert browser.get(back).status_code in (502, 503)


def test_a_mixed_up_answer_is_refused(browser, ehr):
    back = launch(browser, ehr)
    refused(browser, f"{back}&iss=https%3A%2F%2Fevil.example", "another authorization server")


def test_the_ehr_may_refuse(browser, ehr):
    back = launch(browser, ehr)
    refused(browser, re.sub(r"code=[^&]+", "error=access_denied", back), "did not let you in")


def test_patients_of_a_server_with_other_ids_are_not_guessed(site, ehr):
    browser = site("same_ids = false").test_client()
    refused(browser, launch(browser, ehr), "other numbers")


def test_no_patient_and_no_role_is_no_way_in(browser, ehr):
    refused(browser, launch(browser, ehr, "no-patient"), "no patient open")


def test_a_patient_that_is_no_id_is_refused(browser, ehr):
    ehr.launches["launch-1"] = "p-1/../../Patient"
    refused(browser, launch(browser, ehr), "no FHIR id")


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/%0d%0aSet-Cookie:a=b\r\n",
     "\t//evil.example", "/sign-in?next=/", "evil", "/" * 3000, "/ü"],
)  # fmt: skip
def test_no_address_of_another_host_is_led_to_after_sign_in(site, ehr, target):
    browser = site('all_patients = ["Practitioner/1"]').test_client()
    away = browser.get("/sign-in/start", query_string={"iss": ehr.iss, "next": target})
    answer = browser.get(authorize(away.location))
    assert answer.status_code == 303
    assert answer.location in ("/worklist", "/%0d%0aSet-Cookie:a=b")
    page = browser.get("/sign-in", query_string={"next": target}).text
    # The link to the same page in another language asks for it with what it was asked for.
    assert "evil" not in re.sub(r'(href="/sign-in\?)[^"]*(&amp;language=de")', r"\1\2", page)


def test_a_session_planted_before_sign_in_opens_nothing_afterwards(browser, ehr, context):
    browser.set_cookie("__Host-leukocds", "planted")
    browser.get(launch(browser, ehr))
    ours = browser.get_cookie("__Host-leukocds").value
    assert ours != "planted"
    assert context.store.session("planted", 60) is None
    # Whoever signs in again leaves nothing of the session before.
    browser.get(launch(browser, ehr))
    assert browser.get_cookie("__Host-leukocds").value != ours
    assert context.store.session(ours, 60) is None


def test_the_cookie_is_out_of_reach_of_scripts_other_sites_and_the_wire(browser, ehr):
    answer = browser.get(launch(browser, ehr))
    (cookie,) = [c for c in answer.headers.getlist("Set-Cookie") if c.startswith("__Host-leukocds=")]
    attributes = {part.strip() for part in cookie.split(";")[1:]}
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} == attributes


def test_a_page_in_a_frame_has_a_cookie_jar_of_that_site(site, ehr):
    browser = site(frame_ancestors=("https://ehr.example",)).test_client()
    answer = browser.get(launch(browser, ehr))
    (cookie,) = [c for c in answer.headers.getlist("Set-Cookie") if c.startswith("__Host-leukocds=")]
    assert {"SameSite=None", "Partitioned", "Secure"} <= {part.strip() for part in cookie.split(";")[1:]}


def test_no_secret_of_a_sign_in_is_stored_or_logged(browser, ehr, context, tmp_path):
    with capture_logs() as logs:
        back = launch(browser, ehr)
        browser.get(back)
    secret = browser.get_cookie("__Host-leukocds").value
    assert secret not in str(logs)
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("store.db*"))
    assert secret.encode() not in stored
    assert b"some-opaque-access-token" not in stored


def test_signing_out_ends_the_session_for_every_copy_of_the_cookie(browser, ehr, context):
    browser.get(launch(browser, ehr))
    secret = browser.get_cookie("__Host-leukocds").value
    token = re.findall(r'name="csrf_token" value="(\w+)"', visitor_page(browser).text)[0]
    assert browser.post("/sign-out", data={"csrf_token": "wrong"}).status_code == 403
    answer = browser.post("/sign-out", data={"csrf_token": token})
    assert (answer.status_code, answer.location) == (303, "/sign-in?signed-out")
    browser.set_cookie("__Host-leukocds", secret)
    assert visitor_page(browser).status_code == 303
    assert "signed out" in browser.get(answer.location).text


def test_where_no_ehr_knows_us_by_a_key_there_is_no_key_set(site):
    assert site("same_ids = true").test_client().get("/sign-in/jwks.json").status_code == 404


def test_without_a_sign_in_file_nobody_can_sign_in_and_the_page_says_what_to_do(client, context):
    page = client.get("/sign-in").text
    assert "LEUKOCDS_SIGN_IN" in page
    assert client.post("/sign-in/development", data={"person": "reviewer-1"}).status_code == 404
    for path in ("/", "/worklist", "/feedback", f"/studies/{assessment().key}"):
        assert client.get(path).status_code == 401
        answer = client.get(path, headers=PAGE)
        assert (answer.status_code, urlsplit(answer.location).path) == (303, "/sign-in")
    assert (
        client.get("/worklist", headers={"Accept": "application/json"}).json["resourceType"]
        == "OperationOutcome"
    )
    sign_in(client, context)
    assert client.get("/worklist").status_code == 200
