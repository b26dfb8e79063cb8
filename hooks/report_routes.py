"""The report on paper: what the study page says, for those who read it without the page."""

import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import structlog
from flask import Flask, Response

from cds.errors import DeadlineExceeded, PackageError, UnknownService, UnreadableImage, UpstreamError
from cds.report_text import cell_name, percent
from cds.review import ChangeKind, Review
from cds.values import Assessment, utc_now
from hooks.context import Context
from hooks.patient_name import PatientName, patient_name
from hooks.picture_routes import opened, thumbnail_of
from hooks.report_pdf import Counts, Picture, Printed, Section, report_pdf
from hooks.report_words import LANGUAGE, TEXTS
from hooks.study_page import page
from hooks.study_view import cells_of
from hooks.study_words import VERDICT_NOTES
from hooks.visitors import Visitor
from hooks.wording import shorten

_log = structlog.get_logger(__name__)

#: Pictures on paper, and how many of them are of one type as long as there are others.
_PICTURES, _OF_ONE_TYPE = 12, 8
_SENTENCES, _REASONS = 14, 4
_SENTENCE = 400


def report_routes(app: Flask, context: Context) -> None:
    @app.get("/studies/<uuid:key>/report.pdf")
    def report(key: Any) -> Response:
        assessment, visitor = opened(context, str(key))
        review = context.store.review(assessment.key)
        content = report_pdf(printed(assessment, review, visitor, context))
        name = f"blood-smear-{re.sub('[^0-9-]', '', _day(assessment))}.pdf"
        headers = {"Content-Disposition": f'inline; filename="{name}"'}
        return Response(content, mimetype="application/pdf", headers=headers)


def printed(assessment: Assessment, review: Review, visitor: Visitor, context: Context) -> Printed:
    """What is on the paper. An archive or FHIR server that is out costs its part, and the paper says so."""
    view = page(assessment, review, visitor, context)
    study, verdict = assessment.study, view["verdict"]
    day = _day(assessment)
    known = _known(context, assessment)
    state, tone = _state(view, review)
    return Printed(
        title=TEXTS["title_of"].format(date=day),
        language=LANGUAGE,
        head=(TEXTS["title"], TEXTS["use"]),
        foot=" · ".join(filter(None, (known.name, study.patient, study.accession, day))),
        page=TEXTS["page"],
        facts=(
            (TEXTS["name"], known.name or TEXTS["unknown"]),
            (TEXTS["patient"], study.patient or TEXTS["unknown"]),
            (TEXTS["born"], known.birth_date or TEXTS["unknown"]),
            (TEXTS["accession"], study.accession or TEXTS["unknown"]),
            (TEXTS["smear_of"], (study.started or "")[:10] or TEXTS["unknown"]),
            (TEXTS["printed"], _when(utc_now())),
        ),
        state=state,
        state_tone=tone,
        notice=view["notice"],
        verdict=verdict["title"],
        tone=verdict["indicator"],
        lines=tuple(_lines(view)),
        advice=verdict["advice"],
        sections=tuple(s for s in _sections(assessment, review, view, context) if s is not None),
        lost=TEXTS["lost"],
    )


def _state(view: dict[str, Any], review: Review) -> tuple[str, str]:
    signed = view["signed"]
    if signed is None:
        return TEXTS["state_begun" if review.effective else "state_preliminary"], "warning"
    by = {"name": signed.signature.name, "when": _when(signed.signature.signed_at)}
    if review.changed_since_signed:
        return TEXTS["state_changed"].format(**by), "critical"
    return TEXTS["state_signed"].format(**by), "info"


def _lines(view: dict[str, Any]) -> list[str]:
    """What was signed, what the machine had said, and the probability."""
    lines, verdict, t = [], view["verdict"], view["t"]
    if signed := view["signed"]:
        note = VERDICT_NOTES[signed.signature.verdict]
        lines.append(TEXTS["verdict_signed"].format(verdict=view["signed_verdict"], note=note))
        if view["signed_pattern"]:
            lines.append(TEXTS["concluded"].format(pattern=view["signed_pattern"]))
        if signed.signature.remark:
            lines.append(TEXTS["remark"].format(remark=signed.signature.remark))
    if view["now"].recomputed:
        lines.append(TEXTS["machine_said"].format(title=view["machine_title"]))
    if verdict["probability"]:
        lines.append(TEXTS["probability"].format(percent=verdict["probability"], note=t["probability_note"]))
    if view["other_package"]:
        lines.append(t["other_package"])
    return lines


def _sections(
    assessment: Assessment, review: Review, view: dict[str, Any], context: Context
) -> list[Section | None]:
    sentences = view["verdict"]["sentences"][:_SENTENCES]
    return [
        Section(heading=TEXTS["rests_on"], points=tuple(shorten(s, _SENTENCE) for s in sentences))
        if sentences
        else None,
        _differential(view, review),
        _cells(assessment, review, context),
        _quality(assessment, view),
        Section(heading=TEXTS["not_this"], points=tuple(view["not_this"])),
        _provenance(assessment, view),
    ]


def _differential(view: dict[str, Any], review: Review) -> Section | None:
    if not view["rows"]:
        return None
    t, ranges = view["t"], view["ranges"]
    looked = bool(review.labels) or view["signed"] is not None

    def reviewer(count: int) -> str:
        return str(count) if looked else TEXTS["not_reviewed"]

    counted = (TEXTS["machine_count"], TEXTS["reviewer_count"])
    white = Counts(
        heads=(t["cell_type"], *counted, t["share"], t["interval"], t["range"], ""),
        rows=tuple(
            (
                row.name, str(row.machine), reviewer(row.reviewed), row.share, row.interval, row.limits,
                f"{'↑' if row.side == 'high' else '↓'} {t[row.side]}" if row.side else "",
            )
            for row in view["rows"]
        ),
        strong=frozenset(i for i, row in enumerate(view["rows"]) if row.side),
        foot=(t["total"], str(view["machine_total"]), reviewer(view["now"].differential.total), "", "", "", ""),
    )  # fmt: skip
    beside = Counts(
        heads=(t["beside"], *counted, "/100"),
        rows=tuple((name, str(m), reviewer(h), rate) for name, m, h, rate in view["beside"]),
    )
    return Section(
        heading=t["differential"],
        counts=(white, beside) if beside.rows else (white,),
        note=f"{t['ranges_source']} ({ranges.population}): {ranges.source}.",
    )


def _cells(assessment: Assessment, review: Review, context: Context) -> Section | None:
    """Pictures of the cells that carry the finding, as the review leaves them; the machine's list begins with those."""
    cells, labels = cells_of(assessment), review.labels
    if not cells:
        return None
    chosen = _chosen(assessment, review)
    pictures: list[Picture] = []
    note = TEXTS["pictures_shown"].format(shown=len(chosen), all=len(cells))
    for position in chosen:
        label, cell = labels.get(position), cells[position]
        try:
            jpeg = thumbnail_of(context, assessment, position)
        except (UpstreamError, DeadlineExceeded) as error:
            # The archive is out: to ask it for each of the others would only take longer.
            _log.warning("report printed without pictures", assessment=assessment.key, reason=str(error))
            note = TEXTS["pictures_out"]
            break
        except (UnknownService, UnreadableImage, PackageError) as error:  # this picture alone
            _log.warning("picture left out of a printed report", assessment=assessment.key, reason=str(error))
            continue
        caption = (
            TEXTS["reviewer_typed"].format(name=cell_name(label.value))
            if label
            else TEXTS["machine_typed"].format(
                name=cell_name(cell.cell_type), percent=percent(cell.probability)
            )
        )
        pictures.append(Picture(jpeg=jpeg, caption=shorten(caption, 60)))
    else:
        if missing := len(chosen) - len(pictures):
            note = TEXTS["pictures_some_out"].format(missing=missing)
    return Section(heading=TEXTS["pictures"], pictures=tuple(pictures), note=note)


def _chosen(assessment: Assessment, review: Review) -> list[int]:
    """Positions of the cells to be shown: in the machine's order, without those that were taken out, and not all of one
    type where there are others."""
    labels = review.labels
    first: list[int] = []
    rest: list[int] = []
    of_type: Counter[str] = Counter()
    for position, cell in enumerate(cells_of(assessment)):
        label = labels.get(position)
        if label is not None and label.kind is ChangeKind.EXCLUDE:
            continue
        cell_type = label.value if label else cell.cell_type
        of_type[cell_type] += 1
        (first if of_type[cell_type] <= _OF_ONE_TYPE else rest).append(position)
    return [*first, *rest][:_PICTURES]


def _quality(assessment: Assessment, view: dict[str, Any]) -> Section:
    used = TEXTS["images_used"].format(
        used=view["images_used"], all=len(assessment.images), cells=view["machine_total"]
    )
    refused = Counter(str(image.refused) for image in view["refused"]).most_common()
    points = [used]
    points += [TEXTS["image_refused"].format(reason=shorten(r, 200), count=n) for r, n in refused[:_REASONS]]
    if len(refused) > _REASONS:
        points.append(TEXTS["reasons_more"].format(count=len(refused) - _REASONS))
    return Section(heading=view["t"]["quality"], points=tuple(points))


def _provenance(assessment: Assessment, view: dict[str, Any]) -> Section:
    model = assessment.model
    return Section(
        heading=TEXTS["provenance"],
        facts=(
            (TEXTS["model"], f"{model.name} {model.version}"),
            (TEXTS["digest"], model.digest),
            (TEXTS["read"], _when(assessment.read_at)),
            (TEXTS["study_uid"], assessment.study.study_uid),
            (TEXTS["report"], str(view["report"])),
            (TEXTS["key"], assessment.key),
        ),
    )


def _known(context: Context, assessment: Assessment) -> PatientName:
    try:
        return patient_name(context, assessment)
    except UpstreamError as error:
        _log.warning(
            "report printed without the patient's name", assessment=assessment.key, reason=str(error)
        )
        return PatientName()


def _day(assessment: Assessment) -> str:
    return (assessment.study.started or assessment.read_at.isoformat())[:10]


def _when(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
