import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from cds.access import AuditAction
from cds.cell_types import count_cells
from cds.errors import UpstreamUnavailable
from cds.review import Change, ChangeKind, Signature, SignatureState, Verdict
from cds.values import Cell, Finding, Pattern, ReportState
from hooks.app import create_app
from hooks.report_pdf import LOST
from tests.fakes.assessments import READ_AT, assessment, finding, not_analysed
from tests.fakes.signed_in import sign_in

BY = {"user": "Practitioner/1", "name": "Dr. Test"}
NASTY = "<img src=/etc/passwd> </para><b>Zoë & Co"


class OneName:
    """Of port FhirServer what a name needs. None: it is out."""

    def __init__(self, name: str | None) -> None:
        self.name = name

    def read(self, reference):
        if self.name is None:
            raise UpstreamUnavailable("the FHIR server does not answer")
        return {"resourceType": "Patient", "name": [{"text": self.name}], "birthDate": "1970-01-02"}


@pytest.fixture
def client(context):
    client = create_app(context).test_client()
    sign_in(client, context)
    return client


def paper_of(client, made) -> PdfReader:
    answer = client.get(f"/studies/{made.key}/report.pdf")
    assert answer.status_code == 200
    assert answer.mimetype == "application/pdf"
    assert answer.headers["Cache-Control"] == "no-store"
    return PdfReader(io.BytesIO(answer.data))


def text_of(paper: PdfReader) -> str:
    return " ".join(" ".join(page.extract_text() for page in paper.pages).split())


def pictures_in(paper: PdfReader) -> int:
    return sum(len(page.images) for page in paper.pages)


def cells(count: int, cell_type: str = "myeloblast", *, kept: bool = False) -> tuple[Cell, ...]:
    """kept: each with a picture of its own."""
    return tuple(
        Cell(
            source="1.2.3.0#1", row=i, column=i, cell_type=cell_type, probability=0.9,
            thumbnail=picture(len(cell_type), i) if kept else None,
        )
        for i in range(count)
    )  # fmt: skip


def picture(one: int, other: int) -> bytes:
    """JPEG of 96 pixels that no other has and that does not compress well."""
    noise = np.random.default_rng((one, other)).integers(0, 255, (96, 96, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((192, 192)).resize((96, 96)).save(file, "JPEG", quality=70)
    return file.getvalue()


def with_cells(*held: Cell) -> Finding:
    return replace(finding(), cells=held, differential=count_cells(held))


def saved(context, made, *changes: Change):
    assert context.store.save(made, ReportState.PENDING)
    for change in changes:
        context.store.add_change(made.key, change)
    return made


def sign(context, made, number: int, verdict: Verdict, pattern: Pattern | None, remark: str = "") -> None:
    signature = Signature(
        assessment_key=made.key, number=number, signed_at=READ_AT, verdict=verdict, conclusion=pattern,
        remark=remark, **BY,
    )  # fmt: skip
    signing = Change(number=number, at=READ_AT, kind=ChangeKind.SIGN, **BY)
    context.store.sign(signing, signature, SignatureState.NOT_CONFIGURED)


def test_a_preliminary_report_says_so_first_and_what_it_rests_on(client, context):
    made = saved(context, assessment(accession="A-17"))
    paper = paper_of(client, made)
    text = text_of(paper)
    for words in (
        "PRELIMINARY: read by a machine, reviewed by nobody",
        "AML pattern in blood smear, possible APL",
        "Probability of the pattern: 50 %",
        "Blasts 41 % (95 % interval 32 to 51 %).",
        "Myeloblast 40 – 41 % 32–51 % 0 % ↑ above",
        "Größe, µm: ‘gut’",
        "Patient/p-1",
        "A-17",
        "Smear of 2026-03-04",
        "1 of 2 images were used",
        "Not used: The JPEG data ends too early. (1)",
        "Not a diagnosis",
        "cells 1.2.3",
        "ab" * 32,
        "Read 2026-03-04 05:06 UTC",
        made.study.study_uid,
        made.key,
        "not written yet",
        f"1/{len(paper.pages)}",
    ):
        assert words in text, words
    assert "SIGNED" not in text
    assert text.index("PRELIMINARY") < text.index("AML pattern")


def test_title_and_language_are_set_and_name_no_patient(client, context):
    paper = paper_of(client, saved(context, assessment()))
    assert paper.metadata.title == "Blood smear report, smear of 2026-03-04"
    assert paper.trailer["/Root"]["/Lang"] == "en"
    assert str(paper.trailer["/Root"]["/ViewerPreferences"]["/DisplayDocTitle"]) == "True"


def test_the_paper_is_in_the_language_of_the_page(client, context):
    made = saved(context, assessment())
    client.set_cookie("leukocds-language", "de")
    paper = paper_of(client, made)
    text = " ".join("".join(page.extract_text() for page in paper.pages).split())
    assert paper.trailer["/Root"]["/Lang"] == "de"
    for words in (
        "VORLÄUFIG: maschinell ausgewertet",
        "Befund zum Blutausstrich",
        "Leukozyten",
        "Auftragsnummer",
    ):
        assert words in text, words
    for english in ("PRELIMINARY", "White cells", "What it rests on", "Not a diagnosis"):
        assert english not in text, english


def test_fonts_are_embedded(client, context):
    paper = paper_of(client, saved(context, assessment()))
    fonts = [f.get_object() for page in paper.pages for f in page["/Resources"]["/Font"].values()]
    used = [f for f in fonts if "LeukoCDS" in f["/BaseFont"] or "DejaVu" in f["/BaseFont"]]
    assert used
    assert all("/FontFile2" in f["/FontDescriptor"] for f in used)


def test_a_signed_report_names_who_signed_and_both_counts(client, context):
    held = (*cells(12, kept=True), *cells(20, "segmented_neutrophil"))
    typed = Change(number=1, at=READ_AT, kind=ChangeKind.RECLASSIFY, cells=(0, 1), value="promyelocyte", **BY)
    made = saved(context, assessment(outcome=with_cells(*held)), typed)
    sign(context, made, 2, Verdict.AMEND, Pattern.AML, remark="Auer rods")
    text = text_of(paper_of(client, made))
    assert "SIGNED by Dr. Test, 2026-03-04 05:06 UTC" in text
    assert "Amend (with my corrections or my conclusion)" in text
    assert "Conclusion: AML pattern" in text
    assert "Remark: Auer rods" in text
    assert "Myeloblast 12 10" in text
    assert "Promyelocyte 0 2" in text
    assert "Promyelocyte ✓" in text
    assert "The machine's reading before the review: AML pattern" in text
    assert "PRELIMINARY" not in text
    assert "not reviewed" not in text.lower()


def test_what_was_changed_since_it_was_signed_is_not_called_signed(client, context):
    made = saved(context, assessment(outcome=with_cells(*cells(30))))
    sign(context, made, 1, Verdict.AGREE, Pattern.AML)
    context.store.add_change(
        made.key, Change(number=2, at=READ_AT, kind=ChangeKind.EXCLUDE, cells=(3,), **BY)
    )
    text = text_of(paper_of(client, made))
    assert "CHANGED SINCE IT WAS SIGNED by Dr. Test" in text
    assert "SIGNED by Dr. Test, 2026-03-04 05:06 UTC: this paper is not what was signed" in text


def test_a_rejected_reading_says_that_it_must_not_be_used(client, context):
    made = saved(context, assessment())
    sign(context, made, 1, Verdict.REJECT, None, remark="Wrong patient's slide")
    text = text_of(paper_of(client, made))
    assert "Reject (it must not be used)" in text
    assert "Wrong patient's slide" in text
    assert "Conclusion:" not in text


def test_a_review_that_was_begun_is_still_preliminary(client, context):
    out = Change(number=1, at=READ_AT, kind=ChangeKind.EXCLUDE, cells=(0,), **BY)
    made = saved(context, assessment(outcome=with_cells(*cells(30))), out)
    text = text_of(paper_of(client, made))
    assert "PRELIMINARY: a review was begun, nobody has signed it" in text
    assert "Myeloblast 30 29" in text


def test_a_smear_not_analysed_is_one_page_without_counts(client, context):
    paper = paper_of(client, saved(context, assessment(outcome=not_analysed())))
    text = text_of(paper)
    assert "Not analysed: too few cells" in text
    assert "Only 12 white cells were found." in text
    assert "Differential" not in text
    assert "Probability" not in text
    assert len(paper.pages) == 1


@pytest.mark.parametrize(
    "name",
    [
        NASTY,
        "Łucja Żółkiewska-Święć",
        "Çağla Şahin İpekoğlu",
        "Ελένη Παπαδοπούλου",
        "Наталья Щербакова",
        "Nguyễn Thị Ánh",
        "Bobby '); DROP TABLE",
    ],
)
def test_names_are_printed_as_they_are(context, name):
    named = replace(context, pages=replace(context.pages, fhir=OneName(name)))
    client = create_app(named).test_client()
    sign_in(client, named)
    made = saved(named, assessment(outcome=replace(finding(), evidence=("Blasts.",))))
    named.store.mark_written(made.key, "DiagnosticReport/1")
    text = text_of(paper_of(client, made))
    assert text.count(name) == 2, "in the head and at the foot"
    assert "1970-01-02" in text
    assert LOST not in text


def test_a_name_that_the_font_cannot_write_is_not_printed_wrong(context):
    named = replace(context, pages=replace(context.pages, fhir=OneName("שרה Levi 王\u202e")))
    client = create_app(named).test_client()
    sign_in(client, named)
    made = saved(named, assessment())
    named.store.mark_written(made.key, "DiagnosticReport/1")
    text = text_of(paper_of(client, made))
    assert f"{3 * LOST} Levi {LOST}" in text
    assert "shows them" in text


def test_a_fhir_server_that_is_out_costs_the_name_alone(context):
    out = replace(context, pages=replace(context.pages, fhir=OneName(None)))
    client = create_app(out).test_client()
    sign_in(client, out)
    made = saved(out, assessment())
    out.store.mark_written(made.key, "DiagnosticReport/1")
    assert "Patient/p-1" in text_of(paper_of(client, made))


def test_an_archive_that_is_out_costs_the_pictures_alone_and_is_asked_once(client, context):
    pictures = context.pages.pictures
    pictures.out = True
    made = saved(context, assessment(outcome=with_cells(*cells(20))))
    paper = paper_of(client, made)
    assert pictures_in(paper) == 0
    assert "Pictures are missing: the archive does not deliver" in text_of(paper)
    assert "Myeloblast 20" in text_of(paper)
    assert len(pictures.asked) == 1


def test_pictures_that_the_reader_kept_need_no_archive(client, context):
    pictures = context.pages.pictures
    pictures.out = True
    made = saved(context, assessment(outcome=with_cells(*cells(7, kept=True))))
    paper = paper_of(client, made)
    assert pictures_in(paper) == 7
    assert "7 of 7 cells" in text_of(paper)
    assert pictures.asked == []


def test_a_damaged_picture_is_left_out(client, context):
    damaged = (replace(cell, thumbnail=b"\xff\xd8\x00\x01") for cell in cells(2))
    held = (*damaged, *cells(2, kept=True))
    assert pictures_in(paper_of(client, saved(context, assessment(outcome=with_cells(*held))))) == 2


def test_five_hundred_cells_are_two_pages_with_twelve_pictures_of_several_types(client, context):
    types = (
        "segmented_neutrophil",
        "lymphocyte",
        "monocyte",
        "band_neutrophil",
        "eosinophil",
        "erythroblast",
    )
    held = cells(260, kept=True) + tuple(c for t in types for c in cells(40, t, kept=True))
    made = saved(context, assessment(outcome=with_cells(*held)))
    answer = client.get(f"/studies/{made.key}/report.pdf")
    paper = PdfReader(io.BytesIO(answer.data))
    text = text_of(paper)
    assert len(paper.pages) <= 2
    assert pictures_in(paper) == 12
    assert text.count("Myeloblast 90 %") == 8
    assert "Segmented neutrophil 90 %" in text
    assert len(answer.data) < 300_000


def test_what_is_long_is_cut_and_many_pages_are_numbered(client, context):
    many = replace(finding(), evidence=tuple(f"{n} " + "evidence without end " * 60 for n in range(60)))
    made = saved(context, assessment(outcome=many))
    sign(context, made, 1, Verdict.AGREE, Pattern.AML, remark="W" * 2000)
    paper = paper_of(client, made)
    assert 2 <= len(paper.pages) <= 4
    for number, page in enumerate(paper.pages, 1):
        assert f"{number}/{len(paper.pages)}" in page.extract_text()
        assert "Patient/p-1" in page.extract_text()


def test_the_paper_is_guarded_and_recorded_as_the_page_is(context):
    made = saved(context, assessment())
    app = create_app(context)
    nobody = app.test_client()
    assert (
        nobody.get(f"/studies/{made.key}/report.pdf", headers={"Accept": "application/json"}).status_code
        == 401
    )
    other = app.test_client()
    sign_in(other, context, patient="Patient/p-2")
    assert other.get(f"/studies/{made.key}/report.pdf").status_code == 403
    own = app.test_client()
    sign_in(own, context, patient="Patient/p-1", may_review=False)
    assert own.get(f"/studies/{made.key}/report.pdf").status_code == 200
    looks = [(e.action, e.what, e.patient, e.outcome.value) for e in context.store.audit()]
    assert (AuditAction.VIEW, f"report {made.key}", "Patient/p-1", "denied") in looks
    assert (AuditAction.VIEW, f"report {made.key}", "Patient/p-1", "allowed") in looks
    missing = own.get(f"/studies/{made.key[:-4]}0000/report.pdf")
    assert missing.status_code == 404


def test_the_study_page_links_to_it(client, context):
    made = saved(context, assessment())
    assert f'href="/studies/{made.key}/report.pdf"' in client.get(f"/studies/{made.key}").text
