import re
from dataclasses import replace
from datetime import timedelta

import pytest

from cds.review import Change, ChangeKind, Signature, SignatureState, Verdict
from cds.values import Cell, Differential, ImageReading, Pattern, ReportState
from hooks.app import create_app
from tests.fakes.assessments import READ_AT, assessment, finding, not_analysed
from tests.fakes.signed_in import sign_in

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture
def client(context):
    """A reviewer's browser."""
    client = create_app(context).test_client()
    sign_in(client, context)
    return client


def page_of(client, context, made):
    assert context.store.save(made, ReportState.PENDING)
    response = client.get(f"/studies/{made.key}")
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    return response.text


def tiles(page: str) -> int:
    return len(re.findall(r'class="tile[ "]', page))


def test_a_result_shows_verdict_evidence_differential_cells_and_model(client, context):
    page = page_of(client, context, assessment(outcome=finding(40)))
    for words in (
        "AML pattern in blood smear, possible APL",
        "Blasts 41 % (95 % interval 32 to 51 %).",
        "Myeloblast",
        "Probability of the pattern",
        "preliminary, not reviewed",
        "The JPEG data ends too early.",
        "ab" * 32,
        "not a diagnosis",
        "1.2.826.0.1.1",
        "not written yet",
        "Sign as Dr. Test",
    ):
        assert words in page, words
    assert tiles(page) == 40
    assert "base64" not in page, "thumbnails are asked for as they come into view"
    assert "built-in method" not in page


def test_a_signed_reading_is_no_longer_called_preliminary(client, context):
    made = assessment()
    assert "Preliminary and not a diagnosis" in page_of(client, context, made)
    by = {"number": 1, "user": "Practitioner/1", "name": "Dr. Test"}
    signature = Signature(
        assessment_key=made.key, signed_at=READ_AT, verdict=Verdict.AGREE, conclusion=Pattern.AML, **by
    )
    context.store.sign(Change(at=READ_AT, kind=ChangeKind.SIGN, **by), signature, SignatureState.PENDING)
    page = client.get(f"/studies/{made.key}").text
    assert "Signed by a clinician." in page
    assert "Preliminary and not a diagnosis" not in page


def test_counts_of_machine_and_human_stand_side_by_side_with_the_range(client, context):
    made = assessment(outcome=replace(finding(3), differential=Differential({"myeloblast": 3})))
    assert context.store.save(made, ReportState.PENDING)
    out = Change(
        number=1, at=READ_AT, user="Practitioner/2", name="Dr. Hem", kind=ChangeKind.EXCLUDE, cells=(0,)
    )
    context.store.add_change(made.key, out)
    page = client.get(f"/studies/{made.key}").text
    row = re.search(r"Myeloblast\s+<svg.*?</tr>", page, re.DOTALL)
    assert row is not None
    assert '<td class="n">3</td><td class="n human">2</td>' in row[0]
    assert "0 %" in row[0]
    assert "above" in row[0]
    assert "Dr. Hem" in page


def test_a_smear_not_analysed_has_its_page_too(client, context):
    page = page_of(client, context, assessment(outcome=not_analysed()))
    assert "Not analysed: too few cells" in page
    assert "Only 12 white cells were found." in page
    assert "Differential</h2>" not in page
    assert tiles(page) == 0


def test_names_from_outside_are_shown_as_text(client, context):
    cells = (Cell(source=NASTY, row=1, column=1, cell_type=NASTY, probability=0.5, thumbnail=b"\xff\xd8"),)
    made = assessment(outcome=replace(finding(), cells=cells, evidence=(NASTY,)))
    made = replace(
        made,
        images=(ImageReading(source=NASTY, refused=NASTY), ImageReading(source="b", scale_origin=NASTY, um_per_px=1)),
        model=replace(made.model, version=NASTY),
    )  # fmt: skip
    page = page_of(client, context, made)
    assert "<script>" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page


def test_nothing_comes_from_another_host_and_nothing_is_written_into_the_markup(client, context):
    page = page_of(client, context, assessment())
    for address in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert address.startswith(("/", "data:", "#")), address
    for script in re.findall(r"<script.*?</script>", page, re.DOTALL):
        assert re.fullmatch(r'<script type="module" src="/[^"]+"></script>', script)
    assert "<style" not in page
    assert "style=" not in page  # the content security policy would drop it
    assert re.search(r"\son[a-z]+=", page) is None
    for sheet in ("/static/leukocds.css", "/static/review/study.css"):
        styles = client.get(sheet)
        assert styles.status_code == 200
        assert "url(" not in styles.text


def test_many_images_and_cells_stay_a_page(client, context):
    cells = tuple(
        Cell(source="a", row=1, column=1, cell_type=f"type_{n % 30}", probability=0.5 + n / 6000, thumbnail=None)
        for n in range(3000)
    )  # fmt: skip
    images = tuple(ImageReading(source=f"image-{n}", cells=1, quality=0.5) for n in range(500))
    page = page_of(
        client, context, replace(assessment(outcome=replace(finding(), cells=cells)), images=images)
    )
    assert 1000 < tiles(page) <= 2000
    assert "and 300 more" in page
    assert len(page) < 2_000_000


def test_an_earlier_reading_says_so_and_leads_to_the_newest(client, context):
    earlier = assessment()
    context.store.save(earlier, ReportState.PENDING)
    assert "earlier reading" not in client.get(f"/studies/{earlier.key}").text
    newest = replace(
        assessment(instance_uids=("1.2.3.4", "1.2.3.5")), read_at=earlier.read_at + timedelta(hours=1)
    )
    context.store.save(newest, ReportState.PENDING)
    page = client.get(f"/studies/{earlier.key}").text
    assert "earlier reading" in page
    assert f'href="/studies/{newest.key}"' in page
    assert "earlier reading" not in client.get(f"/studies/{newest.key}").text


def test_the_trend_shows_the_patients_studies_and_no_other_patients(client, context):
    earlier = assessment(2, started="2026-02-01", instance_uids=("1.2.3.5",))
    other = assessment(3, started="2026-01-01", patient="Patient/p-2", instance_uids=("1.2.3.6",))
    this = assessment()
    for number, made in enumerate((earlier, other, this)):
        context.store.save(made, ReportState.PENDING)
        context.store.mark_written(made.key, f"DiagnosticReport/{number}")
    page = client.get(f"/studies/{this.key}").text
    assert f'href="/studies/{earlier.key}"' in page
    assert other.key not in page
