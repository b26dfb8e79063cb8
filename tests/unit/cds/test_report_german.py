"""Reports in German: what people read is in German and says so; what machines read is as in English."""

import json
import re

import pytest

from cds.language import message, words
from cds.report import client_resources, report_bundle
from cds.report_attachments import Attachments, CellPicture
from cds.review import Signature, Verdict
from cds.signed_report import conclusion
from cds.values import Cell, NotAnalysed, NotAnalysedReason, Pattern
from tests.fakes.findings import COUNTS, told
from tests.fakes.images import drawing, encoded
from tests.fakes.results import INSTANCES, READ_AT, result

GERMAN = words("de")
CELL = Cell(source=f"{INSTANCES[0]}#3", row=10, column=20, cell_type="myeloblast", probability=0.91)
ATTACHMENTS = Attachments(
    pictures=(CellPicture(cell=CELL, jpeg=encoded(drawing(seed=1)), activation_map=True),),
    model_card=b'{"name": "a card"}',
)
OUTCOMES = {
    **{name: told(name) for name in COUNTS},
    **{
        str(reason): NotAnalysed(
            reason=reason, detail=message("The image archive holds no images of this study.")
        )
        for reason in NotAnalysedReason
    },
}
#: Elements for people. A coding's display is none of them: it stays as the code system has it.
_TEXTS = ("text", "div", "conclusion", "title", "comment", "language", "detail")


def bundle(outcome, said):
    return report_bundle(result(outcome), ATTACHMENTS, server="https://ehr.example/fhir", words=said)


def strings(value):
    """Texts for people, sentence by sentence."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _TEXTS and isinstance(inner, str):
                yield from (s.strip(" .") for s in re.split(r"<[^>]*>|(?<=[.;:])\s", inner))
            else:
                yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def without_texts(value):
    if isinstance(value, dict):
        display = {"display"} if "coding" not in value and "code" not in value else set()
        return {
            k: without_texts(v)
            for k, v in value.items()
            if k not in {*_TEXTS, *display} or (isinstance(v, dict) and k != "text")
        }
    return [without_texts(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", OUTCOMES)
def test_every_resource_says_its_language_and_only_the_model_card_is_english(name):
    for entry in bundle(OUTCOMES[name], GERMAN)["entry"]:
        resource = entry["resource"]
        language = "en" if resource["resourceType"] == "DocumentReference" else "de"
        assert resource["language"] == language
        assert f' lang="{language}" xml:lang="{language}">' in resource["text"]["div"]


@pytest.mark.parametrize("name", OUTCOMES)
def test_no_english_sentence_is_left(name):
    kept = {
        e["fullUrl"] for e in bundle(OUTCOMES[name], GERMAN)["entry"] if e["resource"]["language"] == "en"
    }

    def said(language):
        entries = bundle(OUTCOMES[name], words(language))["entry"]
        return {s for e in entries if e["fullUrl"] not in kept for s in strings(e["resource"]) if len(s) > 2}

    same = {
        "DICOM",
        "AML",
        "ALL",
        "CLL",
        "CML",
        "Myeloblast",
        "Lymphoblast",
        "Erythroblast",
        "Person",
        "Patient",
        "Software:",
    }
    assert {s for s in said("en") & said("de") if re.search("[a-z]{3}", s)} <= same


@pytest.mark.parametrize("name", OUTCOMES)
def test_codes_identifiers_and_numbers_are_the_same(name):
    english, german = (without_texts(bundle(OUTCOMES[name], words(language))) for language in ("en", "de"))
    assert german == english


def test_the_conclusion_says_what_the_english_one_says():
    said = {e["resource"]["resourceType"]: e["resource"] for e in bundle(told("APL"), GERMAN)["entry"]}[
        "DiagnosticReport"
    ]["conclusion"]
    assert said.startswith(
        "Mögliche akute Promyelozytenleukämie: Sie muss sofort ausgeschlossen werden. "
        "Muster einer akuten myeloischen Leukämie (Wahrscheinlichkeit 92 %). "
        "Promyelozyten: 120 von 200 Leukozyten (60 %, 95-%-Intervall 53 bis 66 %): "
        "Eine akute Promyelozytenleukämie muss sofort ausgeschlossen werden."
    )
    assert said.endswith(
        "200 Leukozyten in 1 Bild; 1 nicht verwendbar. Ausgewertet von leukocds-cells-resnet34 0.1.0. "
        "Vorläufiges Ergebnis automatischer Bildanalyse, von keinem Menschen geprüft, nur für Forschungszwecke. "
        "Es ist keine Diagnose."
    )


def test_a_healthy_pattern_is_no_exclusion_of_leukemia():
    text = json.dumps(bundle(told("healthy"), GERMAN), ensure_ascii=False)
    assert "Kein Hinweis auf ein Leukämie-Muster (Wahrscheinlichkeit 92 %)." in text
    assert "eine Leukämie" not in text.replace("keine Leukämie-Muster", "")


def test_the_cml_caveat_is_said_once_in_german():
    text = next(
        e["resource"]["conclusion"]
        for e in bundle(told("CML"), GERMAN)["entry"]
        if e["resource"]["resourceType"] == "DiagnosticReport"
    )
    assert text.count("nie an echten CML-Erkrankten validiert") == 1


def test_resources_for_clients_are_in_the_language_too():
    for resource in client_resources(result(told("AML")), GERMAN):
        assert resource["language"] == "de"


@pytest.mark.parametrize(
    ("verdict", "first"),
    [
        (Verdict.AGREE, "Die automatische Auswertung wurde von Dr Hem geprüft und bestätigt."),
        (Verdict.AMEND, "Die automatische Auswertung wurde von Dr Hem geprüft und geändert."),
        (Verdict.REJECT, "Die automatische Auswertung wurde von Dr Hem geprüft und verworfen."),
    ],
)
def test_what_was_signed_is_said_in_german_and_the_remark_as_it_was_written(verdict, first):
    signature = Signature(
        assessment_key="k", number=1, signed_at=READ_AT, user="Practitioner/1", name="Dr Hem", verdict=verdict,
        conclusion=None if verdict is Verdict.REJECT else Pattern.AML, remark="Auer rods",
        evidence=told("ALL").evidence, retyped=2,
    )  # fmt: skip
    said = conclusion(signature, GERMAN)
    assert said[0] == first
    assert "Auer rods." in said
    assert ("Muster einer akuten myeloischen Leukämie." in said) is (verdict is not Verdict.REJECT)
    assert said[-2:] == [
        "Bei der Prüfung neu typisierte Zellen: 2; herausgenommen: 0.",
        "Ein Muster im Blutausstrich ist keine Diagnose. Nur für Forschungszwecke.",
    ]
