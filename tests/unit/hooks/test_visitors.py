"""Who may look, that every look is recorded, and what a page of another site can do (nothing)."""

import uuid
from datetime import timedelta

import pytest
from flask import Flask
from structlog.testing import capture_logs

from cds.access import AuditAction, AuditOutcome
from cds.errors import StoreError
from cds.values import ReportState, utc_now
from hooks.app import create_app
from hooks.visitors import POLL_HEADER, any_visitor, current_visitor, visitor_for
from tests.fakes.assessments import assessment, study
from tests.fakes.signed_in import sign_in

OWN, OTHER = "Patient/p-1", "Patient/p-2"


@pytest.fixture
def app(context) -> Flask:
    """With a page, its images, and a change, as the study's page has them."""
    app = create_app(context)

    @app.get("/smears/<patient>")
    def smear(patient):
        return visitor_for(f"Patient/{patient}").user

    @app.get("/smears/<patient>/<key>/<int:number>")
    def picture_of_smear(patient, key, number):
        return visitor_for(f"Patient/{patient}").user

    @app.get("/unknown-smear")
    def unknown():
        return visitor_for(None).user

    @app.post("/smears/<patient>")
    def change_smear(patient):
        return visitor_for(f"Patient/{patient}").user

    @app.get("/whoever")
    def whoever():
        visitor = current_visitor()
        return visitor.name if visitor else "nobody"

    @app.get("/staff")
    def staff():
        return any_visitor(staff=True).name

    return app


@pytest.fixture
def browser(app):
    return app.test_client()


def test_nobody_is_a_visitor_without_a_session(browser):
    assert browser.get("/whoever").text == "nobody"
    assert browser.get("/smears/p-1").status_code == 401
    browser.set_cookie("__Host-leukocds", "guessed")
    assert browser.get("/whoever").text == "nobody"


def test_who_is_limited_to_a_patient_sees_no_other_and_no_smear_of_nobody(browser, context):
    sign_in(browser, context, patient=OWN)
    assert browser.get("/smears/p-1").text == "Practitioner/1"
    for path in ("/smears/p-2", "/smears/p-11", "/unknown-smear"):
        with capture_logs() as logs:
            answer = browser.get(path)
        assert answer.status_code == 403
        assert "p-2" not in answer.text + str(logs)
    outcomes = [(e.patient, e.outcome) for e in context.store.audit()]
    denied = AuditOutcome.DENIED
    assert outcomes == [
        (None, denied), ("Patient/p-11", denied), (OTHER, denied), (OWN, AuditOutcome.ALLOWED)
    ]  # fmt: skip


def test_who_is_not_limited_sees_every_patient(browser, context):
    sign_in(browser, context)
    for path in ("/smears/p-1", "/smears/p-2", "/unknown-smear"):
        assert browser.get(path).status_code == 200


def test_the_images_of_a_page_are_one_look_and_refusals_are_each_recorded(browser, context):
    sign_in(browser, context, patient=OWN)
    key = uuid.uuid4()
    for number in range(5):
        assert browser.get(f"/smears/p-1/{key}/{number}").status_code == 200
        assert browser.get(f"/smears/p-2/{key}/{number}").status_code == 403
    entries = context.store.audit()
    assert len([e for e in entries if e.outcome is AuditOutcome.DENIED]) == 5
    # Two where the minute turned over meanwhile.
    assert len([e for e in entries if e.outcome is AuditOutcome.ALLOWED]) in (1, 2)
    assert {e.what for e in entries} == {f"picture_of_smear {key}"}


def test_nothing_is_shown_that_cannot_be_recorded(browser, context, monkeypatch):
    sign_in(browser, context)

    def fail(entry):
        raise StoreError("the disk is full")

    monkeypatch.setattr(context.store, "record", fail)
    answer = browser.get("/smears/p-1")
    assert answer.status_code == 503
    assert "Practitioner/1" not in answer.text


@pytest.mark.parametrize(
    ("headers", "form", "status"),
    [
        ({}, {}, 403),
        ({}, {"csrf_token": "0" * 64}, 403),
        ({"X-CSRF-Token": "é"}, {}, 403),
        ({"X-CSRF-Token": "token"}, {}, 200),
        ({}, {"csrf_token": "token"}, 200),
        ({"X-CSRF-Token": "token", "Origin": "https://leuko.example"}, {}, 200),
        ({"X-CSRF-Token": "token", "Origin": "https://evil.example"}, {}, 403),
        ({"X-CSRF-Token": "token", "Origin": "https://leuko.example.evil.example"}, {}, 403),
        ({"X-CSRF-Token": "token", "Origin": "http://leuko.example"}, {}, 403),
        ({"X-CSRF-Token": "token", "Origin": "null"}, {}, 403),
        ({"X-CSRF-Token": "token", "Sec-Fetch-Site": "cross-site"}, {}, 403),
        ({"X-CSRF-Token": "token", "Sec-Fetch-Site": "same-site"}, {}, 403),
        ({"X-CSRF-Token": "token", "Sec-Fetch-Site": "same-origin"}, {}, 200),
    ],
)
def test_a_change_needs_the_token_of_its_session_from_a_page_of_ours(browser, context, headers, form, status):
    token = sign_in(browser, context)
    headers = {name: token if value == "token" else value for name, value in headers.items()}
    form = {name: token if value == "token" else value for name, value in form.items()}
    answer = browser.post("/smears/p-1", headers=headers, data=form)
    assert answer.status_code == status
    changes = [e for e in context.store.audit() if e.action is AuditAction.CHANGE]
    assert len(changes) == (status == 200)


def test_the_token_of_another_session_does_not_do(browser, app, context):
    other = sign_in(app.test_client(), context)
    mine = sign_in(browser, context)
    assert mine != other
    assert browser.post("/smears/p-1", headers={"X-CSRF-Token": other}).status_code == 403


def test_a_change_without_a_session_is_401_and_forged_403(browser):
    assert browser.post("/smears/p-1").status_code == 401
    assert browser.post("/smears/p-1", headers={"Origin": "https://evil.example"}).status_code == 403


def test_a_session_that_nobody_uses_ends_and_polling_is_no_use(context, tmp_path):
    now = [utc_now()]
    context.store._clock = lambda: now[0]
    browser = create_app(context).test_client()
    sign_in(browser, context, hours=9)
    for _ in range(3):
        now[0] += timedelta(minutes=15)
        assert browser.get("/worklist").status_code == 200
    for _ in range(2):
        now[0] += timedelta(minutes=9)
        assert browser.get("/worklist/rows", headers={POLL_HEADER: "1"}).status_code in (200, 304)
    now[0] += timedelta(minutes=3)
    assert browser.get("/worklist").status_code == 401


def test_a_session_ends_however_busy_it_is(context):
    now = [utc_now()]
    context.store._clock = lambda: now[0]
    browser = create_app(context).test_client()
    sign_in(browser, context)  # for an hour
    for _ in range(5):
        assert browser.get("/worklist").status_code == 200
        now[0] += timedelta(minutes=12, seconds=5)
    assert browser.get("/worklist").status_code == 401
    assert context.store.purge_sessions(1200) == 1


def test_pages_for_staff_are_for_staff(browser, context):
    sign_in(browser, context, may_review=False)
    for path in ("/staff", "/feedback"):
        assert browser.get(path).status_code == 403
    sign_in(browser, context, may_review=False, may_operate=True)
    for path in ("/staff", "/feedback"):
        assert browser.get(path).status_code == 200


def test_the_cds_service_needs_no_session_and_no_token(browser):
    assert browser.get("/cds-services").status_code == 200
    answer = browser.post(
        "/cds-services/leukemia-smear", data=b"{}", headers={"Origin": "https://ehr.example"}
    )
    assert answer.status_code == 415


def test_a_page_links_no_secret(browser, context):
    sign_in(browser, context)
    context.store.save(assessment(), ReportState.PENDING)
    secret = browser.get_cookie("__Host-leukocds").value
    for path in ("/", "/worklist", "/feedback", f"/studies/{assessment().key}"):
        assert secret not in browser.get(path).text


def test_whether_a_reading_exists_is_told_to_nobody_who_did_not_sign_in(browser, context):
    context.store.save(assessment(outcome=None), ReportState.PENDING)
    known, unknown = f"/studies/{assessment().key}", f"/studies/{uuid.uuid4()}"
    for headers in ({}, {"Accept": "text/html"}):
        answers = [browser.get(path, headers=headers) for path in (known, unknown)]
        assert len({answer.status_code for answer in answers}) == 1
    assert study().patient == OWN
