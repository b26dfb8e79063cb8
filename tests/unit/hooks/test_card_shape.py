import json

import pytest

from hooks.card_shape import shaped
from hooks.cards import assessment_card
from hooks.conformance import card_violations
from hooks.ehr_profile import STANDARD, Profile
from hooks.next_steps import bundled_next_steps, load_next_steps
from hooks.suggestions import Chosen
from tests.fakes.assessments import assessment

UUID = "4e0a3a1e-3283-4575-ab82-028d55fe2719"


@pytest.fixture(scope="module")
def card():
    chosen = Chosen(patient="Patient/p-1", steps=load_next_steps(bundled_next_steps()))
    return assessment_card(UUID, assessment(), "https://leuko.example", chosen)


def test_the_standard_profile_changes_nothing(card):
    assert shaped(card, STANDARD, "k") is card


def test_a_short_summary_still_begins_with_the_pattern(card):
    short = shaped(card, Profile(max_summary=60), "k")
    assert len(card["summary"]) > 60
    assert len(short["summary"]) <= 60
    assert short["summary"].startswith("AML pattern in blood smear")
    assert list(card_violations(short, "card", 60)) == []


def test_smart_links_launch_the_app_and_say_which_study(card):
    profile = Profile(links="smart", launch_url="https://app.example/launch")
    made = shaped(card, profile, "key-7")
    (link,) = made["links"]
    assert link == {
        "label": card["links"][0]["label"],
        "url": "https://app.example/launch",
        "type": "smart",
        "appContext": json.dumps({"study": "key-7"}),
    }
    assert list(card_violations(made, "card")) == []
    assert "appContext" not in shaped(card, profile, None)["links"][0]


def test_what_an_ehr_does_not_understand_is_left_out(card):
    made = shaped(card, Profile(links="none", override_reasons=False), "k")
    assert not {"links", "overrideReasons"} & made.keys()
    assert {"suggestions", "uuid", "source"} <= made.keys()
    assert {"links", "overrideReasons"} <= card.keys(), "the card itself stays as it was"


def test_a_detail_in_plain_text_says_all_that_the_markdown_says(card):
    detail = shaped(card, Profile(markdown=False), "k")["detail"]
    assert "Preliminary and not a diagnosis." in detail
    assert "- Blasts 41 % (95 % interval 32 to 51 %)." in detail
    assert "\nMyeloblast | 40 | 41 % | " in detail
    assert "\nWhite cells | 97" in detail
    assert not any(mark in detail for mark in ("**", "---", "&lt;", "\\"))
