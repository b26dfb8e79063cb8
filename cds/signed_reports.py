"""What a clinician has signed about a study, as far as it says which disease (FHIR R4, DiagnosticReport).

A leukemia's own code is read here, where a person has put it; nothing of ours ever writes one.
"""

from typing import Any

from cds.deadline import Deadline
from cds.imaging_study import find_imaging_study, subject_of
from cds.ports import FhirServer, Resource
from fhir_profiles.codes import PATTERN, SNOMED_CT

_SIGNED = ("final", "amended", "corrected", "appended")
#: Code of a conclusion to what corpora call the disease.
_DISEASES = {
    (SNOMED_CT, "91861009"): "AML",
    (SNOMED_CT, "91857003"): "ALL",
    (SNOMED_CT, "92814006"): "CLL",
    (SNOMED_CT, "92818009"): "CML",
    (SNOMED_CT, "17621005"): "none",
    **{(PATTERN, name): name for name in ("AML", "ALL", "CLL", "CML")},
    (PATTERN, "healthy"): "none",
}


def signed_disease(fhir: FhirServer, study_uid: str, deadline: Deadline | None = None) -> str | None:
    """ALL, AML, CLL, CML or none (no leukemia); None without a signed conclusion, or where conclusions differ."""
    study = find_imaging_study(fhir, study_uid, deadline)
    if study is None:
        return None
    reference = f"ImagingStudy/{study['id']}"
    reports = fhir.search("DiagnosticReport", {"patient": subject_of(study)}, deadline)
    found = {
        disease
        for report in reports
        if report.get("status") in _SIGNED and _is_about(report, reference)
        for disease in _diseases(report)
    }
    return found.pop() if len(found) == 1 else None


def _is_about(report: Resource, imaging_study: str) -> bool:
    references = [str(r.get("reference", "")) for r in _dicts(report.get("imagingStudy"))]
    return any("/".join(r.partition("/_history/")[0].split("/")[-2:]) == imaging_study for r in references)


def _diseases(report: Resource) -> set[str]:
    codings = [c for one in _dicts(report.get("conclusionCode")) for c in _dicts(one.get("coding"))]
    keys = [(str(c.get("system")), str(c.get("code"))) for c in codings]
    return {_DISEASES[key] for key in keys if key in _DISEASES}


def _dicts(value: Any) -> list[Resource]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
