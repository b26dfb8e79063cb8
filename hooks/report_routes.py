"""The report on paper: what the study page says, for those who read it without the page."""

import re
from collections import Counter
from typing import Any

import structlog
from flask import Flask, Response

from cds.errors import DeadlineExceeded, PackageError, UnknownService, UnreadableImage, UpstreamError
from cds.language import Text, counted, message, message_in
from cds.report_text import cell_name, percent
from cds.review import ChangeKind, Review
from cds.values import Assessment, utc_now
from hooks.context import Context
from hooks.languages import page_words
from hooks.patient_name import PatientName, patient_name
from hooks.picture_routes import opened, thumbnail_of
from hooks.report_pdf import Counts, Picture, Printed, Section, report_pdf
from hooks.study_page import page
from hooks.study_view import cells_of
from hooks.study_words import VERDICT_NOTES
from hooks.visitors import Visitor
from hooks.wording import minute, shorten

_log = structlog.get_logger(__name__)

#: Pictures on paper, and how many of them are of one type as long as there are others.
_PICTURES, _OF_ONE_TYPE = 12, 8
_SENTENCES, _REASONS = 14, 4
_SENTENCE = 400
_UNKNOWN = "–"


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
    """What is on the paper, in the language of the page. An archive or FHIR server that is out costs its part, and the
    paper says so."""
    view = page(assessment, review, visitor, context)
    study, verdict = assessment.study, view["verdict"]
    day = _day(assessment)
    known = _known(context, assessment)
    state, tone = _state(view, review)
    facts = (
        (message("Name"), known.name),
        (message("Patient id"), study.patient),
        (message("Born"), known.birth_date),
        (message("Accession"), study.accession),
        (message("Smear of"), (study.started or "")[:10]),
        (message("Printed"), minute(utc_now())),
    )
    return Printed(
        title=_say(message("Blood smear report, smear of {date}", date=day)),
        language=page_words().language,
        head=(
            _say(message("Blood smear report")),
            _say(message("Research use only: not a medical device")),
        ),
        foot=" · ".join(filter(None, (known.name, study.patient, study.accession, day))),
        page="{number}/{all}",
        facts=tuple((_say(name), value or _UNKNOWN) for name, value in facts),
        state=_say(state),
        state_tone=tone,
        notice=_say(view["notice"]),
        verdict=_say(verdict["title"]),
        tone=verdict["indicator"],
        lines=tuple(map(_say, _lines(view))),
        advice=_say(verdict["advice"]),
        sections=tuple(s for s in _sections(assessment, review, view, context) if s is not None),
        lost=_say(
            message(
                "□ stands for letters that this document's font or direction of writing does not have; the study's "
                "page shows them."
            )
        ),
    )


def _say(said: Text) -> str:
    return page_words().text(said)


def _all_said(*said: Text) -> tuple[str, ...]:
    return tuple(map(_say, said))


def _state(view: dict[str, Any], review: Review) -> tuple[Text, str]:
    signed = view["signed"]
    if signed is None:
        if review.effective:
            return message("PRELIMINARY: a review was begun, nobody has signed it"), "warning"
        return message("PRELIMINARY: read by a machine, reviewed by nobody"), "warning"
    name, when = signed.signature.name, minute(signed.signature.signed_at)
    if review.changed_since_signed:
        changed = message(
            "CHANGED SINCE IT WAS SIGNED by {name}, {when}: this paper is not what was signed",
            name=name,
            when=when,
        )
        return changed, "critical"
    return message("SIGNED by {name}, {when}", name=name, when=when), "info"


def _lines(view: dict[str, Any]) -> list[Text]:
    """What was signed, what the machine had said, and the probability."""
    lines: list[Text] = []
    verdict = view["verdict"]
    if signed := view["signed"]:
        note = VERDICT_NOTES[signed.signature.verdict]
        lines.append(message("{verdict} ({note})", verdict=view["signed_verdict"], note=note))
        if view["signed_pattern"]:
            lines.append(message("Conclusion: {pattern}", pattern=view["signed_pattern"]))
        if signed.signature.remark:
            lines.append(message("Remark: {remark}", remark=signed.signature.remark))
    if view["now"].recomputed:
        title = view["machine_title"]
        lines.append(message("The machine's reading before the review: {title}", title=title))
    if verdict["probability"]:
        lines.append(
            message(
                "Probability of the pattern: {probability}. {note}",
                probability=verdict["probability"],
                note=view["probability_note"],
            )
        )
    if view["other_package"]:
        lines.append(view["other_package"])
    return lines


def _sections(
    assessment: Assessment, review: Review, view: dict[str, Any], context: Context
) -> list[Section | None]:
    sentences = [shorten(_say(said), _SENTENCE) for said in view["verdict"]["sentences"][:_SENTENCES]]
    return [
        Section(heading=_say(message("What it rests on")), points=tuple(sentences)) if sentences else None,
        _differential(view, review),
        _cells(assessment, review, context),
        _quality(assessment, view),
        Section(heading=_say(message("What this is not")), points=tuple(map(_say, view["not_this"]))),
        _provenance(assessment, view),
    ]


def _differential(view: dict[str, Any], review: Review) -> Section | None:
    if not view["rows"]:
        return None
    ranges = view["ranges"]
    looked = bool(review.labels) or view["signed"] is not None
    sides = {
        "high": message("↑ {above}", above=message("above")),
        "low": message("↓ {below}", below=message("below")),
    }

    def reviewer(count: int) -> str:
        return str(count) if looked else _UNKNOWN

    machine_and_reviewer = (_say(message_in("count", "Machine")), _say(message_in("count", "Reviewed")))
    heads = (
        _say(message("Cell type")), *machine_and_reviewer, _say(message("Share")), _say(message("95 % interval")),
        _say(message_in("range", "Reference")), "",
    )  # fmt: skip
    white = Counts(
        heads=heads,
        rows=tuple(
            _all_said(
                row.name, str(row.machine), reviewer(row.reviewed), row.share, row.interval, row.limits,
                sides[row.side] if row.side else "",
            )
            for row in view["rows"]
        ),
        strong=frozenset(i for i, row in enumerate(view["rows"]) if row.side),
        foot=(
            _say(message("White cells")), str(view["machine_total"]), reviewer(view["now"].differential.total),
            "", "", "", "",
        ),
    )  # fmt: skip
    beside = Counts(
        heads=(_say(message("Per 100 white cells")), *machine_and_reviewer, "/100"),
        rows=tuple(_all_said(name, str(m), reviewer(h), rate) for name, m, h, rate in view["beside"]),
    )
    return Section(
        heading=_say(message("Differential")),
        counts=(white, beside) if beside.rows else (white,),
        note=f"{_say(message('Reference ranges'))} ({_say(ranges.population)}): {_say(ranges.source)}.",
    )


def _cells(assessment: Assessment, review: Review, context: Context) -> Section | None:
    """Pictures of the cells that carry the finding, as the review leaves them; the machine's list begins with those."""
    cells, labels = cells_of(assessment), review.labels
    if not cells:
        return None
    chosen = _chosen(assessment, review)
    pictures: list[Picture] = []
    note = message(
        "{shown} of {all} cells; under each its type and how sure the machine is of it, or ✓ where a reviewer gave it.",
        shown=len(chosen),
        all=len(cells),
    )
    for position in chosen:
        label, cell = labels.get(position), cells[position]
        try:
            jpeg = thumbnail_of(context, assessment, position)
        except (UpstreamError, DeadlineExceeded) as error:
            # The archive is out: to ask it for each of the others would only take longer.
            _log.warning("report printed without pictures", assessment=assessment.key, reason=str(error))
            note = message(
                "Pictures are missing: the archive does not deliver the images now. The finding does not rest on it."
            )
            break
        except (UnknownService, UnreadableImage, PackageError) as error:  # this picture alone
            _log.warning("picture left out of a printed report", assessment=assessment.key, reason=str(error))
            continue
        name = _say(cell_name(label.value if label else cell.cell_type))
        caption = f"{name} ✓" if label else f"{name} {percent(cell.probability)}"
        pictures.append(Picture(jpeg=jpeg, caption=shorten(caption, 60)))
    else:
        if missing := len(chosen) - len(pictures):
            note = counted(
                "{count} more picture is missing: it cannot be made now.",
                "{count} more pictures are missing: they cannot be made now.",
                missing,
            )
    heading = _say(message("Cells, those that carry the finding first"))
    return Section(heading=heading, pictures=tuple(pictures), note=_say(note))


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
    used = message(
        "{used} of {all} images were used, {cells} white cells counted.",
        used=view["images_used"],
        all=len(assessment.images),
        cells=view["machine_total"],
    )
    refused = Counter(_say(image.refused) for image in view["refused"]).most_common()
    points: list[Text] = [used]
    for reason, count in refused[:_REASONS]:
        points.append(message("Not used: {reason} ({count})", reason=shorten(reason, 200), count=count))
    if more := len(refused) - _REASONS if len(refused) > _REASONS else 0:
        points.append(counted("and {count} other reason", "and {count} other reasons", more))
    return Section(heading=_say(message("Quality")), points=tuple(map(_say, points)))


def _provenance(assessment: Assessment, view: dict[str, Any]) -> Section:
    model = assessment.model
    facts: tuple[tuple[Text, Text], ...] = (
        (message("Model"), f"{model.name} {model.version}"),
        (message("Model SHA-256"), model.digest),
        (message("Read"), minute(assessment.read_at)),
        (message("Study UID"), assessment.study.study_uid),
        (message("Report"), view["report"]),
        (message("Key of this reading"), assessment.key),
    )
    heading = _say(message("Where this comes from"))
    return Section(heading=heading, facts=tuple((_say(name), _say(value)) for name, value in facts))


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
