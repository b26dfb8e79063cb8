"""Cards that were sent and what users did about them (CDS Hooks 2.0, "Feedback"): what passes between doors and store.

Times are aware and in UTC. A user's comment may hold patient data: it is stored, and shown in no log and no table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from cds.values import ModelIdentity


class Outcome(StrEnum):
    """`feedback.outcome`. Of a card that was ignored nothing is heard."""

    ACCEPTED = "accepted"
    OVERRIDDEN = "overridden"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCard:
    """One card in one answer."""

    uuid: str
    hook_instance: str
    #: What the card is about, for which patient; and what it said of it, as far as that matters. See `hooks.hygiene`.
    key: str
    fingerprint: str
    service: str
    hook: str
    #: `context.userId` and `fhirServer` as the hook gave them.
    user: str | None = field(default=None, repr=False)
    fhir_server: str | None = None
    #: Key of the assessment or of the job that the card tells of; None where there is neither.
    subject_key: str | None = None
    #: `source.topic.code`, and the pattern where the card shows a finding.
    topic: str
    indicator: str
    pattern: str | None = None
    model: ModelIdentity
    shown_at: datetime
    #: Uuid of each suggestion to the code of what it would order.
    suggestions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """`overrideReason.reason`, a Coding."""

    system: str
    code: str
    display: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One item of a feedback call: what a user did about one card."""

    card: str
    outcome: Outcome
    at: datetime
    #: Uuids of the suggestions accepted.
    suggestions: tuple[str, ...] = ()
    reason: Reason | None = None
    comment: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of the items of one feedback call; each is either stored or repeated."""

    stored: int
    repeated: int
    #: Of the items: those about a card that was not sent from here. Of the suggestions: those that their card lacks.
    unknown_cards: int
    unknown_suggestions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What a user did about a card, as far as it decides whether the card is shown again."""

    outcome: Outcome
    at: datetime
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackLine:
    """Cards of one topic, pattern and model version, and what became of them.

    A card shown twice to one user counts once in `cards` and twice in `showings`.
    """

    topic: str
    pattern: str | None
    model_name: str
    model_version: str
    cards: int
    showings: int
    accepted: int
    overridden: int
    #: Code of the reason to the cards overridden for it; "" where none was given, "other" for codes not ours.
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackSummary:
    """What `leukocds feedback` and the page `/feedback` show of cards; of signed reports, see `cds.agreement`."""

    since: datetime | None
    lines: tuple[FeedbackLine, ...]
    unknown_cards: int
    unknown_suggestions: int
