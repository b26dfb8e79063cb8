"""Every page in German: nothing of it is left in English, and nothing is said that no catalogue could know."""

from dataclasses import replace

import pytest
from babel.messages.pofile import read_po

from cds.agreement import Fate, Looked
from cds.cell_types import OUTSIDE_DIFFERENTIAL
from cds.report_text import cell_name
from cds.review import Change, ChangeKind, Signature, SignatureState, Verdict
from cds.values import CLASSES, NotAnalysedReason, Pattern, ReportState
from fhir_profiles.codes import CELL_TYPES, OVERRIDE_REASONS
from hooks.app import create_app
from hooks.cards import WHAT_TO_DO
from hooks.development import PEOPLE
from hooks.reference_ranges import bundled_ranges, load_ranges
from hooks.study_view import assignable
from hooks.wording import (
    NOT_A_DIAGNOSIS,
    NOT_ANALYSED,
    PATTERN_NAMES,
    SIGNED_NOTICE,
    caveats,
    confirm_by,
    headline,
)
from scripts.catalogues import ROOT
from tests.fakes.assessments import MODEL, READ_AT, assessment, finding, not_analysed, study
from tests.fakes.feedback import KNOWN, accepted, overridden, shown
from tests.fakes.page_texts import mark_texts, texts_of, unmarked
from tests.fakes.signed_in import sign_in

RANGES = load_ranges(bundled_ranges()).said_in("de")
GERMAN = {"Accept-Language": "de"}
PROBLEM = "the image archive cannot be reached"
#: What stands on pages and is nobody's text: names, identifiers, units, and what the study's own values hold.
NAMES = {
    "LeukoCDS", "English", "Deutsch", "UTC", "SHA-256", "PDF", "µm/px", "p-1", "p-2", "A-17", "Dr. Test", "Dr. Hem",
    MODEL.name, MODEL.version, MODEL.digest, "ImagingStudy/7", "DiagnosticReport/1", "Patient/", "Too late",
    *(person.name for person in PEOPLE.values()),
    *finding().evidence, not_analysed().detail, "The JPEG data ends too early.", PROBLEM, "1.2.826.0.1", "smudge cell",
    "Smudge cell", "Neutrophil", "Only 5 white cells were found in 2 images; at least 10 are needed.",
    RANGES.population, RANGES.source,
}  # fmt: skip
#: Said by the modules that cards and reports share with the pages.
SHARED = {
    str(text)
    for text in (
        NOT_A_DIAGNOSIS, SIGNED_NOTICE, *PATTERN_NAMES.values(), *NOT_ANALYSED.values(), *WHAT_TO_DO.values(),
        *map(cell_name, (*CELL_TYPES, *assignable(assessment()), *OUTSIDE_DIFFERENTIAL)),
        *(reason.display for reason in OVERRIDE_REASONS.values()),
    )
}  # fmt: skip


def plain(pattern):
    made = finding(6)
    reason = "unclear" if pattern is Pattern.INDETERMINATE else None
    return replace(made, pattern=pattern, possible_apl=False, reason=reason)


def outcomes():
    return [finding(6), *map(plain, Pattern), not_analysed()]


def shared():
    """Also the headlines of the readings below, whole and in the parts that the pages take them apart into."""
    for outcome in outcomes()[:-1]:
        for said in (headline(outcome), headline(outcome, "2026-03-04")):
            yield from (str(said), str(said).removesuffix(", preliminary"))
            yield from str(said).removesuffix(", preliminary").split(": ", 1)
        yield from map(str, (confirm_by(outcome), *caveats(outcome)))


@pytest.fixture
def pages(context):
    """Of a service where everything has happened; made when asked for, by kind."""
    store = context.store
    studies = [
        replace(assessment(n, o), study=study(n, accession="A-17")) for n, o in enumerate(outcomes(), 1)
    ]
    for number, made in enumerate(studies):
        job = store.enqueue(made.study, MODEL.digest)[0]
        store.claim(job.key, "worker", 60)
        store.save(made, ReportState.PENDING)
        store.finish(job.key, "worker", made.key)
        if number == 1:
            store.report_failed(made.key, PROBLEM, lambda _failures: 60.0)
    store.enqueue(study(1, accession="A-17", number_of_instances=9), MODEL.digest)
    store.enqueue(study(97, started=None, patient=None), MODEL.digest)
    failed = store.enqueue(study(98), MODEL.digest)[0]
    store.claim(failed.key, "worker", 60)
    store.fail(failed.key, "worker", PROBLEM)
    reviewed, signed = studies[0], studies[2]
    kinds = [
        (ChangeKind.RECLASSIFY, (0, 1), "monocyte"),
        (ChangeKind.EXCLUDE, (2,), ""),
        (ChangeKind.COMMENT, (3,), "Too late"),
        (ChangeKind.REMARK, (), "Too late"),
        (ChangeKind.CONCLUDE, (), "ALL"),
        (ChangeKind.DECIDE, (), "amend"),
    ]
    by = {"at": READ_AT, "user": "Practitioner/2", "name": "Dr. Hem"}
    for number, (kind, cells, value) in enumerate(kinds, 1):
        store.add_change(reviewed.key, Change(number=number, kind=kind, cells=cells, value=value, **by))
    store.add_change(reviewed.key, Change(number=7, kind=ChangeKind.UNDO, undoes=6, **by))
    signature = Signature(
        assessment_key=signed.key, number=1, signed_at=READ_AT, user="Practitioner/2", name="Dr. Hem",
        verdict=Verdict.AMEND, conclusion=Pattern.ALL, remark="Too late",
    )  # fmt: skip
    store.sign(Change(number=1, kind=ChangeKind.SIGN, **by), signature, SignatureState.PENDING)
    store.mark_written(signed.key, "DiagnosticReport/1")
    for report in store.written_reports(1):
        store.take_written(report, 60)
        store.looked_at(signed.key, Looked(fate=Fate.SIGNED, status="final", conclusion="AML"), None)
    store.remember_cards([shown(1), *(shown(n, topic=f"smear-{t}", pattern=None) for n, t in TOPICS)])
    store.take_feedback(
        "leukemia-smear", [accepted(1), overridden(1, reason=KNOWN), overridden(2), overridden(99)]
    )
    local = replace(context.settings, development_login=True, public_url="", host="127.0.0.1")
    developing = create_app(replace(context, settings=local))
    browser = create_app(context).test_client()
    sign_in(browser, context, may_operate=True)
    looking, limited = create_app(context).test_client(), create_app(context).test_client()
    sign_in(looking, context, may_review=False)
    sign_in(limited, context, patient="Patient/p-2")
    stranger = developing.test_client()

    def make(kind):
        def get(path, client=browser):
            return client.get(path, headers=GERMAN).text

        match kind:
            case "home":
                return [get("/"), get("/", stranger)]
            case "sign-in":
                return [
                    get("/sign-in?signed-out", stranger),
                    get("/sign-in", create_app(context).test_client()),
                ]
            case "worklist":
                states = [
                    get(f"/worklist?state={s}") for s in ("queued", "failed", "report", "signed", "reading")
                ]
                return [
                    get("/worklist?said=retried"),
                    *states,
                    get("/worklist", limited),
                    get("/worklist/rows"),
                ]
            case "feedback":
                return [get("/feedback"), get("/feedback?since=2030-01-01")]
            case "study":
                return [
                    *(get(f"/studies/{made.key}") for made in studies),
                    get(f"/studies/{signed.key}", looking),
                ]
            case "errors":
                return [
                    get("/nothing"), get(f"/studies/{reviewed.key}", limited), get("/feedback", limited),
                    get("/worklist?page=0"), get("/feedback?since=soon"),
                    get("/studies/00000000-0000-0000-0000-000000000000"), get("/launch?iss=x&launch=1"),
                ]  # fmt: skip
        raise AssertionError(kind)

    return make


TOPICS = tuple(enumerate(("not-analysed", "queued", "running", "failed", "problem", "more"), 2))
KINDS = ("home", "sign-in", "worklist", "feedback", "study", "errors")


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_of_the_catalogue_is_left_in_english(pages, kind):
    with (ROOT / "hooks" / "locale" / "de.po").open("rb") as file:
        entries = [entry for entry in read_po(file, locale="de") if entry.id]
    english, german = set(), set()
    for entry in entries:
        english |= {entry.id} if isinstance(entry.id, str) else set(entry.id)
        german |= {entry.string} if isinstance(entry.string, str) else set(entry.string)
    for page in pages(kind):
        said = texts_of(page)
        assert not [text for text in said if text in english - german]
        long = [text for text in english if len(text) > 14 and "{" not in text]
        assert not [(text, piece) for text in long for piece in said if text in piece]


@pytest.mark.parametrize("kind", KINDS)
def test_every_word_is_one_that_a_catalogue_can_say(pages, kind, monkeypatch):
    mark_texts(monkeypatch)
    known = {*NAMES, *SHARED, *(name.lower() for name in SHARED), *shared()}
    known |= {"Seg", "Strg", *(pattern.value for pattern in CLASSES), *NotAnalysedReason}
    for page in pages(kind):
        assert "\n".join(unmarked(page, known)) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_says_its_language(pages, kind):
    for page in pages(kind):
        assert '<html lang="de">' in page or "<html" not in page
        assert 'language=en" lang="en" hreflang="en">English</a>' in page or "<html" not in page
