"""The one place where adapters are chosen: settings in, collaborators of either stroke out.

Both functions are called in the process that will do the work, after any fork: connections do not survive one.
"""

import atexit
import functools
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from cds.allowlist import AllowList
from cds.dicomweb import DicomWebArchive
from cds.errors import ConfigurationError, LeukoError
from cds.fhir_client import HttpFhirServer
from cds.pixels import PixelLimits
from cds.ports import FhirServer, ImageArchive, SmearReader
from cds.settings import Settings
from cds.store import SqlAssessmentStore
from cds.values import ModelIdentity, StudyRef
from hooks.authentication import Authenticator
from hooks.context import Context, PageParts
from hooks.image_cache import ImageCache
from hooks.lease import Flag
from hooks.next_steps import NextSteps, bundled_next_steps, load_next_steps
from hooks.pictures import StudyPictures
from hooks.recovery import Sweeper
from hooks.reference_ranges import bundled_ranges, load_ranges
from hooks.stroke import WorkerParts
from hooks.tasks import TaskQueue
from models.package import bundled_package, load_card, load_identity

if TYPE_CHECKING:
    from models.reader import PackageReader

_log = structlog.get_logger(__name__)


def context(settings: Settings, worker_alive: Callable[[], bool] | None = None) -> Context:
    """Collaborators of the request stroke. No network is loaded.

    worker_alive: whether the embedded worker runs, where there is one. Raises ConfigurationError, PackageError.
    """
    store = open_store(settings)
    queue = TaskQueue(settings)
    allow_list = AllowList.from_settings(settings)
    model = model_identity(settings)

    def fhir_server(url: str, token: str | None) -> FhirServer:
        # Never our own token: the address comes from whoever sent the hook.
        return _fhir_server(settings, allow_list.check(url), token)

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
        fhir_server=fhir_server,
        allow_list=allow_list,
        authenticator=Authenticator.from_settings(settings, store) if settings.clients else None,
        ready=ready,
        pages=page_parts(settings, allow_list, queue),
    )


def page_parts(settings: Settings, allow_list: AllowList, queue: TaskQueue) -> PageParts:
    """Collaborators of the clinician's pages. Raises ConfigurationError."""
    card = functools.cache(lambda: load_card(_package_folder(settings)))
    # The reader that makes activation maps: loaded when the first one is asked for.
    reader = functools.cache(lambda: load_reader(settings))
    pictures = StudyPictures(
        archive=lambda study: archive_of(study, settings, allow_list),
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
        fhir=_own_fhir_server(settings),
    )


def worker_parts(settings: Settings, stopping: Flag) -> WorkerParts:
    """Collaborators of the worker stroke. The model package is loaded when the first study is read."""
    allow_list = AllowList.from_settings(settings)
    return WorkerParts(
        settings=settings,
        store=open_store(settings),
        archive=lambda study: archive_of(study, settings, allow_list),
        reader=_once_a_thread(lambda: load_reader(settings)),
        fhir=_own_fhir_server(settings),
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


def archive_of(study: StudyRef, settings: Settings, allow_list: AllowList) -> ImageArchive:
    """The archive that the study names, or the configured one. The address is checked here again: between the hook
    and now it lay in the store. Raises EndpointNotAllowed, ConfigurationError."""
    configured = allow_list.check(settings.archive_url) if settings.archive_url else None
    url = allow_list.check(study.archive_url) if study.archive_url else configured
    if url is None:
        raise ConfigurationError("the study names no image archive and LEUKOCDS_ARCHIVE_URL is not set")
    known = url == configured
    return DicomWebArchive(
        url,
        # Our credentials are for our archive alone.
        user=settings.archive_user if known else "",
        password=settings.archive_password if known else "",
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
        max_instance_bytes=settings.max_instance_mb * 1024 * 1024,
    )


def _fhir_server(settings: Settings, url: str, token: str | None) -> FhirServer:
    return HttpFhirServer(
        url,
        token=token,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
    )


def _own_fhir_server(settings: Settings) -> FhirServer | None:
    """Where reports go, with our own credentials; None: nowhere."""
    if not settings.fhir_url:
        return None
    return _fhir_server(settings, settings.fhir_url, settings.fhir_token or None)


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
