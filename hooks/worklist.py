"""The worklist: smears that nobody has signed, the most urgent first, with what keeps them and a way to try again."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode, urlsplit

import structlog
from flask import Flask, Response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from cds.errors import BadRequest, LeukoError, UnknownService
from cds.language import Message, Text, counted, message, message_in
from cds.values import Finding, StudyRef, utc_now
from cds.worklist import WorklistPage, WorklistQuery, WorklistRow, WorkState
from hooks.cards import indicator
from hooks.context import Context
from hooks.languages import page_words
from hooks.script_texts import for_scripts
from hooks.visitors import any_visitor, visitor_for
from hooks.wording import NOT_A_DIAGNOSIS, NOT_ANALYSED, headline, shorten, smear_of

PAGE_ROWS = 25
_MAX_SEARCH = 80
_MAX_PAGE = 10_000
#: What waits for nothing but the machine has no colour of its own.
_PLAIN = "waiting"
_AGAIN = (WorkState.FAILED, WorkState.REPORT)

STATES: Mapping[WorkState, Message] = {
    WorkState.QUEUED: message_in("state", "Queued"),
    WorkState.READING: message_in("state", "Being read"),
    WorkState.READ: message_in("state", "Read"),
    WorkState.UNREADABLE: message_in("state", "Could not be read"),
    WorkState.FAILED: message_in("state", "Failed"),
    WorkState.REPORT: message_in("state", "Report not written"),
    WorkState.SIGNED: message_in("state", "Signed"),
}
RETRIED = message("It is tried again.")
NOT_RETRIED = message("It is not failed any more; nothing was done.")
EARLIER_READING = message("Shown is an earlier reading; more images came.")
#: What the script says; handed to it with the page.
SCRIPT_TEXTS: Mapping[str, Message] = {
    "minutes": counted("{count} min", "{count} min", 0),
    "hours": counted("{count} h", "{count} h", 0),
    "days": counted("{count} d", "{count} d", 0),
    "updates": message("This list keeps itself up to date."),
    "updated": message("The list has changed."),
    "failed": message("The list could not be updated; reload the page."),
}

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
    patient: Text
    accession: Text
    since: datetime
    age: Message
    state: Message
    state_code: str
    reason: str | None
    note: Message | None
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
            raise UnknownService(message("There is nothing of that key to be tried again."))
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
        raise BadRequest(message("search: must be an accession number or a patient's id"))
    state = request.args.get("state", "")
    if state and state not in [known.value for known in WorkState]:
        raise BadRequest(message("state: is none of the worklist's"))
    page = request.args.get("page", "1")
    if not (page.isascii() and page.isdecimal()) or not 1 <= int(page[:9]) <= _MAX_PAGE:
        raise BadRequest(message("page: must be a number from 1 on"))
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
    language = page_words().language
    shown = [(line.id, line.title, line.state_code, line.reason, line.retry) for line in lines]
    said = {"retried": RETRIED, "not_retried": NOT_RETRIED}.get(request.args.get("said", ""))

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
        "said": said,
        "script_texts": for_scripts(SCRIPT_TEXTS, page_words()),
        "digest": hashlib.sha256(repr((language, shown, found.total)).encode()).hexdigest()[:32],
    }


def age(seconds: float) -> Message:
    """How long something waits, as `12 min`, `3 h`, `5 d`."""
    minutes = max(0, int(seconds // 60))
    if minutes < 60:
        return counted("{count} min", "{count} min", minutes)
    hours = minutes // 60
    return (
        counted("{count} h", "{count} h", hours)
        if hours < 48
        else counted("{count} d", "{count} d", hours // 24)
    )


def _line(row: WorklistRow, now: datetime) -> Line:
    say = page_words().text
    study, assessment = row.job.study, row.assessment
    outcome, detail = assessment.outcome if assessment else None, ""
    if outcome is None:
        title = say(smear_of(study.started, first=True))
    elif isinstance(outcome, Finding):
        title, _, detail = say(headline(outcome, study.started, preliminary=False)).partition(": ")
    else:
        title = say(message("Not analysed: {reason}", reason=NOT_ANALYSED[outcome.reason]))
    waits = row.state in (WorkState.QUEUED, WorkState.READING)
    reason: Text | None = {WorkState.FAILED: row.job.reason, WorkState.REPORT: row.report_problem}.get(
        row.state
    )
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
        accession=study.accession or message_in("accession", "none"),
        since=row.since,
        age=age((now - row.since).total_seconds()),
        state=STATES[row.state],
        state_code=row.state.value,
        reason=shorten(say(reason), 300) if reason else None,
        note=EARLIER_READING if assessment and waits else None,
        retry=retry,
    )


def _patient(study: StudyRef) -> Text:
    """The number, with whose it is where that is another server than ours."""
    if study.patient is None:
        return message_in("patient", "unknown")
    number = study.patient.removeprefix("Patient/")
    return f"{number} · {urlsplit(study.patient_server).netloc}" if study.patient_server else number
