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

from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.device import Device
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.provenance import Provenance

from cds.errors import UpstreamInvalid
from cds.ports import Resource
from cds.report_observations import differential_observation, impression_observation
from cds.report_parts import (
    AI_META,
    concept,
    dicom_identifier,
    full_url,
    narrative,
    own_identifier,
    paragraph,
    study_reference,
)
from cds.report_text import conclusion, sentences
from cds.values import Assessment, Finding, ModelIdentity
from fhir_profiles.codes import (
    AI_ASSERTED,
    ASSEMBLER,
    ASSESSMENT_SYSTEM,
    CREATE,
    HEMATOLOGY,
    MODEL_SYSTEM,
    MORPHOLOGY_NARRATIVE,
    SOFTWARE,
)

_MODELS: dict[str, Any] = {
    "Device": Device,
    "Observation": Observation,
    "DiagnosticReport": DiagnosticReport,
    "Provenance": Provenance,
}
_FOR_CLIENTS = ("Observation", "DiagnosticReport")
# FHIR R4 dateTime: a time of day needs seconds and a zone.
_DATE_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?")
_LOCATION = re.compile(r"(?:^|/)(DiagnosticReport/[A-Za-z0-9\-.]{1,64})(?:/_history/[^/]+)?$")


def report_bundle(assessment: Assessment) -> Resource:
    """The transaction bundle, as JSON. Raises ValueError when the study has no patient (the command line)."""
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

    entries = [
        _entry(device, _device(assessment.model), f"identifier={MODEL_SYSTEM}|{assessment.model.digest}")
    ]
    if finding is not None:
        entries.append(
            _entry(
                differential,
                differential_observation(assessment, finding.differential, shared, device),
                f"identifier={ASSESSMENT_SYSTEM}|{key}.differential",
            )
        )
    entries += [
        _entry(
            impression,
            impression_observation(assessment, shared, device, differential if finding else None),
            f"identifier={ASSESSMENT_SYSTEM}|{key}.impression",
        ),
        _entry(report, _report(assessment, shared, results), f"identifier={ASSESSMENT_SYSTEM}|{key}"),
        # R4's Provenance has no identifier: a tag takes its place (docs/decisions).
        _entry(
            full_url("Provenance", key),
            _provenance(assessment, [report, *results], device),
            f"_tag={ASSESSMENT_SYSTEM}|{key}",
        ),
    ]
    return _as_json(Bundle, {"resourceType": "Bundle", "type": "transaction", "entry": entries})


def client_resources(assessment: Assessment) -> list[Resource]:
    """The Observations and, last, the DiagnosticReport as resources that a CDS client creates one by one.

    A client gives them ids of its own, so they refer to one another by business identifier (FHIR R4, References,
    "logical references"); Device and Provenance stay with us. Raises ValueError when the study has no patient.
    """
    entries = [e for e in report_bundle(assessment)["entry"] if "identifier" in e["resource"]]
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
    entries = response.get("entry")
    for entry in entries if isinstance(entries, list) else []:
        answer = entry.get("response") if isinstance(entry, dict) else None
        location = answer.get("location") if isinstance(answer, dict) else None
        if isinstance(location, str) and (match := _LOCATION.search(location)):
            return match[1]
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if (
            isinstance(resource, dict)
            and resource.get("resourceType") == "DiagnosticReport"
            and "id" in resource
        ):
            return f"DiagnosticReport/{resource['id']}"
    raise UpstreamInvalid("the FHIR server does not say where it keeps the report")


def _shared(assessment: Assessment) -> Resource:
    """What Observations and report have in common: for whom, and when."""
    started = assessment.study.started
    read_at = assessment.read_at.isoformat(timespec="milliseconds")
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


def _device(model: ModelIdentity) -> Resource:
    return {
        "resourceType": "Device",
        "identifier": [{"system": MODEL_SYSTEM, "value": model.digest}],
        "status": "active",
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "type": concept(SOFTWARE, text="Software: artificial intelligence that reads blood smears"),
        "version": [
            {"type": {"text": "version of the model package"}, "value": model.version},
            {"type": {"text": "sha256 of the model package"}, "value": model.digest},
        ],
        "text": narrative(paragraph(f"Model package {model.name} {model.version}, sha256 {model.digest}.")),
    }


def _report(assessment: Assessment, shared: Resource, results: Sequence[str]) -> Resource:
    return {
        "resourceType": "DiagnosticReport",
        "meta": AI_META,
        "identifier": [own_identifier(assessment)],
        "status": "preliminary",
        "category": [concept(HEMATOLOGY)],
        "code": concept(MORPHOLOGY_NARRATIVE, text="Blood smear, automated image analysis"),
        **shared,
        "imagingStudy": [study_reference(assessment)],
        "result": [{"reference": result} for result in results],
        "conclusion": conclusion(assessment),
        "text": narrative(*map(paragraph, sentences(assessment))),
    }


def _provenance(assessment: Assessment, targets: Sequence[str], device: str) -> Resource:
    """Who made the results (the model package) from what (the study and each instance that was read)."""
    model = assessment.model
    instances = [{"identifier": dicom_identifier(uid)} for uid in assessment.instance_uids]
    sources = [study_reference(assessment), *instances]
    return {
        "resourceType": "Provenance",
        "meta": {
            "security": [AI_ASSERTED.coding()],
            "tag": [{"system": ASSESSMENT_SYSTEM, "code": assessment.key}],
        },
        "target": [{"reference": target} for target in targets],
        "recorded": assessment.read_at.isoformat(timespec="milliseconds"),
        "activity": concept(CREATE),
        "agent": [{"type": concept(ASSEMBLER), "who": {"reference": device}}],
        "entity": [{"role": "source", "what": source} for source in sources],
        "text": narrative(
            paragraph(
                f"Made by the software {model.name} {model.version} from {len(instances)} DICOM instances, "
                "without review by a human."
            )
        ),
    }


def _entry(url: str, resource: Resource, criterion: str) -> Resource:
    kind = resource["resourceType"]
    return {
        "fullUrl": url,
        "resource": _as_json(_MODELS[kind], resource),
        "request": {"method": "POST", "url": kind, "ifNoneExist": criterion},
    }


def _as_json(model: Any, resource: Resource) -> Resource:
    """The resource as fhir.resources writes it, which refuses unknown elements and wrong types."""
    checked: Resource = model.model_validate(resource).model_dump(mode="json")
    return checked
