"""A signature to the FHIR server: the report is read, and updated unless somebody changed it in between."""

from cds.contention import meeting_others
from cds.deadline import Deadline
from cds.language import ENGLISH, Words
from cds.ports import FhirServer
from cds.review import Signature
from cds.signed_report import holds_signature, signed_bundle
from cds.values import Assessment
from fhir_profiles.codes import ASSESSMENT_SYSTEM


def write_signature(
    assessment: Assessment,
    signature: Signature,
    report_reference: str,
    fhir: FhirServer,
    deadline: Deadline | None = None,
    words: Words = ENGLISH,
) -> bool:
    """Make the report the clinician's; False when it was already (a repeated attempt).

    Where others change the report at the same moment it is read again, and signed upon what they wrote. Raises
    UpstreamError.
    """
    for attempt in meeting_others():
        with attempt:
            return _write(assessment, signature, report_reference, fhir, deadline, words)
    raise AssertionError("the last attempt raises")


def _write(
    assessment: Assessment,
    signature: Signature,
    report_reference: str,
    fhir: FhirServer,
    deadline: Deadline | None,
    words: Words,
) -> bool:
    report = fhir.read(report_reference, deadline)
    if holds_signature(report, signature):
        return False
    machine = {}
    for part in ("differential", "impression"):
        found = fhir.search(
            "Observation", {"identifier": f"{ASSESSMENT_SYSTEM}|{assessment.key}.{part}"}, deadline
        )
        if found:
            machine[part] = f"Observation/{found[0]['id']}"
    fhir.transaction(signed_bundle(assessment, signature, report, machine, words), deadline)
    return True
