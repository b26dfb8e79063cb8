"""Kept cards are the cards that would have been made anew, for whomever and whatever they are made."""

import copy
from dataclasses import replace

import pytest

from cds.language import words
from hooks.cards import Earlier, assessment_card
from hooks.kept_cards import KeptCards
from hooks.next_steps import NextSteps, bundled_next_steps, load_next_steps
from hooks.suggestions import Chosen
from tests.fakes.assessments import assessment, not_analysed

BASE = "https://leuko.example"
STEPS = load_next_steps(bundled_next_steps())
CHOSEN = Chosen(patient="Patient/p-1", encounter="Encounter/e-1", steps=STEPS)
ONE, OTHER = "5a0ec0de-0000-5000-8000-000000000001", "5a0ec0de-0000-5000-8000-000000000002"
ORDERED = frozenset({next((o.system, o.code) for o in STEPS.of(assessment().outcome))})


def changed(**values):
    return {"card_uuid": ONE, "assessment": assessment(), "base_url": BASE, "chosen": CHOSEN, **values}


@pytest.mark.parametrize(
    "asked",
    [
        changed(card_uuid=OTHER),
        changed(assessment=replace(assessment(), outcome=not_analysed(), instance_uids=())),
        changed(base_url="https://other.example"),
        changed(chosen=replace(CHOSEN, patient="Patient/p-2")),
        changed(chosen=replace(CHOSEN, encounter=None)),
        changed(chosen=replace(CHOSEN, ordered=ORDERED)),
        changed(chosen=replace(CHOSEN, steps=NextSteps({}))),
        changed(report="DiagnosticReport/r1"),
        changed(grown=True),
        changed(words=words("de")),
        changed(earlier=(Earlier(when="2025-01-02", status="final", conclusion="AML pattern"),)),
    ],
    ids=[
        "user",
        "reading",
        "address",
        "patient",
        "encounter",
        "ordered",
        "steps",
        "report",
        "grown",
        "language",
        "earlier",
    ],
)
def test_whatever_a_card_depends_on_makes_another_card(asked):
    kept = KeptCards()
    first = kept.card(**changed())
    assert first == assessment_card(**changed())
    for _ in range(2):
        assert kept.card(**asked) == assessment_card(**asked)
        assert kept.card(**changed()) is first
    assert kept.card(**asked) != first


def test_another_users_card_leaves_the_first_ones_as_it_was():
    kept = KeptCards()
    first = kept.card(**changed())
    before = copy.deepcopy(first)
    kept.card(**changed(card_uuid=OTHER))
    assert first == before


def test_orders_that_are_none_of_the_next_steps_make_no_other_card():
    kept = KeptCards()
    first = kept.card(**changed())
    assert kept.card(**changed(chosen=replace(CHOSEN, ordered=frozenset({("urn:x", "y")})))) is first


def test_a_chart_that_says_much_is_not_kept():
    kept = KeptCards()
    asked = changed(earlier=(Earlier(when="2025-01-02", status="x" * 5000, conclusion="AML pattern"),))
    assert kept.card(**asked) is not kept.card(**asked)
    assert kept.card(**asked) == assessment_card(**asked)
