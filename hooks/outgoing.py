"""The last look at an answer before it leaves: what breaks CDS Hooks 2.0 is never sent.

A part that a card may lack (suggestions, links, override reasons, uuid ...) is left out. A card that is wrong in what
it must have is not dropped, since fewer cards read as "nothing found": the whole answer becomes an error.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from cds.errors import NonconformantAnswer
from cds.kept import Kept
from hooks import metrics
from hooks.conformance import (
    MAX_SUMMARY,
    NO_TOPIC,
    Violation,
    discovery_violations,
    is_uuid,
    response_violations,
)
from hooks.json_text import encode_json

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A card that was found to keep to the rules for clients that show so many characters, and how it leaves."""

    card: dict[str, Any]
    max_summary: int
    text: bytes


#: By the card's uuid.
_SENT = Kept[Any, _Sent](1024)
#: Forms of cards that were found to keep to the rules.
_CONFORMING = Kept[bytes, bool](1024)
#: Of a form that is kept.
_LARGEST_BYTES = 16 * 1024


def checked_discovery(document: dict[str, Any]) -> dict[str, Any]:
    """The document itself. Raises NonconformantAnswer when it breaks CDS Hooks 2.0, "Discovery"."""
    if found := discovery_violations(document):
        _tell(found)
        raise _cannot_send(found)
    return document


def checked_response(
    response: dict[str, Any], *, system_actions: bool = False, max_summary: int = MAX_SUMMARY
) -> dict[str, Any]:
    """The answer, less optional parts that break CDS Hooks 2.0, "CDS Service Response".

    system_actions, max_summary: what this client agreed to, and how much it shows. Raises NonconformantAnswer when
    what is wrong has to stay.
    """
    cards = response.get("cards")
    if response.keys() == {"cards"} and isinstance(cards, list) and _all_known(cards, max_summary):
        return response
    found = response_violations(response, system_actions=system_actions, max_summary=max_summary)
    if not found:
        for card in response["cards"]:
            if (form := _form(card, max_summary)) is not None:
                _CONFORMING.put(form, True)
        return response
    _tell(found)
    mended = copy.deepcopy(response)
    for violation in found:
        if violation.part:
            _leave_out(mended, violation)
    left = response_violations(mended, system_actions=system_actions, max_summary=max_summary)
    if left := [violation for violation in left if violation.rule != NO_TOPIC]:
        raise _cannot_send(left)
    return mended


def response_text(response: dict[str, Any]) -> bytes:
    """The answer as JSON. What was checked leaves as it was checked, also if somebody changed the card since."""
    if response.keys() != {"cards"}:
        return encode_json(response)
    return b'{"cards":[' + b",".join(map(_card_text, response["cards"])) + b"]}"


def _card_text(card: dict[str, Any]) -> bytes:
    sent = _SENT.get(card.get("uuid"))
    return sent.text if sent is not None and sent.card is card else encode_json(card)


def _all_known(cards: list[Any], max_summary: int) -> bool:
    """Whether these cards are known to keep to the rules, and no two of them share a uuid."""
    for card in cards:
        uuid = card.get("uuid") if isinstance(card, dict) else None
        sent = _SENT.get(uuid) if isinstance(uuid, str) else None
        if sent is not None and sent.card is card and sent.max_summary == max_summary:
            continue
        form = _form(card, max_summary)
        if form is None or not _CONFORMING.get(form):
            return False
        _SENT.put(card["uuid"], _Sent(card, max_summary, encode_json(card)))
    return len({card["uuid"] for card in cards}) == len(cards)


def _form(card: Any, max_summary: int) -> bytes | None:
    """All that a card says but its uuids, which are looked at here; None where there is no such thing.

    Two cards of the same form keep to the rules or break them alike, as long as no two of an answer share a uuid.
    """
    try:
        suggestions = card.get("suggestions", [])
        uuids = [card["uuid"], *(s["uuid"] for s in suggestions)]
        if not all(map(is_uuid, uuids)) or len(set(uuids)) < len(uuids):
            return None
        rest = {**card, "uuid": "", "suggestions": [{**s, "uuid": ""} for s in suggestions]}
        form = msgspec.json.encode((max_summary, "suggestions" in card, rest))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None  # of a shape that only the careful way understands
    return form if len(form) <= _LARGEST_BYTES else None


def _leave_out(response: dict[str, Any], violation: Violation) -> None:
    holder: Any = response
    if violation.where.startswith("cards["):
        holder = response["cards"][int(violation.where[len("cards[") :].partition("]")[0])]
    name = violation.part
    if name.startswith("source."):
        holder, name = holder["source"], name.removeprefix("source.")
    holder.pop(name, None)
    if name == "suggestions":
        holder.pop("selectionBehavior", None)


def _tell(found: Iterable[Violation]) -> None:
    for violation in found:
        metrics.VIOLATIONS.labels(rule=violation.rule).inc()
        _log.error(
            "answer breaks CDS Hooks 2.0",
            rule=violation.rule,
            where=violation.where,
            left_out=violation.part or "none",
        )


def _cannot_send(found: list[Violation]) -> NonconformantAnswer:
    return NonconformantAnswer(
        f"This service made an answer that breaks CDS Hooks 2.0 ({found[0].rule}) and does not send it. "
        "It says nothing about the patient."
    )
