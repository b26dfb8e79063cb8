"""`$validate` on a real server: our profiles installed, errors told from codes that the server cannot know."""

from dataclasses import dataclass, field
from typing import Any

import requests

from cds.fhir_client import HttpFhirServer
from fhir_profiles.codes import AI_ASSERTED
from fhir_profiles.definitions import install_bundle

#: Terminologies that HAPI does not bring and nobody may hand on.
FOREIGN = ("http://loinc.org", "http://snomed.info/sct", "http://dicom.nema.org/resources/ontology/DCM")


@dataclass
class Verdict:
    """What the server says of one resource.

    unknown: warnings about codes of FOREIGN terminologies. about_language: anything about displays or the language of
    the narrative.
    """

    errors: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    about_language: list[str] = field(default_factory=list)


def install_profiles(fhir: HttpFhirServer) -> None:
    """Our definitions, and AIAST: it came to HL7 Terminology after the code systems that FHIR 4.0.1 has.

    HAPI looks into a stored code system only if that calls itself complete; no test uses its other codes.
    """
    newer = {
        "resourceType": "CodeSystem",
        "id": "v3-observation-value-newer",
        "url": AI_ASSERTED.system,
        "version": "4.0.0",
        "name": "ObservationValue",
        "status": "active",
        "experimental": False,
        "content": "complete",
        "caseSensitive": True,
        "concept": [{"code": AI_ASSERTED.code, "display": AI_ASSERTED.display}],
    }
    bundle = install_bundle()
    entry = {"resource": newer, "request": {"method": "PUT", "url": f"CodeSystem/{newer['id']}"}}
    fhir.transaction({**bundle, "entry": [*bundle["entry"], entry]})


def validate(base_url: str, resource: dict[str, Any]) -> Verdict:
    """The verdict by the resource's own type and every profile that it claims."""
    url = f"{base_url}/{resource['resourceType']}/$validate"
    answer = requests.post(url, json=resource, timeout=120).json()
    assert answer["resourceType"] == "OperationOutcome", answer
    verdict = Verdict()
    for issue in answer["issue"]:
        said = f"{resource['resourceType']}: {issue['diagnostics']} ({issue.get('location', [''])[0]})"
        if issue["severity"] in ("error", "fatal"):
            verdict.errors.append(said)
        elif any(system in said for system in FOREIGN) and "unknown" in said:
            verdict.unknown.append(said)
        elif "language" in said.lower() or "display" in said.lower():
            verdict.about_language.append(said)
    return verdict


def belongings(fhir: HttpFhirServer, patient: str) -> list[dict[str, Any]]:
    """Everything that we wrote about a patient, as the server holds it; `Patient/…`."""
    found = [
        resource
        for kind in ("Observation", "DiagnosticReport", "Media", "AuditEvent", "Task")
        for resource in fhir.search(kind, {"patient": patient})
    ]
    reports = [r for r in found if r["resourceType"] == "DiagnosticReport"]
    made: dict[str, dict[str, Any]] = {}
    for report in reports:
        for provenance in fhir.search("Provenance", {"target": f"DiagnosticReport/{report['id']}"}):
            made[f"Provenance/{provenance['id']}"] = provenance
    for device in {o["device"]["reference"] for o in found if "device" in o}:
        made[device] = fhir.read(device)
        for card in fhir.search("DocumentReference", {"subject": device}):
            made[f"DocumentReference/{card['id']}"] = card
    return [*found, *made.values()]
