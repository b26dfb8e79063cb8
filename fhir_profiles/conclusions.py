"""Codes by which humans conclude a smear's report, and the pattern that each speaks for. Only read, never written.

Reports that we write hold none of the disorders' codes (see `fhir_profiles.codes`); what a pathologist signs may. A
code that is not here is no conclusion that we know: it is counted as such and never guessed at.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fhir_profiles.codes import NORMAL, PATTERN, PATTERNS, SNOMED_CT

ICD_10 = "http://hl7.org/fhir/sid/icd-10"
ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD_10_GM = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"

#: SNOMED CT, international edition, to the pattern. Acute promyelocytic leukemia is AML.
_SNOMED: Mapping[str, str] = {
    NORMAL.code: "healthy",
    "91857003": "ALL",
    "91861009": "AML",
    "110004001": "AML",
    "92814006": "CLL",
    "92818009": "CML",
}
#: ICD-10 category and subcategory; national modifications append digits for remission and relapse.
_ICD: Mapping[str, str] = {"C91.0": "ALL", "C92.0": "AML", "C92.4": "AML", "C91.1": "CLL", "C92.1": "CML"}


def concluded(concepts: Iterable[Any]) -> str | None:
    """The pattern that those CodeableConcepts speak for; None where they code none that we know, or several."""
    found = set()
    for concept in concepts:
        codings = concept.get("coding") if isinstance(concept, dict) else None
        for coding in codings if isinstance(codings, list) else []:
            if isinstance(coding, dict) and (pattern := _pattern(coding.get("system"), coding.get("code"))):
                found.add(pattern)
    return found.pop() if len(found) == 1 else None


def _pattern(system: object, code: object) -> str | None:
    if not isinstance(system, str) or not isinstance(code, str):
        return None
    if system == PATTERN:
        return code if code in PATTERNS else None
    if system == SNOMED_CT:
        return _SNOMED.get(code)
    if system in (ICD_10, ICD_10_CM, ICD_10_GM):
        return _ICD.get(code[:5])
    return None
