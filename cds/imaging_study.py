"""The ImagingStudy of a study that we have stored ourselves (FHIR R4, ImagingStudy)."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from cds.deadline import Deadline
from cds.errors import UpstreamInvalid
from cds.identifiers import NAMESPACE, is_reference
from cds.ports import FhirServer, Resource
from cds.values import ImageRef
from fhir_profiles.codes import DICOM_UID_SYSTEM

#: Beyond it an ImagingStudy says how many instances there are, not which.
MAX_LISTED_INSTANCES = 200

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_MODALITY = {"system": _DCM, "code": "GM", "display": "General Microscopy"}
_CONNECTION_TYPE = {
    "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
    "code": "dicom-wado-rs",
}
_ENDPOINT_IDENTIFIER = "urn:leukocds:endpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """The order that a study answers. accession_system: of the number; empty where it has none."""

    accession_number: str
    accession_system: str = ""
    service_request: str | None = None
    encounter: str | None = None


def find_imaging_study(fhir: FhirServer, study_uid: str, deadline: Deadline | None = None) -> Resource | None:
    """The ImagingStudy with that Study Instance UID."""
    found = fhir.search("ImagingStudy", {"identifier": f"{DICOM_UID_SYSTEM}|urn:oid:{study_uid}"}, deadline)
    studies = [r for r in found if r.get("resourceType") == "ImagingStudy"]
    if len(studies) > 1:
        raise UpstreamInvalid(f"the FHIR server holds {len(studies)} ImagingStudies of one study")
    return studies[0] if studies else None


def subject_of(imaging_study: Resource) -> str:
    """`Patient/…` of an ImagingStudy, also where the server writes references absolute."""
    reference = str((imaging_study.get("subject") or {}).get("reference", ""))
    return "/".join(reference.split("/_history/")[0].split("/")[-2:])


def register_study(
    fhir: FhirServer,
    known: Resource | None,
    *,
    study_uid: str,
    patient: str,
    instances: Sequence[ImageRef],
    started: str | None,
    archive_url: str | None,
    order: Ordered | None = None,
    deadline: Deadline | None = None,
) -> str:
    """Create the ImagingStudy, or bring the `known` one up to date; return its reference.

    instances: all of the study, sorted by series. archive_url: address for an Endpoint; None: no Endpoint. An update
    names the version that it rests on (FHIR R4, http.html#concurrency): where another has changed the resource since
    it was read, the server refuses, UpstreamUnavailable is raised, and who begins anew with a fresh `known` succeeds.
    """
    series = _series(instances)
    entries: list[Resource] = []
    if known is not None:
        series = _merged(known.get("series") or [], series)
        if _extent(known.get("series") or []) == _extent(series):
            return f"ImagingStudy/{known['id']}"
        study = {k: v for k, v in known.items() if k != "meta"} | _counts(series)
        request = {"method": "PUT", "url": f"ImagingStudy/{known['id']}"}
        if version := (known.get("meta") or {}).get("versionId"):
            request["ifMatch"] = f'W/"{version}"'
        key = uuid.uuid5(NAMESPACE, "ImagingStudy " + study_uid)
        entries.append({"fullUrl": f"urn:uuid:{key}", "resource": study, "request": request})
    else:
        study = _imaging_study(study_uid, patient, series, started, order)
        if archive_url:
            endpoint = _endpoint_entry(archive_url)
            study["endpoint"] = [{"reference": endpoint["fullUrl"]}]
            entries.append(endpoint)
        entries.insert(
            0,
            {
                "fullUrl": f"urn:uuid:{uuid.uuid5(NAMESPACE, 'ImagingStudy ' + study_uid)}",
                "resource": study,
                "request": {
                    "method": "POST",
                    "url": "ImagingStudy",
                    "ifNoneExist": f"ImagingStudy?identifier={DICOM_UID_SYSTEM}|urn:oid:{study_uid}",
                },
            },
        )
    response = fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries}, deadline)
    return _location(response) or _found(fhir, study_uid, deadline)


def _imaging_study(
    study_uid: str, patient: str, series: list[Resource], started: str | None, order: Ordered | None
) -> Resource:
    study: Resource = {
        "resourceType": "ImagingStudy",
        "identifier": [{"system": DICOM_UID_SYSTEM, "value": f"urn:oid:{study_uid}"}],
        "status": "available",
        "modality": [_MODALITY],
        "subject": {"reference": patient},
        "description": "Peripheral blood smear",
    }
    if started:
        study["started"] = started
    if order is not None:
        study["identifier"].append(_accession(order))
        if order.service_request:
            study["basedOn"] = [{"reference": order.service_request}]
        if order.encounter:
            study["encounter"] = {"reference": order.encounter}
    return study | _counts(series)


def _accession(order: Ordered) -> Resource:
    """FHIR R4, ImagingStudy.identifier: the accession number has the type ACSN."""
    coding = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}
    identifier: Resource = {"type": {"coding": [coding]}, "value": order.accession_number}
    return identifier | ({"system": order.accession_system} if order.accession_system else {})


def _counts(series: list[Resource]) -> Resource:
    return {
        "numberOfSeries": len(series),
        "numberOfInstances": sum(s.get("numberOfInstances", 0) for s in series),
        "series": series,
    }


def _series(instances: Sequence[ImageRef]) -> list[Resource]:
    listed = len(instances) <= MAX_LISTED_INSTANCES
    found: list[Resource] = []
    for number, (uid, group) in enumerate(groupby(instances, key=lambda r: r.series_uid), start=1):
        members = list(group)
        series: Resource = {
            "uid": uid,
            "number": number,
            "modality": _MODALITY,
            "numberOfInstances": len(members),
        }
        if listed:
            series["instance"] = [_instance(ref) for ref in members]
        found.append(series)
    return found


def _instance(ref: ImageRef) -> Resource:
    instance: Resource = {"uid": ref.sop_instance_uid}
    if ref.sop_class_uid:
        instance["sopClass"] = {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{ref.sop_class_uid}"}
    return instance


def _merged(old: list[Resource], new: list[Resource]) -> list[Resource]:
    """The server's series, each brought up to date with ours of the same UID; ours that it lacks follow."""
    ours = {s["uid"]: s for s in new}
    kept = [{**s, **_extent_of(ours.pop(s.get("uid"), s))} for s in old]
    return kept + list(ours.values())


def _extent_of(series: Resource) -> dict[str, Any]:
    return {k: series[k] for k in ("numberOfInstances", "instance") if k in series}


def _extent(series: list[Resource]) -> list[tuple[Any, ...]]:
    return sorted(
        (
            str(s.get("uid")),
            s.get("numberOfInstances"),
            *sorted(str(i.get("uid")) for i in s.get("instance") or []),
        )
        for s in series
    )


def _endpoint_entry(archive_url: str) -> Resource:
    key = str(uuid.uuid5(NAMESPACE, f"endpoint\n{archive_url}"))
    return {
        "fullUrl": f"urn:uuid:{key}",
        "resource": {
            "resourceType": "Endpoint",
            "identifier": [{"system": _ENDPOINT_IDENTIFIER, "value": key}],
            "status": "active",
            "connectionType": _CONNECTION_TYPE,
            "payloadType": [{"text": "DICOM"}],
            "payloadMimeType": ["application/dicom"],
            "address": archive_url,
        },
        "request": {
            "method": "POST",
            "url": "Endpoint",
            "ifNoneExist": f"Endpoint?identifier={_ENDPOINT_IDENTIFIER}|{key}",
        },
    }


def _location(response: Resource) -> str | None:
    """`ImagingStudy/id` of the first entry, where the server says it."""
    first = (response.get("entry") or [{}])[0]
    location = str((first.get("response") or {}).get("location", "")).partition("/_history/")[0]
    reference = "/".join(location.split("/")[-2:])
    return reference if is_reference(reference) and reference.startswith("ImagingStudy/") else None


def _found(fhir: FhirServer, study_uid: str, deadline: Deadline | None) -> str:
    study = find_imaging_study(fhir, study_uid, deadline)
    if study is None:
        raise UpstreamInvalid("the FHIR server took the ImagingStudy and does not find it")
    return f"ImagingStudy/{study['id']}"
