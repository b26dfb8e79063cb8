"""How urgent a reading is, as one number that a database can sort by."""

from cds.cell_types import GROUPS
from cds.values import Finding, NotAnalysed, Pattern

#: Levels of urgency; `urgency` spreads each over the share of blasts, in thousandths.
APL, ACUTE, ABNORMAL, UNREAD, WAITING, NORMAL = 5, 4, 3, 2, 1, 0
_STEP = 1001
#: Share of blasts that is an acute leukemia's by every classification (WHO 2022; ICC 2022 begins lower).
_MANY_BLASTS = 0.2
_LEVELS = {
    Pattern.ALL: ACUTE,
    Pattern.AML: ACUTE,
    Pattern.CLL: ABNORMAL,
    Pattern.CML: ABNORMAL,
    Pattern.INDETERMINATE: ABNORMAL,
    Pattern.HEALTHY: NORMAL,
}


def urgency(outcome: Finding | NotAnalysed) -> int:
    """The higher the sooner somebody must look: possible APL, then acute leukemia, each by its share of blasts."""
    if isinstance(outcome, NotAnalysed):
        return level(UNREAD)
    return level(how_urgent(outcome)) + round(1000 * _blasts(outcome))


def how_urgent(finding: Finding) -> int:
    """One of the levels. Blasts whose lineage cannot be told are no less urgent for that."""
    if finding.possible_apl:
        return APL
    if finding.pattern is Pattern.INDETERMINATE and _blasts(finding) >= _MANY_BLASTS:
        return ACUTE
    return _LEVELS[finding.pattern]


def _blasts(finding: Finding) -> float:
    return finding.differential.fraction(*GROUPS["blasts"])


def level(number: int) -> int:
    """The least urgency of that level."""
    return number * _STEP
