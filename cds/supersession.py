"""Of several preliminary reports of one study the newest stands; the others are cancelled and name it.

A new model version, or new images of the study, make a new result beside the old one. Nothing that a human has signed
is ever changed: only preliminary reports are, and those by a version-aware update (FHIR R4, Managing Resource
Contention), so that a signature which comes at the same moment wins. Why `cancelled`: docs/decisions/0026.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cds.contention import meeting_others
from cds.deadline import Deadline
from cds.errors import UpstreamError, UpstreamNotFound
from cds.language import ENGLISH, LANGUAGES, Words, message
from cds.language import words as words_of
from cds.ports import FhirServer, Resource
from cds.report import device_entry, tagged_entry, transaction
from cds.report_audit import report_superseded
from cds.report_parts import concept, full_url, instant, meta, narrative, paragraph, software_agent
from cds.values import Assessment, utc_now
from fhir_profiles.codes import (
    ASSESSMENT_SYSTEM,
    DICOM_UID_SYSTEM,
    MORPHOLOGY_NARRATIVE,
    UPDATE,
    profile,
)

SUPERSEDED = message("Superseded by a newer reading of the same study.")


def supersede_older(
    assessment: Assessment, fhir: FhirServer, deadline: Deadline | None = None, words: Words = ENGLISH
) -> tuple[str, ...]:
    """Cancel every preliminary report of the assessment's study but the newest; repeating it changes nothing.

    To be called once the assessment's own report is written: whichever of two workers comes second sees both reports.
    On a server that writes one resource after the other, what a crash left of a cancellation is completed.
    Returns the references of the reports that were cancelled. Raises UpstreamError.
    """
    cancelled: list[str] = []
    for attempt in meeting_others():
        with attempt:
            found = _unsigned(assessment, fhir, deadline)
            unsigned = [report for report in found if report["status"] == "preliminary"]
            if not unsigned:
                break
            newest = unsigned[-1]
            for report in unsigned[:-1]:
                fhir.transaction(_cancelling(assessment, report, newest, fhir, deadline, words), deadline)
                cancelled.append(_reference(report))
            for report in found:
                if _half_cancelled(report, newest, fhir, deadline):
                    fhir.transaction(_cancelling(assessment, report, newest, fhir, deadline, words), deadline)
    return tuple(cancelled)


def _half_cancelled(old: Resource, new: Resource, fhir: FhirServer, deadline: Deadline | None) -> bool:
    """Whether `old` was cancelled for `new` without the AuditEvent, which is written last."""
    by = [
        (e.get("valueReference") or {}).get("reference")
        for e in old.get("extension", [])
        if e.get("url") == profile("superseded-by")
    ]
    if old["status"] != "cancelled" or _reference(new) not in by:
        return False
    tag = f"{ASSESSMENT_SYSTEM}|{_tag(old, new)}.written"
    try:
        found = fhir.search("AuditEvent", {"_tag": tag}, deadline)
    except UpstreamError as error:
        if error.retryable:
            raise
        return False  # a server without AuditEvents does not tell
    return not any(r.get("resourceType") == "AuditEvent" for r in found)


def _unsigned(assessment: Assessment, fhir: FhirServer, deadline: Deadline | None) -> list[Resource]:
    """The preliminary and the cancelled reports that we wrote of that study, the oldest reading first."""
    code = f"{MORPHOLOGY_NARRATIVE.system}|{MORPHOLOGY_NARRATIVE.code}"
    query = {"patient": str(assessment.study.patient), "code": code, "status": "preliminary,cancelled"}
    found = [
        report
        for report in fhir.search("DiagnosticReport", query, deadline)
        if report.get("status") in ("preliminary", "cancelled")
        and _key(report) is not None
        and _is_of_study(report, assessment)
        # A server that keeps no versions cannot tell us of a signature that came meanwhile.
        and "versionId" in report.get("meta", {})
    ]
    return sorted(found, key=lambda report: (_issued(report), str(_key(report))))


def _cancelling(
    assessment: Assessment,
    old: Resource,
    new: Resource,
    fhir: FhirServer,
    deadline: Deadline | None,
    words: Words,
) -> Resource:
    """The transaction that cancels the report `old` and those of its results that nobody signed.

    The report comes first: where the entries are written one by one, a signature that came meanwhile stops the rest.
    """
    results = [_read_if_there(result["reference"], fhir, deadline) for result in old.get("result", [])]
    unsigned = [r for r in results if r.get("status") == "preliminary" and "versionId" in r.get("meta", {})]
    changed = list(map(_cancelled, unsigned))
    if old["status"] != "cancelled":
        first = _cancelled(old)
        by = {"url": profile("superseded-by"), "valueReference": {"reference": _reference(new)}}
        first["extension"] = [*old.get("extension", []), by]
        first["conclusion"] = f"{_note(old)} {old.get('conclusion', '')}".strip()
        changed.insert(0, first)
    tag = _tag(old, new)
    device, now = full_url("Device", assessment.model.digest), utc_now()
    audit = report_superseded(
        assessment, _reference(old), f"{tag}.written", device, server=fhir.base_url, at=now, words=words
    )
    provenance = _provenance(old, new, tag, device, now, words)
    return transaction(
        [
            *(_update(resource) for resource in changed),
            device_entry(assessment.model, words),
            tagged_entry(provenance),
            tagged_entry(audit),
        ]
    )


def _read_if_there(reference: str, fhir: FhirServer, deadline: Deadline | None) -> Resource:
    try:
        return fhir.read(reference, deadline)
    except UpstreamNotFound:
        return {}  # deleted since: nothing is left to cancel


def _provenance(old: Resource, new: Resource, tag: str, device: str, now: datetime, words: Words) -> Resource:
    said = message("This preliminary report takes the place of an older one that nobody had signed.")
    return {
        "resourceType": "Provenance",
        "meta": meta("supersession-provenance", tag=tag),
        "target": [{"reference": _reference(new)}],
        "recorded": instant(now),
        "activity": concept(words, UPDATE),
        "agent": [software_agent(device, words)],
        "entity": [{"role": "revision", "what": {"reference": _reference(old)}}],
        **narrative(words, paragraph(words.text(said))),
    }


def _cancelled(resource: Resource) -> Resource:
    """A copy that is cancelled and says why at the head of its narrative."""
    kept = {k: v for k, v in resource.get("meta", {}).items() if k in ("profile", "security", "tag")}
    changed: Resource = {
        **resource,
        "status": "cancelled",
        "meta": {**kept, "versionId": resource["meta"]["versionId"]},
    }
    text: dict[str, Any] = resource.get("text", {})
    head, end, rest = str(text.get("div", "")).partition(">")
    if end:
        changed["text"] = {**text, "div": f"{head}>{paragraph(_note(resource))}{rest}"}
    return changed


def _note(resource: Resource) -> str:
    """That it was superseded, in the language that it was written in."""
    language = resource.get("language")
    return (words_of(language) if language in LANGUAGES else ENGLISH).text(SUPERSEDED)


def _update(resource: Resource) -> Resource:
    """A version-aware update: refused by the server when the resource has changed since it was read."""
    version = resource["meta"]["versionId"]
    reference = _reference(resource)
    stored = {**resource, "meta": {k: v for k, v in resource["meta"].items() if k != "versionId"}}
    request = {"method": "PUT", "url": reference, "ifMatch": f'W/"{version}"'}
    return {"fullUrl": full_url("update", f"{reference} {version}"), "resource": stored, "request": request}


def _is_of_study(report: Resource, assessment: Assessment) -> bool:
    study = assessment.study
    return any(
        _tokens([reference.get("identifier")], DICOM_UID_SYSTEM) == [f"urn:oid:{study.study_uid}"]
        or (study.imaging_study is not None and reference.get("reference") == study.imaging_study)
        for reference in report.get("imagingStudy", [])
    )


def _tag(old: Resource, new: Resource) -> str:
    return f"{_key(new)}.supersedes.{_key(old)}"


def _key(report: Resource) -> str | None:
    """Key of the result that the report is about; None when it is not ours."""
    return next(iter(_tokens(report.get("identifier", []), ASSESSMENT_SYSTEM)), None)


def _tokens(identifiers: Sequence[Resource | None], system: str) -> list[str]:
    return [str(i.get("value")) for i in identifiers if i is not None and i.get("system") == system]


def _issued(report: Resource) -> datetime:
    """When the smear was read; a report that does not say (ours all do) counts as the oldest."""
    try:
        issued = datetime.fromisoformat(str(report.get("issued")))
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return issued if issued.tzinfo else issued.replace(tzinfo=UTC)


def _reference(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"
