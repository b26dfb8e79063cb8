"""hooks/signed_card.py: once a clinician has signed, a card says what they concluded."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cds.language import words
from cds.review import Change, ChangeKind, Signature, SignatureState, Verdict
from cds.values import Differential, Pattern, ReportState
from hooks.kept_cards import KeptCards
from hooks.next_steps import bundled_next_steps, load_next_steps
from hooks.signed_card import signed_card
from hooks.suggestions import Chosen
from tests.fakes.assessments import assessment, not_analysed
from tests.fakes.hook_requests import SERVICE, imaging_study, with_studies

CHOSEN = Chosen(patient="Patient/p-1", encounter=None, steps=load_next_steps(bundled_next_steps()))
MADE = replace(assessment(), outcome=replace(assessment().outcome, possible_apl=False))
AT = datetime(2026, 3, 5, 8, 9, tzinfo=UTC)
CORRECTED = Differential({"segmented_neutrophil": 60, "lymphocyte": 37})


def signature(verdict: Verdict, conclusion: Pattern | None, **more) -> Signature:
    return Signature(
        assessment_key=MADE.key, number=1, signed_at=AT, user="Practitioner/d-1", name="Dr. Ada *Hem*",
        verdict=verdict, conclusion=conclusion, **{"differential": MADE.outcome.differential, **more},
    )  # fmt: skip


AGREED = signature(Verdict.AGREE, Pattern.AML, evidence=MADE.outcome.evidence)
AMENDED = signature(
    Verdict.AMEND, Pattern.HEALTHY, differential=CORRECTED, evidence=("No blast is left.",), remark="Smudges."
)
REJECTED = signature(Verdict.REJECT, None, remark="Another <patient>'s smear.")


def card_of(signed: Signature, made=MADE, language: str = "en", **more) -> dict:
    return signed_card(signed, "u-1", made, "https://leuko.example", CHOSEN, words=words(language), **more)


def test_a_confirmed_reading_is_no_more_preliminary():
    card = card_of(AGREED, report="DiagnosticReport/r-1")
    assert card["summary"].startswith("AML pattern in blood smear")
    assert card["summary"].endswith("signed by a clinician")
    assert card["indicator"] == "critical"
    assert (
        "**Signed by Dr. Ada \\*Hem\\*, 2026-03-05 08:09 UTC: the automated reading was confirmed.**"
        in card["detail"]
    )
    assert "Report on the FHIR server: DiagnosticReport/r-1." in card["detail"]
    assert "reliminary" not in card["summary"] + card["detail"]
    assert card["suggestions"]


def test_an_amended_reading_shows_what_was_signed_and_not_what_the_machine_had_said():
    card = card_of(AMENDED)
    assert card["summary"].startswith("No leukemia pattern in blood smear")
    assert card["indicator"] == "info"
    assert "No blast is left." in card["detail"]
    assert "| Lymphocyte | 37 |" in card["detail"]
    assert "Remark: Smudges." in card["detail"]
    for machine in ("Myeloblast", *MADE.outcome.evidence, "Model's probabilities"):
        assert machine not in card["detail"]
    assert "suggestions" not in card


def test_a_rejected_reading_says_so_and_shows_no_finding():
    card = card_of(REJECTED)
    assert card["summary"].endswith("automated reading rejected by a clinician")
    assert card["indicator"] == "info"
    assert "must not be used" in card["detail"]
    assert "Another &lt;patient&gt;'s smear." in card["detail"]
    assert "AML" not in card["summary"] + card["detail"]
    assert "suggestions" not in card


@pytest.mark.parametrize("conclusion", [Pattern.INDETERMINATE, None])
def test_a_smear_that_could_not_be_analysed_may_be_signed_too(conclusion):
    made = replace(assessment(), outcome=not_analysed(), instance_uids=())
    card = card_of(signature(Verdict.AMEND, conclusion, differential=None), made)
    assert "signed by a clinician" in card["summary"]
    assert card["links"]


@pytest.mark.parametrize("signed", [AGREED, AMENDED, REJECTED])
def test_it_is_said_in_german_within_140_characters(signed):
    card = card_of(signed, language="de")
    assert len(card["summary"]) <= 140
    assert "Freigegeben von" in card["detail"]
    assert "igned" not in card["summary"] + card["detail"]


def test_a_next_step_of_what_was_concluded_is_not_proposed_once_it_is_ordered():
    amended = signature(Verdict.AMEND, Pattern.CML)
    steps = CHOSEN.steps.of(replace(MADE.outcome, pattern=Pattern.CML))
    machines = {(o.system, o.code) for o in CHOSEN.steps.of(MADE.outcome)}
    only = next(o for o in steps if (o.system, o.code) not in machines)
    kept = KeptCards()
    before, after = (
        kept.card("u-1", MADE, "https://leuko.example", chosen, signature=amended)
        for chosen in (CHOSEN, replace(CHOSEN, ordered=frozenset({(only.system, only.code)})))
    )
    assert len(after["suggestions"]) == len(before["suggestions"]) - 1


def test_a_hook_shows_the_card_anew_once_it_is_signed_and_once_more_when_signed_again(client, context):
    context.store.save(MADE, ReportState.NOT_CONFIGURED)
    shown = [cards(client)]
    for number, (verdict, conclusion) in enumerate(
        ((Verdict.AGREE, Pattern.AML), (Verdict.REJECT, None)), start=1
    ):
        signing = Change(
            number=number, at=AT, user="Practitioner/d-1", name="Dr. Ada Hem", kind=ChangeKind.SIGN
        )
        signed = replace(signature(verdict, conclusion), number=number)
        context.store.sign(signing, signed, SignatureState.NOT_CONFIGURED)
        shown.append(cards(client))
    assert [card["summary"].rpartition(" ")[2] for card in shown] == ["preliminary", "clinician", "clinician"]
    assert "rejected" in shown[2]["summary"]
    assert len({card["uuid"] for card in shown}) == 3


def cards(client) -> dict:
    (card,) = client.post(SERVICE, json=with_studies(imaging_study())).json["cards"]
    return card
