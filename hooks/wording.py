"""Words and numbers as clinicians read them, the same on cards and pages; and text made safe for Markdown."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from cds.cell_types import GROUPS
from cds.evidence import CML_NEVER_VALIDATED, indeterminate_because
from cds.language import Message, Text, message, message_in, verbatim
from cds.report_text import cell_name, percent
from cds.values import Differential, Finding, NotAnalysedReason, Pattern, wilson_interval

_DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")

#: Beside a reading that a clinician has signed.
SIGNED_NOTICE = message(
    "Signed by a clinician. A pattern in a blood smear is no diagnosis by itself. "
    "For research use only: not a medical device."
)
NOT_A_DIAGNOSIS = message(
    "Preliminary and not a diagnosis. For research use only: not a medical device. "
    "A hematologist must review the smear itself."
)

PATTERN_NAMES: Mapping[Pattern, Message] = {
    Pattern.HEALTHY: message("No leukemia pattern"),
    Pattern.ALL: message("ALL pattern"),
    Pattern.AML: message("AML pattern"),
    Pattern.CLL: message("CLL pattern"),
    Pattern.CML: message("CML pattern"),
    Pattern.INDETERMINATE: message("Indeterminate"),
}

NOT_ANALYSED: Mapping[NotAnalysedReason, Message] = {
    NotAnalysedReason.NO_IMAGES: message("no images found"),
    NotAnalysedReason.UNREADABLE: message("images unreadable"),
    NotAnalysedReason.POOR_QUALITY: message("image quality too poor"),
    NotAnalysedReason.OUT_OF_DISTRIBUTION: message("images do not look like a blood smear this model knows"),
    NotAnalysedReason.TOO_FEW_CELLS: message("too few cells"),
}

_CONFIRM: Mapping[Pattern, Message] = {
    Pattern.HEALTHY: message("A smear without a leukemia pattern does not rule out leukemia."),
    Pattern.ALL: message("To confirm: smear review, flow cytometry, bone-marrow examination."),
    Pattern.AML: message("To confirm: smear review, flow cytometry, bone-marrow examination."),
    Pattern.CLL: message("To confirm: smear review and flow cytometry for a clonal B-cell population."),
    Pattern.CML: message("To confirm: smear review and BCR::ABL1."),
    Pattern.INDETERMINATE: message("To clarify: review of the smear by a pathologist."),
}
_CONFIRM_APL = message(
    "Suspected APL is an emergency: coagulation screen and PML::RARA at once, call hematology now."
)
#: What `share` calls the cells of a group.
_SHARED: Mapping[str, Message] = {
    "blasts": message("blasts"),
    "promyelocytes": message("promyelocytes"),
    "mature_lymphocytes": message("lymphocytes"),
    "precursors": message("granulocyte precursors"),
}


def headline(finding: Finding, started: str | None = None, *, preliminary: bool = True) -> Message:
    """The verdict with the share it rests on, as plain text of well under 140 characters.

    started: FHIR dateTime of the study; its date tells one card from the next. preliminary: whether to say that it is.
    """
    said = _verdict(finding, smear_of(started))
    if preliminary and (finding.possible_apl or finding.pattern is not Pattern.INDETERMINATE):
        return message("{verdict}, preliminary", verdict=said)
    return said


def _verdict(finding: Finding, smear: Message) -> Message:
    d = finding.differential
    values = {"pattern": PATTERN_NAMES[finding.pattern], "smear": smear}
    if finding.possible_apl:
        values["share"] = share(d, "promyelocytes")
        if finding.pattern in (Pattern.HEALTHY, Pattern.INDETERMINATE):
            return message("Possible APL in {smear}: {share}", **values)
        return message("{pattern} in {smear}, possible APL: {share}", **values)
    match finding.pattern:
        case Pattern.HEALTHY | Pattern.ALL | Pattern.AML:
            return message("{pattern} in {smear}: {share}", share=share(d, "blasts"), **values)
        case Pattern.CLL:
            return message("{pattern} in {smear}: {share}", share=share(d, "mature_lymphocytes"), **values)
        case Pattern.CML:
            return message(
                "{pattern} in {smear}: {share}, {basophils:percent} basophils",
                share=share(d, "precursors"),
                basophils=d.fraction("basophil"),
                **values,
            )
        case Pattern.INDETERMINATE:
            return message(
                "Indeterminate {smear}: {share}; pathologist review advised",
                share=share(d, "blasts"),
                smear=smear,
            )


def smear_of(started: str | None, *, first: bool = False) -> Message:
    """The words `blood smear of 2026-03-04`, for within a sentence, or for its beginning. started: FHIR dateTime."""
    if not started:
        return message("Blood smear") if first else message("blood smear")
    date = date_of(started)
    if first:
        return message("Blood smear of {date}", date=date)
    return message("blood smear of {date}", date=date)


def date_of(started: str) -> Message:
    """The date of a FHIR date or dateTime of any precision, as each language writes it."""
    if not _DATE.fullmatch(started[:10]):
        return verbatim(started)
    year, month, day = (*started[:10].split("-"), "", "")[:3]
    if day:
        return message_in("date", "{year}-{month}-{day}", year=year, month=month, day=day)
    return message_in("date", "{year}-{month}", year=year, month=month) if month else verbatim(year)


def minute(at: datetime) -> str:
    """A moment to the minute, the same in every language."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def confirm_by(finding: Finding) -> Message:
    return _CONFIRM_APL if finding.possible_apl else _CONFIRM[finding.pattern]


def share(differential: Differential, group: str) -> Message:
    """As "31 % blasts (95 % CI 23–41 %)", for one of those GROUPS of cell types that headlines speak of."""
    low, high = differential.interval(*GROUPS[group])
    return message(
        "{share:percent} {cells} (95 % CI {low:points}–{high:points} %)",
        share=differential.fraction(*GROUPS[group]),
        cells=_SHARED[group],
        low=low,
        high=high,
    )


def between(low: float, high: float) -> str:
    return f"{100 * low:.0f}–{100 * high:.0f} %"


def rows(differential: Differential) -> list[tuple[Text, int, str, str]]:
    """Type, count, percent and 95 % interval of each cell type, the most frequent first."""
    counted = sorted(differential.counts.items(), key=lambda item: (-item[1], item[0]))
    total = differential.total
    return [(cell_name(t), n, percent(n / total), between(*wilson_interval(n, total))) for t, n in counted]


def caveats(finding: Finding) -> list[Message]:
    """What must be said with the verdict and is not among the evidence: why indeterminate, CML never validated."""
    if finding.reason is None and finding.pattern is not Pattern.CML:
        return []
    # Compared in English, as readings older than messages have it.
    said = " ".join(map(str, finding.evidence))
    found = []
    if finding.reason is not None and str(finding.reason) not in said:
        found.append(indeterminate_because(finding.reason))
    if finding.pattern is Pattern.CML and str(CML_NEVER_VALIDATED) not in said:
        found.append(CML_NEVER_VALIDATED)
    return found


def plain(text: str) -> str:
    """One line without control characters or lone surrogates, for fields that are plain text."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())


def shorten(text: str, at_most: int) -> str:
    text = plain(text)
    return text if len(text) <= at_most else text[: at_most - 1].rstrip() + "…"


@lru_cache(maxsize=1024)  # names of cell types above all: the same few in every card
def markdown(text: str) -> str:
    """Text that came from data, so that GitHub Markdown shows it as it is: no markup, no HTML, no autolink.

    Angle brackets become entities rather than `\\<`, for clients that put the text into a page before rendering it.
    """
    text = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_{}\[\]#|~@])", r"\\\1", text)
    text = re.sub(r"(?i)\b(www)\.", r"\1\\.", text).replace("://", r"\://")
    return re.sub(r"^(\d+)([.)])(?=\s|$)|^([-+])", lambda m: f"{m[1]}\\{m[2]}" if m[1] else f"\\{m[3]}", text)
