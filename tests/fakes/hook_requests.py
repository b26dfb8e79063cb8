"""Hook requests as an EHR sends them, and the rule that nothing we send is null or empty."""

from collections.abc import Iterator
from typing import Any

SERVICE = "/cds-services/leukemia-smear"
INSTANCE = "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
TOKEN = "some-opaque-fhir-access-token"


def imaging_study(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Study UID 1.2.826.0.1.<number>, patient p-1, two instances, no endpoint. A change to None removes the element."""
    resource = {
        "resourceType": "ImagingStudy",
        "id": f"study-{number}",
        "status": "available",
        "subject": {"reference": "Patient/p-1"},
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:1.2.826.0.1.{number}"}],
        "modality": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "GM"}],
        "numberOfInstances": 2,
        "started": f"2026-03-{number:02}",
    }
    return {k: v for k, v in {**resource, **changes}.items() if v is not None}


def bundle(*resources: dict[str, Any], **changes: Any) -> dict[str, Any]:
    entries = [{"resource": resource} for resource in resources]
    return {"resourceType": "Bundle", "type": "searchset", "entry": entries, **changes}


def patient(identifier: str = "p-1") -> dict[str, Any]:
    return {"resourceType": "Patient", "id": identifier}


def hook_request(
    hook: str = "patient-view",
    *,
    fhir_server: str | None = None,
    prefetch: dict[str, Any] | None = None,
    **context: Any,
) -> dict[str, Any]:
    """Valid for every hook; `context` adds to the context or replaces it in part."""
    by_hook: dict[str, dict[str, Any]] = {
        "patient-view": {"userId": "Practitioner/d-1"},
        "encounter-start": {"userId": "Practitioner/d-1", "encounterId": "e-1"},
        "order-select": {
            "userId": "Practitioner/d-1",
            "selections": ["ServiceRequest/draft-1"],
            "draftOrders": bundle({"resourceType": "ServiceRequest", "id": "draft-1"}),
        },
        "order-sign": {
            "userId": "Practitioner/d-1",
            "draftOrders": bundle({"resourceType": "ServiceRequest", "id": "draft-1"}),
        },
        "org.leukocds.imagingstudy-available": {"imagingStudies": ["ImagingStudy/study-1"]},
    }
    body: dict[str, Any] = {
        "hook": hook,
        "hookInstance": INSTANCE,
        "context": {"patientId": "p-1", **by_hook.get(hook, {}), **context},
    }
    if fhir_server is not None:
        body["fhirServer"] = fhir_server
        body["fhirAuthorization"] = {
            "access_token": TOKEN,
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": "user/*.read",
            "subject": "cds-service",
        }
    if prefetch is not None:
        body["prefetch"] = prefetch
    return body


def with_studies(*studies: dict[str, Any], hook: str = "patient-view", **context: Any) -> dict[str, Any]:
    """A request whose prefetch holds everything that the cards need."""
    prefetch = {"patient": patient(), "studies": bundle(*studies), "reports": bundle()}
    return hook_request(hook, prefetch=prefetch, **context)


def emptiness(value: Any, path: str = "") -> Iterator[str]:
    """Where `value` holds null, an empty string, list or object (CDS Hooks 2.0, "Use of JSON")."""
    if value in (None, "", [], {}) and path not in (".cards", ".services"):
        yield path
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        yield from emptiness(child, f"{path}.{key}")
