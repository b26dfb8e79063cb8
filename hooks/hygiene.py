"""Alert hygiene: which card is the same card again, who has dealt with it, and what is remembered of those sent.

A card's uuid derives from its key (what it is about), its fingerprint (what it says of it, as far as that matters) and
the user. So feedback on a uuid is feedback by that user on that finding, and a finding that changes materially is
another card, which nobody has dealt with yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from cds.errors import StoreError
from cds.feedback import Action, Outcome, ShownCard
from cds.identifiers import derived_uuid
from cds.values import Assessment, Finding, NotAnalysed, utc_now
from fhir_profiles.codes import OVERRIDE_REASON
from hooks.cards import Card, indicator
from hooks.cds_requests import HookRequest
from hooks.context import Context
from hooks.suggestions import suggested_codes
from hooks.wording import plain

#: Override reason that is no answer yet: the user has asked to see the card again.
WILL_REVIEW_LATER = "will-review-later"
#: DiagnosticReport.status once a human has signed (FHIR R4, diagnostic-report-status).
SIGNED = ("final", "amended", "corrected", "appended")
#: Share of the probability from which a class is what the model itself says.
_MAJORITY = 0.5

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What makes a card the same card again."""

    key: str
    fingerprint: str
    user: str = field(repr=False)
    uuid: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "uuid", derived_uuid("card", self.key, self.fingerprint, self.user))


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A card that may be sent."""

    identity: Identity
    card: Card
    #: The reading that it shows; None for a card that only tells how far a smear is.
    assessment: Assessment | None = None
    #: Key of the reading or of the job.
    subject_key: str | None = None


def stable_key(service: str, patient: str, *subject: str) -> str:
    """What a card is about: a study of a patient, as that service sees it. A new reading does not change it."""
    return derived_uuid("card-key", service, patient, *subject)


def user_of(request: HookRequest) -> str:
    """The user as the card's identity has it; empty where the hook names none.

    Servers number their users each for itself, so the same userId at another fhirServer, or told by another client
    (the issuer of its JWT), is another user.
    """
    if not request.user_id:
        return ""
    who = f"{request.user_id} {request.fhir_server or ''}"
    return plain(f"{who} {request.issuer}" if request.issuer else who)


def fingerprint(outcome: Finding | NotAnalysed, signed: str | None) -> str:
    """All of a reading that is material: where one of these changes, whoever dealt with the card is shown it again.

    signed: status of the reading's own report once a human has signed it. Left out on purpose: percentages, cells,
    evidence, the model's version. A new model, or a study that has grown, which say the same are no news.
    """
    report = f"report {signed}" if signed else "report unsigned"
    if isinstance(outcome, NotAnalysed):
        return f"not analysed, {outcome.reason.value}, {report}"
    apl = "possible APL" if outcome.possible_apl else "no APL"
    return f"{outcome.pattern.value}, {indicator(outcome)}, {_verdict(outcome)}, {apl}, {report}"


def sift(offers: Sequence[Offer], issuer: str | None, context: Context) -> list[Offer]:
    """The cards to send: those offered, less the readings that the user has dealt with, as that client says.

    Cards that tell of a smear without a reading are always sent: their absence would say that there is none. A store
    that fails here costs the clinician nothing: every card is sent, and the problem is logged.
    """
    actions = _actions([o for o in offers if o.assessment is not None and o.identity.user], issuer, context)
    now, repeat = utc_now(), context.settings.repeat_critical
    kept = [
        o
        for o in offers
        if not dealt_with(actions.get(o.identity.uuid, ()), o.card["indicator"], repeat, now)
    ]
    if len(kept) < len(offers):
        _log.info("cards not shown again", count=len(offers) - len(kept))
    return kept


def remember(offers: Sequence[Offer], service: str, request: HookRequest, context: Context) -> None:
    """Remember the cards of an answer that has passed its last check and is about to leave.

    A store that fails here costs the clinician nothing either: the answer leaves, and they are remembered later.
    """
    now = utc_now()
    cards = [_shown(o, service, request, context, now) for o in offers]
    context.late_cards.remember(context.store, cards)


def dealt_with(actions: Sequence[Action], indicator: str, repeat: timedelta | None, now: datetime) -> bool:
    """Whether a card with those actions of its user, the earliest first, is not to be shown to that user again.

    repeat: time after which an override no longer hides a critical card, nor one put off for later; None: it always
    does. What was accepted stays hidden.
    """
    if not actions or any(action.outcome is Outcome.ACCEPTED for action in actions):
        return bool(actions)
    last = max(actions, key=lambda action: action.at)
    reason = last.reason
    put_off = reason is not None and (reason.system, reason.code) == (OVERRIDE_REASON, WILL_REVIEW_LATER)
    if repeat is None or (indicator != "critical" and not put_off):
        return True
    return now - last.at < repeat


def _verdict(finding: Finding) -> str:
    """What the model says by itself: the class that has most of the probability, to the whole percent."""
    for pattern, probability in finding.probabilities.items():
        if round(probability, 2) > _MAJORITY:
            return f"model {pattern.value}"
    return "model undecided"


def _actions(
    offers: Sequence[Offer], issuer: str | None, context: Context
) -> Mapping[str, tuple[Action, ...]]:
    try:
        return context.store.actions([offer.identity.uuid for offer in offers], issuer)
    except StoreError:
        _log.error("feedback not to be had: every card is shown")
        return {}


def _shown(offer: Offer, service: str, request: HookRequest, context: Context, now: datetime) -> ShownCard:
    assessment = offer.assessment
    outcome = assessment.outcome if assessment else None
    return ShownCard(
        uuid=offer.identity.uuid,
        hook_instance=str(request.hook_instance),
        key=offer.identity.key,
        fingerprint=offer.identity.fingerprint,
        service=service,
        hook=request.hook,
        user=plain(request.user_id) if request.user_id else None,
        fhir_server=plain(request.fhir_server) if request.fhir_server else None,
        subject_key=offer.subject_key,
        topic=offer.card["source"]["topic"]["code"],
        indicator=offer.card["indicator"],
        pattern=outcome.pattern.value if isinstance(outcome, Finding) else None,
        model=assessment.model if assessment else context.model,
        shown_at=now,
        suggestions=suggested_codes(offer.card),
    )
