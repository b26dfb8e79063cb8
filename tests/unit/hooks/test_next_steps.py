import re
from dataclasses import replace

import pytest

from cds.errors import ConfigurationError
from cds.language import words
from cds.report_text import name_of
from cds.values import Pattern
from fhir_profiles.codes import ORDERS
from hooks.next_steps import ORDER_SYSTEM, POSSIBLE_APL, bundled_next_steps, load_next_steps
from tests.fakes.results import AML, finding

GOOD = """
[[step]]
patterns = ["AML", "possible-apl"]
system = "https://lab.example/orders"
code = "FLOW-1"
display = "Flow cytometry"
why = "Tells the lineage."
"""


def loaded(tmp_path, text):
    path = tmp_path / "steps.toml"
    path.write_text(text, "utf-8")
    return load_next_steps(path)


def refused(tmp_path, text):
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, text)
    said = str(caught.value)
    assert said.startswith("LEUKOCDS_NEXT_STEPS: ")
    assert "steps.toml" in said
    return said


def test_the_bundled_file_has_steps_for_every_pattern_but_healthy():
    steps = load_next_steps(bundled_next_steps()).by_pattern
    assert set(steps) == {*(pattern.value for pattern in Pattern), POSSIBLE_APL}
    assert [name for name, orders in steps.items() if not orders] == ["healthy"]
    assert {order.system for orders in steps.values() for order in orders} == {ORDER_SYSTEM}
    assert {order.priority for order in steps[POSSIBLE_APL][:3]} == {"stat"}


def test_the_bundled_file_explains_every_field_and_pattern():
    page = bundled_next_steps().read_text("utf-8")
    for name in (
        *(p.value for p in Pattern),
        POSSIBLE_APL,
        "asap",
        "recommended",
        "category",
        "system",
        "why",
    ):
        assert re.search(rf"^#.*\b{name}\b", page, re.MULTILINE), name


def test_the_bundled_file_says_everything_in_german_as_the_code_system_does():
    german = words("de")
    for orders in load_next_steps(bundled_next_steps()).by_pattern.values():
        for order in orders:
            assert order.display_in("de") == german.text(name_of(ORDERS[order.code]))
            assert order.why_in("de") not in ("", order.why)
            assert (order.display_in("en"), order.why_in("en")) == (order.display, order.why)


def test_a_file_in_one_language_says_so_in_every_language(tmp_path):
    (order,) = loaded(tmp_path, GOOD).by_pattern["AML"]
    assert (order.display_in("de"), order.why_in("de")) == ("Flow cytometry", "Tells the lineage.")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[step.de]\ndisplay = "Durchflusszytometrie"', "step 1: de must be a table of display and why"),
        ('[step.de]\ndisplay = "D"\nwhy = "W"\ncode = "x"', "step 1: de must be a table of display and why"),
        ('[step.de]\ndisplay = ""\nwhy = "W"', "step 1: de.display must be one line of text"),
        ('de = "Durchflusszytometrie"', "step 1: de must be a table of display and why"),
        ('[step.fr]\ndisplay = "C"\nwhy = "P"', "step 1: 'fr' is no field of a step"),
    ],
)
def test_a_language_said_by_halves_is_refused(tmp_path, more, words):
    assert words in refused(tmp_path, f"{GOOD}{more}\n")


def test_a_hospitals_own_file_takes_its_place(tmp_path):
    steps = loaded(tmp_path, GOOD)
    (order,) = steps.by_pattern["AML"]
    assert (order.system, order.code, order.display) == (
        "https://lab.example/orders",
        "FLOW-1",
        "Flow cytometry",
    )
    assert (order.priority, order.category, order.recommended) == ("routine", "laboratory", True)
    assert steps.by_pattern["ALL"] == ()


def test_possible_apl_overrides_the_pattern(tmp_path):
    steps = loaded(tmp_path, GOOD.replace('"AML", ', ""))
    assert AML.possible_apl
    assert len(steps.of(AML)) == 1
    assert steps.of(replace(AML, possible_apl=False)) == ()
    assert steps.of(finding(Pattern.HEALTHY, {"lymphocyte": 10})) == ()


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('"AML", ', '"APL", ', "step 1: 'APL' is an unknown pattern; there are healthy, ALL, AML"),
        ('"AML", ', "7, ", "step 1: 7 is an unknown pattern"),
        ('patterns = ["AML", "possible-apl"]', "patterns = []", "step 1: patterns is missing"),
        ('patterns = ["AML", "possible-apl"]', "", "step 1: patterns is missing"),
        ('code = "FLOW-1"', "", "step 1: code is missing"),
        ('display = "Flow cytometry"', "", "step 1: display is missing"),
        ('why = "Tells the lineage."', "", "step 1: why is missing"),
        ('"FLOW-1"', '" "', "step 1: code must be one line of text that is not empty"),
        ('"FLOW-1"', "7", "step 1: code must be one line"),
        ('"FLOW-1"', '" FLOW-1"', "step 1: code must not begin or end with a space"),
        ('"Flow cytometry"', '"Flow\\ncytometry"', "step 1: display must be one line"),
        ('"https://lab.example/orders"', '"LOINC"', "step 1: system must be an absolute address"),
        ("why =", 'priority = "soon"\nwhy =', "step 1: priority must be one of routine, urgent, asap, stat"),
        ("why =", 'category = "x"\nwhy =', "step 1: category must be one of laboratory, referral"),
        ("why =", 'recommended = "no"\nwhy =', "step 1: recommended must be true or false"),
        ("why =", 'wy = "x"\nwhy =', "step 1: 'wy' is no field of a step"),
        ('"AML", ', '"AML", "AML", ', "step 1: 'FLOW-1' is a duplicate: pattern AML has that code already"),
        ("[[step]]", "[step]", "holds no [[step]] tables"),
        ("[[step]]", "[[steps]]", "holds 'steps'"),
        ("[[step]]", "[[step", "is not TOML"),
    ],
)
def test_a_mistake_is_named_with_its_step(tmp_path, before, after, words):
    assert before in GOOD
    assert words in refused(tmp_path, GOOD.replace(before, after, 1))


def test_a_code_that_stands_twice_under_a_pattern_is_a_duplicate(tmp_path):
    other_system = GOOD.replace("https://lab.example/orders", "urn:oid:1.2.3")
    assert len(loaded(tmp_path, GOOD + other_system).by_pattern["AML"]) == 2
    assert "step 2: 'FLOW-1' is a duplicate" in refused(tmp_path, GOOD + GOOD)


def test_a_file_that_is_not_there_or_not_text_is_said(tmp_path):
    with pytest.raises(ConfigurationError, match="No such file"):
        load_next_steps(tmp_path / "gone.toml")
    (tmp_path / "steps.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load_next_steps(tmp_path / "steps.toml")


def test_an_empty_file_proposes_nothing_only_when_it_says_so(tmp_path):
    assert "holds no" in refused(tmp_path, "")
    assert set(loaded(tmp_path, "step = []").by_pattern.values()) == {()}
