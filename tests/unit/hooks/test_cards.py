"""Golden cards: `UPDATE_GOLDEN=1 pytest tests/unit/hooks/test_cards.py` writes them anew; read the difference."""

import json
import os
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from fhir.resources.R4B.servicerequest import ServiceRequest
from markdown_it import MarkdownIt

from cds.evidence import evidence_sentences
from cds.locate import StudyProblem
from cds.values import (
    CLASSES,
    Differential,
    Finding,
    ImageReading,
    Job,
    JobState,
    NotAnalysed,
    NotAnalysedReason,
    Pattern,
)
from hooks.cards import MAX_SUMMARY, Earlier, assessment_card, job_card, more_card, problem_card
from hooks.next_steps import ORDER_SYSTEM, bundled_next_steps, load_next_steps
from hooks.suggestions import Chosen, open_orders, order_codes, suggested_codes
from tests.fakes.assessments import MODEL, READ_AT, assessment, study
from tests.fakes.hook_requests import emptiness

BASE = "https://leuko.example"
STEPS = load_next_steps(bundled_next_steps())
CHOSEN = Chosen(patient="Patient/p-1", encounter="Encounter/e-1", steps=STEPS)
UUID = "5a0ec0de-0000-5000-8000-000000000000"
GOLDEN = Path(__file__).with_name("golden")

COUNTS = {
    "healthy": {"segmented_neutrophil": 124, "lymphocyte": 60, "monocyte": 12, "eosinophil": 3, "basophil": 1},
    "ALL": {"lymphoblast": 130, "lymphocyte": 40, "segmented_neutrophil": 30},
    "AML": {"myeloblast": 62, "monocyte": 20, "segmented_neutrophil": 60, "lymphocyte": 58},
    "APL": {"promyelocyte": 120, "myeloblast": 20, "segmented_neutrophil": 60},
    "CLL": {"cll_lymphocyte": 150, "lymphocyte": 30, "segmented_neutrophil": 20},
    "CML": {"segmented_neutrophil": 90, "myelocyte": 40, "metamyelocyte": 30, "basophil": 14, "promyelocyte": 16},
    "indeterminate": {"myeloblast": 14, "segmented_neutrophil": 110, "lymphocyte": 76},
}  # fmt: skip


def finding_of(name: str) -> Finding:
    apl = name == "APL"
    pattern = Pattern.AML if apl else Pattern(name)
    differential = Differential(COUNTS[name], {"smudge_cell": 4} if name == "CLL" else {})
    reason = "the differential lies between patterns" if pattern is Pattern.INDETERMINATE else None
    sure = {c: 0.92 if c is pattern else 0.02 for c in CLASSES}
    return Finding(
        pattern=pattern,
        probabilities=dict.fromkeys(CLASSES, 0.2) if pattern is Pattern.INDETERMINATE else sure,
        differential=differential,
        evidence=evidence_sentences(differential, pattern, reason, possible_apl=apl),
        reason=reason,
        possible_apl=apl,
    )


def card_of(outcome, **options):
    return assessment_card(UUID, assessment(outcome=outcome), BASE, CHOSEN, **options)


def job(state, **changes):
    values = {"attempts": 0, "reason": None, **changes}
    return Job(
        key="1b4c9a3e-0000-5000-8000-000000000000",
        study=study(),
        model_digest=MODEL.digest,
        state=state,
        created_at=READ_AT,
        updated_at=READ_AT,
        **values,
    )


CARDS = {
    **{name: lambda name=name: card_of(finding_of(name)) for name in COUNTS},
    **{
        f"not-analysed-{reason}": lambda reason=reason: card_of(
            NotAnalysed(reason=reason, detail="All 2 images are blurred.")
        )
        for reason in NotAnalysedReason
    },
    "queued": lambda: job_card(UUID, job(JobState.QUEUED), BASE),
    "queued-again": lambda: job_card(
        UUID, job(JobState.QUEUED, attempts=2, reason="the image archive pacs.example does not answer."), BASE
    ),
    "running": lambda: job_card(UUID, job(JobState.RUNNING), BASE),
    "failed": lambda: job_card(
        UUID, job(JobState.FAILED, attempts=6, reason="the image archive refused the credentials (401)"), BASE
    ),
    "problem": lambda: problem_card(
        UUID,
        StudyProblem(
            imaging_study="ImagingStudy/7",
            study_uid="1.2.826.0.1.1",
            reason="The images lie on a server that this service must not contact: evil.example.",
        ),
        BASE,
    ),
    "more": lambda: more_card(UUID, 3, 5, BASE),
}


@pytest.mark.parametrize("name", CARDS)
def test_the_card_is_the_golden_one(name):
    card = CARDS[name]()
    path = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", "utf-8")
    assert card == json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("name", CARDS)
def test_the_card_keeps_to_the_specification(name):
    conforms(CARDS[name]())


def conforms(card):
    """CDS Hooks 2.0, "Card Attributes", "Suggestion", "Link", as far as a machine can tell."""
    assert not list(emptiness(card))
    assert 0 < len(card["summary"]) <= MAX_SUMMARY
    assert card["indicator"] in ("info", "warning", "critical")
    assert card["source"]["label"]
    assert {"system", "code"} <= set(card["source"]["topic"])
    assert ("suggestions" in card) == ("selectionBehavior" in card)
    assert "autolaunchable" not in str(card)
    for link in card.get("links", []):
        assert link["type"] == "absolute"
        assert link["url"].startswith("https://")
        assert "appContext" not in link
    for reason in card.get("overrideReasons", []):
        assert {"system", "code", "display"} == set(reason)
    for suggestion in card.get("suggestions", []):
        assert {"label", "uuid", "isRecommended", "actions"} == set(suggestion)
        for action in suggestion["actions"]:
            assert action["type"] == "create"
            assert action["description"]
            resource = action["resource"]
            assert (resource["status"], resource["intent"]) == ("draft", "proposal")
            assert resource["subject"] == {"reference": "Patient/p-1"}
            ServiceRequest.model_validate(resource)  # R4B, which has R4's ServiceRequest unchanged


@pytest.mark.parametrize(
    ("name", "indicator"),
    [
        ("healthy", "info"),
        ("ALL", "critical"),
        ("AML", "critical"),
        ("APL", "critical"),
        ("CLL", "warning"),
        ("CML", "warning"),
        ("indeterminate", "warning"),
        ("queued", "info"),
        ("running", "info"),
        ("failed", "warning"),
        ("problem", "warning"),
        ("not-analysed-unreadable", "warning"),
    ],
)
def test_the_indicator_says_how_urgent_it_is(name, indicator):
    assert CARDS[name]()["indicator"] == indicator


def test_the_summary_shows_the_percent_with_its_interval():
    assert (
        CARDS["AML"]()["summary"]
        == "AML pattern in blood smear of 2026-03-04: 31 % blasts (95 % CI 25–38 %), preliminary"
    )


def test_apl_is_critical_whatever_the_pattern():
    possible = replace(finding_of("indeterminate"), possible_apl=True)
    card = card_of(possible)
    assert card["indicator"] == "critical"
    assert card["suggestions"][0]["actions"][0]["resource"]["priority"] == "stat"


@pytest.mark.parametrize(("blasts", "indicator"), [(19, "warning"), (20, "critical")])
def test_many_blasts_are_critical_also_where_their_lineage_cannot_be_told(blasts, indicator):
    counts = {"myeloblast": blasts, "segmented_neutrophil": 100 - blasts}
    unclear = replace(finding_of("indeterminate"), differential=Differential(counts))
    assert card_of(unclear)["indicator"] == indicator


def test_every_card_of_a_result_says_that_it_is_no_diagnosis():
    for name in COUNTS:
        assert "not a diagnosis" in CARDS[name]()["detail"]
    assert "never validated on real CML patients" in CARDS["CML"]()["detail"]


def codes(card):
    return [s["actions"][0]["resource"]["code"]["coding"][0]["code"] for s in card.get("suggestions", [])]


def test_what_is_ordered_follows_the_pattern():
    assert codes(CARDS["healthy"]()) == []
    acute = ["hematology-referral", "flow-cytometry", "bone-marrow-examination", "coagulation-screen"]
    assert codes(CARDS["AML"]()) == codes(CARDS["ALL"]()) == acute
    assert codes(CARDS["APL"]())[:2] == ["coagulation-screen", "pml-rara"]
    assert "bcr-abl1" in codes(CARDS["CML"]())
    assert "flow-cytometry-b-cell-clonality" in codes(CARDS["CLL"]())
    assert codes(CARDS["indeterminate"]()) == ["smear-review"]


def test_what_is_among_the_draft_orders_is_not_suggested_again():
    card = CARDS["AML"]()
    drafts = [suggestion["actions"][0]["resource"] for suggestion in card["suggestions"]]
    some = replace(CHOSEN, ordered=order_codes(drafts[:3]))
    assert codes(assessment_card(UUID, assessment(outcome=finding_of("AML")), BASE, some)) == [
        "coagulation-screen"
    ]
    everything = replace(CHOSEN, ordered=order_codes(drafts))
    left = assessment_card(UUID, assessment(outcome=finding_of("AML")), BASE, everything)
    assert "suggestions" not in left
    conforms(left)


@pytest.mark.parametrize("order", [{}, {"code": "x"}, {"code": {"coding": [3, {}]}}, {"code": {"text": "a"}}])
def test_draft_orders_of_any_shape_are_survived(order):
    assert (ORDER_SYSTEM, "x") not in order_codes([order])


def test_the_uuid_is_the_given_one_and_those_of_suggestions_derive_from_it():
    first, again = card_of(finding_of("AML")), card_of(finding_of("AML"))
    assert first == again
    assert {CARDS[name]()["uuid"] for name in CARDS} == {UUID}
    other = assessment_card(UUID[::-1], assessment(outcome=finding_of("AML")), BASE, CHOSEN)
    assert list(suggested_codes(other).values()) == list(suggested_codes(first).values()) == codes(first)
    assert set(suggested_codes(other)).isdisjoint(suggested_codes(first))


def test_what_is_ordered_already_is_not_suggested_but_what_is_over_is():
    drafts = [s["actions"][0]["resource"] for s in CARDS["CML"]()["suggestions"]]
    statuses = ["active", "revoked", "completed"]
    orders = [{**draft, "status": status} for draft, status in zip(drafts, statuses, strict=True)]
    chosen = replace(CHOSEN, ordered=order_codes(open_orders(orders)))
    card = assessment_card(UUID, assessment(outcome=finding_of("CML")), BASE, chosen)
    assert codes(card) == ["hematology-referral", "smear-review"]


def test_markup_in_data_is_shown_as_text():
    nasty = "<script>alert(1)</script> [x](http://evil.example/l) | *b* `c` ![i](http://evil.example) www.evil.example"
    images = (ImageReading(source=nasty, refused=nasty),)
    bad = replace(
        assessment(outcome=replace(finding_of("AML"), evidence=(nasty,))),
        images=images,
        model=replace(MODEL, name=nasty),
    )
    earlier = [Earlier(when=nasty, status=nasty, conclusion=nasty)]
    card = assessment_card(UUID, bad, BASE, CHOSEN, report=nasty, earlier=earlier)
    assert "<" not in card["detail"]
    assert "http://" not in card["detail"]  # GitHub Markdown would make a link of it, and of www.
    assert "www.evil" not in card["detail"]
    html = MarkdownIt("commonmark").enable("table").render(card["detail"])
    assert re.findall(r"<(a|img|script|em|code)\b", html) == []
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 8


def test_earlier_readings_report_and_growth_are_mentioned():
    earlier = [Earlier(when="2026-01-02", status="preliminary", conclusion="No leukemia pattern.")]
    detail = card_of(finding_of("AML"), report="DiagnosticReport/9", earlier=earlier, grown=True)["detail"]
    assert "2026-01-02: No leukemia pattern. (preliminary)" in detail
    assert "DiagnosticReport/9" in detail
    assert "not in this result" in detail


def test_many_refused_images_are_counted_and_few_named():
    images = tuple(ImageReading(source=f"image-{n}.jpg", refused="Blurred.") for n in range(40))
    detail = assessment_card(
        UUID, replace(assessment(outcome=finding_of("AML")), images=images), BASE, CHOSEN
    )["detail"]
    assert "40 images could not be used" in detail
    assert "and 35 more" in detail
    assert "image-39" not in detail


def test_cards_of_any_finding_keep_to_the_specification():
    """Random findings: any mix of cell types, any texts, none included."""
    chance = random.Random(20260101)
    types = ["myeloblast", "lymphoblast", "promyelocyte", "lymphocyte", "basophil", "novel_cell"]
    texts = ["", " ", "\x00\ud800", "é" * 400, "a\nb", "| --- |", "# x"]
    for _ in range(300):
        pattern = chance.choice(list(Pattern))
        weights = [chance.random() + 1e-6 for _ in CLASSES]
        counts = {t: chance.randrange(0, 50) for t in chance.sample(types, chance.randrange(0, 6))}
        outcome = Finding(
            pattern=pattern,
            probabilities={c: w / sum(weights) for c, w in zip(CLASSES, weights, strict=True)},
            differential=Differential(counts, {"smudge_cell": chance.randrange(0, 3)}),
            evidence=tuple(chance.choices(texts, k=chance.randrange(0, 4))),
            reason=chance.choice(texts) if pattern is Pattern.INDETERMINATE else None,
            possible_apl=chance.random() < 0.3,
        )
        images = tuple(
            ImageReading(source=chance.choice(texts), refused=chance.choice([None, *texts]))
            for _ in range(chance.randrange(0, 8))
        )
        made = replace(assessment(outcome=outcome, started=chance.choice([None, "2026"])), images=images)
        card = assessment_card(
            UUID, made, BASE, replace(CHOSEN, encounter=chance.choice([None, "Encounter/1"]))
        )
        conforms(card)
        json.dumps(card).encode()
        "".join([card["detail"], card["summary"]]).encode("utf-8")


@pytest.mark.parametrize("reason", [None, "", "x" * 500, "<b>\n\x07"])
@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.FAILED])
def test_cards_of_any_job_keep_to_the_specification(state, reason):
    conforms(job_card(UUID, job(state, attempts=1, reason=reason), BASE))


def test_a_finished_job_has_no_card():
    with pytest.raises(ValueError, match="assessment"):
        job_card(UUID, job(JobState.DONE), BASE)
