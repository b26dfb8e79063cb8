"""The CDS service `leukemia-smear`: from a request to its cards. It reads no image; it asks the store.

One id under every hook (CDS Hooks 2.0, "Update Stale Guidance"): a later hook's cards replace the earlier one's. The
order hooks show the same cards as the others, less the suggestions that the draft orders hold already.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from cds.allowlist import normal
from cds.deadline import Deadline
from cds.errors import EndpointNotAllowed, StoreError
from cds.identifiers import derived_uuid
from cds.language import Message, message, verbatim, words
from cds.locate import Located, StudyProblem, locate
from cds.ports import Resource
from cds.settings import Settings
from cds.values import Assessment, JobState, ReportState, StoredAssessment, StudyRef
from hooks.card_shape import shaped
from hooks.cards import Earlier, job_card, more_card, problem_card
from hooks.cds_requests import HookRequest
from hooks.client_reports import ClientReport, client_reports
from hooks.context import Context
from hooks.ehr_profile import STANDARD, Profile
from hooks.hygiene import SIGNED, Identity, Offer, fingerprint, sift, stable_key, user_of
from hooks.prefetch import Chart, gather, templates
from hooks.suggestions import Chosen, open_orders, order_codes
from hooks.wording import shorten

SERVICE_ID = "leukemia-smear"
#: Smears that get a card; the newest. Older ones are mentioned, and not analysed from a hook.
MAX_STUDIES = 5
MAX_PROBLEMS = 5
_MAX_EARLIER = 3
#: Business identifiers of everything that we write begin with it.
_OWN_IDENTIFIERS = "urn:leukocds:"
_WITHDRAWN = ("entered-in-error", "cancelled")

_TITLE = message("Leukemia patterns in blood smears")
_DESCRIPTION = message(
    "Reads the patient's blood-smear images and shows the differential and whether it has a pattern of ALL, AML, CLL "
    "or CML. Preliminary, for research use; not a diagnosis."
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a hook is answered, before the last check."""

    response: dict[str, Any]
    #: Those whose cards are in it; remembered once it leaves.
    offers: tuple[Offer, ...]
    #: Those whose actions are in it; handed over once it leaves.
    reports: tuple[ClientReport, ...] = ()


def discovery(settings: Settings, profile: Profile = STANDARD) -> dict[str, Any]:
    """CDS Hooks 2.0, "Discovery": one entry for each hook that is offered to this client, all under the same id."""
    said = words(settings.language)
    needs = message(
        "Needs the patient's ImagingStudy resources of modality {modalities}, in the prefetch or from fhirServer, and "
        "images that this service can retrieve by DICOMweb.",
        modalities=_either(settings.modalities),
    )
    prefetch = templates(settings.modalities, profile.prefetch)
    return {
        "services": [
            {
                "hook": hook,
                "id": SERVICE_ID,
                "title": said.text(_TITLE),
                "description": said.text(_DESCRIPTION),
                **({"prefetch": prefetch} if prefetch else {}),
                "usageRequirements": said.text(needs),
            }
            for hook in profile.hooks
        ]
    }


def _either(modalities: Sequence[str]) -> Message:
    either: Message = verbatim(modalities[0])
    for modality in modalities[1:]:
        either = message("{one} or {other}", one=either, other=modality)
    return either


def answer(
    request: HookRequest, context: Context, profile: Profile = STANDARD, client: str | None = None
) -> Answer:
    """`{"cards": [...]}`, with systemActions for a client that agreed. The list is empty only when the patient has no
    smear images, or when the user has dealt with every reading there is (CDS Hooks 2.0, "CDS Service Response": `cards`
    may be empty).

    client: who is handed reports to create; None: nobody. Raises BadRequest, MissingFhirData and StoreError; an outage
    is never an empty list.
    """
    chart = gather(request, context, Deadline(context.settings.hook_budget_s), profile)
    # What was read already needs no archive, so the endpoints are looked up for the rest only, below.
    located = _locate(chart.imaging_studies, request, context)
    newest, strangers = _of_patient(located.studies, request.patient_reference)
    problems = [*chart.problems, *located.problems, *strangers]
    base_url = context.settings.base_url
    offers: list[Offer] = []
    for study in newest[:MAX_STUDIES]:
        try:
            offers += _study_offers(study, request, chart, context)
        except _NotReadable as unusable:
            problems += unusable.problems
    if len(newest) > MAX_STUDIES:
        left_out = len(newest) - MAX_STUDIES
        more = _identity(request, f"{left_out} older ones beyond {MAX_STUDIES}", "more")
        offers.append(
            Offer(identity=more, card=more_card(more.uuid, left_out, MAX_STUDIES, base_url, context.words))
        )
    problems = list(dict.fromkeys(problems))  # what is said twice is one card: a uuid belongs to one
    for problem in problems[:MAX_PROBLEMS]:
        # The reason may name a server or a resource: what is remembered is only whether it is the same one.
        # It is the same one in every language.
        said = f"problem {derived_uuid('reason', str(problem.reason))}"
        named = _identity(request, said, "problem", problem.imaging_study or "", problem.study_uid or "")
        offers.append(Offer(identity=named, card=problem_card(named.uuid, problem, base_url, context.words)))
    if problems:
        _log.warning("studies that cannot be read", count=len(problems))
    kept = sift(offers, request.issuer, context)
    response: dict[str, Any] = {"cards": [shaped(o.card, profile, o.subject_key) for o in kept]}
    reports: tuple[ClientReport, ...] = ()
    if profile.system_actions and client is not None:
        readings = [o.assessment for o in offers if o.assessment is not None]
        reports = client_reports(readings, request, chart.reports, client, context)
        if reports:
            response["systemActions"] = [action for report in reports for action in report.actions]
    return Answer(response=response, offers=tuple(kept), reports=reports)


def _identity(request: HookRequest, says: str, *subject: str) -> Identity:
    key = stable_key(SERVICE_ID, request.patient_reference, *subject)
    return Identity(key=key, fingerprint=says, user=user_of(request))


def _of_patient(studies: Sequence[StudyRef], patient: str) -> tuple[list[StudyRef], list[StudyProblem]]:
    """Another patient's smear must never be shown as this one's, however it got among the studies."""
    own, problems = [], []
    for study in studies:
        if study.patient == patient:
            own.append(study)
            continue
        reason = (
            message("The ImagingStudy names no patient.")
            if study.patient is None
            else message("The ImagingStudy belongs to another patient than the one in context.")
        )
        problems.append(
            StudyProblem(imaging_study=study.imaging_study, study_uid=study.study_uid, reason=reason)
        )
    return own, problems


def _study_offers(study: StudyRef, request: HookRequest, chart: Chart, context: Context) -> list[Offer]:
    store, digest = context.store, context.model.digest
    latest = store.latest(study.study_uid, digest)
    if latest is not None:
        _same_patient(latest.assessment.study, study)
        if latest.assessment.covers(study):
            return [_result(latest, request, chart, context)]
    job, must_submit = store.enqueue(_with_archive(study, request, chart, context), digest)
    _same_patient(job.study, study)
    if job.state is JobState.DONE:
        # The archive and the ImagingStudy differ in the number of instances; what was read for this one is known.
        if latest is None or latest.assessment.key != job.assessment_key:
            latest = _stored(job.assessment_key, context) if job.assessment_key else None
        if latest is None:
            raise StoreError("a job is done but its assessment is not in the store")
        return [_result(latest, request, chart, context)]
    if must_submit:
        _submit(job.key, context)
    identity = _identity(request, job.state.value, study.study_uid)
    waits = Offer(
        identity=identity,
        card=job_card(identity.uuid, job, context.settings.base_url, context.words),
        subject_key=job.key,
    )
    # What was found before more images came is still true, and may be urgent.
    return [_result(latest, request, chart, context, grown=True), waits] if latest else [waits]


def _same_patient(stored: StudyRef, study: StudyRef) -> None:
    """A study UID that two patients claim: whose smear it is has to be settled before anyone acts on it."""
    servers = {stored.patient_server, study.patient_server} - {None}
    if stored.patient not in (None, study.patient) or len(servers) > 1:
        raise _NotReadable([_problem(study, message("A study of this UID was read for another patient."))])


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
    endpoint: Callable[[str], Resource] | None = None,
) -> Located:
    """endpoint: reads an Endpoint; None: the studies are only being named."""
    located = locate(
        imaging_studies,
        modalities=context.settings.modalities,
        allow_list=context.allow_list,
        endpoint=endpoint or _no_endpoint,
        base_url=request.fhir_server,
        placed=context.placed if endpoint is None else None,
    )
    numbered_by = _foreign(request.fhir_server, context)
    return replace(
        located, studies=tuple(replace(study, patient_server=numbered_by) for study in located.studies)
    )


def _foreign(fhir_server: str | None, context: Context) -> str | None:
    """The FHIR server of a hook where its patients' numbers are not ours."""
    if fhir_server is None:
        return None
    try:
        server = normal(fhir_server)
    except EndpointNotAllowed:
        return fhir_server  # no plain address, so none of ours
    return None if server in context.own_servers else server


def _no_endpoint(_reference: str) -> Resource:
    """Stands for every Endpoint while the studies are only being named: out of service, so nothing is asked of it."""
    return {"resourceType": "Endpoint", "status": "off"}


class _NotReadable(Exception):
    """A study that cannot be queued or shown, as problems for cards."""

    def __init__(self, problems: Sequence[StudyProblem]) -> None:
        super().__init__(len(problems))
        self.problems = problems


def _problem(study: StudyRef, reason: Message) -> StudyProblem:
    return StudyProblem(imaging_study=study.imaging_study, study_uid=study.study_uid, reason=reason)


def _submit(job_key: str, context: Context) -> None:
    try:
        context.submit(job_key)
    except Exception as error:  # noqa: BLE001 - whatever the broker's library raises, the job is safe in the store
        _log.error("job not sent to the queue; the sweeper will", job=job_key, error=type(error).__name__)


def _stored(key: str, context: Context) -> StoredAssessment | None:
    assessment = context.store.get(key)
    if assessment is None:
        return None
    state, report = context.store.report_state(key)
    signed = context.store.signed(key) is not None
    return StoredAssessment(assessment=assessment, report_state=state, report=report, signed=signed)


def _result(
    stored: StoredAssessment, request: HookRequest, chart: Chart, context: Context, *, grown: bool = False
) -> Offer:
    assessment = stored.assessment
    encounter = f"Encounter/{request.encounter_id}" if request.encounter_id else None
    reports = chart.reports or ()
    held = context.store.signed(assessment.key) if stored.signed else None
    signature = held.signature if held else None
    signed = f"{signature.verdict} {signature.number}" if signature else _signed(reports, assessment)
    says = fingerprint(assessment.outcome, signed)
    identity = _identity(request, says, assessment.study.study_uid)
    card = context.cards.card(
        identity.uuid,
        assessment,
        context.settings.base_url,
        Chosen(
            patient=request.patient_reference,
            encounter=encounter,
            steps=context.next_steps,
            ordered=order_codes([*request.draft_orders, *_open_orders(request)]),
        ),
        report=stored.report if stored.report_state is ReportState.WRITTEN else None,
        earlier=_earlier(reports, assessment),
        grown=grown,
        words=context.words,
        signature=signature,
    )
    return Offer(identity=identity, card=card, assessment=assessment, subject_key=assessment.key)


def _open_orders(request: HookRequest) -> list[Resource]:
    """What the patient has been ordered, as far as the prefetch tells."""
    return [o for o in open_orders(request.orders.resources) if _is_about(o, request.patient_reference)]


def _signed(reports: Sequence[Resource], assessment: Assessment) -> str | None:
    """Status of the reading's own report, once a human has signed it and as far as the chart tells."""
    for report in reports:
        if any(assessment.key in str(i.get("value")) for i in _own_identifiers(report)):
            status = report.get("status")
            if status in SIGNED and _is_about(report, assessment.study.patient):
                return str(status)
    return None


def _own_identifiers(report: Resource) -> list[Resource]:
    identifiers = report.get("identifier")
    named = [i for i in identifiers if isinstance(i, dict)] if isinstance(identifiers, list) else []
    return [i for i in named if str(i.get("system", "")).startswith(_OWN_IDENTIFIERS)]


def _earlier(reports: Sequence[Resource], assessment: Assessment) -> list[Earlier]:
    """Our own reports about other studies or by other model versions, newest first.

    Withdrawn ones are left out, and those that name another patient.
    """
    found = []
    for report in reports:
        own = _own_identifiers(report)
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


def _is_about(resource: Resource, patient: str | None) -> bool:
    """False where the resource names a patient and it is another one; absolute and versioned references count too."""
    subject = resource.get("subject")
    reference = subject.get("reference") if isinstance(subject, dict) else None
    if not isinstance(reference, str):
        return True
    named = reference.partition("/_history/")[0]
    return patient is not None and (named == patient or named.endswith(f"/{patient}"))


def _first_sentence(text: str) -> str:
    """The verdict; our conclusions go on with the evidence."""
    return shorten(text.split(". ")[0], 200)
