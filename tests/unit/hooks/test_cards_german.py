"""Cards in German: every state says what the English one says, nothing of it in English."""

import re
from dataclasses import replace

import pytest

from cds.language import message, words
from cds.locate import StudyProblem
from cds.values import ImageReading, Job, JobState, NotAnalysed, NotAnalysedReason
from hooks.cards import MAX_SUMMARY, Earlier, assessment_card, job_card, more_card, problem_card
from hooks.conformance import card_violations
from hooks.next_steps import bundled_next_steps, load_next_steps
from hooks.suggestions import Chosen
from tests.fakes.assessments import MODEL, READ_AT, assessment, study
from tests.fakes.findings import COUNTS, told

BASE = "https://leuko.example"
UUID = "5a0ec0de-0000-5000-8000-000000000000"
CHOSEN = Chosen(patient="Patient/p-1", steps=load_next_steps(bundled_next_steps()))
REFUSED = message("it is monochrome; a stained smear can only be read in colour")
IMAGES = (ImageReading(source="1.2.3.0", cells=200), ImageReading(source="1.2.3.1", refused=REFUSED))
OUTAGE = message("the {server} {host} did not answer in time", server=message("image archive"), host="pacs")
EARLIER = (Earlier(when="2026-01", status="final", conclusion="CLL."),)


def result(outcome, said):
    read = replace(assessment(outcome=outcome), images=IMAGES)
    return assessment_card(
        UUID, read, BASE, CHOSEN, words=said, grown=True, report="DiagnosticReport/1", earlier=EARLIER
    )


def waiting(state, said, **changes):
    job = Job(
        key="1b4c9a3e-0000-5000-8000-000000000000", study=study(), model_digest=MODEL.digest, state=state,
        created_at=READ_AT, updated_at=READ_AT, **changes,
    )  # fmt: skip
    return job_card(UUID, job, BASE, said)


def problem(said):
    reason = message("The ImagingStudy names no patient.")
    return problem_card(UUID, StudyProblem(imaging_study=None, study_uid=None, reason=reason), BASE, said)


#: Each state to its card, and to what its German summary must say.
CARDS = {
    "healthy": (lambda w: result(told("healthy"), w), "Kein Hinweis auf ein Leukämie-Muster im Blutausstrich vom"),
    "ALL": (lambda w: result(told("ALL"), w), "ALL-Muster im Blutausstrich vom 04.03.2026: 65 % Blasten (95-%-KI"),
    "AML": (lambda w: result(told("AML"), w), "AML-Muster im Blutausstrich"),
    "APL": (lambda w: result(told("APL"), w), "vom 04.03.2026, Verdacht auf APL: 60 % Promyelozyten"),
    "CLL": (lambda w: result(told("CLL"), w), "CLL-Muster im Blutausstrich vom 04.03.2026: 95 % Lymphozyten"),
    "CML": (lambda w: result(told("CML"), w), "Granulozytenvorstufen (95-%-KI 38–52 %), 7 % Basophile, vorläufig"),
    "indeterminate": (lambda w: result(told("indeterminate"), w), "Blutausstrich vom 04.03.2026 nicht eindeutig"),
    "queued": (lambda w: waiting(JobState.QUEUED, w), "Blutausstrich vom 04.03.2026: wartet auf Auswertung"),
    "queued-again": (lambda w: waiting(JobState.QUEUED, w, attempts=1, reason=OUTAGE), "wartet auf Auswertung"),
    "running": (lambda w: waiting(JobState.RUNNING, w), "wird gerade ausgewertet"),
    "failed": (lambda w: waiting(JobState.FAILED, w, reason=OUTAGE), "ausgewertet werden: Bildarchiv pacs hat"),
    "failed-silently": (lambda w: waiting(JobState.FAILED, w), "kein Grund wurde festgehalten"),
    "problem": (problem, "Ein Blutausstrich kann nicht ausgewertet werden: Die ImagingStudy nennt keinen Patienten"),
    "more": (lambda w: more_card(UUID, 1, 5, BASE, w), "1 ältere Blutausstrich-Studie hat hier keine Karte"),
    **{
        f"not-analysed-{reason}": (
            lambda w, reason=reason: result(
                NotAnalysed(reason=reason, detail=message("The image archive holds no images of this study.")), w
            ),
            "Blutausstrich vom 04.03.2026 konnte nicht ausgewertet werden: ",
        )
        for reason in NotAnalysedReason
    },
}  # fmt: skip
#: What is the same in both languages: names, numbers, addresses, what another system wrote.
_SAME = re.compile(
    r"[^A-Za-zÄÖÜäöü]*|LeukoCDS|BCR::ABL1|aPTT|ALL|AML|CLL|CML|cells|UTC|sha256 (ab)+|DiagnosticReport/1|1\.2\.3\.[01]"
    r"|Myeloblast|Erythroblast( 1)?|Lymphoblast"
)


def texts(card):
    """Everything on a card that a person reads."""
    yield card["summary"]
    yield card["detail"]
    yield card["source"]["topic"]["display"]
    yield from (link["label"] for link in card.get("links", ()))
    yield from (reason["display"] for reason in card.get("overrideReasons", ()))
    for suggestion in card.get("suggestions", ()):
        (action,) = suggestion["actions"]
        order = action["resource"]
        yield suggestion["label"]
        yield action["description"]
        yield order["code"]["text"]
        yield from (note["text"] for note in order["note"] + order["reasonCode"])


def pieces(card):
    """Its sentences and clauses, table cells and list items."""
    for text in texts(card):
        for piece in re.split(r"(?<=[.:;,])\s|[|\n()*]|\d+ %|^- ", text):
            said = piece.strip(" -.:;,")
            if said and not _SAME.fullmatch(said):
                yield said


@pytest.mark.parametrize("name", CARDS)
def test_the_german_card_says_it_in_german(name):
    make, summary = CARDS[name]
    german = make(words("de"))
    assert summary in german["summary"]
    assert len(german["summary"]) <= MAX_SUMMARY
    assert not german["summary"].endswith("…")
    assert list(card_violations(german, "cards[0]")) == []


@pytest.mark.parametrize("name", CARDS)
def test_no_english_is_left_on_a_german_card(name):
    make, _ = CARDS[name]
    german = "\n".join(texts(make(words("de"))))
    left = {said for said in pieces(make(words("en"))) if re.search(rf"\b{re.escape(said)}\b", german)}
    assert not left


@pytest.mark.parametrize("name", CARDS)
def test_the_language_changes_nothing_that_machines_read(name):
    make, _ = CARDS[name]

    def bare(value):
        if isinstance(value, dict):
            said = {"summary", "detail", "label", "description", "text"}
            # A code's display stays as its code system has it, but for reasons, whose display is what the user reads.
            own = (
                {"display"}
                if value.get("system") in ("urn:leukocds:override-reason", "urn:leukocds:card-topic")
                else set()
            )
            return {k: bare(v) for k, v in value.items() if k not in said | own}
        return [bare(v) for v in value] if isinstance(value, list) else value

    english, german = make(words("en")), make(words("de"))
    for card in (english, german):
        assert card["source"].pop("label") == "LeukoCDS"
    assert bare(english) == bare(german)


def test_shares_have_their_interval_and_the_decimal_comma():
    detail = result(told("healthy"), words("de"))["detail"]
    assert "Blasten: 0 von 200 Leukozyten (0 %, 95-%-Intervall 0 bis 1,9 %)." in detail
    assert "| Zelltyp | Zellen | % | 95-%-Intervall |" in detail
    assert "Kernschatten 4, " not in detail
    assert "Ausgewertet am 04.03.2026 um 05:06 UTC von cells 1.2.3" in detail
    assert "01/2026: CLL. (endgültig)" in detail


def test_no_leukemia_is_never_said():
    for name in COUNTS:
        said = "\n".join(texts(result(told(name), words("de"))))
        assert "keine Leukämie" not in said
        assert "Keine Leukämie" not in said


def test_every_german_card_is_called_preliminary_and_no_diagnosis():
    for name in COUNTS:
        card = result(told(name), words("de"))
        assert card["detail"].startswith(
            "**Vorläufig und keine Diagnose. Nur für Forschungszwecke: kein Medizinprodukt."
        )
        assert "vorläufig" in card["summary"] or "fachärztliche Beurteilung empfohlen" in card["summary"]


def test_a_healthy_smear_does_not_rule_out_leukemia():
    assert "schließt eine Leukämie nicht aus." in result(told("healthy"), words("de"))["detail"]


def test_the_longest_summaries_fit():
    widest = {"segmented_neutrophil": 99999, "basophil": 99999, "myelocyte": 99998, "myeloblast": 1}
    finding = told("CML")
    wide = replace(finding, differential=replace(finding.differential, counts=widest), possible_apl=True)
    for outcome in (wide, replace(wide, possible_apl=False)):
        for language in ("en", "de"):
            summary = result(outcome, words(language))["summary"]
            assert len(summary) <= MAX_SUMMARY
            assert not summary.endswith("…")
