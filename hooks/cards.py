"""Cards (CDS Hooks 2.0, "Card Attributes"): one function for each state that a smear can be in.

A card never holds null or anything empty. Its uuid is given: what makes it the same card again, `hooks.hygiene` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cds.locate import StudyProblem
from cds.report_text import cell_name, percent
from cds.values import Assessment, Finding, Job, JobState, NotAnalysed, NotAnalysedReason, Pattern
from fhir_profiles.codes import OVERRIDE_REASONS
from hooks.suggestions import Chosen, suggestions
from hooks.wording import (
    NOT_A_DIAGNOSIS,
    NOT_ANALYSED,
    PATTERN_NAMES,
    caveats,
    confirm_by,
    headline,
    markdown,
    of_date,
    rows,
    shorten,
)

Card = dict[str, Any]

#: CDS Hooks 2.0: "under 140 characters".
MAX_SUMMARY = 139
TOPIC_SYSTEM = "urn:leukocds:card-topic"

_MAX_REFUSED_SHOWN = 5
_INDICATORS = {
    Pattern.HEALTHY: "info",
    Pattern.ALL: "critical",
    Pattern.AML: "critical",
    Pattern.CLL: "warning",
    Pattern.CML: "warning",
    Pattern.INDETERMINATE: "warning",
}
WHAT_TO_DO = {
    NotAnalysedReason.NO_IMAGES: "Ask the laboratory whether the images of this smear have reached the archive.",
    NotAnalysedReason.UNREADABLE: "Ask the laboratory to send the images again, or to make a new smear.",
    NotAnalysedReason.POOR_QUALITY: "Ask the laboratory for sharper images or a new smear, or for a manual review.",
    NotAnalysedReason.OUT_OF_DISTRIBUTION: (
        "Check that the images show a stained blood smear; if they do, ask for a manual review."
    ),
    NotAnalysedReason.TOO_FEW_CELLS: "Ask the laboratory for more fields of this smear, or for a manual review.",
}


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
    return "critical" if outcome.possible_apl else _INDICATORS[outcome.pattern]


def assessment_card(
    card_uuid: str,
    assessment: Assessment,
    base_url: str,
    chosen: Chosen,
    *,
    report: str | None = None,
    earlier: Sequence[Earlier] = (),
    grown: bool = False,
) -> Card:
    """The result, or why the smear could not be analysed.

    report: reference of the DiagnosticReport once written. grown: images came since.
    """
    outcome = assessment.outcome
    if isinstance(outcome, NotAnalysed):
        return _not_analysed_card(card_uuid, assessment, outcome, base_url)
    summary = shorten(headline(outcome, assessment.study.started), MAX_SUMMARY)
    parts = _result_parts(assessment, outcome)
    if grown:
        parts.insert(1, "**More images of this study have arrived since; they are not in this result.**")
    if report:
        parts.append(f"Preliminary report on the FHIR server: {markdown(report)}.")
    if earlier:
        parts.append(
            "Earlier automated readings of this patient:\n\n" + _bullets(_earlier_line(e) for e in earlier)
        )
    card = _card(card_uuid, "result", summary, indicator(outcome), parts, base_url)
    card["links"] = [_study_link(assessment, base_url)]
    if proposed := suggestions(card_uuid, assessment, outcome, summary, chosen):
        card["suggestions"] = proposed
        card["selectionBehavior"] = "any"
    return _with_override_reasons(card)


def job_card(card_uuid: str, job: Job, base_url: str) -> Card:
    """A study without a result yet: waiting, being read, or given up. Raises ValueError for a job that is done."""
    when = (
        f" of {job.study.started[:10]}" if job.study.started else ""
    )  # locate lets only FHIR dateTimes through
    if job.state is JobState.QUEUED:
        parts = [f"The blood smear{when} waits for its analysis. The result comes with the next hook."]
        if job.attempts and job.reason:
            parts.append(
                f"The last attempt did not succeed: {markdown(job.reason)} It is tried again by itself."
            )
        return _card(card_uuid, "queued", f"Blood smear{when}: analysis queued", "info", parts, base_url)
    if job.state is JobState.RUNNING:
        parts = [f"The blood smear{when} is being read now. The result comes with the next hook."]
        return _card(card_uuid, "running", f"Blood smear{when} is being read", "info", parts, base_url)
    if job.state is JobState.FAILED:
        reason = (job.reason or "no reason was recorded").rstrip(".")
        parts = [
            f"**The blood smear{when} could not be read, because {markdown(reason)}.**",
            "This says nothing about the patient: nobody has looked at the smear. Ask the laboratory for a manual "
            "review, and tell those who run this service. It is tried again on a later visit.",
        ]
        summary = f"Blood smear{when} could not be read, because {reason}"
        return _with_override_reasons(_card(card_uuid, "failed", summary, "warning", parts, base_url))
    raise ValueError("a finished job has an assessment, not a card of its own")


def problem_card(card_uuid: str, problem: StudyProblem, base_url: str) -> Card:
    """A study that cannot be queued: its ImagingStudy lacks something, or points where we do not go."""
    name = problem.imaging_study or problem.study_uid or "an ImagingStudy without identifier"
    reason = problem.reason.rstrip(".")
    parts = [
        f"**{markdown(name)} was not analysed: {markdown(reason)}.**",
        "This says nothing about the patient: nobody has looked at the smear. "
        "It is tried again with the next hook. Unless a server was out, the ImagingStudy, its Endpoint or this "
        "service's settings have to be corrected.",
    ]
    return _card(
        card_uuid, "problem", f"A blood smear cannot be analysed: {reason}", "warning", parts, base_url
    )


def more_card(card_uuid: str, left_out: int, shown: int, base_url: str) -> Card:
    """Mentions older smears beyond those that got a card."""
    noun = "study has" if left_out == 1 else "studies have"
    summary = f"{left_out} older blood-smear {noun} no card here; only the {shown} newest are analysed"
    parts = ["Older studies are not analysed from this hook. Their reports, if any, are in the chart."]
    return _card(card_uuid, "more", summary, "info", parts, base_url)


def _not_analysed_card(card_uuid: str, assessment: Assessment, outcome: NotAnalysed, base_url: str) -> Card:
    parts = [
        f"**Not analysed:** {markdown(outcome.detail)}",
        f"{WHAT_TO_DO[outcome.reason]} This says nothing about the patient.",
        *_image_parts(assessment),
        _provenance(assessment),
    ]
    card = _card(
        card_uuid,
        "not-analysed",
        f"Blood smear{of_date(assessment.study.started)} could not be analysed: {NOT_ANALYSED[outcome.reason]}",
        "warning",
        parts,
        base_url,
    )
    card["links"] = [_study_link(assessment, base_url)]
    return _with_override_reasons(card)


def _result_parts(assessment: Assessment, finding: Finding) -> list[str]:
    parts = [f"**{NOT_A_DIAGNOSIS}**"]
    if sentences := [*caveats(finding), *finding.evidence]:
        parts.append(_bullets(markdown(sentence) for sentence in sentences))
    parts.append(confirm_by(finding))
    if finding.differential.total:
        lines = ["| Cell type | Cells | % | 95 % interval |", "| --- | ---: | ---: | ---: |"]
        lines += [f"| {markdown(name)} | {n} | {p} | {ci} |" for name, n, p, ci in rows(finding.differential)]
        lines.append(f"| **White cells** | **{finding.differential.total}** | | |")
        parts.append("\n".join(lines))
    if finding.differential.other:
        others = ", ".join(
            f"{cell_name(cell_type).lower()} {count}"
            for cell_type, count in sorted(finding.differential.other.items())
        )
        parts.append(f"Not counted in the differential: {markdown(others)}.")
    ranked = sorted(finding.probabilities.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{PATTERN_NAMES[p].removesuffix(' pattern')} {percent(v)}" for p, v in ranked)
    parts.append(f"Model's probabilities: {shown}.")
    parts += _image_parts(assessment)
    parts.append(_provenance(assessment))
    return parts


def _image_parts(assessment: Assessment) -> list[str]:
    refused = [image for image in assessment.images if image.refused]
    read = len(assessment.images) - len(refused)
    cells = sum(image.cells for image in assessment.images)
    verb = "Rests on" if isinstance(assessment.outcome, Finding) else "Found:"
    parts = [f"{verb} {_count(cells, 'cell')} in {_count(read, 'image')}."]
    if refused:
        lines = [f"{markdown(i.source)}: {markdown(i.refused or '')}" for i in refused[:_MAX_REFUSED_SHOWN]]
        if len(refused) > _MAX_REFUSED_SHOWN:
            lines.append(f"and {len(refused) - _MAX_REFUSED_SHOWN} more")
        parts.append(f"{_count(len(refused), 'image')} could not be used:\n\n{_bullets(lines)}")
    return parts


def _provenance(assessment: Assessment) -> str:
    model = assessment.model
    taken = f"Smear of {markdown(assessment.study.started)}. " if assessment.study.started else ""
    return (
        f"{taken}Read {assessment.read_at:%Y-%m-%d %H:%M} UTC by {markdown(model.name)} {markdown(model.version)} "
        f"(sha256 {model.digest[:12]})."
    )


def _earlier_line(earlier: Earlier) -> str:
    return f"{markdown(earlier.when)}: {markdown(earlier.conclusion)} ({markdown(earlier.status)})"


def _study_link(assessment: Assessment, base_url: str) -> dict[str, str]:
    return {
        "label": "Cells, differential and images",
        "url": f"{base_url}/studies/{assessment.key}",
        "type": "absolute",
    }


def _card(
    card_uuid: str, state: str, summary: str, indicator: str, parts: Sequence[str], base_url: str
) -> Card:
    topics = {"result": "Blood smear reading", "not-analysed": "Blood smear not analysed"}
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
                "display": topics.get(state, "Blood smear analysis status"),
            },
        },
    }


def _with_override_reasons(card: Card) -> Card:
    if card["indicator"] != "info":
        # CDS Hooks 2.0, "Reasons for rejecting a card": each with its display.
        card["overrideReasons"] = [reason.coding() for reason in OVERRIDE_REASONS.values()]
    return card


def _bullets(lines: Any) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
