"""The pages: what a study's card links to, what became of the cards, and a front page.

Server-rendered, nothing from another host, for nobody who has not signed in.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, render_template, request

from cds.errors import UnknownService
from cds.report_text import cell_name, percent
from cds.values import Assessment, Cell, Finding, NotAnalysed, ReportState, wilson_interval
from hooks.cards import WHAT_TO_DO, indicator
from hooks.context import Context
from hooks.feedback_table import AGREEMENT_NOTE, NOTE, agreement_table, parse_since, table, unknown
from hooks.services import SERVICE_ID
from hooks.visitors import any_visitor, visitor_for
from hooks.wording import (
    NOT_A_DIAGNOSIS,
    NOT_ANALYSED,
    PATTERN_NAMES,
    between,
    caveats,
    confirm_by,
    headline,
)

_REPORT_STATES = {
    ReportState.NOT_CONFIGURED: "not written (no FHIR server)",
    ReportState.PENDING: "not written yet",
    ReportState.WRITTEN: "written",
}
_SHOWN_PER_TYPE = 12
_SHOWN_IN_ALL = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A share and its 95 % interval, in percent of the full width."""

    name: str
    count: int | None
    percent: str
    interval: str
    width: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Cells of one type in the gallery: data URLs of their crops, with the probability of the type."""

    name: str
    total: int
    crops: tuple[tuple[str, str], ...]


def page_routes(app: Flask, context: Context) -> None:
    @app.get("/")
    def home() -> str:
        any_visitor(look=False)
        return render_template(
            "home.html", service_id=SERVICE_ID, model=context.model, notice=NOT_A_DIAGNOSIS
        )

    @app.get("/studies/<uuid:key>")
    def study(key: Any) -> str:
        assessment = context.store.get(str(key))
        if assessment is None:
            any_visitor(look=False)  # whether there is one is told to nobody else
            raise UnknownService("There is no reading under this address.")
        visitor_for(assessment.study.patient)
        state, reference = context.store.report_state(assessment.key)
        return render_template("study.html", **_view(assessment, reference or _REPORT_STATES[state]))

    @app.get("/feedback")
    def feedback() -> str:
        """Counts alone: no patient, no user, no comment."""
        any_visitor(staff=True)
        text = request.args.get("since", "")
        since = parse_since(text) if text else None
        summary = context.store.feedback_summary(since)
        return render_template(
            "feedback.html",
            rows=table(summary),
            unknown=unknown(summary),
            note=NOTE,
            agreement=agreement_table(context.store.agreement(since)),
            agreement_note=AGREEMENT_NOTE,
            since=f"{since:%Y-%m-%d %H:%M} UTC" if since else None,
        )


def error_page(status: int, text: str) -> Response:
    return Response(render_template("error.html", status=status, text=text), status, mimetype="text/html")


def _view(assessment: Assessment, report: str) -> dict[str, Any]:
    outcome = assessment.outcome
    view: dict[str, Any] = {
        "a": assessment,
        "report": report,
        "notice": NOT_A_DIAGNOSIS,
        "indicator": indicator(outcome),
        "refused": [image for image in assessment.images if image.refused],
        "cells_read": sum(image.cells for image in assessment.images),
        "finding": None,
    }
    if isinstance(outcome, NotAnalysed):
        view |= {
            "title": f"Not analysed: {NOT_ANALYSED[outcome.reason]}",
            "detail": outcome.detail,
            "advice": WHAT_TO_DO[outcome.reason],
        }
    else:
        view |= {
            "finding": outcome,
            "title": headline(outcome).removesuffix(", preliminary"),
            "advice": confirm_by(outcome),
            "sentences": [*caveats(outcome), *outcome.evidence],
            "bars": _differential(outcome),
            "others": sorted((cell_name(t), n) for t, n in outcome.differential.other.items()),
            "probabilities": _probabilities(outcome),
            "groups": _gallery(outcome.cells),
        }
    return view


def _differential(finding: Finding) -> list[Bar]:
    total = finding.differential.total
    bars = []
    for cell_type, count in sorted(finding.differential.counts.items(), key=lambda item: (-item[1], item[0])):
        low, high = wilson_interval(count, total)
        bars.append(_bar(cell_name(cell_type), count, count / total, low, high))
    return bars


def _probabilities(finding: Finding) -> list[Bar]:
    ranked = sorted(finding.probabilities.items(), key=lambda item: -item[1])
    return [_bar(PATTERN_NAMES[pattern], None, value, value, value) for pattern, value in ranked]


def _bar(name: str, count: int | None, share: float, low: float, high: float) -> Bar:
    return Bar(
        name=name,
        count=count,
        percent=percent(share),
        interval=between(low, high),
        width=round(100 * share, 2),
        low=round(100 * low, 2),
        high=round(100 * high, 2),
    )


def _gallery(cells: Sequence[Cell]) -> list[Group]:
    """By type, in the order in which the reader put the cells: those that carry the finding come first."""
    by_type: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.thumbnail is not None:
            by_type.setdefault(cell.cell_type, []).append(cell)
    groups, left = [], _SHOWN_IN_ALL
    for cell_type, members in by_type.items():
        shown = members[: min(_SHOWN_PER_TYPE, left)]
        left -= len(shown)
        if shown:
            crops = tuple((_data_url(c.thumbnail or b""), percent(c.probability)) for c in shown)
            groups.append(Group(name=cell_name(cell_type), total=len(members), crops=crops))
    return groups


def _data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
