"""The worklist: smears that nobody has signed, the most urgent first, with what keeps them and a way to try again."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode, urlsplit

import structlog
from flask import Flask, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from cds.errors import BadRequest, LeukoError, UnknownService
from cds.values import Finding, StudyRef, utc_now
from cds.worklist import WorklistPage, WorklistQuery, WorklistRow, WorkState
from hooks.cards import indicator
from hooks.context import Context
from hooks.page_words import STATES, WORDS, age
from hooks.visitors import any_visitor, visitor_for
from hooks.wording import NOT_A_DIAGNOSIS, NOT_ANALYSED, headline, shorten

PAGE_ROWS = 25
_MAX_SEARCH = 80
_MAX_PAGE = 10_000
#: What waits for nothing but the machine has no colour of its own.
_PLAIN = "waiting"
_AGAIN = (WorkState.FAILED, WorkState.REPORT)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row as it is shown. link: path of the study's page; None: there is no reading yet."""

    id: str
    title: str
    #: What the title rests on; None where it says all.
    detail: str | None
    indicator: str
    link: str | None
    patient: str
    accession: str
    since: datetime
    age: str
    state: str
    state_code: str
    reason: str | None
    note: str | None
    #: What the retry button sends; None: there is nothing to try again.
    retry: tuple[str, str] | None


def worklist_routes(app: Flask, context: Context) -> None:
    store = context.store

    @app.get("/worklist")
    def worklist() -> str:
        visitor = any_visitor()
        query, page = _query(visitor.patient)
        found = store.worklist(query)
        return render_template("worklist.html", **_view(found, query, page), notice=NOT_A_DIAGNOSIS)

    @app.get("/worklist/rows")
    def worklist_rows() -> Response:
        """The rows alone, for the page's script; 304 where they are the ones that it has."""
        visitor = any_visitor(look=False)
        query, page = _query(visitor.patient)
        view = _view(store.worklist(query), query, page)
        if view["digest"] == request.headers.get("If-None-Match", "").strip('"'):
            return Response(status=304, headers={"ETag": f'"{view["digest"]}"'})
        any_visitor()  # they are new: that is a look
        rows = Response(render_template("worklist_rows.html", **view), mimetype="text/html")
        rows.headers["ETag"] = f'"{view["digest"]}"'
        return rows

    @app.post("/worklist/retry")
    def retry() -> AnyResponse:
        any_visitor(operator=True, look=False)
        kind, key = request.form.get("kind", ""), request.form.get("item", "")
        if kind not in ("job", "report"):
            raise BadRequest("kind: must be job or report")
        of = store.job(key) if kind == "job" else store.get(key)
        if of is None:
            raise UnknownService("There is nothing of that key to be tried again.")
        visitor_for(of.study.person)
        done = store.retry_job(key) if kind == "job" else store.retry_report(key)
        if done and kind == "job":
            _send(key)
        _log.info("tried again by an operator", kind=kind, done=done)
        return redirect(f"/worklist?{urlencode({'said': 'retried' if done else 'not_retried'})}", 303)

    def _send(key: str) -> None:
        try:
            context.submit(key)
        except LeukoError as error:
            _log.warning("job not sent to the queue; the sweeper will", reason=str(error))


def _query(patient: str | None) -> tuple[WorklistQuery, int]:
    """What the address asks for, and the number of the page. Raises BadRequest."""
    search = request.args.get("search", "").strip()
    if len(search) > _MAX_SEARCH or not search.isprintable():
        raise BadRequest("search: must be an accession number or a patient's id")
    state = request.args.get("state", "")
    if state and state not in [known.value for known in WorkState]:
        raise BadRequest("state: is none of the worklist's")
    page = request.args.get("page", "1")
    if not (page.isascii() and page.isdecimal()) or not 1 <= int(page[:9]) <= _MAX_PAGE:
        raise BadRequest("page: must be a number from 1 on")
    number = int(page)
    query = WorklistQuery(
        patient=patient,
        search=search,
        state=WorkState(state) if state else None,
        limit=PAGE_ROWS,
        offset=(number - 1) * PAGE_ROWS,
    )
    return query, number


def _view(found: WorklistPage, query: WorklistQuery, page: int) -> dict[str, object]:
    now = utc_now()
    lines = [_line(row, now) for row in found.rows]
    shown = [(line.id, line.title, line.state_code, line.reason, line.retry) for line in lines]
    said = request.args.get("said", "")

    def address(number: int) -> str | None:
        if number < 1 or (number - 1) * PAGE_ROWS >= found.total:
            return None
        asked = {"search": query.search, "state": query.state or "", "page": str(number)}
        return f"/worklist?{urlencode({name: value for name, value in asked.items() if value})}"

    return {
        "lines": lines,
        "total": found.total,
        "first": query.offset + 1,
        "query": query,
        "states": STATES,
        "previous": address(page - 1),
        "next": address(page + 1),
        "said": WORDS[said] if said in ("retried", "not_retried") else None,
        "digest": hashlib.sha256(repr((shown, found.total)).encode()).hexdigest()[:32],
    }


def _line(row: WorklistRow, now: datetime) -> Line:
    study, assessment = row.job.study, row.assessment
    outcome, detail = assessment.outcome if assessment else None, ""
    if outcome is None:
        title = WORDS["study_without_reading"] + (f" of {study.started[:10]}" if study.started else "")
    elif isinstance(outcome, Finding):
        title, _, detail = headline(outcome, study.started).removesuffix(", preliminary").partition(": ")
    else:
        title = f"Not analysed: {NOT_ANALYSED[outcome.reason]}"
    waits = row.state in (WorkState.QUEUED, WorkState.READING)
    reason = {WorkState.FAILED: row.job.reason, WorkState.REPORT: row.report_problem}.get(row.state)
    if row.state is WorkState.UNREADABLE and outcome is not None and not isinstance(outcome, Finding):
        reason = outcome.detail
    if row.state is WorkState.QUEUED:
        reason = row.job.reason  # why it is tried again
    retry = None
    if row.state in _AGAIN:
        retry = ("job", row.job.key) if row.state is WorkState.FAILED else ("report", assessment.key)  # type: ignore[union-attr]
    return Line(
        id=row.job.key,
        title=title,
        detail=detail or None,
        indicator=indicator(outcome) if outcome else _PLAIN,
        link=f"/studies/{assessment.key}" if assessment else None,
        patient=_patient(study),
        accession=study.accession or WORDS["no_accession"],
        since=row.since,
        age=age((now - row.since).total_seconds()),
        state=STATES[row.state],
        state_code=row.state.value,
        reason=shorten(reason, 300) if reason else None,
        note=WORDS["earlier_reading"] if assessment and waits else None,
        retry=retry,
    )


def _patient(study: StudyRef) -> str:
    """The number, with whose it is where that is another server than ours."""
    if study.patient is None:
        return WORDS["no_patient"]
    number = study.patient.removeprefix("Patient/")
    return f"{number} · {urlsplit(study.patient_server).netloc}" if study.patient_server else number
