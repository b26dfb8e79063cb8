"""Each job shown as a Task on the FHIR server. Best effort: a server that takes none holds up no study."""

import structlog

from cds.deadline import Deadline
from cds.errors import LeukoError
from cds.language import ENGLISH, Text, Words
from cds.pipeline import confirm_patient
from cds.ports import FhirServer
from cds.reading_task import Progress, Stage, show_stage
from cds.values import Job

_log = structlog.get_logger(__name__)


class JobProgress:
    """Tells the FHIR server how far jobs are. fhir: None: nobody is told. patience_s: time for one telling.

    words: of the language that people read it in.
    """

    def __init__(self, fhir: FhirServer | None, patience_s: float, words: Words = ENGLISH) -> None:
        self._fhir, self._patience_s, self._words = fhir, patience_s, words

    def running(self, job: Job) -> None:
        self._show(job, Stage(progress=Progress.RUNNING))

    def waiting(self, job: Job, reason: Text) -> None:
        self._show(job, Stage(progress=Progress.WAITING, reason=reason))

    def failed(self, job: Job, reason: Text) -> None:
        self._show(job, Stage(progress=Progress.FAILED, reason=reason))

    def done(self, job: Job, report: str | None) -> None:
        self._show(job, Stage(progress=Progress.DONE, report=report))

    def _show(self, job: Job, stage: Stage) -> None:
        fhir = self._fhir
        if fhir is None or job.study.patient is None:
            return
        deadline = Deadline(self._patience_s)
        try:
            show_stage(
                job,
                stage,
                fhir,
                confirm=lambda: confirm_patient(job.study, fhir, deadline),
                deadline=deadline,
                words=self._words,
            )
        except LeukoError as error:
            _log.warning(
                "task not written", stage=stage.progress, error=type(error).__name__, reason=str(error)
            )
        except Exception:  # noqa: BLE001 - a bug here must not cost the study
            _log.exception("task not written: bug")
