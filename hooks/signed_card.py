"""The card of a reading that a clinician has signed: what they concluded, no more what the machine had said."""

from collections.abc import Sequence
from dataclasses import replace

from cds.language import ENGLISH, Message, Words, message
from cds.review import Signature, Verdict
from cds.values import Assessment, Finding, Pattern
from hooks import cards
from hooks.cards import Card, Earlier
from hooks.suggestions import Chosen
from hooks.wording import PATTERN_NAMES, SIGNED_NOTICE, headline, markdown, minute, shorten, smear_of

_REMARK = 500
_VERDICTS: dict[Verdict, Message] = {
    Verdict.AGREE: message("the automated reading was confirmed"),
    Verdict.AMEND: message("the automated reading was amended"),
    Verdict.REJECT: message("the automated reading was rejected and must not be used"),
}
_AS_SIGNED = message("as it was signed")


def signed_card(
    signature: Signature,
    card_uuid: str,
    assessment: Assessment,
    base_url: str,
    chosen: Chosen,
    *,
    report: str | None = None,
    earlier: Sequence[Earlier] = (),
    grown: bool = False,
    words: Words = ENGLISH,
) -> Card:
    """As `hooks.cards.assessment_card`, once somebody has signed."""
    concluded = concluded_by(signature, assessment)
    summary = shorten(words.text(_summary(assessment, signature, concluded)), cards.MAX_SUMMARY)
    parts = _parts(signature, concluded, words)
    if grown:
        parts.insert(1, f"**{words.text(cards.GROWN)}**")
    parts += cards.closing_parts(assessment, words)
    if report:
        parts.append(words.text(message("Report on the FHIR server: {report}.", report=markdown(report))))
    parts += cards.earlier_parts(earlier, words)
    return cards.result_card(card_uuid, assessment, concluded, summary, parts, base_url, chosen, words)


def concluded_by(signature: Signature, assessment: Assessment) -> Finding | None:
    """The finding as it was signed; None where it was rejected, or nothing was concluded from cells."""
    found, pattern = assessment.outcome, signature.conclusion
    if not isinstance(found, Finding) or pattern is None:
        return None
    return replace(
        found,
        pattern=pattern,
        reason=(found.reason or _AS_SIGNED) if pattern is Pattern.INDETERMINATE else None,
        differential=signature.differential or found.differential,
        evidence=signature.evidence,
        possible_apl=signature.possible_apl,
    )


def _summary(assessment: Assessment, signature: Signature, concluded: Finding | None) -> Message:
    started = assessment.study.started
    if signature.verdict is Verdict.REJECT:
        smear = smear_of(started, first=True)
        return message("{smear}: automated reading rejected by a clinician", smear=smear)
    if concluded is not None:
        return message(
            "{verdict}, signed by a clinician", verdict=headline(concluded, started, preliminary=False)
        )
    if signature.conclusion is not None:
        name = PATTERN_NAMES[signature.conclusion]
        return message("{pattern} in {smear}, signed by a clinician", pattern=name, smear=smear_of(started))
    return message("{smear}: signed by a clinician", smear=smear_of(started, first=True))


def _parts(signature: Signature, concluded: Finding | None, words: Words) -> list[str]:
    signed = message(
        "Signed by {name}, {when}: {verdict}.",
        name=markdown(signature.name),
        when=minute(signature.signed_at),
        verdict=_VERDICTS[signature.verdict],
    )
    parts = [f"**{words.text(signed)}**"]
    if signature.remark:
        remark = markdown(shorten(signature.remark, _REMARK))
        parts.append(words.text(message("Remark: {remark}", remark=remark)))
    parts.append(words.text(SIGNED_NOTICE))
    if concluded is not None:
        parts += cards.finding_parts(concluded, words)
    return parts
