"""What a clinician has signed about a study, as far as it says which disease (FHIR R4, DiagnosticReport).

A leukemia's own code is read here, where a person has put it; nothing of ours ever writes one.
"""

from typing import Any

from cds.deadline import Deadline
from cds.imaging_study import find_imaging_study, subject_of
from cds.ports import FhirServer, Resource
from cds.signed_reports import SIGNED
from fhir_profiles.conclusions import concluded

#: A signed conclusion to what corpora call the disease; whatever else is concluded is none.
_DISEASES = {"ALL": "ALL", "AML": "AML", "CLL": "CLL", "CML": "CML", "healthy": "none"}


def signed_disease(fhir: FhirServer, study_uid: str, deadline: Deadline | None = None) -> str | None:
    """ALL, AML, CLL, CML or none (no leukemia); None without a signed conclusion, or where conclusions differ."""
    study = find_imaging_study(fhir, study_uid, deadline)
    if study is None:
        return None
    reference = f"ImagingStudy/{study['id']}"
    reports = fhir.search("DiagnosticReport", {"patient": subject_of(study)}, deadline)
    found = {
        _DISEASES.get(concluded(_dicts(report.get("conclusionCode"))) or "")
        for report in reports
        if report.get("status") in SIGNED and _is_about(report, reference)
    }
    return found.pop() if len(found) == 1 else None


def _is_about(report: Resource, imaging_study: str) -> bool:
    references = [str(r.get("reference", "")) for r in _dicts(report.get("imagingStudy"))]
    return any("/".join(r.partition("/_history/")[0].split("/")[-2:]) == imaging_study for r in references)


def _dicts(value: Any) -> list[Resource]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
