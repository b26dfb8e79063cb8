"""Cards as they are remembered, and feedback on them."""

from datetime import UTC, datetime
from typing import Any

from cds.feedback import Feedback, Outcome, Reason, ShownCard
from fhir_profiles.codes import OVERRIDE_REASON
from tests.fakes.assessments import MODEL

INSTANCE = "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
SUGGESTION = "22222222-2222-5222-8222-222222222222"
SHOWN_AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = Reason(system=OVERRIDE_REASON, code="will-review-later", display="Will review later")
KNOWN = Reason(system=OVERRIDE_REASON, code="already-known")


def shown(number: int = 1, **changes: Any) -> ShownCard:
    """Card `number`, with a suggestion of its own."""
    values: dict[str, Any] = {
        "uuid": card_uuid(number),
        "hook_instance": INSTANCE,
        "key": "33333333-3333-5333-8333-333333333333",
        "fingerprint": "AML, critical, model AML, no APL, report unsigned",
        "service": "leukemia-smear",
        "hook": "patient-view",
        "user": "Practitioner/d-1",
        "topic": "smear-result",
        "indicator": "critical",
        "pattern": "AML",
        "model": MODEL,
        "shown_at": SHOWN_AT,
        "suggestions": {SUGGESTION: "flow-cytometry"},
    }
    return ShownCard(**{**values, **changes})


def card_uuid(number: int) -> str:
    return f"{number:08}-1111-5111-8111-111111111111"


def accepted(number: int = 1, *suggestions: str, at: datetime = SHOWN_AT, **changes: Any) -> Feedback:
    chosen = suggestions or (SUGGESTION,)
    return Feedback(card=card_uuid(number), outcome=Outcome.ACCEPTED, at=at, suggestions=chosen, **changes)


def overridden(number: int = 1, at: datetime = SHOWN_AT, **changes: Any) -> Feedback:
    return Feedback(card=card_uuid(number), outcome=Outcome.OVERRIDDEN, at=at, **changes)
