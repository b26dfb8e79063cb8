"""Cards (CDS Hooks 2.0, "Card Attributes"): one function for each state that a smear can be in.

A card never holds null or anything empty. Its uuid is given: what makes it the same card again, `hooks.hygiene` says.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cds.language import ENGLISH, Message, Text, Words, counted, message, message_in
from cds.locate import StudyProblem
from cds.report_text import cell_name, name_of, percent, sentence
from cds.urgency import ABNORMAL, ACUTE, APL, NORMAL, how_urgent
from cds.values import CLASSES, Assessment, Finding, Job, JobState, NotAnalysed, NotAnalysedReason, Pattern
from fhir_profiles.codes import OVERRIDE_REASONS
from hooks.suggestions import Chosen, suggestions
from hooks.wording import (
    NOT_A_DIAGNOSIS,
    NOT_ANALYSED,
    caveats,
    confirm_by,
    date_of,
    headline,
    markdown,
    rows,
    shorten,
    smear_of,
)

Card = dict[str, Any]

#: CDS Hooks 2.0: "under 140 characters".
MAX_SUMMARY = 139
TOPIC_SYSTEM = "urn:leukocds:card-topic"

_MAX_REFUSED_SHOWN = 5
_INDICATORS = {APL: "critical", ACUTE: "critical", ABNORMAL: "warning", NORMAL: "info"}
GROWN = message("More images of this study have arrived since; they are not in this result.")
WHAT_TO_DO = {
    NotAnalysedReason.NO_IMAGES: message(
        "Ask the laboratory whether the images of this smear have reached the archive."
    ),
    NotAnalysedReason.UNREADABLE: message(
        "Ask the laboratory to send the images again, or to make a new smear."
    ),
    NotAnalysedReason.POOR_QUALITY: message(
        "Ask the laboratory for sharper images or a new smear, or for a manual review."
    ),
    NotAnalysedReason.OUT_OF_DISTRIBUTION: message(
        "Check that the images show a stained blood smear; if they do, ask for a manual review."
    ),
    NotAnalysedReason.TOO_FEW_CELLS: message(
        "Ask the laboratory for more fields of this smear, or for a manual review."
    ),
}
#: Beside the probabilities.
_RANKED: Mapping[Pattern, Text] = {
    pattern: message("No leukemia") if pattern is Pattern.HEALTHY else pattern.value for pattern in CLASSES
}
_TOPICS: Mapping[str, Message] = {
    "result": message("Blood smear reading"),
    "not-analysed": message("Blood smear not analysed"),
}
_OTHER_TOPIC = message("Blood smear analysis status")
#: DiagnosticReport.status of reports that count (FHIR R4, diagnostic-report-status).
_STATUSES: Mapping[str, Message] = {
    "registered": message_in("report", "registered"),
    "partial": message_in("report", "partial"),
    "preliminary": message_in("report", "preliminary"),
    "final": message_in("report", "final"),
    "amended": message_in("report", "amended"),
    "corrected": message_in("report", "corrected"),
    "appended": message_in("report", "appended"),
}
#: Of a smear without a reading.
_SAYS_NOTHING = message("This says nothing about the patient: nobody has looked at the smear.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """An earlier LeukoCDS report of the same patient, as the chart holds it."""

    when: str
    status: str
    conclusion: str


def indicator(outcome: Finding | NotAnalysed) -> str:
    """`info`, `warning` or `critical` (CDS Hooks 2.0)."""
    if isinstance(outcome, NotAnalysed):
        return "warning"
    return _INDICATORS[how_urgent(outcome)]


def assessment_card(
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
    """The result, or why the smear could not be analysed.

    report: reference of the DiagnosticReport once written. grown: images came since. words: of the card's language.
    """
    outcome = assessment.outcome
    if isinstance(outcome, NotAnalysed):
        return _not_analysed_card(card_uuid, assessment, outcome, base_url, words)
    summary = shorten(words.text(headline(outcome, assessment.study.started)), MAX_SUMMARY)
    parts = [f"**{words.text(NOT_A_DIAGNOSIS)}**"]
    if grown:
        parts.append(f"**{words.text(GROWN)}**")
    parts += [*finding_parts(outcome, words), _probabilities(outcome, words)]
    parts += closing_parts(assessment, words)
    if report:
        written = message("Preliminary report on the FHIR server: {report}.", report=markdown(report))
        parts.append(words.text(written))
    parts += earlier_parts(earlier, words)
    return result_card(card_uuid, assessment, outcome, summary, parts, base_url, chosen, words)


def result_card(
    card_uuid: str,
    assessment: Assessment,
    finding: Finding | None,
    summary: str,
    parts: Sequence[str],
    base_url: str,
    chosen: Chosen,
    words: Words,
) -> Card:
    """The card of what was found, with its next steps; None: nothing that counts was found, so none are proposed."""
    level = indicator(finding) if finding is not None else "info"
    card = make_card(card_uuid, "result", summary, level, parts, base_url, words)
    card["links"] = [study_link(assessment, base_url, words)]
    if finding is not None and (
        proposed := suggestions(card_uuid, assessment, finding, summary, chosen, words)
    ):
        card["suggestions"] = proposed
        card["selectionBehavior"] = "any"
    return with_override_reasons(card, words)


def job_card(card_uuid: str, job: Job, base_url: str, words: Words = ENGLISH) -> Card:
    """A study without a result yet: waiting, being read, or given up. Raises ValueError for a job that is done."""
    smear, first = smear_of(job.study.started), smear_of(job.study.started, first=True)
    if job.state is JobState.QUEUED:
        waits = message(
            "The {smear} waits for its analysis. The result comes with the next hook.", smear=smear
        )
        parts = [words.text(waits)]
        if job.attempts and job.reason:
            again = message(
                "The last attempt did not succeed: {reason} It is tried again by itself.",
                reason=markdown(sentence(words.text(job.reason))),
            )
            parts.append(words.text(again))
        queued = message("{smear}: analysis queued", smear=first)
        return make_card(card_uuid, "queued", words.text(queued), "info", parts, base_url, words)
    if job.state is JobState.RUNNING:
        read = message("The {smear} is being read now. The result comes with the next hook.", smear=smear)
        running = message("{smear} is being read", smear=first)
        return make_card(
            card_uuid, "running", words.text(running), "info", [words.text(read)], base_url, words
        )
    if job.state is JobState.FAILED:
        reason = words.text(job.reason or message("no reason was recorded")).rstrip(".")
        failed = message(
            "The {smear} could not be read, because {reason}.", smear=smear, reason=markdown(reason)
        )
        to_do = message(
            "Ask the laboratory for a manual review, and tell those who run this service. "
            "It is tried again on a later visit."
        )
        parts = [f"**{words.text(failed)}**", f"{words.text(_SAYS_NOTHING)} {words.text(to_do)}"]
        summary = message("{smear} could not be read, because {reason}", smear=first, reason=reason)
        card = make_card(card_uuid, "failed", words.text(summary), "warning", parts, base_url, words)
        return with_override_reasons(card, words)
    raise ValueError("a finished job has an assessment, not a card of its own")


def problem_card(card_uuid: str, problem: StudyProblem, base_url: str, words: Words = ENGLISH) -> Card:
    """A study that cannot be queued: its ImagingStudy lacks something, or points where we do not go."""
    unnamed = message("an ImagingStudy without identifier")
    name = words.text(problem.imaging_study or problem.study_uid or unnamed)
    reason = words.text(problem.reason).rstrip(".")
    was_not = message("{study} was not analysed: {reason}.", study=markdown(name), reason=markdown(reason))
    to_do = message(
        "It is tried again with the next hook. Unless a server was out, the ImagingStudy, its Endpoint or this "
        "service's settings have to be corrected."
    )
    parts = [f"**{words.text(was_not)}**", f"{words.text(_SAYS_NOTHING)} {words.text(to_do)}"]
    summary = words.text(message("A blood smear cannot be analysed: {reason}", reason=reason))
    return make_card(card_uuid, "problem", summary, "warning", parts, base_url, words)


def more_card(card_uuid: str, left_out: int, shown: int, base_url: str, words: Words = ENGLISH) -> Card:
    """Mentions older smears beyond those that got a card."""
    summary = counted(
        "{count} older blood-smear study has no card here; only the {shown} newest are analysed",
        "{count} older blood-smear studies have no card here; only the {shown} newest are analysed",
        left_out,
        shown=shown,
    )
    older = message("Older studies are not analysed from this hook. Their reports, if any, are in the chart.")
    return make_card(card_uuid, "more", words.text(summary), "info", [words.text(older)], base_url, words)


def _not_analysed_card(
    card_uuid: str, assessment: Assessment, outcome: NotAnalysed, base_url: str, words: Words
) -> Card:
    said = words.text(message("Not analysed:"))
    nothing = words.text(message("This says nothing about the patient."))
    parts = [
        f"**{said}** {markdown(words.text(outcome.detail))}",
        f"{words.text(WHAT_TO_DO[outcome.reason])} {nothing}",
        *_image_parts(assessment, words),
        _provenance(assessment, words),
    ]
    summary = message(
        "{smear} could not be analysed: {reason}",
        smear=smear_of(assessment.study.started, first=True),
        reason=NOT_ANALYSED[outcome.reason],
    )
    card = make_card(card_uuid, "not-analysed", words.text(summary), "warning", parts, base_url, words)
    card["links"] = [study_link(assessment, base_url, words)]
    return with_override_reasons(card, words)


def finding_parts(finding: Finding, words: Words) -> list[str]:
    """Evidence, what confirms it, and the differential, as Markdown."""
    parts = []
    if sentences := [*caveats(finding), *finding.evidence]:
        parts.append(_bullets(markdown(words.text(s)) for s in sentences))
    parts.append(words.text(confirm_by(finding)))
    if finding.differential.total:
        parts.append(_table(finding, words))
    if finding.differential.other:
        others = ", ".join(
            f"{words.text(cell_name(cell_type))} {count}"
            for cell_type, count in sorted(finding.differential.other.items())
        )
        parts.append(
            words.text(message("Not counted in the differential: {others}.", others=markdown(others)))
        )
    return parts


def _probabilities(finding: Finding, words: Words) -> str:
    ranked = sorted(finding.probabilities.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{words.text(_RANKED[p])} {percent(v)}" for p, v in ranked)
    return words.text(message("Model's probabilities: {shown}.", shown=shown))


def closing_parts(assessment: Assessment, words: Words) -> list[str]:
    """What images the reading rests on, and by what it was made."""
    return [*_image_parts(assessment, words), _provenance(assessment, words)]


def earlier_parts(earlier: Sequence[Earlier], words: Words) -> list[str]:
    if not earlier:
        return []
    readings = words.text(message("Earlier automated readings of this patient:"))
    return [f"{readings}\n\n" + _bullets(_earlier_line(e, words) for e in earlier)]


def _table(finding: Finding, words: Words) -> str:
    head = (message("Cell type"), message("Cells"), message("95 % interval"), message("White cells"))
    cell_type, cells, interval, white_cells = map(words.text, head)
    lines = [f"| {cell_type} | {cells} | % | {interval} |", "| --- | ---: | ---: | ---: |"]
    for name, n, share, ci in rows(finding.differential):
        lines.append(f"| {markdown(words.text(name))} | {n} | {share} | {ci} |")
    lines.append(f"| **{white_cells}** | **{finding.differential.total}** | | |")
    return "\n".join(lines)


def _image_parts(assessment: Assessment, words: Words) -> list[str]:
    refused = [image for image in assessment.images if image.refused]
    read = len(assessment.images) - len(refused)
    extent = {
        "cells": counted("{count} cell", "{count} cells", sum(image.cells for image in assessment.images)),
        "images": counted("{count} image", "{count} images", read),
    }
    if isinstance(assessment.outcome, Finding):
        parts = [words.text(message("Rests on {cells} in {images}.", **extent))]
    else:
        parts = [words.text(message("Found: {cells} in {images}.", **extent))]
    if refused:
        lines = [
            f"{markdown(i.source)}: {markdown(words.text(i.refused or ''))}"
            for i in refused[:_MAX_REFUSED_SHOWN]
        ]
        if more := len(refused[_MAX_REFUSED_SHOWN:]):
            lines.append(words.text(message("and {more} more", more=more)))
        unused = counted(
            "{count} image could not be used:", "{count} images could not be used:", len(refused)
        )
        parts.append(f"{words.text(unused)}\n\n{_bullets(lines)}")
    return parts


def _provenance(assessment: Assessment, words: Words) -> str:
    model, started = assessment.model, assessment.study.started
    read = message(
        "Read {date} {time} UTC by {model} {version} (sha256 {digest}).",
        date=date_of(f"{assessment.read_at:%Y-%m-%d}"),
        time=f"{assessment.read_at:%H:%M}",
        model=markdown(model.name),
        version=markdown(model.version),
        digest=model.digest[:12],
    )
    if not started:
        return words.text(read)
    taken = message("Smear of {started}.", started=markdown(words.text(date_of(started))))
    return f"{words.text(taken)} {words.text(read)}"


def _earlier_line(earlier: Earlier, words: Words) -> str:
    when = words.text(date_of(earlier.when))
    return (
        f"{markdown(when)}: {markdown(earlier.conclusion)} ({markdown(words.text(_status(earlier.status)))})"
    )


def _status(code: str) -> Text:
    """DiagnosticReport.status in words, where it is one that a report which counts may have."""
    return _STATUSES.get(code, code)


def study_link(assessment: Assessment, base_url: str, words: Words) -> dict[str, str]:
    return {
        "label": words.text(message("Cells, differential and images")),
        "url": f"{base_url}/studies/{assessment.key}",
        "type": "absolute",
    }


def make_card(
    card_uuid: str,
    state: str,
    summary: str,
    indicator: str,
    parts: Sequence[str],
    base_url: str,
    words: Words,
) -> Card:
    return {
        "uuid": card_uuid,
        "summary": shorten(summary, MAX_SUMMARY),
        "indicator": indicator,
        "detail": "\n\n".join(parts),
        "source": {
            "label": "LeukoCDS",
            "url": f"{base_url}/",
            "topic": {
                "system": TOPIC_SYSTEM,
                "code": f"smear-{state}",
                "display": words.text(_TOPICS.get(state, _OTHER_TOPIC)),
            },
        },
    }


def with_override_reasons(card: Card, words: Words) -> Card:
    if card["indicator"] != "info":
        # CDS Hooks 2.0, "Reasons for rejecting a card": each with its display, which is what the user reads.
        card["overrideReasons"] = [
            {**reason.coding(), "display": words.text(name_of(reason))}
            for reason in OVERRIDE_REASONS.values()
        ]
    return card


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
