"""What the demo takes for "as expected": the card and the report must both say it."""

from typing import Any

import pytest

from fhir_profiles.codes import LOINC, PATTERN
from hooks.demo.ehr import EhrError, HookRefused
from hooks.demo.hospital import Hospital
from hooks.demo.patients import NOT_ANALYSED, PATIENTS, Patient
from hooks.demo.round_trip import RoundTrip, follow, send_first_hooks, topic

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


class Answers:
    """An EHR whose service answers each hook with the next of these."""

    def __init__(self, *answers: list[dict[str, Any]] | Exception) -> None:
        self._answers = list(answers)

    def open_chart(self, patient: Patient) -> list[dict[str, Any]]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def told_by(*answers: list[dict[str, Any]] | Exception, timeout_s: float = 5) -> RoundTrip:
    """One round trip in a hospital that holds the report already."""
    hospital = Hospital()
    hospital.stop()
    hospital.fhir.put({"resourceType": "Patient", "id": AML.id})
    impression_of_it = pattern("AML") | {"resourceType": "Observation", "id": "i"}
    hospital.fhir.put(impression_of_it)
    report = {"subject": {"reference": f"Patient/{AML.id}"}, "result": [{"reference": "Observation/i"}]}
    hospital.fhir.put(report | {"resourceType": "DiagnosticReport", "id": "r"})
    ehr: Any = Answers(*answers)
    (trip,) = send_first_hooks(ehr, [AML])
    follow([trip], ehr, hospital, timeout_s=timeout_s, told=lambda _: None)
    return trip


RESULT = [card("smear-result", "AML pattern in blood smear: 60 % blasts")]


def test_it_asks_until_the_result_is_there() -> None:
    done = told_by([card("smear-queued")], [card("smear-running")], [card("smear-problem")], RESULT)
    assert done.as_expected
    assert [topic(c) for c in done.first] == ["smear-queued"]
    assert done.seconds is not None


def test_a_refused_hook_is_asked_again() -> None:
    assert told_by(HookRefused("412"), RESULT).as_expected
    refused = told_by(HookRefused("/cds-services/x answered 412"), timeout_s=0.5)
    assert not refused.as_expected
    assert "412" in refused.topics


def test_a_service_that_does_not_answer_at_all_ends_the_demo() -> None:
    with pytest.raises(EhrError):
        told_by(EhrError("no usable answer"))


def test_what_the_service_gave_up_is_over_without_a_report() -> None:
    assert trip(AML, [card("smear-failed")]).over
    assert not trip(AML, [card("smear-result", "AML pattern in blood smear")]).over
