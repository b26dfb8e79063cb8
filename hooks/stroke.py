"""What the tasks do: read one study, write one report. All state is in the store, so that any process may die.

Whatever becomes of a study is recorded: done, failed with a reason, or queued again with a pause.
"""

import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import structlog

from cds.deadline import Deadline
from cds.dicom_results import store_results
from cds.errors import ClaimLost, LeukoError, PackageError, StoreError, UpstreamError
from cds.language import Words, message, said_by, words
from cds.model_cards import ModelCards
from cds.pipeline import assess_study, write_back
from cds.pixels import PixelLimits
from cds.ports import FhirServer, ImageArchive, SmearReader, WorkerStore
from cds.report import client_resources
from cds.report_attachments import NO_ATTACHMENTS, Attachments
from cds.settings import Settings
from cds.values import Assessment, Job, ReportState, StudyRef, job_key
from hooks.attempts import Failed, attempt, backoff, internal
from hooks.lease import Flag, Lease, WorkerStopping
from hooks.logs import bind
from hooks.progress import JobProgress

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """Collaborators of the worker stroke."""

    settings: Settings
    store: WorkerStore
    #: The archive that holds a study. Raises EndpointNotAllowed, ConfigurationError.
    archive: Callable[[StudyRef], ImageArchive]
    #: The loaded model package; loads it at the first call. Raises PackageError.
    reader: Callable[[], SmearReader]
    #: Where reports go; None: nowhere.
    fhir: FhirServer | None
    #: Whether it takes any: a server that is read only gets none, and none are due.
    takes_reports: Callable[[], bool] = field(default=lambda: True)
    #: Pictures and model card that go with a report.
    attachments: Callable[[Assessment], Attachments] = field(default=lambda assessment: NO_ATTACHMENTS)
    #: Where the FHIR server keeps the model cards.
    cards: ModelCards = field(default_factory=ModelCards)
    #: Sends an assessment's key to the queue of reports; raises when the broker cannot be reached.
    submit_report: Callable[[str], None]
    #: Set when the worker is told to end.
    stopping: Flag

    @property
    def progress(self) -> JobProgress:
        settings = self.settings
        shown = settings.write_tasks and self.reports_are_due
        return JobProgress(self.fhir if shown else None, settings.read_timeout_s, self.words)

    @property
    def words(self) -> Words:
        """Of the language of reports."""
        return words(self.settings.language)

    @property
    def reports_are_due(self) -> bool:
        return self.fhir is not None and self.takes_reports()


class _OtherPackage(LeukoError):
    """The job asks for another model package than the one that is loaded here."""


def read_study(parts: WorkerParts, key: str) -> None:
    """Claim the job, read its study, store the assessment, have its report written.

    Raises StoreError when the outcome cannot be recorded; the lease then runs out and the job is taken up again.
    """
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    settings, store = parts.settings, parts.store
    with bind(job=key):
        if parts.stopping.is_set():
            _log.info("job left in the store: the worker is stopping")
            return
        job = store.claim(key, owner, settings.job_lease_s)
        if job is None:
            _log.info("job is over or in other hands")
            return
        if job.attempts > settings.job_max_attempts:
            # Its workers died over it again and again: that is no reason to kill one more.
            why = message(
                "given up after {attempts} attempts; the last: {reason}",
                attempts=settings.job_max_attempts,
                reason=job.reason or message("its worker died"),
            )
            _log.error("job failed", reason=str(why))
            store.fail(key, owner, why)
            parts.progress.failed(job, why)
            return
        _log.info("study is being read", attempt=job.attempts)
        try:
            _read(parts, job, owner)
        except ClaimLost as lost:
            _log.warning("job lost to another worker", reason=str(lost))


def write_report(parts: WorkerParts, assessment_key: str) -> None:
    """Write the report unless it is written; a failure is noted, and the report stays pending. Raises StoreError."""
    store, settings = parts.store, parts.settings
    with bind(assessment=assessment_key):
        assessment = store.get(assessment_key)
        if assessment is None or store.report_state(assessment_key)[0] is not ReportState.PENDING:
            return
        if parts.fhir is None:
            _log.warning("a report is pending but no FHIR server is configured")
            return
        if not parts.takes_reports():
            _log.warning("a report is pending but the FHIR server is read only")
            return
        written = attempt("report", partial(_write, parts, assessment, parts.fhir))
        if isinstance(written, Failed):
            store.report_failed(assessment_key, written.problem, partial(backoff, settings))
            return
        # Before it is noted as written: who dies here does all of it again, which changes nothing.
        job = store.job(job_key(assessment.study, assessment.model.digest))
        if job is not None:
            parts.progress.done(job, written)
        store.mark_written(assessment_key, written)
        _log.info("report written", report=written)


def _write(parts: WorkerParts, assessment: Assessment, fhir: FhirServer) -> str:
    """Reference of the report, once all of it is where it belongs."""
    deadline = Deadline(3 * parts.settings.read_timeout_s)
    reference = write_back(
        assessment,
        fhir,
        deadline,
        parts.attachments(assessment),
        older_stand=_older_stand,
        cards=parts.cards,
        words=parts.words,
    )
    if parts.settings.dicom_results:
        store_results(assessment, parts.archive(assessment.study), deadline, parts.words)
    return reference


def _older_stand(error: UpstreamError) -> None:
    _log.warning(
        "older preliminary reports stand beside the new one", error=type(error).__name__, reason=str(error)
    )


def _read(parts: WorkerParts, job: Job, owner: str) -> None:
    settings, store = parts.settings, parts.store
    with Lease(
        store,
        job.key,
        owner,
        lease_s=settings.job_lease_s,
        deadline_s=settings.study_deadline_s,
        stopping=parts.stopping,
    ) as lease:
        parts.progress.running(job)
        try:
            assessment = _assess(parts, job, lease.deadline)
        except (ClaimLost, StoreError):
            raise
        except WorkerStopping as stopping:
            store.release(job.key, owner, said_by(stopping), counts_as_attempt=False)
            parts.progress.waiting(job, said_by(stopping))
            _log.info("job released: the worker is stopping")
            return
        except LeukoError as error:
            _give_back(parts, job, owner, error)
            return
        except Exception as error:  # noqa: BLE001 - a bug or no memory; who waits for the study must learn of it
            _log.exception("job failed: bug")
            why = internal(error)
            store.fail(job.key, owner, why)
            parts.progress.failed(job, why)
            return
        pending = parts.reports_are_due and assessment.study.patient is not None
        if assessment.study.patient is not None:
            _keep_resources(parts, assessment)
        saved = store.save(assessment, ReportState.PENDING if pending else ReportState.NOT_CONFIGURED)
        store.finish(job.key, owner, assessment.key)
    _log.info("study read", assessment=assessment.key, seconds=round(assessment.seconds, 2), new=saved)
    if saved and pending:
        _submit_report(parts, assessment.key)
    else:
        # Read before, as another job: its report is written, or will be.
        parts.progress.done(job, store.report_state(assessment.key)[1])


def _assess(parts: WorkerParts, job: Job, deadline: Deadline) -> Assessment:
    settings, reader = parts.settings, parts.reader()
    if reader.identity.digest != job.model_digest:
        raise _OtherPackage(
            message("this worker has another model package than the one that the study is to be read with")
        )
    return assess_study(
        job.study,
        archive=parts.archive(job.study),
        reader=reader,
        limits=PixelLimits(
            max_megapixels=settings.max_image_megapixels,
            max_frames=settings.max_frames_per_instance,
            max_tiles=settings.max_tiles_per_slide,
        ),
        concurrency=settings.retrieve_concurrency,
        max_images=settings.max_images_per_study,
        deadline=deadline,
        known=parts.store.get,
    )


def _give_back(parts: WorkerParts, job: Job, owner: str, error: LeukoError) -> None:
    """Queue the job again where trying again can help, or fail it."""
    settings, store = parts.settings, parts.store
    passing = isinstance(error, _OtherPackage) or (isinstance(error, UpstreamError) and error.retryable)
    if not passing:
        level = _log.error if isinstance(error, PackageError) else _log.warning
        level("job failed", error=type(error).__name__, reason=str(error))
        store.fail(job.key, owner, said_by(error))
        parts.progress.failed(job, said_by(error))
    elif job.attempts >= settings.job_max_attempts:
        _log.warning("job failed after its last attempt", attempts=job.attempts, reason=str(error))
        why = message("{reason} (after {attempts} attempts)", reason=said_by(error), attempts=job.attempts)
        store.fail(job.key, owner, why)
        parts.progress.failed(job, why)
    else:
        pause = backoff(settings, job.attempts)
        _log.warning(
            "job will be tried again", attempt=job.attempts, pause_s=round(pause, 1), reason=str(error)
        )
        store.release(job.key, owner, said_by(error), pause_s=pause)
        parts.progress.waiting(job, said_by(error))


def _keep_resources(parts: WorkerParts, assessment: Assessment) -> None:
    """For clients that create the report themselves; built here, where fhir.resources is loaded. Before the reading is
    saved: whoever finds it finds these too. Raises StoreError."""
    try:
        resources = client_resources(assessment, parts.words)
    except Exception:  # noqa: BLE001 - logged; the reading itself must not be lost for it
        _log.exception("report cannot be made for clients: bug", assessment=assessment.key)
        return
    parts.store.keep_resources(assessment.key, resources)


def _submit_report(parts: WorkerParts, assessment_key: str) -> None:
    try:
        parts.submit_report(assessment_key)
    except LeukoError as error:
        _log.warning("report not sent to the queue; the sweeper will", reason=str(error))
