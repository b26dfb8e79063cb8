from dataclasses import replace

from cds.urgency import ABNORMAL, ACUTE, APL, NORMAL, UNREAD, urgency
from cds.values import Differential, Pattern
from tests.fakes.assessments import finding, not_analysed


def of(pattern, blasts=0, apl=False):
    reason = "unclear" if pattern is Pattern.INDETERMINATE else None
    differential = Differential({"myeloblast": blasts, "lymphocyte": 100 - blasts})
    return urgency(
        replace(finding(), pattern=pattern, differential=differential, reason=reason, possible_apl=apl)
    )


def test_levels_never_meet_whatever_the_share_of_blasts():
    assert APL > ACUTE > ABNORMAL > UNREAD > NORMAL
    ranked = [
        of(Pattern.HEALTHY),
        of(Pattern.HEALTHY, 100),
        urgency(not_analysed()),
        of(Pattern.CLL),
        of(Pattern.INDETERMINATE, 19),
        of(Pattern.ALL),
        of(Pattern.AML, 100),
        of(Pattern.AML, 0, apl=True),
    ]
    assert ranked == sorted(ranked)
    assert len(set(ranked)) == len(ranked)


def test_more_blasts_are_more_urgent():
    assert of(Pattern.AML, 40) > of(Pattern.AML, 39) > of(Pattern.AML, 0)


def test_many_blasts_are_as_urgent_where_their_lineage_cannot_be_told():
    assert of(Pattern.ALL, 15) < of(Pattern.INDETERMINATE, 20) < of(Pattern.AML, 21)
    assert of(Pattern.INDETERMINATE, 60, apl=True) > of(Pattern.AML, 100)
