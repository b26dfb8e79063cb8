"""What CDS Hooks 2.0 asks of a discovery document and of a service's response, as checks of our own answers.

Each rule that is broken is one Violation. `part` names the smallest optional part of the answer whose removal makes it
conform, so that `hooks.outgoing` can leave that part out; a violation without one cannot be mended.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

#: CDS Hooks 2.0, "Card Attributes": under 140 characters.
MAX_SUMMARY = 139
INDICATORS = ("info", "warning", "critical")
SELECTION_BEHAVIORS = ("any", "at-most-one")
LINK_TYPES = ("absolute", "smart")
ACTION_TYPES = ("create", "update", "delete")
#: The one rule that is ours: CDS Hooks 2.0 leaves `source.topic` optional.
NO_TOPIC = "source.topic"
#: CDS Hooks 2.0, "Prefetch tokens": besides fields of the context.
USER_TOKENS = ("userPractitionerId", "userPractitionerRoleId", "userPatientId", "userRelatedPersonId")
#: Context fields that hold more than a primitive value, by the hook library: no prefetch token may name them.
COMPLEX_CONTEXT = (
    "draftOrders", "selections", "appointments", "fulfillmentTasks", "imagingStudies",
)  # fmt: skip

_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_TOKEN = re.compile(r"\{\{(.*?)\}\}")
_CONTEXT_TOKEN = re.compile(r"context\.[A-Za-z][A-Za-z0-9]*")

_SERVICE = {"hook", "title", "description", "id", "prefetch", "usageRequirements", "extension"}
_CARD = {
    "uuid", "summary", "detail", "indicator", "source", "suggestions", "selectionBehavior", "overrideReasons",
    "links", "extension",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule broken. `rule` is a short name for counting; `where` a path such as `cards[0].links[1].url`; neither
    holds anything of the answer itself. `part`: optional field (path from its card or answer) to leave out, or ""."""

    rule: str
    where: str
    part: str = ""


def discovery_violations(document: Any) -> list[Violation]:
    """What breaks CDS Hooks 2.0, "Discovery", in the document that `GET /cds-services` answers."""
    if not isinstance(document, dict) or not isinstance(document.get("services"), list):
        return [Violation("discovery.services", "services")]
    found = [*_empty(document, "", ""), *_unknown(document, {"services"}, "", "")]
    seen = set()
    for number, service in enumerate(document["services"]):
        where = f"services[{number}]"
        found += _service(service, where)
        if isinstance(service, dict):
            pair = (str(service.get("id")), str(service.get("hook")))
            if pair in seen:
                found.append(Violation("service.twice", where))
            seen.add(pair)
    return found


def response_violations(
    response: Any, *, system_actions: bool = False, max_summary: int = MAX_SUMMARY
) -> list[Violation]:
    """What breaks CDS Hooks 2.0, "CDS Service Response", in the answer to a hook.

    system_actions: whether this client agreed to them. max_summary: characters, for clients that show fewer.
    """
    if not isinstance(response, dict) or not isinstance(response.get("cards"), list):
        return [Violation("response.cards", "cards")]
    found = list(_unknown(response, {"cards", "systemActions", "extension"}, "", ""))
    seen: set[str] = set()
    for number, card in enumerate(response["cards"]):
        where = f"cards[{number}]"
        found += card_violations(card, where, max_summary)
        identifier = card.get("uuid") if isinstance(card, dict) else None
        if isinstance(identifier, str):
            if identifier in seen:
                found.append(Violation("card.uuid.twice", f"{where}.uuid", "uuid"))
            seen.add(identifier)
    if "systemActions" in response:
        actions = response["systemActions"]
        if not system_actions:
            found.append(Violation("systemActions.not-agreed", "systemActions", "systemActions"))
        found += _empty(actions, "systemActions", "systemActions")
        found += _each(actions, "systemActions", "systemActions", _action)
    if "extension" in response:
        found += _extension(response["extension"], "extension", "extension")
    return found


def card_violations(card: Any, where: str, max_summary: int = MAX_SUMMARY) -> Iterator[Violation]:
    """What breaks CDS Hooks 2.0, "Card Attributes", in one card."""
    if not isinstance(card, dict):
        yield Violation("card", where)
        return
    spotless = _holds_nothing_empty(card)  # the common case, without a path made for each value
    for name in card:
        if name not in _CARD:
            yield Violation("card.unknown-field", f"{where}.(unknown)", name)
        elif not spotless and name != "source":  # below `source` one field may go without the others
            part = "" if name in ("summary", "indicator", "detail") else _removable(name)
            yield from _empty(card[name], f"{where}.{name}", part)
    summary = card.get("summary")
    if not isinstance(summary, str) or not 0 < len(summary) <= max_summary:
        yield Violation("card.summary", f"{where}.summary")
    if card.get("indicator") not in INDICATORS:
        yield Violation("card.indicator", f"{where}.indicator")
    if "detail" in card and not isinstance(card["detail"], str):
        yield Violation("card.detail", f"{where}.detail")
    if "uuid" in card and not is_uuid(card["uuid"]):
        yield Violation("card.uuid", f"{where}.uuid", "uuid")
    yield from _source(card.get("source"), f"{where}.source")
    if "suggestions" in card:
        yield from _suggestions(card, where)
    elif "selectionBehavior" in card and card["selectionBehavior"] not in SELECTION_BEHAVIORS:
        yield Violation("card.selectionBehavior", f"{where}.selectionBehavior", "suggestions")
    if "overrideReasons" in card:
        yield from _each(
            card["overrideReasons"], f"{where}.overrideReasons", "overrideReasons",
            lambda value, at, part: _coding(value, at, part, display=True),
        )  # fmt: skip
    if "links" in card:
        yield from _each(card["links"], f"{where}.links", "links", _link)
    if "extension" in card:
        yield from _extension(card["extension"], f"{where}.extension", "extension")


def _removable(name: str) -> str:
    # Suggestions and the way to choose among them come and go together.
    return "suggestions" if name == "selectionBehavior" else name


def _service(service: Any, where: str) -> Iterator[Violation]:
    if not isinstance(service, dict):
        yield Violation("service", where)
        return
    yield from _unknown(service, _SERVICE, where, "")
    for name in ("hook", "description", "id"):
        yield from _text(service, name, f"service.{name}", where, "")
    for name in ("title", "usageRequirements"):
        if name in service:
            yield from _text(service, name, f"service.{name}", where, "")
    if isinstance(service.get("id"), str) and not re.fullmatch(r"[A-Za-z0-9\-._~]+", service["id"]):
        yield Violation("service.id", f"{where}.id")  # it becomes a segment of a URL
    if "prefetch" in service:
        prefetch = service["prefetch"]
        if not isinstance(prefetch, dict):
            yield Violation("service.prefetch", f"{where}.prefetch")
            return
        for key, template in prefetch.items():
            if not key or not isinstance(template, str) or not _is_template(template):
                yield Violation("service.prefetch.template", f"{where}.prefetch.{key}")
    if "extension" in service:
        yield from _extension(service["extension"], f"{where}.extension", "")


def _is_template(template: str) -> bool:
    """CDS Hooks 2.0, "Prefetch tokens": delimited by braces, and only context fields of a primitive value or users."""
    left_over = _TOKEN.sub("", template)
    return "{" not in left_over and "}" not in left_over and all(map(_is_token, _TOKEN.findall(template)))


def _is_token(token: str) -> bool:
    if token in USER_TOKENS:
        return True
    return bool(_CONTEXT_TOKEN.fullmatch(token)) and token.partition(".")[2] not in COMPLEX_CONTEXT


def _source(source: Any, where: str) -> Iterator[Violation]:
    """CDS Hooks 2.0, "Source". The topic is optional there; we always send it, since feedback is counted by it."""
    if not isinstance(source, dict):
        yield Violation("source", where)
        return
    for name in source:
        if name not in ("label", "url", "icon", "topic"):
            yield Violation("source.unknown-field", f"{where}.(unknown)", f"source.{name}")
        else:
            part = "" if name == "label" else f"source.{name}"
            yield from _empty(source[name], f"{where}.{name}", part)
    yield from _text(source, "label", "source.label", where, "")
    for name in ("url", "icon"):
        if name in source and not _is_absolute(source[name]):
            yield Violation(f"source.{name}", f"{where}.{name}", f"source.{name}")
    if "topic" in source:
        yield from _coding(source["topic"], f"{where}.topic", "source.topic")
    else:
        yield Violation(NO_TOPIC, f"{where}.topic", "source.topic")


def _suggestions(card: Mapping[str, Any], where: str) -> Iterator[Violation]:
    suggestions, part = card["suggestions"], "suggestions"
    behavior = card.get("selectionBehavior")
    if behavior not in SELECTION_BEHAVIORS:
        yield Violation("card.selectionBehavior", f"{where}.selectionBehavior", part)
    yield from _each(suggestions, f"{where}.suggestions", part, _suggestion)
    known = [s for s in suggestions if isinstance(s, dict)] if isinstance(suggestions, list) else []
    if behavior != "any" and sum(s.get("isRecommended") is True for s in known) > 1:
        yield Violation("suggestion.isRecommended", f"{where}.suggestions", part)
    uuids = [s["uuid"] for s in known if isinstance(s.get("uuid"), str)]
    if len(set(uuids)) < len(uuids):
        yield Violation("suggestion.uuid.twice", f"{where}.suggestions", part)


def _suggestion(suggestion: Mapping[str, Any], where: str, part: str) -> Iterator[Violation]:
    yield from _unknown(suggestion, {"label", "uuid", "isRecommended", "actions"}, where, part)
    yield from _text(suggestion, "label", "suggestion.label", where, part)
    if "uuid" in suggestion and not is_uuid(suggestion["uuid"]):
        yield Violation("suggestion.uuid", f"{where}.uuid", part)
    if "isRecommended" in suggestion and not isinstance(suggestion["isRecommended"], bool):
        yield Violation("suggestion.isRecommended", f"{where}.isRecommended", part)
    if "actions" in suggestion:
        yield from _each(suggestion["actions"], f"{where}.actions", part, _action)


def _action(action: Mapping[str, Any], where: str, part: str) -> Iterator[Violation]:
    """CDS Hooks 2.0, "Action": a new resource for create, the whole one for update, an id for delete."""
    yield from _unknown(action, {"type", "description", "resource", "resourceId", "extension"}, where, part)
    yield from _text(action, "description", "action.description", where, part)
    kind, resource = action.get("type"), action.get("resource")
    if kind not in ACTION_TYPES:
        yield Violation("action.type", f"{where}.type", part)
    elif kind == "delete":
        yield from _text(action, "resourceId", "action.resourceId", where, part)
        if "resource" in action:
            yield Violation("action.resource", f"{where}.resource", part)
    else:
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            yield Violation("action.resource", f"{where}.resource", part)
        elif kind == "update" and not isinstance(resource.get("id"), str):
            yield Violation("action.resource.id", f"{where}.resource", part)
        if "resourceId" in action:
            yield Violation("action.resourceId", f"{where}.resourceId", part)


def _link(link: Mapping[str, Any], where: str, part: str) -> Iterator[Violation]:
    yield from _unknown(link, {"label", "url", "type", "appContext"}, where, part)
    yield from _text(link, "label", "link.label", where, part)
    if not _is_absolute(link.get("url")):
        yield Violation("link.url", f"{where}.url", part)
    if link.get("type") not in LINK_TYPES:
        yield Violation("link.type", f"{where}.type", part)
    if "appContext" in link:
        if link.get("type") != "smart":
            yield Violation("link.appContext", f"{where}.appContext", part)
        yield from _text(link, "appContext", "link.appContext", where, part)


def _coding(value: Any, where: str, part: str, *, display: bool = False) -> Iterator[Violation]:
    """CDS Hooks 2.0, "Coding". display: required, as in override reasons."""
    if not isinstance(value, dict):
        yield Violation("coding", where, part)
        return
    yield from _unknown(value, {"code", "system", "display"}, where, part)
    for name in ("code", "system", *(["display"] if display or "display" in value else [])):
        yield from _text(value, name, f"coding.{name}", where, part)


def _extension(value: Any, where: str, part: str) -> Iterator[Violation]:
    """CDS Hooks 2.0, "Extensions": an object, its names unique the world over (reverse-domain notation)."""
    named = isinstance(value, dict) and all(re.fullmatch(r"[\w\-]+(\.[\w\-]+)+", name) for name in value)
    if not value or not named:
        yield Violation("extension", where, part)


def _each(
    value: Any,
    where: str,
    part: str,
    check: Callable[[Mapping[str, Any], str, str], Iterator[Violation]],
) -> Iterator[Violation]:
    if not isinstance(value, list):
        yield Violation(f"{part}.list", where, part)
        return
    for number, item in enumerate(value):
        if isinstance(item, dict):
            yield from check(item, f"{where}[{number}]", part)
        else:
            yield Violation(f"{part}.item", f"{where}[{number}]", part)


def _text(value: Mapping[str, Any], name: str, rule: str, where: str, part: str) -> Iterator[Violation]:
    if not isinstance(value.get(name), str) or not value[name].strip():
        yield Violation(rule, f"{where}.{name}", part)


def _unknown(value: Mapping[str, Any], known: Collection[str], where: str, part: str) -> Iterator[Violation]:
    """Fields that CDS Hooks 2.0 does not have, such as those of later versions; extensions have a place of theirs."""
    for name in value:
        if name not in known:
            # At the root of a response the field itself can go.
            yield Violation(
                "unknown-field", f"{where}.(unknown)".lstrip("."), part or (name if not where else "")
            )


def _empty(value: Any, where: str, part: str) -> Iterator[Violation]:
    """CDS Hooks 2.0, "Use of JSON": nothing null or empty but `cards` and `services`."""
    if (value is None or value in ("", [], {})) and where not in ("cards", "services"):
        yield Violation("empty", where, part)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _empty(inner, f"{where}.{name}".lstrip("."), part)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _empty(inner, f"{where}[{number}]", part)


def _holds_nothing_empty(value: Any) -> bool:
    """Whether `_empty` would find nothing in what `json.loads` made, or in what is like it."""
    left = [value]
    while left:
        one = left.pop()
        if not one and one is not False and one != 0:
            return False
        kind = type(one)
        if kind is dict:
            left += one.values()
        elif kind is list:
            left += one
        elif kind is not str and isinstance(one, dict | list):
            return False  # a kind of its own: for the careful way
    return True


def is_uuid(value: Any) -> bool:
    return isinstance(value, str) and bool(_UUID.fullmatch(value))


def _is_absolute(value: Any) -> bool:
    if not isinstance(value, str) or any(c.isspace() for c in value):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False
