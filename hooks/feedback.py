"""`POST /cds-services/{id}/feedback` (CDS Hooks 2.0, "Feedback"): what users did about the cards they were shown.

A call is stored whole or not at all: an item that breaks the specification refuses the call, every such field is named,
and the client may send all of it again, since what is told twice is stored once. A card or suggestion that was never
sent from here breaks nothing, for the specification asks no client to know: it is stored and counted as unknown.

What was sent is never repeated in a message nor in the log: a comment may hold patient data.
"""

import json
import re
from datetime import UTC, datetime
from typing import Annotated

import structlog
from flask import Flask, Response, request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from werkzeug.exceptions import UnsupportedMediaType

from cds.errors import BadRequest, UnknownService
from cds.feedback import Feedback, Outcome, Reason, Receipt
from hooks.cds_requests import in_words
from hooks.context import Context
from hooks.json_text import decode_json
from hooks.limits import client
from hooks.services import SERVICE_ID

#: Items that one call may hold; a client with more sends several calls.
MAX_ITEMS = 1000
#: Accepted suggestions that one call may hold: each is a row, and nobody else writes to the store meanwhile.
MAX_SUGGESTIONS = 5000
_MAX_ID = 128
#: Of a coding's parts, and of what a user typed.
_MAX_CODED, _MAX_TEXT = 1000, 20_000
#: RFC 3339 section 5.6. The specification wants UTC; another zone means one moment too, none means none.
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

_log = structlog.get_logger(__name__)


def feedback_routes(app: Flask, context: Context) -> None:
    @app.post("/cds-services/<service_id>/feedback")
    def take_feedback(service_id: str) -> Response:
        if service_id != SERVICE_ID:
            raise UnknownService("There is no CDS service of that id here; see /cds-services.")
        if request.mimetype != "application/json":
            raise UnsupportedMediaType
        items = parse_feedback(request.get_data(cache=False))
        context.late_cards.write(context.store)  # it may be about a card that only this process knows
        receipt = context.store.take_feedback(service_id, items, client())
        _log.info(
            "feedback taken",
            stored=receipt.stored,
            repeated=receipt.repeated,
            unknown_cards=receipt.unknown_cards,
            unknown_suggestions=receipt.unknown_suggestions,
        )
        return _answer(receipt)


def parse_feedback(body: bytes) -> list[Feedback]:
    """The items of a feedback call. Raises BadRequest that names every wrong field of every item."""
    content = decode_json(body)
    if not isinstance(content, dict):
        raise BadRequest("The body must be a JSON object.")
    try:
        call = _Call.model_validate(content)
    except ValidationError as error:
        raise BadRequest(in_words(error)) from None
    return [item.value() for item in call.feedback]


def _answer(receipt: Receipt) -> Response:
    """200. The specification asks for no body; this one tells an integrator whether the cards were ours."""
    text = (
        f"Stored: {receipt.stored}. Known before: {receipt.repeated}. About a card that was not sent from here: "
        f"{receipt.unknown_cards}. Suggestions that their card does not have: {receipt.unknown_suggestions}."
    )
    issue = {"severity": "information", "code": "informational", "diagnostics": text}
    body = {"resourceType": "OperationOutcome", "issue": [issue]}
    return Response(json.dumps(body), mimetype="application/json")


def _id(text: str) -> str:
    if not text or len(text) > _MAX_ID or not text.isprintable():
        raise ValueError(
            f"must be the uuid that the card or suggestion came with (1 to {_MAX_ID} characters)"
        )
    # RFC 9562 section 4: upper case is the same UUID.
    return text.lower()


def _outcome(text: str) -> str:
    if text not in tuple(Outcome):
        raise ValueError(f"must be {' or '.join(Outcome)}")
    return text


def _timestamp(text: str) -> str:
    if _DATE_TIME.fullmatch(text):
        try:
            datetime.fromisoformat(text.upper()).astimezone(UTC)
            return text
        except (ValueError, OverflowError):
            pass  # no such day, or before year 1
    raise ValueError("must be a date and time with its zone, such as 2026-03-04T05:06:07Z")


def _coded(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("must be one line of text that is not empty")
    if len(text) > _MAX_CODED:
        raise ValueError(f"must be at most {_MAX_CODED} characters long")
    return text


def _storable(text: str) -> str:
    """Free text as a database takes it, without NUL and lone surrogates; and no longer than somebody may have typed."""
    if len(text) > _MAX_TEXT:
        raise ValueError(f"must be at most {_MAX_TEXT} characters long")
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_Id = Annotated[str, AfterValidator(_id)]
_Coded = Annotated[str, AfterValidator(_coded)]


class _Model(BaseModel):
    """Unknown fields are ignored, types are not coerced, and what was sent stays out of every message."""

    model_config = ConfigDict(
        strict=True, extra="ignore", frozen=True, alias_generator=to_camel, hide_input_in_errors=True
    )


class _AcceptedSuggestion(_Model):
    id: _Id


class _Coding(_Model):
    system: _Coded
    code: _Coded
    display: Annotated[str, AfterValidator(_storable)] | None = None


class _OverrideReason(_Model):
    reason: _Coding | None = None
    user_comment: Annotated[str, AfterValidator(_storable)] | None = Field(default=None, repr=False)


class _Item(_Model):
    card: _Id
    outcome: Annotated[str, AfterValidator(_outcome)]
    outcome_timestamp: Annotated[str, AfterValidator(_timestamp)]
    accepted_suggestions: list[_AcceptedSuggestion] | None = None
    override_reason: _OverrideReason | None = None

    @model_validator(mode="after")
    def _says_what_was_accepted(self) -> "_Item":
        if self.outcome == Outcome.ACCEPTED and not self.accepted_suggestions:
            raise ValueError("acceptedSuggestions is missing although its outcome is accepted")
        return self

    def value(self) -> Feedback:
        because = self.override_reason
        coding = because.reason if because else None
        return Feedback(
            card=self.card,
            outcome=Outcome(self.outcome),
            at=datetime.fromisoformat(self.outcome_timestamp.upper()).astimezone(UTC),
            suggestions=tuple(dict.fromkeys(s.id for s in self.accepted_suggestions or ())),
            reason=Reason(system=coding.system, code=coding.code, display=coding.display) if coding else None,
            comment=(because.user_comment or None) if because else None,
        )


def _few_enough(items: list[_Item]) -> list[_Item]:
    if len(items) > MAX_ITEMS:
        raise ValueError(f"holds more than {MAX_ITEMS} items: send them in several calls")
    if sum(len(item.accepted_suggestions or ()) for item in items) > MAX_SUGGESTIONS:
        raise ValueError(
            f"holds more than {MAX_SUGGESTIONS} accepted suggestions: send them in several calls"
        )
    return items


class _Call(_Model):
    feedback: Annotated[list[_Item], AfterValidator(_few_enough)]
