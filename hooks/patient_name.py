"""Whose smear it is, in words, as the FHIR server has it."""

from dataclasses import dataclass, field
from typing import Any

from cds.values import Assessment, ReportState
from hooks.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientName:
    """Both empty where they are not known."""

    name: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)
    #: Not known yet, but it will be once the report is written.
    soon: bool = False


def patient_name(context: Context, assessment: Assessment) -> PatientName:
    """Raises UpstreamError where the FHIR server does not say."""
    reference, fhir = assessment.study.patient, context.pages.fhir
    state, report = context.store.report_state(assessment.key)
    # Once the report is written, that server has confirmed whose study this is.
    if reference is None or fhir is None or report is None:
        return PatientName(soon=fhir is not None and state is ReportState.PENDING)
    resource = fhir.read(reference)
    return PatientName(name=_name(resource), birth_date=str(resource.get("birthDate", "")))


def _name(patient: dict[str, Any]) -> str:
    """As FHIR's HumanName says it: its text, or given names and family name."""
    names = patient.get("name")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], dict) else {}
    listed = name.get("given")
    given = listed if isinstance(listed, list) else []
    return str(name.get("text") or " ".join(map(str, [*given, name.get("family", "")]))).strip()[:200]
