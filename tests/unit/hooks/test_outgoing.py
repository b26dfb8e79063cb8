import copy
import json
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from cds.errors import NonconformantAnswer
from cds.values import ReportState
from hooks import app as app_module
from hooks.app import create_app
from hooks.cds_requests import parse_request
from hooks.metrics import VIOLATIONS
from hooks.outgoing import checked_discovery, checked_response, response_text
from hooks.services import Answer, answer
from tests.fakes.assessments import assessment
from tests.fakes.hook_requests import SERVICE, imaging_study, with_studies


def counted(rule: str) -> float:
    return VIOLATIONS.labels(rule=rule)._value.get()


@pytest.fixture
def response(context):
    """A real answer with a result card: suggestions, links, override reasons."""
    context.store.save(assessment(), ReportState.PENDING)
    made = answer(parse_request(json.dumps(with_studies(imaging_study())).encode()), context).response
    (card,) = made["cards"]
    assert {"suggestions", "links", "overrideReasons"} <= card.keys()
    return made


def test_what_keeps_to_the_rules_is_sent_as_it_is(response):
    assert checked_response(response) is response


@pytest.mark.parametrize("part", ["uuid", "suggestions", "links", "overrideReasons"])
def test_an_optional_part_that_breaks_them_is_left_out_logged_and_counted(response, part):
    broken = copy.deepcopy(response)
    broken["cards"][0][part] = [] if part != "uuid" else ""
    before = counted("empty")
    with capture_logs() as logs:
        sent = checked_response(broken)
    expected = {k: v for k, v in response["cards"][0].items() if k != part}
    if part == "suggestions":
        del expected["selectionBehavior"]
    assert sent == {"cards": [expected]}
    assert counted("empty") > before
    assert (logs[0]["log_level"], logs[0]["left_out"]) == ("error", part)


def test_a_field_of_the_source_goes_alone(response):
    response["cards"][0]["source"]["url"] = "/here"
    response["cards"][0]["source"]["topic"] = {"code": "smear-result"}
    (card,) = checked_response(response)["cards"]
    assert card["source"] == {"label": "LeukoCDS"}


def test_system_actions_that_nobody_agreed_to_are_not_sent(response):
    response["systemActions"] = response["cards"][0]["suggestions"][0]["actions"]
    assert "systemActions" in checked_response(response, system_actions=True)
    assert "systemActions" not in checked_response(response)


@pytest.mark.parametrize(
    "changes", [{"summary": "x" * 140}, {"indicator": "urgent"}, {"source": {}}, {"detail": None}]
)
def test_a_card_that_cannot_be_mended_makes_an_error_not_fewer_cards(response, changes):
    response["cards"][0] |= changes
    with pytest.raises(NonconformantAnswer, match="breaks CDS Hooks"):
        checked_response(response)


def test_a_broken_discovery_document_is_not_sent():
    with pytest.raises(NonconformantAnswer):
        checked_discovery({"services": [{"id": "x"}]})


@pytest.mark.parametrize("check", [True, False])
def test_the_setting_decides_whether_answers_are_checked(context, monkeypatch, check):
    broken = Answer(response={"cards": [{"summary": "only that"}]}, offers=())
    monkeypatch.setattr(app_module, "answer", lambda *_: broken)
    settings = replace(context.settings, check_answers=check)
    client = create_app(replace(context, settings=settings)).test_client()
    if check:
        response = client.post(SERVICE, json=with_studies())
        assert response.status_code == 500
        assert response.json["resourceType"] == "OperationOutcome"
        assert "breaks CDS Hooks 2.0" in response.json["issue"][0]["diagnostics"]
    else:
        with pytest.raises(
            AssertionError, match="breaks CDS Hooks"
        ):  # the client of the tests looks at every answer
            client.post(SERVICE, json=with_studies())


def test_the_checked_service_answers_as_the_unchecked_one(client_with, context):
    context.store.save(assessment(), ReportState.PENDING)
    body = with_studies(imaging_study())
    checked, unchecked = (client_with(check_answers=c).post(SERVICE, json=body).json for c in (True, False))
    assert checked == unchecked
    assert len(client_with(check_answers=True).get("/cds-services").json["services"]) == 5


def test_a_card_of_a_known_form_is_checked_again_where_anything_but_its_uuids_differs(response):
    checked_response(response)
    other = copy.deepcopy(response)
    other["cards"][0]["uuid"] = "5a0ec0de-0000-5000-8000-000000000000"
    assert checked_response(other) is other
    for part, wrong in (("uuid", "not-a-uuid"), ("links", []), ("suggestions", [])):
        broken = copy.deepcopy(response)
        broken["cards"][0][part] = wrong
        with capture_logs():
            assert part not in checked_response(broken)["cards"][0]
    twice = copy.deepcopy(response)
    twice["cards"][0]["suggestions"][1]["uuid"] = twice["cards"][0]["suggestions"][0]["uuid"]
    with capture_logs():
        assert "suggestions" not in checked_response(twice)["cards"][0]


def test_two_known_cards_of_one_uuid_are_not_sent_as_such(response):
    checked_response(response)
    with capture_logs():
        sent = checked_response({"cards": [response["cards"][0], copy.deepcopy(response["cards"][0])]})
    assert ["uuid" in card for card in sent["cards"]] != [True, True]


def test_a_known_card_is_too_long_for_a_client_that_shows_less(response):
    checked_response(response)
    with pytest.raises(NonconformantAnswer), capture_logs():
        checked_response(response, max_summary=len(response["cards"][0]["summary"]) - 1)


def test_what_was_checked_leaves_as_it_was_checked(response):
    for _ in range(2):
        checked_response(response)
    before = copy.deepcopy(response)
    assert json.loads(response_text(response)) == before
    response["cards"][0]["links"] = []
    assert json.loads(response_text(response)) == before


def test_what_was_never_checked_leaves_as_it_is(response):
    actions = [{"type": "create", "description": "d", "resource": {"resourceType": "Observation"}}]
    for odd in ({"cards": []}, {**response, "systemActions": actions}, {"cards": [{"summary": "no uuid"}]}):
        assert json.loads(response_text(odd)) == odd
