"""The catalogues of the languages are as the code: every text said, with its places, and none that nobody says."""

import re

import pytest
from babel.messages.catalog import Catalog

from cds.language import LANGUAGES, PACKAGES
from scripts.catalogues import ROOT, faults, up_to_date, written

CATALOGUES = [(package, language) for package in PACKAGES for language in LANGUAGES[1:]]


@pytest.mark.parametrize(("package", "language"), CATALOGUES)
def test_every_text_of_the_code_is_said(package: str, language: str) -> None:
    assert list(faults(up_to_date(package, language))) == []


@pytest.mark.parametrize(("package", "language"), CATALOGUES)
def test_the_file_is_what_the_command_writes(package: str, language: str) -> None:
    """`python -m scripts.catalogues` writes it."""
    text = (ROOT / package / "locale" / f"{language}.po").read_text(encoding="utf-8")
    assert text == written(up_to_date(package, language))


@pytest.mark.parametrize(
    ("english", "german", "fault"),
    [
        ("{share:percent} blasts", "", "not said"),
        ("{share:percent} blasts", "{share} Blasten", "other places"),
        ("{share:percent} blasts", "Blasten", "other places"),
        (("1 cell", "{count} cells"), ("1 Zelle", ""), "not said"),
        (("1 cell", "{count} cells"), ("1 Zelle", "{many} Zellen"), "other places"),
    ],
)
def test_what_a_translator_forgot_is_named(english: str, german: str, fault: str) -> None:
    catalogue = Catalog(locale="de")
    catalogue.add(english, german)
    assert fault in "".join(faults(catalogue))


def test_what_is_complete_has_no_fault() -> None:
    catalogue = Catalog(locale="de")
    catalogue.add(("1 cell", "{count} cells"), ("1 Zelle", "{count} Zellen"))
    catalogue.add("{share:percent} blasts", "{share:percent} Blasten")
    assert list(faults(catalogue)) == []


@pytest.mark.parametrize(("package", "language"), CATALOGUES)
def test_no_sentence_is_left_in_english(package: str, language: str) -> None:
    for entry in up_to_date(package, language):
        english = entry.id if isinstance(entry.id, str) else entry.id[0]
        if len(re.sub(r"\{[^}]*\}", "", english).split()) >= 4:
            forms = (entry.string,) if isinstance(entry.string, str) else entry.string
            assert english not in forms
