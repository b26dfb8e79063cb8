"""Next steps as drafts for the clinician to accept (CDS Hooks 2.0, "Suggestion").

Everything is a draft ServiceRequest with the intent `proposal`. Nothing is ordered by itself. What is proposed for
which pattern stands in a settings file, see `hooks.next_steps`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cds.identifiers import derived_uuid
from cds.language import Message, Words, message
from cds.ports import Resource
from cds.values import Assessment, Finding
from hooks.next_steps import NextSteps, Order

_SNOMED = "http://snomed.info/sct"
_CATEGORIES = {
    "laboratory": {"system": _SNOMED, "code": "108252007", "display": "Laboratory procedure"},
    "referral": {"system": _SNOMED, "code": "3457005", "display": "Patient referral"},
}
_NOT_A_DIAGNOSIS = message("Proposed from a preliminary automated smear reading; not a diagnosis.")
#: FHIR R4 request-status of an order that is still to be carried out.
_OPEN = ("draft", "active", "on-hold")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """For whom which orders are proposed, and what is ordered or drafted already."""

    patient: str = field(repr=False)
    steps: NextSteps
    encounter: str | None = field(default=None, repr=False)
    ordered: frozenset[tuple[str, str]] = frozenset()


def suggestions(
    card_uuid: str, assessment: Assessment, finding: Finding, reason: str, chosen: Chosen, words: Words
) -> list[dict[str, Any]]:
    """Suggestions of a card, less what is ordered or drafted already; their uuids derive from the card's.

    reason: one sentence of plain text that each draft gives as its reason.
    """
    return [
        _suggestion(card_uuid, order, assessment, reason, chosen, words)
        for order in chosen.steps.of(finding)
        if (order.system, order.code) not in chosen.ordered
    ]


def addressed(card: dict[str, Any], card_uuid: str) -> dict[str, Any]:
    """A new card with the same content and that uuid, from which those of its suggestions derive."""
    made = {**card, "uuid": card_uuid}
    if "suggestions" in card:
        made["suggestions"] = [
            {**s, "uuid": derived_uuid("suggestion", card_uuid, *_ordered(s))} for s in card["suggestions"]
        ]
    return made


def order_codes(orders: Iterable[Resource]) -> frozenset[tuple[str, str]]:
    """System and code of everything that those orders ask for."""
    found = set()
    for order in orders:
        code = order.get("code")
        codings = code.get("coding") if isinstance(code, dict) else None
        for coding in codings if isinstance(codings, list) else []:
            if isinstance(coding, dict):
                found.add((str(coding.get("system")), str(coding.get("code"))))
    return frozenset(found)


def open_orders(orders: Iterable[Resource]) -> list[Resource]:
    """Those that are still to be carried out; a revoked or completed one does not stand for a new one."""
    return [order for order in orders if order.get("status") in _OPEN]


def suggested_codes(card: dict[str, Any]) -> dict[str, str]:
    """Uuid of each suggestion of a card to the code of what it would order."""
    return {s["uuid"]: _ordered(s)[1] for s in card.get("suggestions", [])}


def _ordered(suggestion: dict[str, Any]) -> tuple[str, str]:
    """System and code of what a suggestion would order."""
    coding = suggestion["actions"][0]["resource"]["code"]["coding"][0]
    return coding["system"], coding["code"]


def _suggestion(
    card_uuid: str, order: Order, assessment: Assessment, reason: str, chosen: Chosen, words: Words
) -> dict[str, Any]:
    display = order.display_in(words.language)
    request: Resource = {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "proposal",
        "category": [{"coding": [_CATEGORIES[order.category]]}],
        "priority": order.priority,
        "code": {
            "coding": [{"system": order.system, "code": order.code, "display": order.display}],
            "text": display,
        },
        "subject": {"reference": chosen.patient},
    }
    if chosen.encounter:
        request["encounter"] = {"reference": chosen.encounter}
    request["reasonCode"] = [{"text": reason}]
    if assessment.study.imaging_study:
        request["supportingInfo"] = [{"reference": assessment.study.imaging_study}]
    request["note"] = [{"text": f"{order.why_in(words.language)} {words.text(_NOT_A_DIAGNOSIS)}"}]
    return {
        "label": words.text(_labelled(order.priority, display)),
        "uuid": derived_uuid("suggestion", card_uuid, order.system, order.code),
        "isRecommended": order.recommended,
        "actions": [
            {
                "type": "create",
                "description": words.text(message("Draft: {order}", order=display)),
                "resource": request,
            }
        ],
    }


def _labelled(priority: str, display: str) -> Message:
    match priority:
        case "stat":
            return message("Order at once: {order}", order=display)
        case "asap":
            return message("Order as soon as possible: {order}", order=display)
        case "urgent":
            return message("Order urgently: {order}", order=display)
        case _:
            return message("Order: {order}", order=display)
