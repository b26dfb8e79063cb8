"""Reports as systemActions: for clients that agreed, once, and never beside our own writing."""

import json
from dataclasses import replace

import pytest

from cds.errors import StoreError
from cds.report import client_resources
from cds.values import ReportState
from hooks.app import create_app
from hooks.authentication import Authenticator
from hooks.clients import load_clients
from hooks.kept_cards import KeptCards
from hooks.signing import Signer, clients_toml
from tests.fakes.assessments import assessment, not_analysed
from tests.fakes.conforming_client import ConformingClient
from tests.fakes.hook_requests import SERVICE, bundle, hook_request, imaging_study, patient, with_studies

BASE = "https://leuko.example"
AGREED, OTHER, NOT_AGREED = (Signer.new(f"https://{name}.example/") for name in ("agreed", "other", "not"))
PROFILE = "\n[client.profile]\nsystem_actions = true\n"
MADE = assessment()


@pytest.fixture
def context(context, tmp_path):
    """Authenticated; two clients agreed and one did not. The answers are checked as in production."""
    text = "".join(
        clients_toml(signer, name=signer.iss, audience=BASE) + more
        for signer, more in ((AGREED, PROFILE), (OTHER, PROFILE), (NOT_AGREED, ""))
    )
    (tmp_path / "clients.toml").write_text(text)
    settings = replace(context.settings, clients=str(tmp_path / "clients.toml"), check_answers=True)
    clients = load_clients(settings)
    authenticator = Authenticator(clients, context.store, clock_skew_s=30, max_lifetime_s=300)
    context.store.keep_resources(MADE.key, client_resources(MADE))
    return replace(context, settings=settings, authenticator=authenticator)


class Agreed(ConformingClient):
    system_actions = True


def call(context, signer=AGREED, body=None, **settings):
    app = create_app(replace(context, settings=replace(context.settings, **settings)))
    if signer is not NOT_AGREED:
        app.test_client_class = Agreed
    authorization = {"Authorization": f"Bearer {signer.token(BASE + SERVICE)}"}
    response = app.test_client().post(
        SERVICE, json=body or with_studies(imaging_study()), headers=authorization
    )
    assert response.status_code == 200, response.text
    return response.json


def kinds(answer):
    return [action["resource"]["resourceType"] for action in answer.get("systemActions", [])]


WHOLE = ["Observation", "Observation", "DiagnosticReport"]


def test_a_client_that_agreed_gets_the_report_as_creates_once(context):
    context.store.save(MADE, ReportState.NOT_CONFIGURED)
    first = call(context)
    assert kinds(first) == WHOLE
    assert {action["type"] for action in first["systemActions"]} == {"create"}
    assert len(first["cards"]) == 1
    again = call(context)
    assert "systemActions" not in again
    assert len(again["cards"]) == 1
    another_hook = with_studies(imaging_study(), hook="order-sign")
    assert "systemActions" not in call(context, body=another_hook)


def test_each_client_gets_it_for_itself_and_one_that_did_not_agree_never(context):
    context.store.save(MADE, ReportState.NOT_CONFIGURED)
    assert "systemActions" not in call(context, NOT_AGREED)
    assert kinds(call(context)) == WHOLE
    assert kinds(call(context, OTHER)) == WHOLE
    # Nor where no last check would leave them out.
    assert "systemActions" not in call(context, NOT_AGREED, check_answers=False)


def test_the_resources_refer_to_one_another_by_business_identifier(context):
    context.store.save(MADE, ReportState.NOT_CONFIGURED)
    *observations, report = (action["resource"] for action in call(context)["systemActions"])
    assert report["status"] == "preliminary"
    assert report["subject"] == {"reference": "Patient/p-1"}
    assert "conclusionCode" not in report
    named = [o["identifier"][0] for o in observations]
    assert [result["identifier"] for result in report["result"]] == named
    assert {result["type"] for result in report["result"]} == {"Observation"}
    assert all("id" not in resource for resource in (*observations, report))
    assert "urn:uuid:" not in json.dumps([*observations, report])


def test_a_smear_that_could_not_be_analysed_is_reported_too(context):
    made = assessment(2, not_analysed())
    context.store.save(made, ReportState.NOT_CONFIGURED)
    context.store.keep_resources(made.key, client_resources(made))
    body = with_studies(imaging_study(2))
    assert kinds(call(context, body=body)) == ["Observation", "DiagnosticReport"]


OWN = {
    "resourceType": "DiagnosticReport",
    "status": "preliminary",
    "identifier": [{"system": "urn:leukocds:assessment", "value": MADE.key}],
}


@pytest.mark.parametrize(
    ("state", "fhir_server", "reports", "handed"),
    [
        (ReportState.WRITTEN, "https://fhir.example/r4", [], False),
        (ReportState.PENDING, "https://FHIR.example:443/r4/", [], False),
        (ReportState.WRITTEN, None, [], False),
        (ReportState.WRITTEN, "https://other.example/r4", [], True),
        (ReportState.WRITTEN, "https://other.example/r4", [OWN], False),
        (ReportState.PENDING, "https://other.example/r4", None, False),
        (ReportState.NOT_CONFIGURED, None, [OWN], False),
        (ReportState.NOT_CONFIGURED, None, None, True),
    ],
)
def test_nothing_is_handed_over_that_the_ehr_has_or_will_have_from_us(
    context, state, fhir_server, reports, handed
):
    context.store.save(MADE, state)
    prefetch = {"patient": patient(), "studies": bundle(imaging_study())}
    if reports is not None:
        prefetch["reports"] = bundle(*reports)
    body = hook_request(prefetch=prefetch) | ({"fhirServer": fhir_server} if fhir_server else {})
    fhir_url = "" if state is ReportState.NOT_CONFIGURED else "https://fhir.example/r4"
    assert bool(kinds(call(context, body=body, fhir_url=fhir_url))) == handed


def test_another_client_cannot_hide_a_card(context):
    context.store.save(MADE, ReportState.NOT_CONFIGURED)
    (card,) = call(context)["cards"]
    for second, (signer, still_shown) in enumerate(((OTHER, True), (AGREED, False))):
        at = f"2026-03-04T05:06:0{second}Z"
        told = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": at}
        headers = {"Authorization": f"Bearer {signer.token(BASE + SERVICE + '/feedback')}"}
        client = create_app(context).test_client()
        answer = client.post(f"{SERVICE}/feedback", json={"feedback": [told]}, headers=headers)
        assert answer.status_code == 200, answer.text
        shown = [c["uuid"] for c in call(context, repeat_critical_h="never")["cards"]]
        assert (card["uuid"] in shown) is still_shown


def test_an_answer_that_does_not_leave_hands_nothing_over_and_shows_nothing(context, monkeypatch):
    context.store.save(MADE, ReportState.NOT_CONFIGURED)
    with monkeypatch.context() as patched:
        patched.setattr("hooks.cards.indicator", lambda _: "alarming")
        # Cards of its own: those that are kept would outlive the mistake.
        app = create_app(replace(context, cards=KeptCards()))
        headers = {"Authorization": f"Bearer {AGREED.token(BASE + SERVICE)}"}
        assert (
            app.test_client().post(SERVICE, json=with_studies(imaging_study()), headers=headers).status_code
            == 500
        )
    assert context.store.feedback_summary().lines == ()
    assert kinds(call(context)) == WHOLE
    (line,) = context.store.feedback_summary().lines
    assert line.showings == 1


def test_a_store_that_cannot_remember_hands_nothing_over_and_still_shows_the_card(context):
    context.store.save(MADE, ReportState.NOT_CONFIGURED)

    class Forgetful:
        def __init__(self, store, *broken):
            self._store, self._broken = store, broken

        def __getattr__(self, name):
            def fail(*_):
                raise StoreError("out")

            return fail if name in self._broken else getattr(self._store, name)

    for broken in ("hand_over", "resources_for"):
        answer = call(replace(context, store=Forgetful(context.store, broken)))
        assert "systemActions" not in answer
        assert len(answer["cards"]) == 1
    assert kinds(call(context)) == WHOLE


# -- and what else each client has of its own


def test_each_client_sees_what_its_profile_offers_it_at_the_address_that_it_knows(context, tmp_path):
    (tmp_path / "narrow.toml").write_text(
        'hooks = ["patient-view"]\nprefetch = []\naudiences = ["https://cds.narrow.example"]\nmax_summary = 50\n'
        "override_reasons = false\n"
    )
    text = clients_toml(AGREED, name="narrow").replace("\n\n", '\nprofile = "narrow.toml"\n\n', 1)
    (tmp_path / "clients.toml").write_text(text + clients_toml(OTHER, name="wide", audience=BASE))
    clients = load_clients(context.settings)
    authenticator = Authenticator(clients, context.store, clock_skew_s=30, max_lifetime_s=300)
    context.store.save(MADE, ReportState.NOT_CONFIGURED)
    client = create_app(replace(context, authenticator=authenticator)).test_client()

    def ask(signer, base, method, path, **body):
        headers = {"Authorization": f"Bearer {signer.token(base + path)}"}
        return client.open(path, method=method, headers=headers, **body)

    narrow, wide = (AGREED, "https://cds.narrow.example"), (OTHER, BASE)
    assert ask(AGREED, BASE, "GET", "/cds-services").status_code == 401
    (service,) = ask(*narrow, "GET", "/cds-services").json["services"]
    assert (service["hook"], "prefetch" in service) == ("patient-view", False)
    assert len(ask(*wide, "GET", "/cds-services").json["services"]) == 5
    order_sign = with_studies(imaging_study(), hook="order-sign")
    assert ask(*narrow, "POST", SERVICE, json=order_sign).status_code == 400
    assert ask(*wide, "POST", SERVICE, json=order_sign).status_code == 200
    (short,) = ask(*narrow, "POST", SERVICE, json=with_studies(imaging_study())).json["cards"]
    (whole,) = ask(*wide, "POST", SERVICE, json=with_studies(imaging_study())).json["cards"]
    assert len(short["summary"]) <= 50 < len(whole["summary"])
    assert "overrideReasons" not in short
    assert "overrideReasons" in whole
    assert short["uuid"] != whole["uuid"], "Practitioner/d-1 of two clients is two people"
