"""AuditEvents of what was read and written, in the pattern of IHE Basic Audit Log Patterns (BALP 1.1).

They are the software's account of itself; servers and archives keep their own logs.
"""

from datetime import datetime
from typing import Literal

from cds.language import Message, Words, message
from cds.ports import Resource
from cds.report_parts import concept, instant, meta, narrative, paragraph, study_reference
from cds.values import Assessment
from fhir_profiles.codes import (
    DATA_DESTINATION,
    DATA_SOURCE,
    DOMAIN_RESOURCE,
    PATIENT_ROLE,
    PERSON,
    REST,
    REST_CREATE,
    REST_READ,
    REST_UPDATE,
    SYSTEM_OBJECT,
    Code,
)

#: AuditEvent.agent.network.type: a URI (FHIR R4, network-type).
_URI = "5"


def images_read(assessment: Assessment, device: str, words: Words) -> Resource:
    """That the study's images were read (BALP, Patient Read). device: reference of the model package's Device."""
    study = study_reference(assessment, words)
    entity = _data(study) | {
        "detail": [
            {
                "type": words.text(message("DICOM instances")),
                "valueString": str(len(assessment.instance_uids)),
            }
        ]
    }
    return _event(
        assessment,
        "read-audit",
        f"{assessment.key}.images-read",
        (REST_READ, "R"),
        client=_client(device, DATA_DESTINATION, words),
        server=_server(message("Image archive (DICOMweb)"), assessment.study.archive_url, DATA_SOURCE, words),
        recorded=assessment.read_at,
        data=entity,
        text=message(
            "{instances} DICOM instances of a blood-smear study were read.",
            instances=len(assessment.instance_uids),
        ),
        words=words,
    )


def report_written(
    assessment: Assessment,
    report: str,
    device: str,
    *,
    server: str | None,
    written_at: datetime,
    words: Words,
) -> Resource:
    """That the report was created (BALP, Patient Create). report, device: references. server: base address."""
    return _event(
        assessment,
        "write-audit",
        f"{assessment.key}.report-written",
        (REST_CREATE, "C"),
        client=_client(device, DATA_SOURCE, words),
        server=_server(message("FHIR server"), server, DATA_DESTINATION, words),
        recorded=written_at,
        data=_data({"reference": report}),
        text=message("The preliminary report of a blood smear was created, with all that belongs to it."),
        words=words,
    )


def report_superseded(
    assessment: Assessment,
    report: str,
    tag: str,
    device: str,
    *,
    server: str,
    at: datetime,
    words: Words,
) -> Resource:
    """That an older report was cancelled for a newer one (BALP, Patient Update). report: the older one's reference."""
    return _event(
        assessment,
        "write-audit",
        tag,
        (REST_UPDATE, "U"),
        client=_client(device, DATA_SOURCE, words),
        server=_server(message("FHIR server"), server, DATA_DESTINATION, words),
        recorded=at,
        data=_data({"reference": report}),
        text=message(
            "An older preliminary report of a blood smear was cancelled: a newer one takes its place."
        ),
        words=words,
    )


def _event(
    assessment: Assessment,
    of: str,
    tag: str,
    interaction: tuple[Code, Literal["C", "R", "U"]],
    *,
    client: Resource,
    server: Resource,
    recorded: datetime,
    data: Resource,
    text: Message,
    words: Words,
) -> Resource:
    subtype, action = interaction
    return {
        "resourceType": "AuditEvent",
        "meta": meta(of, asserted=False, tag=tag),
        "type": REST.coding(),
        "subtype": [subtype.coding()],
        "action": action,
        "recorded": instant(recorded),
        "outcome": "0",
        "agent": [client, server],
        "source": {"observer": client["who"]},
        "entity": [
            data,
            {
                "what": {"reference": assessment.study.patient},
                "type": PERSON.coding(),
                "role": PATIENT_ROLE.coding(),
            },
        ],
        **narrative(words, paragraph(words.text(text))),
    }


def _client(device: str, role: Code, words: Words) -> Resource:
    return {"type": concept(words, role), "who": {"reference": device}, "requestor": True}


def _server(display: Message, address: str | None, role: Code, words: Words) -> Resource:
    agent: Resource = {
        "type": concept(words, role),
        "who": {"display": words.text(display)},
        "requestor": False,
    }
    return agent | ({"network": {"address": address, "type": _URI}} if address else {})


def _data(what: Resource) -> Resource:
    return {"what": what, "type": SYSTEM_OBJECT.coding(), "role": DOMAIN_RESOURCE.coding()}
