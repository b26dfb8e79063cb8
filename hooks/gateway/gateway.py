"""The gateway at work: looks into its folder, moves on what is due, and waits; whatever fails, it goes on."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import structlog

from cds.errors import ConfigurationError
from cds.settings import PREFIX, Settings
from cds.values import StudyRef
from hooks.commands.upstreams import archive_of, fhir_of
from hooks.gateway.folders import DiskTrouble, Folders
from hooks.gateway.intake import Intake
from hooks.gateway.journal import Journal
from hooks.gateway.passage import Parts, Passage

_log = structlog.get_logger(__name__)

_TICK_S = 0.5
_LONGEST_PAUSE_S = 60.0


def prepare(settings: Settings) -> TextIO:
    """Make the folder and be the only gateway on it, as long as what is returned stays open.

    Raises ConfigurationError where a setting is missing or another gateway is at work, DiskTrouble.
    """
    folders = open_folders(settings)
    for name in ("archive_url", "fhir_url"):
        if not getattr(settings, name):
            raise ConfigurationError(
                f"{PREFIX}{name.upper()} is not set: the gateway needs an archive and a FHIR server"
            )
    folders.make()
    return folders.claim()


def open_folders(settings: Settings) -> Folders:
    """Raises ConfigurationError where no folder is configured."""
    if not settings.gateway_folder:
        raise ConfigurationError(
            f"{PREFIX}GATEWAY_FOLDER is not set: name a folder for the gateway's images, on a disk that lasts"
        )
    return Folders(Path(settings.gateway_folder))


class Gateway:
    """On a folder that `prepare` has made and claimed. enqueue: queues a study as a hook would."""

    def __init__(self, settings: Settings, enqueue: Callable[[StudyRef], None]) -> None:
        self.settings = settings
        self.folders = Folders(Path(settings.gateway_folder))
        self.journal = Journal(self.folders.journal)
        self._stopping = threading.Event()
        self.intake = Intake(settings, self.folders, self.journal)
        parts = Parts(
            settings=settings,
            folders=self.folders,
            journal=self.journal,
            archive=archive_of(settings),
            fhir=fhir_of(settings),
            enqueue=enqueue,
            stopping=self._stopping.is_set,
        )
        self._passage = Passage(parts)
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        #: What keeps all work from going on, in words; None: nothing does.
        self.trouble: str | None = None

    def take_up(self) -> None:
        """What the last process left: pictures between folder and journal, and all that waits for a pause to end."""
        adopted = self.intake.adopt()
        self.journal.everything_goes_on()
        self._passage.tidy()
        _log.info("gateway begins", adopted=adopted, **self.journal.counts())

    def once(self) -> int:
        """Look once and move on what is due; how much was done. Raises DiskTrouble."""
        taken = self.intake.scan()
        self._passage.tidy()
        done = self._passage.go_on()
        self._passage.tidy()
        return taken + done

    def busy(self) -> bool:
        """Whether time alone will bring something to do: files settle, pauses for further pictures end."""
        return self.intake.pending() > 0 or bool(self.journal.accessions(time.time()))

    def start(self) -> None:
        self._thread.start()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout_s: float = 10.0) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self.journal.close()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                self.once()
                self.trouble, failures = None, 0
            except DiskTrouble as trouble:
                self.trouble, failures = str(trouble), failures + 1
                _log.error("gateway waits", reason=str(trouble))
            except Exception as bug:  # noqa: BLE001 - a camera goes on leaving images whatever fails here
                self.trouble, failures = f"internal error ({type(bug).__name__})", failures + 1
                _log.exception("gateway failed: bug")
            self._stopping.wait(min(_LONGEST_PAUSE_S, _TICK_S * 2.0 ** min(failures, 10)))
