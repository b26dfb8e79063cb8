"""Each rule, broken once: the checks find exactly it. What keeps to the rules passes."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from cds.settings import Settings
from hooks.conformance import discovery_violations, response_violations
from hooks.services import discovery

GOLDEN = Path(__file__).parent / "golden"
UUID = "6f1a3a3e-7a52-4d4b-9a0a-1f6c0d0c4c11"
CODING = {"system": "urn:x", "code": "c", "display": "Words"}
RESOURCE = {"resourceType": "ServiceRequest", "id": "1", "status": "draft"}


def card(**changes: Any) -> dict[str, Any]:
    whole = {
        "uuid": UUID,
        "summary": "Blood smear: AML pattern",
        "detail": "**Words**",
        "indicator": "info",
        "source": {
            "label": "LeukoCDS",
            "url": "https://leuko.example/",
            "icon": "https://leuko.example/icon.png",
            "topic": CODING,
        },
        "suggestions": [suggestion(isRecommended=True), suggestion(uuid=UUID.replace("6", "7"))],
        "selectionBehavior": "any",
        "overrideReasons": [CODING],
        "links": [
            {"label": "Page", "url": "https://leuko.example/studies/1", "type": "absolute"},
            {"label": "App", "url": "https://app.example/launch", "type": "smart", "appContext": "x"},
        ],
        "extension": {"org.leukocds.note": {"a": 1}},
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not ...}


def suggestion(**changes: Any) -> dict[str, Any]:
    whole = {
        "label": "Order",
        "uuid": UUID,
        "actions": [{"type": "create", "description": "Draft", "resource": RESOURCE}],
    }
    return {**whole, **changes}


def action(**changes: Any) -> dict[str, Any]:
    whole = {"type": "create", "description": "Draft", "resource": RESOURCE}
    changed = {name: value for name, value in {**whole, **changes}.items() if value is not ...}
    return {"suggestions": [suggestion(actions=[changed])]}


def source(**changes: Any) -> dict[str, Any]:
    changed = {**card()["source"], **changes}
    return {"source": {name: value for name, value in changed.items() if value is not ...}}


def link(**changes: Any) -> dict[str, Any]:
    whole = {"label": "Page", "url": "https://leuko.example/1", "type": "absolute"}
    return {"links": [{name: value for name, value in {**whole, **changes}.items() if value is not ...}]}


def test_a_whole_card_passes() -> None:
    assert response_violations({"cards": [card()]}) == []
    assert response_violations({"cards": []}) == []


BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({"summary": "x" * 140}, "card.summary", ""),
    ({"summary": ...}, "card.summary", ""),
    ({"summary": 7}, "card.summary", ""),
    ({"indicator": "hard-stop"}, "card.indicator", ""),
    ({"indicator": ...}, "card.indicator", ""),
    ({"detail": 7}, "card.detail", ""),
    ({"detail": ""}, "empty", ""),
    ({"uuid": "17"}, "card.uuid", "uuid"),
    ({"uuid": None}, "empty", "uuid"),
    ({"autolaunchable": True}, "card.unknown-field", "autolaunchable"),
    ({"source": ...}, "source", ""),
    (source(label=...), "source.label", ""),
    (source(label=" "), "source.label", ""),
    (source(url="/relative"), "source.url", "source.url"),
    (source(url="javascript:alert(1)"), "source.url", "source.url"),
    (source(icon="icon.png"), "source.icon", "source.icon"),
    (source(topic=...), "source.topic", "source.topic"),
    (source(topic={"code": "c"}), "coding.system", "source.topic"),
    (source(topic={"system": "s"}), "coding.code", "source.topic"),
    (source(topic="c"), "coding", "source.topic"),
    (source(more="c"), "source.unknown-field", "source.more"),
    ({"selectionBehavior": ...}, "card.selectionBehavior", "suggestions"),
    ({"selectionBehavior": "all"}, "card.selectionBehavior", "suggestions"),
    ({"suggestions": []}, "empty", "suggestions"),
    ({"suggestions": {"label": "x"}}, "suggestions.list", "suggestions"),
    ({"suggestions": ["x"]}, "suggestions.item", "suggestions"),
    ({"suggestions": [suggestion(label=7)]}, "suggestion.label", "suggestions"),
    ({"suggestions": [suggestion(uuid="17")]}, "suggestion.uuid", "suggestions"),
    ({"suggestions": [suggestion(), suggestion()]}, "suggestion.uuid.twice", "suggestions"),
    ({"suggestions": [suggestion(isRecommended="yes")]}, "suggestion.isRecommended", "suggestions"),
    ({"suggestions": [suggestion(actions=[])]}, "empty", "suggestions"),
    ({"suggestions": [suggestion(note="x")]}, "unknown-field", "suggestions"),
    (action(type="replace"), "action.type", "suggestions"),
    (action(description=...), "action.description", "suggestions"),
    (action(resource=...), "action.resource", "suggestions"),
    (action(resource="ServiceRequest/1"), "action.resource", "suggestions"),
    (
        action(type="update", resource={"resourceType": "ServiceRequest"}),
        "action.resource.id",
        "suggestions",
    ),
    (action(type="delete", resource=...), "action.resourceId", "suggestions"),
    (action(type="delete", resourceId="ServiceRequest/1"), "action.resource", "suggestions"),
    (action(resourceId="1"), "action.resourceId", "suggestions"),
    (action(resource={**RESOURCE, "note": None}), "empty", "suggestions"),
    ({"overrideReasons": [{"system": "s", "code": "c"}]}, "coding.display", "overrideReasons"),
    ({"overrideReasons": [{"display": "d", "code": "c"}]}, "coding.system", "overrideReasons"),
    ({"overrideReasons": CODING}, "overrideReasons.list", "overrideReasons"),
    (link(label=...), "link.label", "links"),
    (link(url="/studies/1"), "link.url", "links"),
    (link(url="https://a b/"), "link.url", "links"),
    (link(url="http://[::1"), "link.url", "links"),
    (link(type="relative"), "link.type", "links"),
    (link(appContext="x"), "link.appContext", "links"),
    (link(type="smart", appContext=7), "link.appContext", "links"),
    ({"extension": {"note": 1}}, "extension", "extension"),
    ({"extension": "x"}, "extension", "extension"),
]


@pytest.mark.parametrize(("changes", "rule", "part"), BROKEN)
def test_each_rule_of_a_card_is_found_and_names_what_to_leave_out(changes, rule, part) -> None:
    found = response_violations({"cards": [card(**changes)]})
    assert rule in {violation.rule for violation in found}
    assert {violation.part for violation in found} == {part}
    assert all(violation.where.startswith("cards[0]") for violation in found)


def test_several_recommended_suggestions_need_the_behavior_any() -> None:
    several = [suggestion(isRecommended=True), suggestion(isRecommended=True, uuid=UUID.replace("6", "7"))]
    assert response_violations({"cards": [card(suggestions=several)]}) == []
    (found,) = response_violations({"cards": [card(suggestions=several, selectionBehavior="at-most-one")]})
    assert found.rule == "suggestion.isRecommended"


def test_a_uuid_belongs_to_one_card() -> None:
    (found,) = response_violations({"cards": [card(), card()]})
    assert (found.rule, found.where) == ("card.uuid.twice", "cards[1].uuid")


@pytest.mark.parametrize("response", [None, [], {}, {"cards": None}, {"cards": {}}])
def test_a_response_without_a_list_of_cards_is_none(response) -> None:
    (found,) = response_violations(response)
    assert found.rule == "response.cards"


def test_a_card_that_is_no_object_and_a_field_of_another_version_are_found() -> None:
    assert [v.rule for v in response_violations({"cards": ["x"]})] == ["card"]
    (found,) = response_violations({"cards": [], "version": "3"})
    assert (found.rule, found.part) == ("unknown-field", "version")
    (found,) = response_violations({"cards": [], "extension": {}})
    assert (found.rule, found.part) == ("extension", "extension")


def test_system_actions_are_for_clients_that_agreed() -> None:
    response = {"cards": [], "systemActions": action()["suggestions"][0]["actions"]}
    assert response_violations(response, system_actions=True) == []
    (found,) = response_violations(response)
    assert (found.rule, found.part) == ("systemActions.not-agreed", "systemActions")
    (found,) = response_violations({"cards": [], "systemActions": []}, system_actions=True)
    assert found.rule == "empty"
    (found,) = response_violations({"cards": [], "systemActions": [{"type": "create"}]}, system_actions=True)[
        :1
    ]
    assert found.rule == "action.description"


def test_a_client_may_show_shorter_summaries() -> None:
    (found,) = response_violations({"cards": [card()]}, max_summary=10)
    assert found.rule == "card.summary"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_the_cards_that_there_are_keep_to_the_rules(path) -> None:
    assert response_violations({"cards": [json.loads(path.read_text("utf-8"))]}) == []


def service(**changes: Any) -> dict[str, Any]:
    (first, *_) = copy.deepcopy(discovery(Settings())["services"])
    return {name: value for name, value in {**first, **changes}.items() if value is not ...}


def test_our_discovery_document_keeps_to_the_rules() -> None:
    assert discovery_violations(discovery(Settings())) == []
    assert discovery_violations({"services": []}) == []


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"hook": ...}, "service.hook"),
        ({"description": ...}, "service.description"),
        ({"id": 7}, "service.id"),
        ({"id": "a/b"}, "service.id"),
        ({"title": 7}, "service.title"),
        ({"usageRequirements": 7}, "service.usageRequirements"),
        ({"version": "3"}, "unknown-field"),
        ({"extension": "x"}, "extension"),
        ({"prefetch": "Patient/{{context.patientId}}"}, "service.prefetch"),
        ({"prefetch": {"patient": 7}}, "service.prefetch.template"),
        ({"prefetch": {"": "Patient/1"}}, "service.prefetch.template"),
        ({"prefetch": {"orders": "ServiceRequest?_id={{context.draftOrders}}"}}, "service.prefetch.template"),
        ({"prefetch": {"orders": "ServiceRequest?_id={{context.a.b}}"}}, "service.prefetch.template"),
        ({"prefetch": {"user": "Practitioner/{{userId}}"}}, "service.prefetch.template"),
        ({"prefetch": {"patient": "Patient/{context.patientId}"}}, "service.prefetch.template"),
        ({"prefetch": {"patient": "Patient/{{context.patientId}"}}, "service.prefetch.template"),
    ],
)
def test_each_rule_of_discovery_is_found(changes, rule) -> None:
    (found,) = discovery_violations({"services": [service(**changes)]})
    assert (found.rule, found.part) == (rule, "")


def test_more_of_discovery() -> None:
    assert [v.rule for v in discovery_violations({})] == ["discovery.services"]
    assert [v.rule for v in discovery_violations({"services": ["x"]})] == ["service"]
    assert [v.rule for v in discovery_violations({"services": [service(), service()]})] == ["service.twice"]
    user = service(prefetch={"user": "Practitioner/{{userPractitionerId}}"})
    assert discovery_violations({"services": [user]}) == []
