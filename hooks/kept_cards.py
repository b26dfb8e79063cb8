"""Cards of readings, made once for everybody who is shown them: a chart is opened by many users, many times.

A card depends on the reading, which never changes once stored, on how far its report is, and on what the chart says
beside it: all that is the key. Whom it is shown to is in its uuids alone, which are put in at the end.
"""

from collections.abc import Hashable, Sequence
from functools import partial

from cds.kept import Kept
from cds.language import ENGLISH, Words
from cds.review import Signature
from cds.values import Assessment, Finding, NotAnalysed
from hooks.cards import Card, Earlier, assessment_card
from hooks.next_steps import Order
from hooks.signed_card import concluded_by, signed_card
from hooks.suggestions import Chosen, addressed

#: Cards kept in each process; some kilobytes each.
AT_MOST = 1024
#: Characters of earlier reports; a chart that says more is not kept.
_LONGEST = 2000
_NOBODY = ""


class KeptCards:
    """Safe for threads. The cards that it gives must not be changed: others are given parts of the same ones."""

    def __init__(self, at_most: int = AT_MOST) -> None:
        self._cards = Kept[Hashable, Card](at_most)
        #: The same for one user: who opened a chart is likely to open it again.
        self._shown = Kept[Hashable, Card](at_most)

    def card(
        self,
        card_uuid: str,
        assessment: Assessment,
        base_url: str,
        chosen: Chosen,
        *,
        report: str | None = None,
        earlier: Sequence[Earlier] = (),
        grown: bool = False,
        words: Words = ENGLISH,
        signature: Signature | None = None,
    ) -> Card:
        """As `hooks.cards.assessment_card`, or as `hooks.signed_card` with a signature."""
        counts = assessment.outcome if signature is None else concluded_by(signature, assessment)
        key = (
            assessment.key, base_url, chosen.patient, chosen.encounter, _left(counts, chosen), report, grown,
            tuple(earlier), words.language,
            signature and signature.number,
        )  # fmt: skip
        if (shown := self._shown.get((card_uuid, key))) is not None:
            return shown
        card = self._cards.get(key)
        if card is None:
            make = assessment_card if signature is None else partial(signed_card, signature)
            card = make(
                _NOBODY,
                assessment,
                base_url,
                chosen,
                report=report,
                earlier=earlier,
                grown=grown,
                words=words,
            )
        shown = addressed(card, card_uuid)
        if sum(len(e.when) + len(e.status) + len(e.conclusion) for e in earlier) <= _LONGEST:
            self._cards.put(key, card)
            self._shown.put((card_uuid, key), shown)
        return shown


def _left(outcome: Finding | NotAnalysed | None, chosen: Chosen) -> tuple[Order, ...]:
    """The next steps that are not ordered yet: all that matters of the orders in a chart, which may be any number."""
    if not isinstance(outcome, Finding):
        return ()
    steps = chosen.steps.of(outcome)
    return tuple(o for o in steps if (o.system, o.code) not in chosen.ordered) if chosen.ordered else steps
