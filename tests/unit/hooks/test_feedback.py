"""Feedback as EHRs send it, and what it does to the cards of the next hook."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from cds.errors import StoreError
from cds.settings import Settings
from cds.values import CLASSES, Pattern, ReportState
from fhir_profiles.codes import OVERRIDE_REASON, OVERRIDE_REASONS
from hooks.app import create_app
from hooks.feedback import MAX_ITEMS, MAX_SUGGESTIONS
from hooks.late_cards import LateCards
from tests.fakes.assessments import assessment, finding, not_analysed
from tests.fakes.hook_requests import (
    INSTANCE,
    SERVICE,
    bundle,
    emptiness,
    hook_request,
    imaging_study,
    patient,
    with_studies,
)

FEEDBACK = f"{SERVICE}/feedback"
CARD = "4e0a3a1e-3283-4575-ab82-028d55fe2719"
SUGGESTION = "e56e1945-20b3-4393-8503-a1a20fd73152"
AT = "2026-03-04T05:06:07Z"
COMMENT = "Mrs Example, born 1970, was transferred."


def overridden(card=CARD, at=AT, reason=None, comment=None, **more):
    item = {"card": card, "outcome": "overridden", "outcomeTimestamp": at, **more}
    if reason or comment:
        coding = {"system": OVERRIDE_REASON, "code": reason, "display": "x"} if reason else None
        parts = {"reason": coding, "userComment": comment}
        item["overrideReason"] = {name: value for name, value in parts.items() if value}
    return item


def accepted(card=CARD, *suggestions, at=AT):
    ids = [{"id": suggestion} for suggestion in suggestions or (SUGGESTION,)]
    return {"card": card, "outcome": "accepted", "acceptedSuggestions": ids, "outcomeTimestamp": at}


def send(client, *items, status=200):
    """What the answer says."""
    response = client.post(FEEDBACK, json={"feedback": list(items)})
    assert response.status_code == status, response.text
    assert not list(emptiness(response.json))
    return response.json["issue"][0]["diagnostics"]


def rows(context, query):
    with closing(sqlite3.connect(context.settings.database_url.removeprefix("sqlite:///"))) as raw:
        return raw.execute(query).fetchall()


def stored(context):
    return rows(context, "SELECT card, outcome FROM feedback ORDER BY 1, 2")


def cards_of(client, *studies, **context):
    response = client.post(SERVICE, json=with_studies(*(studies or (imaging_study(),)), **context))
    assert response.status_code == 200
    return response.json["cards"]


def ago(hours):
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat().replace("+00:00", "Z")


def test_the_examples_of_the_specification_are_taken(client, context):
    no_display = {
        "reason": {"code": "d7ecf885", "system": "https://example.com/reasons"},
        "userComment": "A comment.",
    }
    said = send(client, accepted(), overridden("f6b95768"), overridden("9368d37b", overrideReason=no_display))
    assert said.startswith("Stored: 3. Known before: 0. About a card that was not sent from here: 3.")
    assert len(stored(context)) == 3


@pytest.mark.parametrize("path", [FEEDBACK, f"{FEEDBACK}/"])
def test_feedback_is_taken_with_and_without_trailing_slash(client, path):
    assert client.post(path, json={"feedback": []}).status_code == 200


def test_batches_and_duplicates_are_legal_and_stored_once(client, context):
    send(client, overridden(), overridden(), accepted())
    upper = overridden(CARD.upper(), at="2026-03-04T06:06:07.000+01:00")
    assert "Stored: 0. Known before: 1" in send(client, upper)
    assert stored(context) == [(CARD, "accepted"), (CARD, "overridden")]


def test_an_unknown_service_is_404_and_another_media_type_415(client):
    response = client.post("/cds-services/other/feedback", json={"feedback": [accepted()]})
    assert response.status_code == 404
    assert response.json["resourceType"] == "OperationOutcome"
    assert client.post(FEEDBACK, data="x").status_code == 415
    assert client.get(FEEDBACK).status_code == 405


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({}, "feedback[1].card is missing; feedback[1].outcome is missing; feedback[1].outcomeTimestamp is missing"),
        (overridden(card=""), "feedback[1].card must be the uuid"),
        (overridden(card="x" * 129), "feedback[1].card must be the uuid"),
        (overridden(card="a\x00b"), "feedback[1].card must be the uuid"),
        (overridden(card=7), "feedback[1].card must be a string"),
        (overridden(outcome="ignored"), "feedback[1].outcome must be accepted or overridden"),
        (overridden(at="2026-03-04"), "feedback[1].outcomeTimestamp must be a date and time with its zone"),
        (overridden(at="2026-03-04T05:06:07"), "feedback[1].outcomeTimestamp must be"),
        (overridden(at="2026-02-30T05:06:07Z"), "feedback[1].outcomeTimestamp must be"),
        (overridden(at="0001-01-01T00:00:00+14:00"), "feedback[1].outcomeTimestamp must be"),
        ({**accepted(), "acceptedSuggestions": []}, "feedback[1] acceptedSuggestions is missing"),
        (overridden(outcome="accepted"), "feedback[1] acceptedSuggestions is missing"),
        ({**accepted(), "acceptedSuggestions": [{}]}, "feedback[1].acceptedSuggestions[0].id is missing"),
        ({**accepted(), "acceptedSuggestions": "x"}, "feedback[1].acceptedSuggestions must be a list"),
        (overridden(overrideReason="x"), "feedback[1].overrideReason must be an object"),
        (overridden(overrideReason={"reason": {"code": "x"}}), "feedback[1].overrideReason.reason.system is missing"),
        (overridden(overrideReason={"reason": {"code": "", "system": "x"}}), "reason.code must be one line of text"),
        (overridden(overrideReason={"userComment": 7}), "feedback[1].overrideReason.userComment must be a string"),
        ("x", "feedback[1] must be an object"),
    ],
)  # fmt: skip
def test_a_malformed_item_refuses_the_call_names_the_field_and_stores_nothing(client, context, item, words):
    assert words in send(client, accepted(), item, status=400)
    assert stored(context) == []


def test_each_malformed_item_is_named(client):
    said = send(client, overridden(card=""), accepted(), overridden(outcome="x"), status=400)
    assert "feedback[0].card" in said
    assert "feedback[2].outcome" in said
    assert "feedback[1]" not in said


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"feedback": {}}', b'{"feedbacks": []}', b'{"feedback": null}']
)
def test_a_body_that_is_no_feedback_is_400(client, body):
    response = client.post(FEEDBACK, data=body, content_type="application/json")
    assert response.status_code == 400
    assert response.json["resourceType"] == "OperationOutcome"


def test_too_many_items_in_one_call_are_refused_and_that_is_said(client_with):
    client = client_with(max_request_bytes=10**6)
    assert "several calls" in send(client, *[overridden()] * (MAX_ITEMS + 1), status=400)
    assert "Stored: 1" in send(client, *[overridden()] * MAX_ITEMS)


def test_too_many_suggestions_in_one_call_are_refused_and_that_is_said(client, context):
    many = [f"{number:06d}" for number in range(MAX_SUGGESTIONS)]
    said = send(client, accepted(CARD, *many), accepted("another"), status=400)
    assert f"more than {MAX_SUGGESTIONS} accepted suggestions" in said
    assert stored(context) == []
    send(client, accepted(CARD, *many))


def test_a_comment_longer_than_anybody_types_is_refused_and_named(client, context):
    assert "userComment must be at most 20000 characters" in send(
        client, overridden(comment="x" * 20_001), status=400
    )
    assert stored(context) == []
    send(client, overridden(comment="x" * 20_000))


def test_a_store_that_fails_is_503_and_the_client_may_send_again(context):
    class Broken:
        def take_feedback(self, service, items, issuer):
            raise StoreError("the disk is full")

    response = (
        create_app(replace(context, store=Broken())).test_client().post(FEEDBACK, json={"feedback": []})
    )
    assert response.status_code == 503
    assert response.headers["Retry-After"]


def test_reason_and_comment_are_kept_and_the_comment_is_in_no_log(client, context):
    nasty = COMMENT + "\x00\ud800"
    with capture_logs() as logs:
        body = json.dumps({"feedback": [overridden(reason="already-known", comment=nasty)]})
        assert client.post(FEEDBACK, data=body, content_type="application/json").status_code == 200
        send(client, overridden(comment=COMMENT, at="no"), status=400)
    ((code, comment),) = rows(context, "SELECT reason_code, user_comment FROM feedback")
    assert (code, comment) == ("already-known", COMMENT + "\ufffd\ufffd")
    assert "Example" not in str(logs)
    assert any(log["event"] == "feedback taken" for log in logs)


def test_every_card_sent_is_remembered_and_feedback_is_joined_to_it(client, context):
    made = assessment()
    context.store.save(made, ReportState.PENDING)
    result, queued = cards_of(client, imaging_study(1), imaging_study(2))[::-1]
    if result["source"]["topic"]["code"] != "smear-result":
        result, queued = queued, result
    query = (
        "SELECT uuid, hook_instance, hook, service, user_reference, subject_key, topic, pattern, model_version "
        "FROM cards"
    )
    remembered = {uuid: row for uuid, *row in rows(context, query)}
    same = (INSTANCE, "patient-view", "leukemia-smear", "Practitioner/d-1")
    (job_key,) = context.submit.keys
    assert remembered == {
        result["uuid"]: [*same, made.key, "smear-result", "AML", "1.2.3"],
        queued["uuid"]: [*same, job_key, "smear-queued", None, "1.2.3"],
    }
    said = send(client, accepted(result["uuid"], result["suggestions"][0]["uuid"]))
    assert "not sent from here: 0. Suggestions that their card does not have: 0." in said
    assert "does not have: 1." in send(client, accepted(result["uuid"], SUGGESTION))
    line = context.store.feedback_summary().lines[0]
    assert (line.pattern, line.cards, line.accepted) == ("AML", 1, 1)


def dealt_with(client, context, item_of, outcome=None, hours=0.0):
    """The cards before and after feedback on the one card of a reading."""
    context.store.save(assessment(outcome=outcome or finding()), ReportState.PENDING)
    (card,) = cards_of(client)
    send(client, item_of(card, ago(hours)))
    return card, cards_of(client)


def accept(card, at):
    return accepted(card["uuid"], card["suggestions"][0]["uuid"], at=at)


def override(card, at):
    return overridden(card["uuid"], at=at, reason="already-known")


def put_off(card, at):
    return overridden(card["uuid"], at=at, reason="will-review-later")


CLL = replace(
    finding(),
    pattern=Pattern.CLL,
    possible_apl=False,
    probabilities={c: 0.9 if c is Pattern.CLL else 0.025 for c in CLASSES},
)


@pytest.mark.parametrize(
    ("outcome", "item_of", "hours", "shown_again"),
    [
        (None, accept, 0, False),
        (None, accept, 999, False),
        (None, override, 1, False),
        (None, override, 25, True),  # critical
        (CLL, override, 25, False),
        (CLL, put_off, 1, False),
        (CLL, put_off, 25, True),
        (not_analysed(), override, 999, False),
    ],
)
def test_a_reading_that_the_user_dealt_with_is_not_shown_again(
    client, context, outcome, item_of, hours, shown_again
):
    card, after = dealt_with(client, context, item_of, outcome, hours)
    assert after == ([card] if shown_again else [])


@pytest.mark.parametrize(
    ("hours", "shown_again"), [("never", False), ("0", True), ("2000", False), ("24", True)]
)
def test_when_a_critical_card_comes_back_is_a_setting(context, hours, shown_again):
    settings = replace(context.settings, repeat_critical_h=hours)
    client = create_app(replace(context, settings=settings)).test_client()
    _, after = dealt_with(client, context, override, hours=999)
    assert bool(after) is shown_again


def test_another_user_patient_or_server_is_shown_it_still(client, context):
    card, after = dealt_with(client, context, override)
    assert after == []
    (other,) = cards_of(client, userId="Practitioner/d-2")
    assert other["uuid"] != card["uuid"]
    assert other == {**card, "uuid": other["uuid"], "suggestions": other["suggestions"]}


def test_a_user_who_is_not_named_is_shown_everything(client, context):
    context.store.save(assessment(), ReportState.PENDING)
    body = with_studies(hook="org.leukocds.imagingstudy-available", imagingStudies=bundle(imaging_study()))
    (card,) = client.post(SERVICE, json=body).json["cards"]
    send(client, override(card, AT))
    assert client.post(SERVICE, json=body).json["cards"] == [card]


def test_a_finding_that_changed_materially_is_another_card(client, context):
    _, after = dealt_with(client, context, override, CLL)
    assert after == []
    instances = ("1.2.3.0", "1.2.3.1", "1.2.3.2")
    study = imaging_study(numberOfInstances=3)
    same = replace(CLL, evidence=("More cells.",))
    context.store.save(
        assessment(outcome=same, instance_uids=instances, read_at=datetime(2026, 4, 1, tzinfo=UTC)),
        ReportState.PENDING,
    )
    assert cards_of(client, study) == []
    aml = assessment(instance_uids=(*instances, "1.2.3.3"), read_at=datetime(2026, 5, 1, tzinfo=UTC))
    context.store.save(aml, ReportState.PENDING)
    (card,) = cards_of(client, imaging_study(numberOfInstances=4))
    assert card["summary"].startswith("AML")


@pytest.mark.parametrize(
    ("status", "shown_again"), [("preliminary", False), ("final", True), ("amended", True)]
)
def test_a_report_that_was_signed_since_shows_the_card_again(client, context, status, shown_again):
    made = assessment(outcome=CLL)
    dealt_with(client, context, override, CLL)
    report = {
        "resourceType": "DiagnosticReport",
        "status": status,
        "identifier": [{"system": "urn:leukocds:assessment", "value": made.key}],
        "subject": {"reference": "Patient/p-1"},
    }
    prefetch = {"patient": patient(), "studies": bundle(imaging_study()), "reports": bundle(report)}
    cards = client.post(SERVICE, json=hook_request(prefetch=prefetch)).json["cards"]
    assert bool(cards) is shown_again


def test_cards_without_a_reading_are_never_left_out(client, context):
    """A queue or an outage that someone waved away must not look like a patient without smears."""
    for _ in range(2):
        queued, problem = cards_of(client, imaging_study(1), imaging_study(2, identifier=None))
        send(client, override(queued, AT), override(problem, AT))
    (key,) = context.submit.keys
    context.store.claim(key, "worker", 60)
    context.store.fail(key, "worker", "the image archive is out")
    for _ in range(2):
        (failed,) = cards_of(client)
        assert "could not be read" in failed["summary"]
        send(client, override(failed, AT))


class Failing:
    """The store of a context, one method of which fails."""

    def __init__(self, store, name):
        self._store, self._name = store, name

    def __getattr__(self, name):
        if name == self._name:
            return self._fail
        return getattr(self._store, name)

    def _fail(self, *_):
        raise StoreError("the disk is full")


@pytest.mark.parametrize("broken", ["remember_cards", "actions"])
def test_a_store_that_fails_at_hygiene_costs_no_card(client, context, broken):
    card, after = dealt_with(client, context, override)
    assert after == []
    app = create_app(replace(context, store=Failing(context.store, broken)))
    with capture_logs() as logs:
        cards = cards_of(
            app.test_client(), userId="Practitioner/d-2" if broken == "remember_cards" else "Practitioner/d-1"
        )
    assert [c["summary"] for c in cards] == [card["summary"]]
    told = "warning" if broken == "remember_cards" else "error"  # the cards are remembered later
    assert [log["log_level"] for log in logs].count(told) == 1
    assert "Practitioner" not in str(logs)


def test_feedback_on_a_card_that_the_store_was_too_busy_for_is_known(client, context):
    context.store.save(assessment(), ReportState.PENDING)
    store = Failing(context.store, "remember_cards")
    app = create_app(replace(context, store=store, late_cards=LateCards(pause_s=600)))
    (card,) = cards_of(app.test_client())
    store._name = "nothing"
    item = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": "2026-03-04T05:06:07Z"}
    answer = app.test_client().post(FEEDBACK, json={"feedback": [item]})
    assert "not sent from here: 0." in answer.json["issue"][0]["diagnostics"]


def test_a_user_id_of_any_shape_is_survived(client, context):
    context.store.save(assessment(), ReportState.PENDING)
    for user in ("\x00", "é\n", "x" * 5000, "Practitioner/1\x7f"):
        body = json.dumps(with_studies(imaging_study(), userId=user))
        response = client.post(SERVICE, data=body, content_type="application/json")
        assert response.status_code == 200
        assert len(response.json["cards"]) == 1


def test_what_is_ordered_already_is_not_suggested(client, context):
    context.store.save(assessment(), ReportState.PENDING)
    (card,) = cards_of(client)
    drafts = [s["actions"][0]["resource"] for s in card["suggestions"]]
    orders = [
        {**drafts[0], "status": "active"},
        {**drafts[1], "status": "revoked"},
        {**drafts[2], "status": "active", "subject": {"reference": "Patient/p-2"}},
    ]
    prefetch = {
        "patient": patient(),
        "studies": bundle(imaging_study()),
        "reports": bundle(),
        "orders": bundle(*orders),
    }
    (again,) = client.post(SERVICE, json=hook_request(prefetch=prefetch)).json["cards"]
    assert [s["uuid"] for s in again["suggestions"]] == [s["uuid"] for s in card["suggestions"]][1:]


def test_cards_that_can_be_overridden_offer_coded_reasons(client, context):
    context.store.save(assessment(), ReportState.PENDING)
    (card,) = cards_of(client)
    assert card["overrideReasons"] == [reason.coding() for reason in OVERRIDE_REASONS.values()]
    assert all(reason["display"] for reason in card["overrideReasons"])


@pytest.mark.parametrize("text", ["", "soon", "-1", "nan", "inf", "1e308", "9" * 20])
def test_hours_that_are_none_are_refused_at_start(text):
    if text == "":
        assert Settings.from_env({"LEUKOCDS_REPEAT_CRITICAL_H": text}).repeat_critical == timedelta(hours=24)
        return
    with pytest.raises(Exception, match="LEUKOCDS_REPEAT_CRITICAL_H"):
        Settings.from_env({"LEUKOCDS_REPEAT_CRITICAL_H": text})
