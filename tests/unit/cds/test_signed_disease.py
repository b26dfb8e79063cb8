"""Which disease a person has signed."""

from typing import Any

import pytest

from cds.fhir_client import HttpFhirServer
from cds.signed_disease import signed_disease
from fhir_profiles.codes import PATTERN, SNOMED_CT
from tests.fakes.fhir_server import FakeFhirServer

STUDY = {
    "resourceType": "ImagingStudy",
    "id": "s",
    "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:2.25.7"}],
    "subject": {"reference": "Patient/p-1"},
}


def report(
    rid: str, status: str, code: str, system: str = SNOMED_CT, study: str = "ImagingStudy/s"
) -> dict[str, Any]:
    return {
        "resourceType": "DiagnosticReport",
        "id": rid,
        "status": status,
        "subject": {"reference": "Patient/p-1"},
        "imagingStudy": [{"reference": study}],
        "conclusionCode": [{"coding": [{"system": system, "code": code}]}],
    }


@pytest.mark.parametrize(
    ("reports", "disease"),
    [
        ([report("1", "final", "91861009")], "AML"),
        ([report("1", "amended", "CLL", PATTERN)], "CLL"),
        ([report("1", "final", "17621005")], "none"),
        ([report("1", "preliminary", "91861009")], None),
        ([report("1", "final", "91861009", study="ImagingStudy/other")], None),
        ([report("1", "final", "91861009"), report("2", "final", "92818009")], None),
        ([report("1", "final", "12345")], None),
        ([], None),
    ],
)
def test_only_a_signed_conclusion_counts(reports: list[dict[str, Any]], disease: str | None) -> None:
    with FakeFhirServer(STUDY, *reports) as fake, HttpFhirServer(fake.url) as fhir:
        assert signed_disease(fhir, "2.25.7") == disease


def test_an_unknown_study_says_nothing() -> None:
    with FakeFhirServer() as fake, HttpFhirServer(fake.url) as fhir:
        assert signed_disease(fhir, "2.25.7") is None
