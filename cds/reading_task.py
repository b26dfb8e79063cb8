"""The job of reading a study as a FHIR Task, so that an EHR can follow it (FHIR R4, Task).

One Task a job, found by the job's key. It follows the job and never leads it: whoever changes the Task changes nothing
here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from cds.contention import meeting_others
from cds.deadline import Deadline
from cds.language import ENGLISH, Message, Text, Words, message
from cds.ports import FhirServer, Resource
from cds.report import checked, transaction
from cds.report_parts import (
    SMEAR_IMAGES,
    concept,
    dicom_identifier,
    full_url,
    instant,
    meta,
    narrative,
    paragraph,
)
from cds.values import Job, utc_now
from fhir_profiles.codes import JOB_SYSTEM, MODEL_SYSTEM, READ_SMEAR, SMEAR_REPORT


class Progress(StrEnum):
    """Task.status of a job."""

    RUNNING = "in-progress"
    WAITING = "on-hold"
    DONE = "completed"
    FAILED = "failed"


_PROGRESS: Mapping[Progress, Message] = {
    Progress.RUNNING: message("A blood smear is being read by software."),
    Progress.WAITING: message("A blood smear waits to be read by software again."),
    Progress.DONE: message("A blood smear was read by software."),
    Progress.FAILED: message("A blood smear could not be read by software."),
}
_READ_BEFORE = message("The study had been read before; its report is written once.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """How far a job is. reason: why it failed or waits. report: reference of the DiagnosticReport, once written."""

    progress: Progress
    reason: Text | None = None
    report: str | None = None

    def __post_init__(self) -> None:
        if (self.reason is None) is (self.progress in (Progress.WAITING, Progress.FAILED)):
            raise ValueError("a job that failed or waits has a reason, and no other")


def show_stage(
    job: Job,
    stage: Stage,
    fhir: FhirServer,
    *,
    confirm: Callable[[], None],
    deadline: Deadline | None = None,
    words: Words = ENGLISH,
) -> None:
    """Create the job's Task or bring it up to date; repeating it changes nothing.

    words: of the language that people read it in. confirm: called before a Task is created; raises where the server's
    patient is somebody else. Raises UpstreamError.
    """
    for attempt in meeting_others():
        with attempt:
            known = _known(job, fhir, deadline)
            if known is None:
                confirm()
                fhir.transaction(transaction([_entry(job, stage, None, words)]), deadline)
                # The conditional create may have met another worker's Task, and then changed nothing.
                known = _known(job, fhir, deadline)
            if known is not None and not _shows(known, stage, words):
                fhir.transaction(transaction([_entry(job, stage, known, words)]), deadline)


def _known(job: Job, fhir: FhirServer, deadline: Deadline | None) -> Resource | None:
    found = fhir.search("Task", {"identifier": f"{JOB_SYSTEM}|{job.key}"}, deadline)
    return next((r for r in found if r.get("resourceType") == "Task"), None)


def _shows(task: Resource, stage: Stage, words: Words) -> bool:
    reason = (task.get("statusReason") or {}).get("text")
    wanted = None if stage.reason is None else words.text(stage.reason)
    reports = [o.get("valueReference", {}).get("reference") for o in task.get("output", [])]
    same_report = stage.report is None or stage.report in reports
    return task.get("status") == stage.progress and reason == wanted and same_report


def _entry(job: Job, stage: Stage, known: Resource | None, words: Words) -> Resource:
    resource = checked(_task(job, stage, words))
    if known is None:
        request = {"method": "POST", "url": "Task", "ifNoneExist": f"identifier={JOB_SYSTEM}|{job.key}"}
    else:
        reference = f"Task/{known['id']}"
        resource = {**resource, "id": known["id"]}
        request = {"method": "PUT", "url": reference}
        if version := known.get("meta", {}).get("versionId"):
            request["ifMatch"] = f'W/"{version}"'
    return {"fullUrl": full_url("Task", job.key), "resource": resource, "request": request}


def _task(job: Job, stage: Stage, words: Words) -> Resource:
    study = job.study
    focus: Resource = {"identifier": dicom_identifier(study.study_uid), "display": words.text(SMEAR_IMAGES)}
    focus |= {"reference": study.imaging_study} if study.imaging_study else {"type": "ImagingStudy"}
    task: Resource = {
        "resourceType": "Task",
        "meta": meta("reading-task", asserted=False),
        "identifier": [{"system": JOB_SYSTEM, "value": job.key}],
        "status": stage.progress.value,
        "intent": "order",
        "code": concept(words, READ_SMEAR),
        "focus": focus,
        "for": {"reference": study.patient},
        "authoredOn": instant(job.created_at),
        "lastModified": instant(utc_now()),
        "owner": {
            "type": "Device",
            "identifier": {"system": MODEL_SYSTEM, "value": job.model_digest},
            "display": "LeukoCDS",
        },
        **narrative(words, paragraph(_said(stage, words))),
    }
    if study.encounter is not None:
        task["encounter"] = {"reference": study.encounter}
    if stage.reason is not None:
        task["statusReason"] = {"text": words.text(stage.reason)}
    if stage.report is not None:
        task["output"] = [
            {"type": concept(words, SMEAR_REPORT), "valueReference": {"reference": stage.report}}
        ]
    elif stage.progress is Progress.DONE:
        task["businessStatus"] = {"text": words.text(_READ_BEFORE)}
    return task


def _said(stage: Stage, words: Words) -> str:
    said = words.text(_PROGRESS[stage.progress])
    return f"{said} {words.text(stage.reason)}" if stage.reason else said
