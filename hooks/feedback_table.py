"""What became of the cards, as one table for the command, its JSON and the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cds.agreement import AgreementLine
from cds.errors import BadRequest
from cds.feedback import FeedbackLine, FeedbackSummary
from cds.report_text import percent
from cds.values import Pattern
from fhir_profiles.codes import OVERRIDE_REASONS
from hooks.wording import PATTERN_NAMES, between

HEADINGS = ("card", "model", "cards", "shown", "accepted", "overridden", "overridden because")
#: Stands with every table: what is counted, and why the columns need not add up.
NOTE = (
    "Counted are cards: one reading for one user, however often it was shown. A card without feedback was ignored, or "
    "its EHR sends none."
)
AGREEMENT_HEADINGS = (
    "reading", "model", "reports", "signed", "coded", "agree", "95 % interval", "superseded", "withdrawn"
)  # fmt: skip
AGREEMENT_NOTE = (
    "Of the reports that we wrote: signed by a human, of these concluded by a code that we know, and of these by the "
    "pattern of the reading. Superseded are those that our own newer reading of the study replaced; withdrawn "
    "are those entered in error, cancelled or deleted."
)
_TOPICS: Mapping[str, str] = {
    "smear-result": "Reading",
    "smear-not-analysed": "Not analysed",
    "smear-queued": "Queued",
    "smear-running": "Being read",
    "smear-failed": "Failed",
    "smear-problem": "Cannot be used",
    "smear-more": "Older ones",
}
_OTHER_REASONS: Mapping[str, str] = {"": "No reason given", "other": "A reason of the EHR's own"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line as text; `reasons` most frequent first."""

    card: str
    model: str
    cards: int
    shown: int
    accepted: int
    overridden: int
    reasons: tuple[str, ...]


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
                f"{_reason(code)}: {count}"
                for code, count in sorted(line.reasons.items(), key=lambda item: (-item[1], item[0]))
            ),
        )
        for line in summary.lines
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementRow:
    """One line as text; `agree` and `interval` are empty where no signed report is coded."""

    reading: str
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
            reading=str(PATTERN_NAMES[Pattern(e.pattern)]) if e.pattern in tuple(Pattern) else "Not analysed",
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


def unknown(summary: FeedbackSummary) -> str | None:
    """A sentence about feedback that belongs to no card, where there is any."""
    if not summary.unknown_cards and not summary.unknown_suggestions:
        return None
    return (
        f"Feedback about cards that were not sent from here: {summary.unknown_cards}; accepted suggestions that their "
        f"card does not have: {summary.unknown_suggestions}."
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
        raise BadRequest("since must be a date, such as 2026-03-04.") from None


def _name(line: FeedbackLine) -> str:
    if line.pattern in tuple(Pattern):
        return str(PATTERN_NAMES[Pattern(line.pattern)])
    return _TOPICS.get(line.topic, line.topic)


def _reason(code: str) -> str:
    known = OVERRIDE_REASONS.get(code)
    return known.display if known else _OTHER_REASONS.get(code, code)
