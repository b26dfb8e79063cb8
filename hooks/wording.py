"""Words and numbers as clinicians read them, the same on cards and pages; and text made safe for Markdown."""

import re
from collections.abc import Mapping

from cds.values import Differential, Finding, NotAnalysedReason, Pattern, wilson_interval

BLASTS = ("myeloblast", "lymphoblast")
LYMPHOCYTES = ("cll_lymphocyte", "lymphocyte", "reactive_lymphocyte")
PRECURSORS = ("promyelocyte", "myelocyte", "metamyelocyte")

NOT_A_DIAGNOSIS = (
    "Preliminary and not a diagnosis. For research use only: not a medical device. "
    "A hematologist must review the smear itself."
)
CML_CAVEAT = (
    "The CML pattern was built from composed cell mixtures and was never validated on patients with CML."
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


def headline(finding: Finding) -> str:
    """The verdict with the share it rests on, as plain text of well under 140 characters."""
    d = finding.differential
    if finding.possible_apl:
        return f"Possible APL: {share(d, 'promyelocytes', 'promyelocyte')} in blood smear, preliminary"
    match finding.pattern:
        case Pattern.ALL | Pattern.AML:
            return (
                f"{PATTERN_NAMES[finding.pattern]} in blood smear: {share(d, 'blasts', *BLASTS)}, preliminary"
            )
        case Pattern.CLL:
            return f"CLL pattern in blood smear: {share(d, 'lymphocytes', *LYMPHOCYTES)}, preliminary"
        case Pattern.CML:
            basophils = percent(d.fraction("basophil"))
            left = share(d, "immature granulocytes", *PRECURSORS)
            return f"CML pattern in blood smear: {left}, {basophils} basophils, preliminary"
        case Pattern.HEALTHY:
            return f"No leukemia pattern in blood smear: {share(d, 'blasts', *BLASTS)}, preliminary"
        case Pattern.INDETERMINATE:
            return f"Blood smear indeterminate: {share(d, 'blasts', *BLASTS)}; pathologist review advised"


def confirm_by(finding: Finding) -> str:
    if finding.possible_apl:
        return "Suspected APL is an emergency: coagulation screen and PML::RARA at once, call hematology now."
    return _CONFIRM[finding.pattern]


def share(differential: Differential, name: str, *cell_types: str) -> str:
    """ "31 % blasts (95 % CI 23–41 %)"."""
    low, high = differential.interval(*cell_types)
    return f"{percent(differential.fraction(*cell_types))} {name} (95 % CI {between(low, high)})"


def percent(fraction: float) -> str:
    """A fraction in [0, 1] as whole percent; what is there never reads 0 %."""
    return "< 1 %" if 0 < fraction < 0.005 else f"{100 * fraction:.0f} %"


def between(low: float, high: float) -> str:
    return f"{100 * low:.0f}–{100 * high:.0f} %"


def rows(differential: Differential) -> list[tuple[str, int, str, str]]:
    """Type, count, percent and 95 % interval of each cell type, the most frequent first."""
    counted = sorted(differential.counts.items(), key=lambda item: (-item[1], item[0]))
    total = differential.total
    return [(cell_name(t), n, percent(n / total), between(*wilson_interval(n, total))) for t, n in counted]


def cell_name(cell_type: str) -> str:
    """ "cll_lymphocyte" as "CLL lymphocyte"."""
    words = cell_type.replace("_", " ").strip()
    return "CLL" + words[3:] if words.startswith("cll ") else words[:1].upper() + words[1:]


def plain(text: str) -> str:
    """One line without control characters or lone surrogates, for fields that are plain text."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shorten(text: str, at_most: int) -> str:
    text = plain(text)
    return text if len(text) <= at_most else text[: at_most - 1].rstrip() + "…"


def markdown(text: str) -> str:
    """Text that came from data, so that GitHub Markdown shows it as it is: no markup, no HTML, no autolink.

    Angle brackets become entities rather than `\\<`, for clients that put the text into a page before rendering it.
    """
    text = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_{}\[\]#|~@])", r"\\\1", text)
    text = re.sub(r"(?i)\b(www)\.", r"\1\\.", text).replace("://", r"\://")
    return re.sub(r"^(\d+)([.)])(?=\s|$)|^([-+])", lambda m: f"{m[1]}\\{m[2]}" if m[1] else f"\\{m[3]}", text)
