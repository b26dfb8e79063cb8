"""The one place where adapters are chosen: settings in, collaborators of either stroke out.

Both functions are called in the process that will do the work, after any fork: connections do not survive one.
"""

import atexit
import functools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from cds.allowlist import AllowList
from cds.archives import Archive
from cds.deadline import Deadline
from cds.errors import ConfigurationError, LeukoError, PackageError
from cds.fhir_capabilities import Way
from cds.fhir_optional import not_taken
from cds.fhir_writing import AdaptingFhirServer
from cds.new_studies import NewStudies
from cds.pixels import PixelLimits
from cds.ports import FhirServer, ImageArchive, SmearReader
from cds.report_attachments import Attachments, CellPicture
from cds.settings import Settings
from cds.store import SqlAssessmentStore
from cds.subscription import criteria
from cds.tls import Tls
from cds.upstream import FixedCredentials
from cds.values import Assessment, Cell, Finding, ModelIdentity, StudyRef
from hooks.audit_delivery import AuditDelivery
from hooks.authentication import Authenticator
from hooks.context import Context, PageParts
from hooks.ehr_profile import open_profile
from hooks.image_cache import ImageCache
from hooks.issuers import one_numbering
from hooks.lease import Flag
from hooks.next_steps import NextSteps, bundled_next_steps, load_next_steps
from hooks.notifications import taker
from hooks.outbound import (
    archives,
    fhir_server,
    open_archive,
    own_fhir_server,
    signing_keys,
    stranger,
)
from hooks.pictures import StudyPictures
from hooks.recovery import Sweeper
from hooks.reference_ranges import bundled_ranges, load_ranges
from hooks.stroke import WorkerParts
from hooks.tasks import TaskQueue
from hooks.upkeep import Upkeep
from hooks.watch import StudyWatch, subscribing
from models.package import CARD, bundled_package, load_card, load_identity

if TYPE_CHECKING:
    from models.reader import PackageReader

_log = structlog.get_logger(__name__)


def context(settings: Settings, worker_alive: Callable[[], bool] | None = None) -> Context:
    """Collaborators of the request stroke. No network is loaded.

    worker_alive: whether the embedded worker runs, where there is one. Raises ConfigurationError, PackageError.
    """
    store = open_store(settings)
    queue = TaskQueue(settings)
    known, tls = archives(settings), Tls.from_settings(settings)
    allow_list = _allow_list(settings, known)
    model = model_identity(settings)

    def hooks_server(url: str, token: str | None) -> FhirServer:
        # Never our own credentials: the address comes from whoever sent the hook.
        return fhir_server(settings, allow_list.check(url), FixedCredentials(token=token), tls)

    def ready() -> Mapping[str, str]:
        parts = {"store": _says(store.check), "broker": _says(queue.check), "model": "ok"}
        if worker_alive is not None:
            parts["worker"] = "ok" if worker_alive() else "the embedded worker does not run"
        return parts

    return Context(
        settings=settings,
        store=store,
        model=model,
        next_steps=next_steps(settings),
        submit=queue.submit_study,
        fhir_server=hooks_server,
        allow_list=allow_list,
        authenticator=Authenticator.from_settings(settings, store) if settings.clients else None,
        ready=ready,
        open_profile=open_profile(settings),
        notified=taker(store, settings.fhir_url) if settings.early_reading == "subscribe" else None,
        signing_keys=signing_keys(settings),
        pages=page_parts(settings, allow_list, known, queue),
        own_servers=one_numbering(settings),
    )


def page_parts(
    settings: Settings, allow_list: AllowList, known: Sequence[Archive], queue: TaskQueue
) -> PageParts:
    """Collaborators of the clinician's pages. Raises ConfigurationError."""
    tls = Tls.from_settings(settings)
    card = functools.cache(lambda: load_card(_package_folder(settings)))
    # The reader that makes activation maps: loaded when the first one is asked for.
    reader = functools.cache(lambda: load_reader(settings))
    pictures = StudyPictures(
        archive=lambda study: archive_of(study, settings, allow_list, known, tls),
        limits=PixelLimits(
            max_megapixels=settings.max_image_megapixels, max_frames=settings.max_frames_per_instance
        ),
        cache=ImageCache(_cache_folder(settings), settings.image_cache_mb * 1024 * 1024),
        card=card,
        reader=reader,
        deadline_s=2 * settings.read_timeout_s,
    )
    path = Path(settings.reference_ranges) if settings.reference_ranges else bundled_ranges()
    return PageParts(
        pictures=pictures,
        pattern_model=lambda: card().pattern_model,
        ranges=load_ranges(path),
        submit_signature=queue.submit_signature,
        fhir=report_server(settings),
    )


def worker_parts(settings: Settings, stopping: Flag) -> WorkerParts:
    """Collaborators of the worker stroke. The model package is loaded when the first study is read."""
    known, tls = archives(settings), Tls.from_settings(settings)
    allow_list = _allow_list(settings, known)
    reader = _once_a_thread(lambda: load_reader(settings))
    fhir = report_server(settings)
    return WorkerParts(
        settings=settings,
        store=open_store(settings),
        archive=lambda study: archive_of(study, settings, allow_list, known, tls),
        reader=reader,
        attachments=lambda assessment: attachments(assessment, settings, reader),
        fhir=fhir,
        takes_reports=lambda: takes_reports(fhir, settings),
        submit_report=TaskQueue(settings).submit_report,
        stopping=stopping,
    )


def sweeper(settings: Settings, store: SqlAssessmentStore) -> Sweeper:
    queue = TaskQueue(settings)
    return Sweeper(
        store,
        submit_study=queue.submit_study,
        submit_report=queue.submit_report,
        submit_signature=queue.submit_signature,
        check=queue.check,
        interval_s=settings.sweep_interval_s,
        # Fine enough for the shortest pause between two attempts.
        tick_s=max(0.05, min(settings.sweep_interval_s, settings.job_backoff_s / 2)),
    )


def audit_delivery(settings: Settings, store: SqlAssessmentStore) -> AuditDelivery:
    return AuditDelivery(
        store,
        report_server(settings),
        site=settings.base_url,
        session_idle_s=60.0 * settings.session_idle_min,
        tick_s=min(5.0, settings.sweep_interval_s),
    )


def upkeep(settings: Settings, store: SqlAssessmentStore) -> Upkeep:
    return Upkeep(
        store,
        report_server(settings),
        interval_s=settings.follow_reports_s,
        read_timeout_s=settings.read_timeout_s,
        follow_for=timedelta(days=settings.follow_reports_days),
        keep_cards=timedelta(days=settings.keep_cards_days),
    )


def study_watch(settings: Settings, store: SqlAssessmentStore) -> StudyWatch | None:
    """Finds new studies before a hook asks; None: that is not wanted."""
    fhir = report_server(settings)
    if settings.early_reading == "off" or fhir is None:
        return None
    patience_s = 6 * settings.read_timeout_s
    new_studies = NewStudies(
        fhir=fhir,
        store=store,
        model_digest=model_identity(settings).digest,
        modalities=settings.modalities,
        allow_list=_allow_list(settings, archives(settings)),
        submit=_submitter(TaskQueue(settings)),
        first=timedelta(days=settings.early_days),
    )
    keeper = subscribing(
        fhir,
        store,
        criteria=criteria(settings.modalities),
        endpoint=settings.notification_endpoint,
        supported=lambda: fhir.said(Deadline(settings.read_timeout_s)).has("Subscription"),
        timeout_s=patience_s,
    )
    from hooks.early_metrics import EarlyMetrics  # not before the folder that processes count in is named

    return StudyWatch(
        new_studies,
        store,
        poll_s=settings.early_poll_s,
        look_timeout_s=patience_s,
        subscribing=keeper if settings.early_reading == "subscribe" else None,
        told=EarlyMetrics(),
        again_s=max(settings.early_poll_s, settings.retry_failed_after_s),
    )


def _submitter(queue: TaskQueue) -> Callable[[str], None]:
    def submit(job_key: str) -> None:
        try:
            queue.submit_study(job_key)
        except LeukoError as error:
            _log.warning("job not sent to the queue; the sweeper will", job=job_key, reason=str(error))

    return submit


def report_server(settings: Settings) -> AdaptingFhirServer | None:
    """Where reports go, with our own credentials; None: nowhere. One for all that this process does there, so that they
    share its token and what it says of itself."""
    return _report_server(settings, os.getpid()) if settings.fhir_url else None


@functools.lru_cache(maxsize=8)
def _report_server(settings: Settings, _process: int) -> AdaptingFhirServer:
    """_process: since connections do not survive a fork."""
    return own_fhir_server(settings)


def takes_reports(fhir: AdaptingFhirServer | None, settings: Settings) -> bool:
    """Whether reports are due: not on a server that is read only, by setting or by what it says of itself."""
    return fhir is not None and fhir.way(Deadline(settings.read_timeout_s)) is not Way.NONE


def say_how_reports_are_written(settings: Settings) -> None:
    """One line at the start of a worker, once the FHIR server has answered; nobody waits for it."""

    def say() -> None:
        fhir = report_server(settings)
        if fhir is None:
            _log.info("no reports are written: no FHIR server is configured")
        elif takes_reports(fhir, settings):
            _log.info(
                "reports are written",
                way=fhir.way().value,
                forced=settings.fhir_write != "auto",
                left_out=not_taken(fhir.said()),
            )
        else:
            _log.warning("no reports are written: the FHIR server is read only; cards show what was found")

    threading.Thread(target=say, name="fhir-capabilities", daemon=True).start()


def open_store(settings: Settings) -> SqlAssessmentStore:
    return SqlAssessmentStore(
        settings.database_url,
        retry_failed_after_s=settings.retry_failed_after_s,
        report_grace_s=settings.sweep_interval_s,
    )


def model_identity(settings: Settings) -> ModelIdentity:
    """Which model package is configured; its networks stay unloaded. Raises PackageError."""
    return load_identity(_package_folder(settings))


def next_steps(settings: Settings) -> NextSteps:
    """The configured orders for each pattern. Raises ConfigurationError naming the step that is wrong."""
    return load_next_steps(Path(settings.next_steps) if settings.next_steps else bundled_next_steps())


def load_reader(settings: Settings) -> "PackageReader":
    """The model package with its networks. Raises PackageError."""
    from models.reader import open_reader  # the networks' runtime: the request stroke never imports it

    reader = open_reader(_package_folder(settings))
    _log.info("model package loaded", name=reader.identity.name, version=reader.identity.version)
    return reader


def attachments(assessment: Assessment, settings: Settings, reader: Callable[[], SmearReader]) -> Attachments:
    """Pictures and model card for a report. A package other than the one that read the smear has no card to give and
    cannot say where that one looked: the pictures are then the cells alone."""
    finding = assessment.outcome
    cells = finding.cells if isinstance(finding, Finding) else ()
    card, explain = None, None
    try:
        loaded = reader()
        if loaded.identity.digest == assessment.model.digest:
            explain = getattr(loaded, "explain", None)
            card = (_package_folder(settings) / CARD).read_bytes()
    except (PackageError, OSError) as error:
        _log.warning("report without activation maps or model card", reason=str(error))
    return Attachments(pictures=_pictures(cells, explain, settings.report_cells), model_card=card)


def _pictures(
    cells: Sequence[Cell], explain: Callable[[Any, str], Any] | None, at_most: int
) -> tuple[CellPicture, ...]:
    """A report waits for no picture: without maps where the package has none, and none at all before it fails."""
    from models.gallery import cell_pictures  # OpenCV and the networks' runtime: for workers alone

    try:
        return cell_pictures(cells, explain, at_most=at_most)
    except PackageError as error:
        _log.warning("report without activation maps", reason=str(error))
        return _pictures(cells, None, at_most)
    except ValueError as error:
        _log.warning("report without pictures of cells", reason=str(error))
        return ()


def archive_of(
    study: StudyRef, settings: Settings, allow_list: AllowList, known: Sequence[Archive], tls: Tls
) -> ImageArchive:
    """The archive that the study names, or the first of the `known`. The address is checked here again: between the
    hook and now it lay in the store. Raises EndpointNotAllowed, ConfigurationError."""
    if study.archive_url:
        url = allow_list.check(study.archive_url)
        # Credentials are for the address that they were configured for, and no other.
        archive = next((a for a in known if a.endpoint == url), None) or stranger(url, settings, tls)
    elif known:
        archive = known[0]
    else:
        raise ConfigurationError(
            "the study names no image archive, and neither LEUKOCDS_ARCHIVE_URL nor LEUKOCDS_ARCHIVES is set"
        )
    return open_archive(archive, settings, study)


def _allow_list(settings: Settings, known: Sequence[Archive]) -> AllowList:
    return AllowList.from_settings(settings, (archive.endpoint for archive in known if archive.endpoint))


def _cache_folder(settings: Settings) -> Path:
    if settings.image_cache_dir:
        return Path(settings.image_cache_dir)
    folder = tempfile.mkdtemp(prefix="leukocds-images-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _package_folder(settings: Settings) -> Path:
    return Path(settings.model_package) if settings.model_package else bundled_package()


def _once_a_thread(make: Callable[[], SmearReader]) -> Callable[[], SmearReader]:
    """A reader serves one thread at a time; almost always there is one."""
    kept = threading.local()

    def get() -> SmearReader:
        if not hasattr(kept, "reader"):
            kept.reader = make()
        reader: SmearReader = kept.reader
        return reader

    return get


def _says(check: Callable[[], None]) -> str:
    try:
        check()
    except LeukoError as error:
        return str(error)
    return "ok"
