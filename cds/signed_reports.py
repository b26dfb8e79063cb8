"""What became of a report that we wrote: read again from the FHIR server, and its conclusion where a human signed it.

We write `preliminary`, and `cancelled` once a newer reading takes its place (FHIR R4, DiagnosticReport.status), so
whatever is signed was signed by somebody else.
"""

from typing import Any

from cds.agreement import Fate, Looked
from cds.deadline import Deadline
from cds.errors import EndpointNotAllowed, UpstreamNotFound
from cds.ports import FhirServer, Resource
from fhir_profiles.codes import ASSESSMENT_SYSTEM, profile
from fhir_profiles.conclusions import concluded

SIGNED = ("final", "amended", "corrected", "appended")
WITHDRAWN = ("entered-in-error", "cancelled")
_MAX_RESULTS = 10


def look_at(reference: str, key: str, fhir: FhirServer, deadline: Deadline | None = None) -> Looked:
    """State of the report of that assessment. reference: `DiagnosticReport/id` as it was written.

    The conclusion is what `conclusionCode` codes or, where it codes nothing that we know, the value of the impression
    if that was signed too: one that still is `preliminary` is ours and nobody's agreement. Raises UpstreamError.
    """
    try:
        report = fhir.read(reference, deadline)
    except UpstreamNotFound:
        return Looked(fate=Fate.DELETED)
    if not _is_ours(report, key):
        return Looked(fate=Fate.DELETED, status=_status(report))
    status = _status(report)
    if status == "cancelled" and _is_superseded(report):
        return Looked(fate=Fate.SUPERSEDED, status=status)
    if status in WITHDRAWN:
        return Looked(fate=Fate.WITHDRAWN, status=status)
    if status not in SIGNED:
        return Looked(fate=Fate.OPEN, status=status)
    codes = report.get("conclusionCode")
    conclusion = concluded(codes if isinstance(codes, list) else [])
    if conclusion is None:
        conclusion = _signed_impression(report, key, fhir, deadline)
    return Looked(fate=Fate.SIGNED, status=status, conclusion=conclusion)


def _signed_impression(report: Resource, key: str, fhir: FhirServer, deadline: Deadline | None) -> str | None:
    results = report.get("result")
    for result in (results if isinstance(results, list) else [])[:_MAX_RESULTS]:
        reference = result.get("reference") if isinstance(result, dict) else None
        if not isinstance(reference, str):
            continue
        try:
            observation = fhir.read(reference, deadline)
        except (UpstreamNotFound, EndpointNotAllowed):
            continue  # gone, contained or on another server: no value of ours
        if _is_ours(observation, f"{key}.impression"):
            if _status(observation) in SIGNED:
                return concluded([observation.get("valueCodeableConcept")])
            return None
    return None


def _is_superseded(report: Resource) -> bool:
    """Whether it was us who cancelled it: then it names the newer report."""
    extensions: Any = report.get("extension")
    return any(
        isinstance(e, dict) and e.get("url") == profile("superseded-by")
        for e in (extensions if isinstance(extensions, list) else [])
    )


def _is_ours(resource: Resource, value: str) -> bool:
    identifiers: Any = resource.get("identifier")
    return any(
        isinstance(i, dict) and (i.get("system"), i.get("value")) == (ASSESSMENT_SYSTEM, value)
        for i in (identifiers if isinstance(identifiers, list) else [])
    )


def _status(resource: Resource) -> str | None:
    status = resource.get("status")
    return status[:32] if isinstance(status, str) else None
