"""What the demo takes for "as expected": the card and the report must both say it."""

from typing import Any

import pytest

from fhir_profiles.codes import LOINC, PATTERN
from hooks.demo.patients import NOT_ANALYSED, PATIENTS, Patient
from hooks.demo.round_trip import RoundTrip

HEALTHY, ALL, AML, CLL, CML, UNREADABLE = PATIENTS


def card(topic: str, summary: str = "") -> dict[str, Any]:
    return {"summary": summary, "source": {"topic": {"code": topic}}}


def impression(**value: Any) -> dict[str, Any]:
    return {"code": {"coding": [{"system": LOINC, "code": "5909-7"}]}, **value}


def pattern(code: str) -> dict[str, Any]:
    return impression(valueCodeableConcept={"coding": [{"system": PATTERN, "code": code}]})


def trip(patient: Patient, cards: list[dict[str, Any]], *results: dict[str, Any]) -> RoundTrip:
    report = {"id": "r", "resourceType": "DiagnosticReport"} if results else None
    return RoundTrip(patient=patient, cards=cards, report=report, results=list(results))


def test_the_five_classes_and_one_unreadable_smear() -> None:
    assert [p.expected for p in PATIENTS] == ["healthy", "ALL", "AML", "CLL", "CML", NOT_ANALYSED]
    assert {p.prefetch for p in PATIENTS} == {True, False}
    assert {p.endpoint for p in PATIENTS} == {None, "study", "series"}


@pytest.mark.parametrize(
    ("patient", "summary", "code"),
    [
        (HEALTHY, "No leukemia pattern in blood smear: 0 % blasts", "healthy"),
        (ALL, "ALL pattern in blood smear: 60 % blasts", "ALL"),
        (CML, "CML pattern in blood smear: 30 % immature granulocytes", "CML"),
    ],
)
def test_card_and_report_that_agree(patient: Patient, summary: str, code: str) -> None:
    done = trip(patient, [card("smear-result", summary)], pattern(code))
    assert (done.on_card, done.in_report) == (patient.expected, patient.expected)
    assert done.as_expected
    assert done.over


def test_an_unreadable_smear_is_expected_not_to_be_analysed() -> None:
    assert trip(UNREADABLE, [card("smear-not-analysed")], impression(dataAbsentReason={})).as_expected


@pytest.mark.parametrize(
    "wrong",
    [
        trip(AML, [card("smear-queued")]),
        trip(AML, [card("smear-result", "AML pattern in blood smear")]),
        trip(AML, [card("smear-result", "AML pattern in blood smear")], pattern("ALL")),
        trip(AML, [card("smear-result", "ALL pattern in blood smear")], pattern("AML")),
        trip(AML, [card("smear-result", "Blood smear indeterminate: 9 % blasts")], pattern("indeterminate")),
        trip(AML, [card("smear-not-analysed")], impression(dataAbsentReason={})),
        trip(AML, [], pattern("AML")),
        trip(AML, [card("smear-result", "AML pattern in blood smear")], {"code": {}}),
    ],
)
def test_anything_else_is_not_as_expected(wrong: RoundTrip) -> None:
    assert not wrong.as_expected


def test_what_the_service_gave_up_is_over_without_a_report() -> None:
    assert trip(AML, [card("smear-failed")]).over
    assert not trip(AML, [card("smear-result", "AML pattern in blood smear")]).over
