"""The page behind a card: verdict, differential, cells, images, earlier studies, provenance, and the review."""

from dataclasses import dataclass
from typing import Any

from flask import Flask, render_template, url_for

from cds.language import Text, message
from cds.report_text import percent
from cds.review import Review
from cds.values import Assessment, Differential, Finding, NotAnalysed, Pattern
from hooks.cards import WHAT_TO_DO, indicator
from hooks.context import Context
from hooks.languages import page_words
from hooks.picture_routes import opened
from hooks.script_texts import for_scripts
from hooks.study_view import (
    KEYS,
    UNSURE_BELOW,
    Reviewed,
    beside,
    blasts,
    cells_of,
    groups,
    known_patterns,
    reviewed,
    rows,
    told,
)
from hooks.study_words import (
    CONCLUSION_NONE,
    GIVEN_VERDICTS,
    NOT_THIS,
    OTHER_PACKAGE,
    PROBABILITY_NOTE,
    REPORT_STATES,
    SCALE_ORIGINS,
    SCRIPT_TEXTS,
    SIGNATURE_STATES,
    TOO_FEW,
    VERDICT_NOTES,
    VERDICTS,
)
from hooks.visitors import Visitor
from hooks.wording import (
    NOT_A_DIAGNOSIS,
    NOT_ANALYSED,
    PATTERN_NAMES,
    SIGNED_NOTICE,
    between,
    caveats,
    confirm_by,
    headline,
    smear_of,
)

#: Earlier and later studies of the patient that are shown.
_EARLIER = 20
_IMAGES_LISTED = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The probability of a pattern."""

    name: Text
    percent: str
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One study in the trend; y values in percent of blasts."""

    key: str
    date: str
    pattern: Text
    blasts: float
    low: float
    high: float
    this: bool

    @property
    def text(self) -> str:
        return f"{percent(self.blasts / 100)} ({between(self.low / 100, self.high / 100)})"


def study_routes(app: Flask, context: Context) -> None:
    @app.get("/studies/<uuid:key>")
    def study(key: Any) -> str:
        assessment, visitor = opened(context, str(key))
        review = context.store.review(assessment.key)
        return render_template("study.html", **page(assessment, review, visitor, context))


def page(assessment: Assessment, review: Review, visitor: Visitor, context: Context) -> dict[str, Any]:
    state, reference = context.store.report_state(assessment.key)
    used = [image for image in assessment.images if not image.refused]
    cells = cells_of(assessment)
    newest = context.store.newest_reading(assessment.study.study_uid)
    return {
        **parts(assessment, review, visitor, context),
        "newer": url_for("study", key=newest) if newest not in (None, assessment.key) else None,
        "base": url_for("study", key=assessment.key),
        "api": url_for("review", key=assessment.key).removesuffix("/review"),
        "groups": groups(assessment, review) if cells else [],
        "keys": KEYS,
        "unsure": UNSURE_BELOW,
        "images": list(enumerate(assessment.images[:_IMAGES_LISTED])),
        "shown_images": [(i, image) for i, image in enumerate(assessment.images) if not image.refused],
        "images_used": len(used),
        "scale_origins": SCALE_ORIGINS,
        "refused": [image for image in assessment.images if image.refused],
        "report": reference or REPORT_STATES[state],
        "report_link": _on_fhir(context, reference),
        "study_link": _on_fhir(context, assessment.study.imaging_study),
        "trend": _trend(assessment, context),
        "script_texts": for_scripts(SCRIPT_TEXTS, page_words()),
        "not_this": NOT_THIS,
    }


def parts(assessment: Assessment, review: Review, visitor: Visitor, context: Context) -> dict[str, Any]:
    """What changes as the review goes on: the values of the partial templates."""
    now = reviewed(assessment, review, context.pages.pattern_model)
    machine, finding = _differential(assessment), isinstance(assessment.outcome, Finding)
    unreviewed = Reviewed(outcome=assessment.outcome, differential=machine, recomputed=False)
    concluded = signed.signature.conclusion if (signed := context.store.signed(assessment.key)) else None
    return {
        "a": assessment,
        "now": now,
        "verdict": _verdict(now),
        "smear": smear_of(assessment.study.started, first=True),
        "machine_title": _verdict(unreviewed)["title"],
        "other_package": OTHER_PACKAGE
        if now.recomputed and assessment.model.digest != context.model.digest
        else None,
        "rows": rows(machine, now.differential, context.pages.ranges) if finding else [],
        "beside": beside(machine, now.differential),
        "machine_total": machine.total,
        "review": review,
        "visitor": visitor,
        "signed": signed,
        "signed_state": SIGNATURE_STATES[signed.state] if signed else "",
        "signed_verdict": GIVEN_VERDICTS[signed.signature.verdict] if signed else "",
        "signed_pattern": PATTERN_NAMES[concluded] if concluded else "",
        "verdicts": [(v.value, name, VERDICT_NOTES[v]) for v, name in VERDICTS.items()],
        "patterns": known_patterns(),
        "cells_pattern": PATTERN_NAMES[now.outcome.pattern]
        if isinstance(now.outcome, Finding)
        else CONCLUSION_NONE,
        "history": [(change, told(change, review)) for change in reversed(review.changes)],
        "notice": SIGNED_NOTICE if signed else NOT_A_DIAGNOSIS,
        "probability_note": PROBABILITY_NOTE,
        "ranges": context.pages.ranges.said_in(page_words().language),
    }


def _verdict(now: Reviewed) -> dict[str, Any]:
    """Title, sentences and advice, and the probability of each pattern."""
    outcome = now.outcome
    if isinstance(outcome, NotAnalysed):
        return {
            "indicator": indicator(outcome),
            "title": TOO_FEW
            if now.recomputed
            else message("Not analysed: {reason}", reason=NOT_ANALYSED[outcome.reason]),
            "sentences": [outcome.detail],
            "advice": WHAT_TO_DO[outcome.reason],
            "probabilities": [],
            "probability": "",
        }
    named = outcome.pattern is not Pattern.INDETERMINATE
    ranked = sorted(outcome.probabilities.items(), key=lambda item: -item[1])
    return {
        "indicator": indicator(outcome),
        "title": headline(outcome, preliminary=False),
        "sentences": [*caveats(outcome), *outcome.evidence],
        "advice": confirm_by(outcome),
        "probabilities": [
            Bar(name=PATTERN_NAMES[p], percent=percent(v), width=round(100 * v, 2)) for p, v in ranked
        ],
        "probability": percent(outcome.probabilities[outcome.pattern]) if named else "",
    }


def _differential(assessment: Assessment) -> Differential:
    outcome = assessment.outcome
    return outcome.differential if isinstance(outcome, Finding) else Differential({})


def _trend(assessment: Assessment, context: Context) -> list[Point]:
    """The patient's studies in the order of time, this one among them; the newest reading of each."""
    patient = assessment.study.person
    known = context.store.of_patient(patient, 5 * _EARLIER) if patient else []
    newest: dict[str, Assessment] = {assessment.study.study_uid: assessment}
    if assessment.key in {a.key for a in known}:
        for other in known:
            newest.setdefault(other.study.study_uid, other)
    dated = sorted(newest.values(), key=lambda a: (a.study.started or a.read_at.isoformat())[:10])
    return [_point(a, this=a is assessment) for a in dated[-_EARLIER:] if isinstance(a.outcome, Finding)]


def _point(assessment: Assessment, *, this: bool) -> Point:
    outcome = assessment.outcome
    assert isinstance(outcome, Finding)
    share, low, high = blasts(outcome.differential)
    return Point(
        key=assessment.key,
        date=(assessment.study.started or assessment.read_at.isoformat())[:10],
        pattern=PATTERN_NAMES[outcome.pattern],
        blasts=round(share, 2),
        low=round(low, 2),
        high=round(high, 2),
        this=this,
    )


def _on_fhir(context: Context, reference: str | None) -> str | None:
    """Address of a resource, for people who may read there."""
    fhir = context.settings.fhir_url
    return f"{fhir}/{reference}" if fhir and reference else None
