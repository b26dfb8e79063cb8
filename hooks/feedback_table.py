"""What became of the cards, as one table for the command, its JSON and the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cds.agreement import AgreementLine
from cds.errors import BadRequest
from cds.feedback import FeedbackLine, FeedbackSummary
from cds.language import Message, Text, message
from cds.report_text import name_of, percent
from cds.values import Pattern
from fhir_profiles.codes import OVERRIDE_REASONS
from hooks.wording import PATTERN_NAMES, between

HEADINGS = ("card", "model", "cards", "shown", "accepted", "overridden", "overridden because")
#: Stands with every table: what is counted, and why the columns need not add up.
NOTE = message(
    "Counted are cards: one reading for one user, however often it was shown. A card without feedback was ignored, or "
    "its EHR sends none."
)
AGREEMENT_HEADINGS = (
    "reading", "model", "reports", "signed", "coded", "agree", "95 % interval", "superseded", "withdrawn"
)  # fmt: skip
AGREEMENT_NOTE = message(
    "Of the reports that we wrote: signed by a human, of these concluded by a code that we know, and of these by the "
    "pattern of the reading. Superseded are those that our own newer reading of the study replaced; withdrawn "
    "are those entered in error, cancelled or deleted."
)
_NOT_ANALYSED = message("Not analysed")
_TOPICS: Mapping[str, Message] = {
    "smear-result": message("Reading"),
    "smear-not-analysed": _NOT_ANALYSED,
    "smear-queued": message("Queued"),
    "smear-running": message("Being read"),
    "smear-failed": message("Failed"),
    "smear-problem": message("Cannot be used"),
    "smear-more": message("Older ones"),
}
_OTHER_REASONS: Mapping[str, Message] = {
    "": message("No reason given"),
    "other": message("A reason of the EHR's own"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line as text; `reasons` most frequent first."""

    card: Text
    model: str
    cards: int
    shown: int
    accepted: int
    overridden: int
    reasons: tuple[Message, ...]


def table(summary: FeedbackSummary) -> list[Row]:
    return [
        Row(
            card=_name(line),
            model=f"{line.model_name} {line.model_version}",
            cards=line.cards,
            shown=line.showings,
            accepted=line.accepted,
            overridden=line.overridden,
            reasons=tuple(
                Message("{reason}: {count}", {"reason": _reason(code), "count": count})
                for code, count in sorted(line.reasons.items(), key=lambda item: (-item[1], item[0]))
            ),
        )
        for line in summary.lines
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementRow:
    """One line as text; `agree` and `interval` are empty where no signed report is coded."""

    reading: Text
    model: str
    reports: int
    signed: int
    coded: int
    agree: str
    interval: str
    superseded: int
    withdrawn: int


def agreement_table(lines: Sequence[AgreementLine]) -> list[AgreementRow]:
    return [
        AgreementRow(
            reading=PATTERN_NAMES[Pattern(e.pattern)] if e.pattern in tuple(Pattern) else _NOT_ANALYSED,
            model=f"{e.model_name} {e.model_version}",
            reports=e.reports,
            signed=e.signed,
            coded=e.coded,
            agree=f"{e.agreed} ({percent(e.share)})" if e.share is not None else "",
            interval=between(*e.interval) if e.interval is not None else "",
            superseded=e.superseded,
            withdrawn=e.withdrawn,
        )
        for e in lines
    ]


def unknown(summary: FeedbackSummary) -> Message | None:
    """A sentence about feedback that belongs to no card, where there is any."""
    if not summary.unknown_cards and not summary.unknown_suggestions:
        return None
    return message(
        "Feedback about cards that were not sent from here: {cards}; accepted suggestions that their card does not "
        "have: {suggestions}.",
        cards=summary.unknown_cards,
        suggestions=summary.unknown_suggestions,
    )


def to_json(summary: FeedbackSummary, agreement: Sequence[AgreementLine] = ()) -> dict[str, Any]:
    """The object that `leukocds feedback --json` prints. Reasons by their code; "" where none was given."""
    return {
        "since": summary.since.isoformat() if summary.since else None,
        "lines": [
            {
                "topic": line.topic,
                "pattern": line.pattern,
                "model": {"name": line.model_name, "version": line.model_version},
                "cards": line.cards,
                "shown": line.showings,
                "accepted": line.accepted,
                "overridden": line.overridden,
                "overridden_by_reason": dict(line.reasons),
            }
            for line in summary.lines
        ],
        "agreement": [
            {
                "pattern": line.pattern,
                "model": {"name": line.model_name, "version": line.model_version},
                "reports": line.reports,
                "signed": line.signed,
                "coded": line.coded,
                "agreed": line.agreed,
                "superseded": line.superseded,
                "withdrawn": line.withdrawn,
                "share": line.share,
                "interval": list(line.interval) if line.interval is not None else None,
            }
            for line in agreement
        ],
        "unknown_cards": summary.unknown_cards,
        "unknown_suggestions": summary.unknown_suggestions,
    }


def parse_since(text: str) -> datetime:
    """Midnight UTC of a date, or a moment with its zone. Raises BadRequest."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(message("since must be a date, such as 2026-03-04.")) from None


def _name(line: FeedbackLine) -> Text:
    if line.pattern in tuple(Pattern):
        return PATTERN_NAMES[Pattern(line.pattern)]
    return _TOPICS.get(line.topic, line.topic)


def _reason(code: str) -> Text:
    known = OVERRIDE_REASONS.get(code)
    return name_of(known) if known else _OTHER_REASONS.get(code, code)
