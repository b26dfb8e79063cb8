"""From a hook request to what the chart holds: taken from the prefetch, else fetched from the EHR's FHIR server.

The patient's ImagingStudies are essential: where they cannot be had the answer is 412, never an empty card list.
The patient and the earlier reports are not: without them the cards only say less. One exception: a FHIR server that
says the patient does not exist contradicts the hook, and that is a 412 too. Active orders only keep a suggestion from
being made twice: they are used where they were sent, and never fetched.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog

from cds.deadline import Deadline
from cds.errors import (
    BadRequest,
    DeadlineExceeded,
    EndpointNotAllowed,
    MissingFhirData,
    UpstreamError,
    UpstreamNotFound,
)
from cds.language import message
from cds.locate import StudyProblem
from cds.ports import FhirServer, Resource
from hooks.cds_requests import IMAGING_STUDY_AVAILABLE, HookRequest, Prefetched, PrefetchState
from hooks.context import Context
from hooks.ehr_profile import PREFETCH_KEYS, STANDARD, Profile

#: Once the studies are there, nobody waits longer than this for the patient and the earlier reports.
_OPTIONAL_WAIT_S = 0.5
_NO_LONGER_S = 0.001
_PARALLEL = 8
_MAX_REFERENCES = 50
#: LOINC code under which our reports are filed; their identifier tells them from other smear reports.
_REPORT_CODE = "http://loinc.org|18314-5"
#: The first page holds the newest, and a card mentions only a few.
_ENOUGH_REPORTS = (PrefetchState.COMPLETE, PrefetchState.NO_DATA, PrefetchState.PAGED)

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What the cards are made from."""

    imaging_studies: tuple[Resource, ...]
    #: Reads an Endpoint; raises the LeukoError that says why it cannot be had.
    endpoint: Callable[[str], Resource]
    #: None where they could not be had.
    reports: tuple[Resource, ...] | None
    problems: tuple[StudyProblem, ...] = ()


def templates(modalities: Sequence[str], keys: Sequence[str] = PREFETCH_KEYS) -> dict[str, str]:
    """Prefetch templates, within the query forms that CDS Hooks 2.0 recommends ("Prefetch query restrictions").

    keys: those offered to this client.
    """
    patient = "{{context.patientId}}"
    offered = {
        "patient": f"Patient/{patient}",
        "studies": f"ImagingStudy?patient={patient}&modality={','.join(modalities)}&_sort=-started",
        "reports": f"DiagnosticReport?patient={patient}&code={_REPORT_CODE}&_sort=-date&_count=20",
        "orders": f"ServiceRequest?patient={patient}&status=active&_sort=-authored&_count=100",
    }
    return {key: offered[key] for key in keys}


def adapted(request: HookRequest, profile: Profile) -> HookRequest:
    """The request with its prefetch read as that kind of EHR means it."""
    if profile.prefetch_page is None and not profile.null_is_absent:
        return request
    return replace(
        request,
        patient=_meant(request.patient, profile, None),
        studies=_meant(request.studies, profile, profile.prefetch_page),
        reports=_meant(request.reports, profile, profile.prefetch_page),
        orders=_meant(request.orders, profile, profile.prefetch_page),
    )


def _meant(given: Prefetched, profile: Profile, page: int | None) -> Prefetched:
    if profile.null_is_absent and given.state is PrefetchState.NO_DATA:
        return replace(given, state=PrefetchState.ABSENT)
    if page is not None and given.state is PrefetchState.COMPLETE and len(given.resources) >= page:
        return replace(given, state=PrefetchState.PAGED)
    return given


def spared(request: HookRequest) -> tuple[tuple[str, bool], ...]:
    """Each prefetch key, and whether what came under it spares us asking the FHIR server."""
    whole = (PrefetchState.COMPLETE, PrefetchState.NO_DATA)
    return (
        ("patient", request.patient.state is PrefetchState.COMPLETE),
        ("studies", request.studies.state in whole),
        ("reports", request.reports.state in _ENOUGH_REPORTS),
    )


def gather(request: HookRequest, context: Context, deadline: Deadline, profile: Profile = STANDARD) -> Chart:
    """The chart as far as the cards need it. Raises MissingFhirData (412) and BadRequest."""
    _same_patient(request)
    server = _Server(request, context, profile)
    pool = _Pool()
    try:
        patient = _fetch_patient(request, server, pool, deadline)
        reports = _fetch_reports(request, server, pool, deadline)
        if request.hook == IMAGING_STUDY_AVAILABLE:
            studies, problems = _named_studies(request, server, pool, deadline)
        else:
            studies, problems = _patient_studies(request, context, server, pool, deadline), ()
        optional: list[Future[Any]] = [f for f in (patient, reports) if f is not None]
        if optional:
            wait(optional, timeout=min(_OPTIONAL_WAIT_S, deadline.left() / 2))  # endpoints may follow
        if patient is not None:
            _check_patient(patient, deadline)
        return Chart(
            imaging_studies=tuple(r for r in studies if r.get("resourceType") == "ImagingStudy"),
            endpoint=_endpoints(studies, server, deadline),
            reports=_reports_or_none(request.reports, reports, deadline),
            problems=problems,
        )
    finally:
        # A call that outlives the budget ends by its own time-out; the EHR does not wait for it.
        pool.shutdown()
        server.leave(in_vain=deadline.left() <= 0)


class _Pool:
    """Threads for what has to be fetched; none where everything was sent along."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def submit(self, call: Callable[..., _T], *args: Any) -> "Future[_T]":
        if self._pool is None:
            # The log lines of the pool's threads are lines of this request too.
            told = structlog.contextvars.get_contextvars()
            self._pool = ThreadPoolExecutor(
                _PARALLEL,
                thread_name_prefix="chart",
                initializer=lambda: structlog.contextvars.bind_contextvars(**told),
            )
        return self._pool.submit(call, *args)

    def shutdown(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


class _Server:
    """The EHR's FHIR server, or why there is none."""

    def __init__(self, request: HookRequest, context: Context, profile: Profile) -> None:
        self.why_not = "the request names no fhirServer to fetch it from"
        self._server: FhirServer | None = None
        self._slow, self._waits_for = context.slow_servers, ""
        self._address = request.fhir_server or ""
        if not profile.ask_fhir_server:
            self.why_not = (
                "this client's profile says that its fhirServer is not to be asked (ask_fhir_server)"
            )
        elif request.fhir_server is not None:
            try:
                context.allow_list.check(request.fhir_server)
                self._server = context.fhir_server(request.fhir_server, request.token)
            except EndpointNotAllowed:
                self.why_not = "its fhirServer is not on this service's allow-list (LEUKOCDS_ALLOWED_HOSTS)"

    def __bool__(self) -> bool:
        return self._server is not None

    def required(self, what: str, state: PrefetchState) -> FhirServer:
        server = self.optional()
        if server is None:
            raise MissingFhirData(f"{what}: {_STATES[state]}, and {self.why_not}.")
        return server

    def optional(self) -> FhirServer | None:
        """For those who will ask it something now."""
        if self._server is not None and not self._waits_for:
            if self._slow.enter(self._address):
                self._waits_for = self._address
            else:
                self.why_not = "its fhirServer does not answer, and other hooks wait for it already"
                self._server = None
        return self._server

    def leave(self, *, in_vain: bool) -> None:
        """Nothing more is asked of it. in_vain: the hook's budget ran out."""
        if self._waits_for:
            self._slow.leave(self._waits_for, in_vain=in_vain)
            self._waits_for = ""


_STATES = {
    PrefetchState.ABSENT: "not in the prefetch",
    PrefetchState.NO_DATA: "null in the prefetch",
    PrefetchState.FAILED: "an OperationOutcome or an empty entry in the prefetch",
    PrefetchState.PAGED: "only a part is in the prefetch",
    PrefetchState.COMPLETE: "not all of it is in the prefetch",
}


def _same_patient(request: HookRequest) -> None:
    for patient in request.patient.resources:
        if patient.get("id") != request.patient_id:
            raise BadRequest("prefetch.patient is another patient than context.patientId.")


def _patient_studies(
    request: HookRequest, context: Context, server: _Server, pool: "_Pool", deadline: Deadline
) -> tuple[Resource, ...]:
    if request.studies.state in (PrefetchState.COMPLETE, PrefetchState.NO_DATA):
        return request.studies.resources
    what = "The patient's ImagingStudies"
    fhir = server.required(what, request.studies.state)
    # A paged prefetch is searched again: its `next` link is an address that only its own server understands.
    query = {
        "patient": request.patient_id,
        "modality": ",".join(context.settings.modalities),
        "_sort": "-started",
    }
    return tuple(_result(pool.submit(fhir.search, "ImagingStudy", query, deadline), what, deadline))


def _named_studies(
    request: HookRequest, server: _Server, pool: "_Pool", deadline: Deadline
) -> tuple[tuple[Resource, ...], tuple[StudyProblem, ...]]:
    """The studies that the imaging hook names: sent along, prefetched or read one by one."""
    # By type too: servers number each type by itself, so an included Endpoint may have a study's id.
    here = {
        f"ImagingStudy/{r.get('id')}": r
        for r in request.studies.resources
        if r.get("resourceType") == "ImagingStudy"
    }
    found = list(request.study_resources)
    found += [r for r in request.studies.resources if r.get("resourceType") == "Endpoint"]
    problems: list[StudyProblem] = []
    references = list(dict.fromkeys(request.study_references))
    if len(references) > _MAX_REFERENCES:
        raise BadRequest(f"context.imagingStudies names more than {_MAX_REFERENCES} studies.")
    what = "An ImagingStudy that the hook names"
    found += [here[r] for r in references if r in here]
    missing = [r for r in references if r not in here]
    if missing:
        fhir = server.required(what, PrefetchState.COMPLETE if here else request.studies.state)
        futures = {r: pool.submit(fhir.read, r, deadline) for r in missing}
        for reference, future in futures.items():
            try:
                found.append(_result(future, what, deadline))
            except _NotThere:
                reason = message("The FHIR server does not know this ImagingStudy.")
                problems.append(StudyProblem(imaging_study=reference, study_uid=None, reason=reason))
    return tuple(found), tuple(problems)


def _fetch_patient(
    request: HookRequest, server: _Server, pool: "_Pool", deadline: Deadline
) -> "Future[Resource] | None":
    if request.patient.state is PrefetchState.COMPLETE or (fhir := server.optional()) is None:
        return None
    return pool.submit(fhir.read, request.patient_reference, deadline)


def _check_patient(future: "Future[Resource]", deadline: Deadline) -> None:
    try:
        _result(future, "The patient", deadline, at_most=_NO_LONGER_S)
    except _NotThere:
        raise MissingFhirData("The fhirServer does not know the patient of context.patientId.") from None
    except MissingFhirData as error:
        _log.warning("patient not confirmed", why=str(error))


def _fetch_reports(
    request: HookRequest, server: _Server, pool: "_Pool", deadline: Deadline
) -> "Future[list[Resource]] | None":
    if request.reports.state in _ENOUGH_REPORTS or (fhir := server.optional()) is None:
        return None
    query = {"patient": request.patient_id, "code": _REPORT_CODE, "_sort": "-date", "_count": "20"}
    return pool.submit(fhir.search, "DiagnosticReport", query, deadline)


def _reports_or_none(
    given: Prefetched, future: "Future[list[Resource]] | None", deadline: Deadline
) -> tuple[Resource, ...] | None:
    if given.state in _ENOUGH_REPORTS:
        return given.resources
    if future is None:
        return None
    try:
        found = _result(future, "The earlier reports", deadline, at_most=_NO_LONGER_S)
        return tuple(found)
    except MissingFhirData as error:
        _log.warning("earlier reports not to be had", why=str(error))
        return None


def _endpoints(
    resources: Sequence[Resource], server: _Server, deadline: Deadline
) -> Callable[[str], Resource]:
    """Endpoints from what was sent along (`_include`), else from the FHIR server."""
    known: dict[str, Resource] = {
        f"Endpoint/{r.get('id')}": r for r in resources if r.get("resourceType") == "Endpoint"
    }

    def endpoint(reference: str) -> Resource:
        if reference not in known:
            fhir = server.optional()
            if fhir is None:
                raise MissingFhirData(f"it is not among what was sent, and {server.why_not}")
            known[reference] = _within(deadline, fhir.read, reference, deadline)
        return known[reference]

    return endpoint


def _within(deadline: Deadline, call: Callable[..., _T], *args: Any) -> _T:
    """What the call gives or raises; DeadlineExceeded when the time is over, whatever it hangs in then: to look up a
    name, or to try each address of a host, takes as long as it takes."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="chart")
    try:
        return pool.submit(call, *args).result(timeout=deadline.remaining())
    except FutureTimeout:
        raise DeadlineExceeded(f"not given within {deadline.seconds:g} s") from None
    finally:
        pool.shutdown(wait=False)


class _NotThere(MissingFhirData):
    """The FHIR server says that the resource does not exist."""


def _result(future: "Future[_T]", what: str, deadline: Deadline, at_most: float | None = None) -> _T:
    """What the call gave. Raises MissingFhirData that says what went wrong and, for a 404, `_NotThere`."""
    try:
        return future.result(timeout=deadline.remaining(at_most))
    except UpstreamNotFound:
        raise _NotThere(f"{what}: the fhirServer answers that it does not exist there.") from None
    except UpstreamError as error:
        raise MissingFhirData(f"{what}: the fhirServer did not give it: {error}") from error
    except (DeadlineExceeded, FutureTimeout):
        raise MissingFhirData(
            f"{what}: the fhirServer did not give it within {deadline.seconds:g} s."
        ) from None
