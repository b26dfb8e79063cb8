"""The worklist's page: order, states, filters, pages, retry, and whose smears are on it."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from cds.access import AuditAction
from cds.agreement import Fate, Looked
from cds.errors import UpstreamUnavailable
from cds.review import Change, ChangeKind, Signature, SignatureState, Verdict
from cds.values import Finding, JobState, Pattern, ReportState
from cds.worklist import WorkState
from hooks.app import create_app
from hooks.worklist import EARLIER_READING, RETRIED, STATES, age
from tests.fakes.assessments import MODEL, READ_AT, assessment, finding, not_analysed, study
from tests.fakes.signed_in import sign_in

NASTY = "<script>alert(1)</script>"


@pytest.fixture
def browser(context):
    """An operator's."""
    client = create_app(context).test_client()
    client.token = sign_in(client, context, may_operate=True)
    return client


def read(context, number, outcome=None, **values):
    """A study that was queued and read."""
    job = queue(context, number, **values)
    made = replace(assessment(number, outcome), study=job.study)
    context.store.claim(job.key, "worker", 60)
    context.store.save(made, ReportState.PENDING)
    context.store.finish(job.key, "worker", made.key)
    return made


def queue(context, number, **values):
    return context.store.enqueue(study(number, **values), MODEL.digest)[0]


def fail(context, number, reason, **values):
    job = queue(context, number, **values)
    context.store.claim(job.key, "worker", 60)
    context.store.fail(job.key, "worker", reason)
    return job


def plain(pattern, **values) -> Finding:
    reason = "unclear" if pattern is Pattern.INDETERMINATE else None
    return replace(finding(), pattern=pattern, possible_apl=False, reason=reason, **values)


def titles(page):
    rows = re.findall(r'<th scope="row">(.*?)</th>', page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows]


def test_the_most_urgent_come_first_and_healthy_ones_last(browser, context):
    read(context, 1, plain(Pattern.HEALTHY))
    read(context, 2, plain(Pattern.CML))
    read(context, 3, not_analysed())
    read(context, 4, plain(Pattern.AML))
    read(context, 5, finding())
    queue(context, 6)
    fail(context, 7, "the image archive cannot be reached")
    page = browser.get("/worklist").text
    assert [title[:22] for title in titles(page)] == [
        "AML pattern in blood s",  # possible APL
        "AML pattern in blood s",
        "CML pattern in blood s",
        "Not analysed: too few ",
        "Blood smear of 2026-03",  # failed
        "Blood smear of 2026-03",  # queued
        "No leukemia pattern in",
    ]
    assert "possible APL Urgent" in titles(page)[0]
    assert page.count("Urgent") == 2
    states = re.findall(r'class="state (\w+)"', page)
    assert states == ["read", "read", "read", "unreadable", "failed", "queued", "read"]
    assert "the image archive cannot be reached" in page
    assert "Only 12 white cells were found." in page


def test_of_equal_urgency_the_one_with_more_blasts_comes_first_then_the_older(browser, context):
    few = replace(finding().differential, counts={"myeloblast": 20, "neutrophil": 80})
    made = [
        read(context, 1, plain(Pattern.AML, differential=few)),
        read(context, 2, plain(Pattern.AML)),
        read(context, 3, plain(Pattern.AML)),
    ]
    page = browser.get("/worklist").text
    assert re.findall(r'href="/studies/([^"]+)"', page) == [made[n].key for n in (1, 2, 0)]


def test_a_study_has_one_row_with_its_newest_reading(browser, context):
    read(context, 1, plain(Pattern.AML))
    queue(context, 1, number_of_instances=9)
    page = browser.get("/worklist").text
    assert len(titles(page)) == 1
    assert "AML pattern" in page
    assert str(STATES[WorkState.QUEUED]) in page
    assert str(EARLIER_READING) in page


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("A-17", 1),
        ("A-1", 1),
        ("p-2", 1),
        ("Patient/p-2", 1),
        ("p-", 0),
        ("%", 0),
        ("17", 0),
        ("", 2),
        (" p-2 ", 1),
    ],
)
def test_search_is_by_accession_or_patient(browser, context, search, found):
    read(context, 1, accession="A-17")
    read(context, 2, patient="Patient/p-2")
    assert len(titles(browser.get("/worklist", query_string={"search": search}).text)) == found


def test_states_can_be_chosen(browser, context):
    read(context, 1)
    fail(context, 2, "broken")
    late = read(context, 3)
    context.store.report_failed(late.key, "the FHIR server is out", lambda n: 60.0)
    for state, found in {"read": 1, "failed": 1, "report": 1, "queued": 0, "reading": 0, "signed": 0}.items():
        page = browser.get("/worklist", query_string={"state": state}).text
        assert len(titles(page)) == found, state
        assert f'<option value="{state}" selected>' in page
    assert "the FHIR server is out" in browser.get("/worklist?state=report").text


@pytest.mark.parametrize(
    "query", ["state=gone", "page=0", "page=x", "page=-1", "page=99999999999", "search=%00"]
)
def test_what_is_no_filter_is_400(browser, query):
    assert browser.get(f"/worklist?{query}").status_code == 400


def test_many_rows_stand_on_pages_that_keep_the_filter(browser, context):
    for number in range(1, 31):
        queue(context, number, patient="Patient/p-2")
    first = browser.get("/worklist?search=p-2").text
    assert len(titles(first)) == 25
    assert "1–25 / 30" in first
    (following,) = re.findall(r'rel="next" href="([^"]+)"', first)
    second = browser.get(following.replace("&amp;", "&")).text
    assert len(titles(second)) == 5
    assert 'rel="prev"' in second
    assert not set(re.findall(r"smear-(\S+)", first)) & set(re.findall(r"smear-(\S+)", second))


def test_who_is_limited_to_a_patient_sees_that_patient_alone(context):
    read(context, 1)
    read(context, 2, patient="Patient/p-2")
    queue(context, 3, patient=None)
    limited = create_app(context).test_client()
    sign_in(limited, context, patient="Patient/p-2")
    for path in ("/worklist", "/worklist?search=p-1", "/worklist/rows", "/worklist/rows?search=A"):
        page = limited.get(path).text
        assert not re.search(r">\s*p-1\s*<", page)
        assert len(titles(page)) == (0 if "search" in path else 1)


def test_one_study_that_two_patients_claim_shows_each_their_own(context):
    read(context, 1, plain(Pattern.AML))
    queue(context, 1, patient="Patient/p-2", number_of_instances=9)
    limited = create_app(context).test_client()
    sign_in(limited, context, patient="Patient/p-2")
    page = limited.get("/worklist").text
    assert len(titles(page)) == 1
    assert "AML" not in page


def test_an_operator_may_try_again_what_failed(browser, context):
    job = fail(context, 1, "broken")
    page = browser.get("/worklist").text
    assert 'action="/worklist/retry"' in page
    form = {"csrf_token": browser.token, "kind": "job", "item": job.key}
    answer = browser.post("/worklist/retry", data=form)
    assert (answer.status_code, answer.location) == (303, "/worklist?said=retried")
    assert str(RETRIED) in browser.get(answer.location).text
    again = context.store.job(job.key)
    assert (again.state, again.attempts, again.reason) == (JobState.QUEUED, 0, None)
    assert context.submit.keys == [job.key]
    assert browser.post("/worklist/retry", data=form).location == "/worklist?said=not_retried"
    changes = [e.patient for e in context.store.audit() if e.action is AuditAction.CHANGE]
    assert changes == ["Patient/p-1", "Patient/p-1"]


def test_a_retry_outlives_a_broker_that_is_out(browser, context):
    job = fail(context, 1, "broken")
    context.submit.broken = UpstreamUnavailable("the broker is out")
    form = {"csrf_token": browser.token, "kind": "job", "item": job.key}
    assert browser.post("/worklist/retry", data=form).status_code == 303
    later = READ_AT + timedelta(days=9999)
    assert [orphan.key for orphan in context.store.orphans(later, READ_AT)] == [job.key]


def test_a_report_that_was_not_written_can_be_tried_again(browser, context):
    made = read(context, 1)
    context.store.report_failed(made.key, "out", lambda n: 3600.0)
    assert context.store.unwritten(9) == []
    form = {"csrf_token": browser.token, "kind": "report", "item": made.key}
    assert browser.post("/worklist/retry", data=form).location == "/worklist?said=retried"
    assert context.store.unwritten(9) == [made.key]


def test_nobody_else_may_try_again_nor_is_offered_to(context):
    job = fail(context, 1, "broken")
    reviewer = create_app(context).test_client()
    token = sign_in(reviewer, context)
    assert "/worklist/retry" not in reviewer.get("/worklist").text
    form = {"csrf_token": token, "kind": "job", "item": job.key}
    assert reviewer.post("/worklist/retry", data=form).status_code == 403
    assert context.store.job(job.key).state is JobState.FAILED
    limited = create_app(context).test_client()
    form["csrf_token"] = sign_in(limited, context, may_operate=True, patient="Patient/p-2")
    assert limited.post("/worklist/retry", data=form).status_code == 403
    assert context.store.job(job.key).state is JobState.FAILED


@pytest.mark.parametrize(
    ("kind", "item", "status"),
    [("job", "unknown", 404), ("report", "unknown", 404), ("", "x", 400), ("study", "x", 400)],
)
def test_what_is_not_there_cannot_be_tried_again(browser, kind, item, status):
    form = {"csrf_token": browser.token, "kind": kind, "item": item}
    assert browser.post("/worklist/retry", data=form).status_code == status


def test_rows_are_sent_again_only_when_they_are_others_and_only_then_recorded(browser, context):
    made = read(context, 1)
    digest = re.findall(r'data-digest="(\w+)"', browser.get("/worklist").text)[0]
    seen = len(context.store.audit())
    headers = {"If-None-Match": f'"{digest}"', "X-Poll": "1"}
    assert browser.get("/worklist/rows", headers=headers).status_code == 304
    assert len(context.store.audit()) == seen
    read(context, 2)
    rows = browser.get("/worklist/rows", headers=headers)
    assert rows.status_code == 200
    assert "<html" not in rows.text
    assert made.key in rows.text
    assert len(context.store.audit()) == seen + 1


def test_what_comes_from_outside_is_shown_as_text(browser, context):
    read(context, 1, accession=NASTY)
    fail(context, 2, NASTY)
    page = browser.get("/worklist", query_string={"search": NASTY}).text + browser.get("/worklist").text
    assert NASTY not in page
    assert page.count("&lt;script&gt;") >= 3


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 min"), (59, "0 min"), (3599, "59 min"), (3600, "1 h"), (172_799, "47 h"), (172_800, "2 d")],
)
def test_ages(seconds, words):
    assert str(age(seconds)) == words


def test_a_signature_counts_at_once_before_the_fhir_server_has_it(browser, context):
    made, open_one = read(context, 1), read(context, 2)
    by = {"number": 1, "user": "Practitioner/1", "name": "Dr. Hem"}
    signature = Signature(
        assessment_key=made.key, signed_at=made.read_at, verdict=Verdict.AGREE, conclusion=Pattern.AML, **by
    )
    change = Change(at=made.read_at, kind=ChangeKind.SIGN, **by)
    context.store.sign(change, signature, SignatureState.PENDING)
    assert re.findall(r'href="/studies/([^"]+)"', browser.get("/worklist").text) == [open_one.key]
    assert re.findall(r'href="/studies/([^"]+)"', browser.get("/worklist?state=signed").text) == [made.key]


def test_what_a_clinician_signed_is_off_the_list_and_found_by_its_state(browser, context):
    made, open_one = read(context, 1), read(context, 2)
    for one in (made, open_one):
        context.store.mark_written(one.key, f"DiagnosticReport/{one.key}")
    for report in context.store.written_reports(9):
        assert context.store.take_written(report, 60)
    context.store.looked_at(made.key, Looked(fate=Fate.SIGNED, status="final"), None)
    assert re.findall(r'href="/studies/([^"]+)"', browser.get("/worklist").text) == [open_one.key]
    signed = browser.get("/worklist?state=signed").text
    assert re.findall(r'href="/studies/([^"]+)"', signed) == [made.key]
    assert str(STATES[WorkState.SIGNED]) in signed
