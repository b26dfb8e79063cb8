"""Words and numbers as clinicians read them, the same on cards and pages; and text made safe for Markdown."""

import re
from collections.abc import Mapping
from functools import lru_cache

from cds.cell_types import GROUPS
from cds.evidence import CML_NEVER_VALIDATED
from cds.report_text import cell_name, percent
from cds.values import Differential, Finding, NotAnalysedReason, Pattern, wilson_interval

#: Beside a reading that a clinician has signed.
SIGNED_NOTICE = (
    "Signed by a clinician. A pattern in a blood smear is no diagnosis by itself. "
    "For research use only: not a medical device."
)
NOT_A_DIAGNOSIS = (
    "Preliminary and not a diagnosis. For research use only: not a medical device. "
    "A hematologist must review the smear itself."
)

PATTERN_NAMES: Mapping[Pattern, str] = {
    Pattern.HEALTHY: "No leukemia pattern",
    Pattern.ALL: "ALL pattern",
    Pattern.AML: "AML pattern",
    Pattern.CLL: "CLL pattern",
    Pattern.CML: "CML pattern",
    Pattern.INDETERMINATE: "Indeterminate",
}

NOT_ANALYSED: Mapping[NotAnalysedReason, str] = {
    NotAnalysedReason.NO_IMAGES: "no images found",
    NotAnalysedReason.UNREADABLE: "images unreadable",
    NotAnalysedReason.POOR_QUALITY: "image quality too poor",
    NotAnalysedReason.OUT_OF_DISTRIBUTION: "images do not look like a blood smear this model knows",
    NotAnalysedReason.TOO_FEW_CELLS: "too few cells",
}

_CONFIRM: Mapping[Pattern, str] = {
    Pattern.HEALTHY: "A smear without a leukemia pattern does not rule out leukemia.",
    Pattern.ALL: "To confirm: smear review, flow cytometry, bone-marrow examination.",
    Pattern.AML: "To confirm: smear review, flow cytometry, bone-marrow examination.",
    Pattern.CLL: "To confirm: smear review and flow cytometry for a clonal B-cell population.",
    Pattern.CML: "To confirm: smear review and BCR::ABL1.",
    Pattern.INDETERMINATE: "To clarify: review of the smear by a pathologist.",
}


def headline(finding: Finding, started: str | None = None) -> str:
    """The verdict with the share it rests on, as plain text of well under 140 characters.

    started: FHIR dateTime of the study; its date tells one card from the next.
    """
    smear = f"blood smear{of_date(started)}"
    d = finding.differential
    blasts = share(d, "blasts", "blasts")
    name = PATTERN_NAMES[finding.pattern]
    if finding.possible_apl:
        promyelocytes = share(d, "promyelocytes", "promyelocytes")
        if finding.pattern in (Pattern.HEALTHY, Pattern.INDETERMINATE):
            return f"Possible APL in {smear}: {promyelocytes}, preliminary"
        return f"{name} in {smear}, possible APL: {promyelocytes}, preliminary"
    match finding.pattern:
        case Pattern.HEALTHY | Pattern.ALL | Pattern.AML:
            return f"{name} in {smear}: {blasts}, preliminary"
        case Pattern.CLL:
            return f"{name} in {smear}: {share(d, 'lymphocytes', 'mature_lymphocytes')}, preliminary"
        case Pattern.CML:
            precursors = share(d, "granulocyte precursors", "precursors")
            return (
                f"{name} in {smear}: {precursors}, {percent(d.fraction('basophil'))} basophils, preliminary"
            )
        case Pattern.INDETERMINATE:
            return f"Indeterminate {smear}: {blasts}; pathologist review advised"


def of_date(started: str | None) -> str:
    """The words `of 2026-03-04` after a space, or nothing."""
    return f" of {started[:10]}" if started else ""


def confirm_by(finding: Finding) -> str:
    if finding.possible_apl:
        return "Suspected APL is an emergency: coagulation screen and PML::RARA at once, call hematology now."
    return _CONFIRM[finding.pattern]


def share(differential: Differential, name: str, group: str) -> str:
    """As "31 % blasts (95 % CI 23–41 %)", for one of the GROUPS of cell types."""
    low, high = differential.interval(*GROUPS[group])
    return f"{percent(differential.fraction(*GROUPS[group]))} {name} (95 % CI {between(low, high)})"


def between(low: float, high: float) -> str:
    return f"{100 * low:.0f}–{100 * high:.0f} %"


def rows(differential: Differential) -> list[tuple[str, int, str, str]]:
    """Type, count, percent and 95 % interval of each cell type, the most frequent first."""
    counted = sorted(differential.counts.items(), key=lambda item: (-item[1], item[0]))
    total = differential.total
    return [(cell_name(t), n, percent(n / total), between(*wilson_interval(n, total))) for t, n in counted]


def caveats(finding: Finding) -> list[str]:
    """What must be said with the verdict and is not among the evidence: why indeterminate, CML never validated."""
    said = " ".join(finding.evidence)
    found = [f"Indeterminate: {finding.reason}."] if finding.reason and finding.reason not in said else []
    if finding.pattern is Pattern.CML and CML_NEVER_VALIDATED not in said:
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
