"""From an assessment to the transaction bundle that writes it to a FHIR R4 server, and back to its reference.

The bundle may be sent any number of times and by several workers at once: every entry is a conditional create over
an identifier that derives from the assessment's key. Nothing in it is signed: the report is `preliminary`, there is no
conclusionCode and never a Condition.

The resources are built and checked with fhir.resources, whose R4B differs from R4 in none of the types used here. It is
slow to import; only workers import this module. It does not enforce bindings: tests/servers asks a real server.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fhir.resources.R4B.auditevent import AuditEvent
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.device import Device
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.documentreference import DocumentReference
from fhir.resources.R4B.media import Media
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.provenance import Provenance
from fhir.resources.R4B.task import Task

from cds.errors import UpstreamInvalid
from cds.fhir_client import location_reference
from cds.language import ENGLISH, Words, message
from cds.ports import Resource
from cds.report_attachments import (
    NO_ATTACHMENTS,
    Attachments,
    cell_media,
    model_card_document,
)
from cds.report_audit import images_read, report_written
from cds.report_observations import differential_observation, impression_observation
from cds.report_parts import (
    concept,
    dicom_identifier,
    full_url,
    instant,
    meta,
    narrative,
    own_identifier,
    paragraph,
    software_agent,
    study_reference,
)
from cds.report_text import conclusion, name_of, sentences
from cds.values import Assessment, Finding, ModelIdentity
from fhir_profiles.codes import (
    ASSESSMENT_SYSTEM,
    CREATE,
    HEMATOLOGY,
    MODEL_CARD,
    MODEL_SYSTEM,
    MORPHOLOGY_NARRATIVE,
    SOFTWARE,
)

_MODELS: dict[str, Any] = {
    "AuditEvent": AuditEvent,
    "Device": Device,
    "DiagnosticReport": DiagnosticReport,
    "DocumentReference": DocumentReference,
    "Media": Media,
    "Observation": Observation,
    "Provenance": Provenance,
    "Task": Task,
}
_FOR_CLIENTS = ("Observation", "DiagnosticReport")
# FHIR R4 dateTime: a time of day needs seconds and a zone.
_DATE_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?")


def report_bundle(
    assessment: Assessment,
    attachments: Attachments = NO_ATTACHMENTS,
    *,
    card: str | None = None,
    server: str | None = None,
    written_at: datetime | None = None,
    words: Words = ENGLISH,
) -> Resource:
    """The transaction bundle, as JSON.

    card: `DocumentReference/id` of the model card where the server has it (`cds.model_cards`); without it, the card of
    the attachments goes along. server: base address of the FHIR server, for its audit log. written_at: when, by default
    when the smear was read. words: of the language that people read it in. Raises ValueError when the study has no
    patient (the command line).
    """
    if assessment.study.patient is None:
        raise ValueError("a report needs a patient; this study was read without one")
    key = assessment.key
    device = full_url("Device", assessment.model.digest)
    differential = full_url("differential", key)
    impression = full_url("impression", key)
    report = full_url("DiagnosticReport", key)
    shared = _shared(assessment)
    finding = assessment.outcome if isinstance(assessment.outcome, Finding) else None
    results = [impression] if finding is None else [differential, impression]
    gallery = [
        (full_url(f"cell {number}", key), cell_media(assessment, picture, number, device, words))
        for number, picture in enumerate(attachments.pictures, start=1)
    ]

    entries: list[Resource] = [device_entry(assessment.model, words)]
    if card is None and attachments.model_card is not None:
        entries.append(model_card_entry(assessment.model, attachments.model_card))
        card = entries[-1]["fullUrl"]
    if finding is not None:
        entries.append(
            _entry(
                differential,
                differential_observation(assessment, finding.differential, shared, device, words),
                f"identifier={ASSESSMENT_SYSTEM}|{key}.differential",
            )
        )
    entries.append(
        _entry(
            impression,
            impression_observation(assessment, shared, device, differential if finding else None, words),
            f"identifier={ASSESSMENT_SYSTEM}|{key}.impression",
        )
    )
    for number, (url, media) in enumerate(gallery, start=1):
        entries.append(_entry(url, media, f"identifier={ASSESSMENT_SYSTEM}|{key}.cell.{number}"))
    entries += [
        _entry(
            report,
            _report(assessment, shared, results, gallery, words),
            f"identifier={ASSESSMENT_SYSTEM}|{key}",
        ),
        # R4's Provenance and AuditEvent have no identifier: a tag takes its place (docs/decisions).
        tagged_entry(
            _provenance(assessment, [report, *results, *(url for url, _ in gallery)], device, card, words)
        ),
        tagged_entry(images_read(assessment, device, words)),
        tagged_entry(
            report_written(
                assessment,
                report,
                device,
                server=server,
                written_at=written_at or assessment.read_at,
                words=words,
            )
        ),
    ]
    return transaction(entries)


def client_resources(assessment: Assessment, words: Words = ENGLISH) -> list[Resource]:
    """The Observations and, last, the DiagnosticReport as resources that a CDS client creates one by one.

    A client gives them ids of its own, so they refer to one another by business identifier (FHIR R4, References,
    "logical references"); Device and Provenance stay with us. Raises ValueError when the study has no patient.
    """
    entries = [e for e in report_bundle(assessment, words=words)["entry"] if "identifier" in e["resource"]]
    logical = {
        e["fullUrl"]: {"type": e["resource"]["resourceType"], "identifier": e["resource"]["identifier"][0]}
        for e in entries
    }
    wanted = [e["resource"] for e in entries if e["resource"]["resourceType"] in _FOR_CLIENTS]
    return [_with_references(resource, logical) for resource in wanted]


def _with_references(value: Any, logical: Mapping[str, Resource]) -> Any:
    if isinstance(value, list):
        return [_with_references(item, logical) for item in value]
    if not isinstance(value, dict):
        return value
    target = value.get("reference")
    if isinstance(target, str) and target in logical:
        rest = {name: item for name, item in value.items() if name != "reference"}
        return {**logical[target], **rest}
    return {name: _with_references(item, logical) for name, item in value.items()}


def report_reference(response: Resource) -> str:
    """`DiagnosticReport/id` from a transaction-response, whether it was created or had been there.

    Raises UpstreamInvalid when the response does not say.
    """
    return reference_in(response, "DiagnosticReport")


def reference_in(response: Resource, kind: str) -> str:
    """`Type/id` of the first resource of that type in a transaction-response. Raises UpstreamInvalid without one."""
    entries = response.get("entry")
    for entry in entries if isinstance(entries, list) else []:
        answer = entry.get("response") if isinstance(entry, dict) else None
        location = answer.get("location") if isinstance(answer, dict) else None
        if reference := location_reference(location, kind):
            return reference
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict) and resource.get("resourceType") == kind and "id" in resource:
            return f"{kind}/{resource['id']}"
    what = {"DiagnosticReport": "the report", "DocumentReference": "the model card"}.get(kind, f"the {kind}")
    raise UpstreamInvalid(f"the FHIR server does not say where it keeps {what}")


def _shared(assessment: Assessment) -> Resource:
    """What Observations and report have in common: for whom, and when."""
    started = assessment.study.started
    read_at = instant(assessment.read_at)
    shared: Resource = {
        "subject": {"reference": assessment.study.patient},
        "effectiveDateTime": started if started and _is_date_time(started) else read_at,
        "issued": read_at,
    }
    if assessment.study.encounter is not None:
        shared["encounter"] = {"reference": assessment.study.encounter}
    return shared


def _is_date_time(text: str) -> bool:
    if not _DATE_TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text if len(text) >= 10 else (text + "-01-01")[:10])
    except ValueError:
        return False
    return True


def device_entry(model: ModelIdentity, words: Words) -> Resource:
    """The entry that creates the model package's Device where it is absent."""
    criterion = f"identifier={MODEL_SYSTEM}|{model.digest}"
    return _entry(full_url("Device", model.digest), _device(model, words), criterion)


def model_card_entry(model: ModelIdentity, card: bytes) -> Resource:
    """The entry that creates the model card's DocumentReference where it is absent; it refers to the Device's entry."""
    document = model_card_document(model, card, full_url("Device", model.digest))
    return _entry(full_url("model card", model.digest), document, f"identifier={MODEL_SYSTEM}|{model.digest}")


def tagged_entry(resource: Resource) -> Resource:
    """The entry that creates a resource named by the first of its tags where it is absent."""
    tag = resource["meta"]["tag"][0]["code"]
    kind = resource["resourceType"]
    return _entry(full_url(kind, tag), resource, f"_tag={ASSESSMENT_SYSTEM}|{tag}")


def transaction(entries: Sequence[Resource]) -> Resource:
    return _as_json(Bundle, {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)})


def _device(model: ModelIdentity, words: Words) -> Resource:
    version = message("version of the model package")
    digest = message("sha256 of the model package")
    said = message(
        "Model package {model} {version}, sha256 {digest}.",
        model=model.name,
        version=model.version,
        digest=model.digest,
    )
    return {
        "resourceType": "Device",
        "meta": meta("model-package", asserted=False),
        "identifier": [{"system": MODEL_SYSTEM, "value": model.digest}],
        "status": "active",
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "type": concept(
            words, SOFTWARE, text=message("Software: artificial intelligence that reads blood smears")
        ),
        "version": [
            {"type": {"text": words.text(version)}, "value": model.version},
            {"type": {"text": words.text(digest)}, "value": model.digest},
        ],
        **narrative(words, paragraph(words.text(said))),
    }


def _report(
    assessment: Assessment,
    shared: Resource,
    results: Sequence[str],
    gallery: Sequence[tuple[str, Resource]],
    words: Words,
) -> Resource:
    """gallery: fullUrl and Media of each picture."""
    report: Resource = {
        "resourceType": "DiagnosticReport",
        "meta": meta("smear-report"),
        "identifier": [own_identifier(assessment)],
        "status": "preliminary",
        "category": [concept(words, HEMATOLOGY)],
        "code": concept(words, MORPHOLOGY_NARRATIVE, text=message("Blood smear, automated image analysis")),
        **shared,
        "imagingStudy": [study_reference(assessment, words)],
        "result": [{"reference": result} for result in results],
        "conclusion": conclusion(assessment, words),
        **narrative(words, *map(paragraph, sentences(assessment, words))),
    }
    if gallery:
        report["media"] = [
            {"comment": media["content"]["title"], "link": {"reference": url}} for url, media in gallery
        ]
    return report


def _provenance(
    assessment: Assessment, targets: Sequence[str], device: str, card: str | None, words: Words
) -> Resource:
    """Who made the results (the model package) from what (the study and each instance that was read)."""
    model = assessment.model
    instances = [{"identifier": dicom_identifier(uid)} for uid in assessment.instance_uids]
    said = message(
        "Made by the software {model} {version} from {instances} DICOM instances, without review by a human.",
        model=model.name,
        version=model.version,
        instances=len(instances),
    )
    sources = [study_reference(assessment, words), *instances]
    if card is not None:
        sources.append({"reference": card, "display": words.text(name_of(MODEL_CARD))})
    return {
        "resourceType": "Provenance",
        "meta": meta("result-provenance", tag=assessment.key),
        "target": [{"reference": target} for target in targets],
        "recorded": instant(assessment.read_at),
        "activity": concept(words, CREATE),
        "agent": [software_agent(device, words)],
        "entity": [{"role": "source", "what": source} for source in sources],
        **narrative(words, paragraph(words.text(said))),
    }


def _entry(url: str, resource: Resource, criterion: str) -> Resource:
    kind = resource["resourceType"]
    return {
        "fullUrl": url,
        "resource": checked(resource),
        "request": {"method": "POST", "url": kind, "ifNoneExist": criterion},
    }


def checked(resource: Resource) -> Resource:
    """The resource as fhir.resources writes it. Raises ValueError where it is none of its type."""
    return _as_json(_MODELS[resource["resourceType"]], resource)


def _as_json(model: Any, resource: Resource) -> Resource:
    """The resource as fhir.resources writes it, which refuses unknown elements and wrong types."""
    checked: Resource = model.model_validate(resource).model_dump(mode="json")
    return checked
