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
    """The higher the sooner somebody must look: possible APL, then acute leukemia, each by its share of blasts.

    Blasts whose lineage cannot be told are no less urgent for that.
    """
    if isinstance(outcome, NotAnalysed):
        return level(UNREAD)
    blasts = outcome.differential.fraction(*GROUPS["blasts"])
    of = APL if outcome.possible_apl else _LEVELS[outcome.pattern]
    if outcome.pattern is Pattern.INDETERMINATE and blasts >= _MANY_BLASTS:
        of = max(of, ACUTE)
    return level(of) + round(1000 * blasts)


def level(number: int) -> int:
    """The least urgency of that level."""
    return number * _STEP
