"""The CDS service `leukemia-smear`: from a request to its cards. It reads no image; it asks the store.

One id under every hook (CDS Hooks 2.0, "Update Stale Guidance"): a later hook's cards replace the earlier one's. The
order hooks show the same cards as the others, less the suggestions that the draft orders hold already.
"""

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from cds.deadline import Deadline
from cds.errors import StoreError
from cds.locate import Located, StudyProblem, locate
from cds.ports import Resource
from cds.settings import Settings
from cds.values import Assessment, JobState, ReportState, StudyRef
from hooks.cards import Card, Earlier, assessment_card, job_card, more_card, problem_card
from hooks.cds_requests import HookRequest, hooks
from hooks.context import Context
from hooks.prefetch import Chart, gather, templates
from hooks.suggestions import Chosen, order_codes
from hooks.wording import shorten

SERVICE_ID = "leukemia-smear"
#: Smears that get a card; the newest. Older ones are mentioned, and not analysed from a hook.
MAX_STUDIES = 5
MAX_PROBLEMS = 5
_MAX_EARLIER = 3
#: Business identifiers of everything that we write begin with it.
_OWN_IDENTIFIERS = "urn:leukocds:"
_WITHDRAWN = ("entered-in-error", "cancelled")

#: Stands for every Endpoint while the studies are only being named: out of service, so nothing is asked of it.
_NO_ENDPOINT: Resource = {"resourceType": "Endpoint", "status": "off"}

_log = structlog.get_logger(__name__)


def discovery(settings: Settings) -> dict[str, Any]:
    """CDS Hooks 2.0, "Discovery": one entry for each hook, all under the same id."""
    return {
        "services": [
            {
                "hook": hook,
                "id": SERVICE_ID,
                "title": "Leukemia patterns in blood smears",
                "description": (
                    "Reads the patient's blood-smear images and shows the differential and whether it has a pattern "
                    "of ALL, AML, CLL or CML. Preliminary, for research use; not a diagnosis."
                ),
                "prefetch": templates(settings.modalities),
                "usageRequirements": (
                    "Needs the patient's ImagingStudy resources of modality "
                    f"{' or '.join(settings.modalities)}, in the prefetch or from fhirServer, and images that this "
                    "service can retrieve by DICOMweb."
                ),
            }
            for hook in hooks()
        ]
    }


def answer(request: HookRequest, context: Context) -> dict[str, list[Card]]:
    """`{"cards": [...]}`. The list is empty only when the patient has no smear images.

    Raises BadRequest, MissingFhirData and StoreError; an outage is never an empty list.
    """
    chart = gather(request, context, Deadline(context.settings.hook_budget_s))
    # What was read already needs no archive, so the endpoints are looked up for the rest only, below.
    located = _locate(chart.imaging_studies, request, context, lambda _: _NO_ENDPOINT)
    newest, strangers = _of_patient(located.studies, request.patient_reference)
    problems = [*chart.problems, *located.problems, *strangers]
    base_url = context.settings.base_url
    cards: list[Card] = []
    for study in newest[:MAX_STUDIES]:
        try:
            cards += _study_cards(study, request, chart, context)
        except _NotReadable as unusable:
            problems += unusable.problems
    if len(newest) > MAX_STUDIES:
        left_out = len(newest) - MAX_STUDIES
        cards.append(more_card(left_out, MAX_STUDIES, request.patient_reference, base_url))
    problems = list(dict.fromkeys(problems))  # what is said twice is one card: a uuid belongs to one
    cards += [problem_card(problem, base_url) for problem in problems[:MAX_PROBLEMS]]
    if problems:
        _log.warning("studies that cannot be read", count=len(problems))
    return {"cards": cards}


def _of_patient(studies: Sequence[StudyRef], patient: str) -> tuple[list[StudyRef], list[StudyProblem]]:
    """Another patient's smear must never be shown as this one's, however it got among the studies."""
    own, problems = [], []
    for study in studies:
        if study.patient == patient:
            own.append(study)
            continue
        reason = (
            "The ImagingStudy names no patient."
            if study.patient is None
            else "The ImagingStudy belongs to another patient than the one in context."
        )
        problems.append(
            StudyProblem(imaging_study=study.imaging_study, study_uid=study.study_uid, reason=reason)
        )
    return own, problems


def _study_cards(study: StudyRef, request: HookRequest, chart: Chart, context: Context) -> list[Card]:
    store, digest = context.store, context.model.digest
    latest = store.latest(study.study_uid, digest)
    if latest is not None:
        _same_patient(latest.study, study)
        if _covers(latest, study):
            return [_result(latest, request, chart, context)]
    job, must_submit = store.enqueue(_with_archive(study, request, chart, context), digest)
    _same_patient(job.study, study)
    if job.state is JobState.DONE:
        # The archive and the ImagingStudy differ in the number of instances; what was read for this one is known.
        if latest is None or latest.key != job.assessment_key:
            latest = store.get(job.assessment_key) if job.assessment_key else None
        if latest is None:
            raise StoreError("a job is done but its assessment is not in the store")
        return [_result(latest, request, chart, context)]
    if must_submit:
        _submit(job.key, context)
    card = job_card(job, context.settings.base_url)
    # What was found before more images came is still true, and may be urgent.
    return [_result(latest, request, chart, context, grown=True), card] if latest else [card]


def _same_patient(stored: StudyRef, study: StudyRef) -> None:
    """A study UID that two patients claim: whose smear it is has to be settled before anyone acts on it."""
    if stored.patient not in (None, study.patient):
        raise _NotReadable([_problem(study, "A study of this UID was read for another patient.")])


def _with_archive(study: StudyRef, request: HookRequest, chart: Chart, context: Context) -> StudyRef:
    """The same study with its endpoint looked up. Raises _NotReadable where the images are out of reach."""
    own = [
        resource
        for resource in chart.imaging_studies
        if study.imaging_study in (None, f"ImagingStudy/{resource.get('id')}")
    ]
    located = _locate(own, request, context, chart.endpoint)
    for found in located.studies:
        if found.study_uid == study.study_uid:
            return found
    raise _NotReadable(located.problems)


def _locate(
    imaging_studies: Sequence[Resource],
    request: HookRequest,
    context: Context,
    endpoint: Callable[[str], Resource],
) -> Located:
    return locate(
        imaging_studies,
        modalities=context.settings.modalities,
        allow_list=context.allow_list,
        endpoint=endpoint,
        base_url=request.fhir_server,
    )


class _NotReadable(Exception):
    """A study that cannot be queued or shown, as problems for cards."""

    def __init__(self, problems: Sequence[StudyProblem]) -> None:
        super().__init__(len(problems))
        self.problems = problems


def _problem(study: StudyRef, reason: str) -> StudyProblem:
    return StudyProblem(imaging_study=study.imaging_study, study_uid=study.study_uid, reason=reason)


def _covers(assessment: Assessment, study: StudyRef) -> bool:
    """Whether the stored result rests on the instances that the ImagingStudy lists now.

    A result on no instances covers nothing: they may have come since, and the job knows when to look again.
    """
    if not assessment.instance_uids:
        return False
    if study.instance_uids:
        return set(study.instance_uids) == set(assessment.instance_uids)
    return study.number_of_instances in (None, len(assessment.instance_uids))


def _submit(job_key: str, context: Context) -> None:
    try:
        context.submit(job_key)
    except Exception as error:  # noqa: BLE001 - whatever the broker's library raises, the job is safe in the store
        _log.error("job not sent to the queue; the sweeper will", job=job_key, error=type(error).__name__)


def _result(
    assessment: Assessment, request: HookRequest, chart: Chart, context: Context, *, grown: bool = False
) -> Card:
    state, report = context.store.report_state(assessment.key)
    encounter = f"Encounter/{request.encounter_id}" if request.encounter_id else None
    return assessment_card(
        assessment,
        context.settings.base_url,
        Chosen(
            patient=request.patient_reference,
            encounter=encounter,
            ordered=order_codes(request.draft_orders),
        ),
        report=report if state is ReportState.WRITTEN else None,
        earlier=_earlier(chart.reports or (), assessment),
        grown=grown,
    )


def _earlier(reports: Sequence[Resource], assessment: Assessment) -> list[Earlier]:
    """Our own reports about other studies or by other model versions, newest first.

    Withdrawn ones are left out, and those that name another patient.
    """
    found = []
    for report in reports:
        identifiers = report.get("identifier")
        named = [i for i in identifiers if isinstance(i, dict)] if isinstance(identifiers, list) else []
        own = [i for i in named if str(i.get("system", "")).startswith(_OWN_IDENTIFIERS)]
        when = report.get("effectiveDateTime") or report.get("issued")
        conclusion = report.get("conclusion")
        if not own or any(assessment.key in str(i.get("value")) for i in own):
            continue
        if report.get("status") in _WITHDRAWN or not _is_about(report, assessment.study.patient):
            continue
        if isinstance(when, str) and isinstance(conclusion, str):
            found.append(
                Earlier(
                    when=when[:10], status=str(report.get("status")), conclusion=_first_sentence(conclusion)
                )
            )
    return sorted(found, key=lambda e: e.when, reverse=True)[:_MAX_EARLIER]


def _is_about(report: Resource, patient: str | None) -> bool:
    """False where the report names a patient and it is another one; absolute and versioned references count too."""
    subject = report.get("subject")
    reference = subject.get("reference") if isinstance(subject, dict) else None
    if not isinstance(reference, str):
        return True
    named = reference.partition("/_history/")[0]
    return patient is not None and (named == patient or named.endswith(f"/{patient}"))


def _first_sentence(text: str) -> str:
    """The verdict; our conclusions go on with the evidence."""
    return shorten(text.split(". ")[0], 200)
