import pytest

from fhir_profiles.codes import PATTERN, PATTERNS
from fhir_profiles.conclusions import concluded

SCT, ICD = "http://snomed.info/sct", "http://hl7.org/fhir/sid/icd-10"


def concept(*codings):
    return {"coding": [{"system": system, "code": code} for system, code in codings]}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_our_own_codes_are_known(pattern):
    assert concluded([concept((PATTERN, pattern))]) == pattern


@pytest.mark.parametrize(
    ("system", "code", "pattern"),
    [
        (SCT, "91861009", "AML"),
        (SCT, "110004001", "AML"),
        (SCT, "17621005", "healthy"),
        (ICD, "C91.0", "ALL"),
        (f"{ICD}-cm", "C92.10", "CML"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "C91.10", "CLL"),
        (f"{ICD}-cm", "C92.41", "AML"),
        (ICD, "D64.9", None),
        ("urn:other", "C91.0", None),
        (PATTERN, "unheard of", None),
        (SCT, 91861009, None),
        (None, "AML", None),
    ],
)
def test_codes_of_terminologies(system, code, pattern):
    assert concluded([concept((system, code))]) == pattern


def test_several_codes_of_one_pattern_are_one_conclusion_and_of_two_are_none():
    assert concluded([concept((SCT, "91861009"), (ICD, "C92.0")), concept(("urn:x", "y"))]) == "AML"
    assert concluded([concept((SCT, "91861009")), concept((SCT, "91857003"))]) is None


@pytest.mark.parametrize("odd", [None, "x", 7, {}, {"text": "AML"}, {"coding": "x"}, {"coding": [None, 7]}])
def test_what_is_no_concept_concludes_nothing(odd):
    assert concluded([odd]) is None
