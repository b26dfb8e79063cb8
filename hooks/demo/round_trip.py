"""One patient's way through the demo: the hook, the queued card, the result card, the report in the chart."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from cds.values import Pattern
from hooks.demo.charts import concept, reports_of, results_of
from hooks.demo.ehr import Card, Ehr
from hooks.demo.hospital import Hospital
from hooks.demo.patients import NOT_ANALYSED, Patient
from hooks.wording import PATTERN_NAMES

Resource = dict[str, Any]

#: Card topics after which nothing more will come.
_SETTLED = {"smear-result", "smear-not-analysed", "smear-failed", "smear-problem"}
_POLL_S = 0.25
#: LOINC code of the impression among a report's results, whose value is the pattern.
_SMEAR_FINDING = "5909-7"


@dataclass(slots=True, kw_only=True)
class RoundTrip:
    """What came back for one patient, so far."""

    patient: Patient
    #: The answer to the first hook, and how long it took.
    first: list[Card] = field(default_factory=list)
    first_ms: float = 0.0
    cards: list[Card] = field(default_factory=list)
    report: Resource | None = None
    results: list[Resource] = field(default_factory=list)
    #: From the first hook until card and report were there.
    seconds: float | None = None

    @property
    def on_card(self) -> str | None:
        """Pattern that the cards name, `NOT_ANALYSED`, another settled state, or None while nothing is settled."""
        for card in self.cards:
            if topic(card) == "smear-not-analysed":
                return NOT_ANALYSED
            if topic(card) == "smear-result":
                return _pattern_of(card["summary"])
            if topic(card) in _SETTLED:
                return topic(card)
        return None

    @property
    def in_report(self) -> str | None:
        """Pattern that the report in the chart states, `NOT_ANALYSED`, or None while there is no report."""
        if self.report is None:
            return None
        for result in self.results:
            if any(coding.get("code") == _SMEAR_FINDING for coding in result["code"].get("coding", [])):
                if "dataAbsentReason" in result:
                    return NOT_ANALYSED
                return _pattern_of(concept(result.get("valueCodeableConcept")))
        return "a report without an impression"

    @property
    def as_expected(self) -> bool:
        return self.on_card == self.patient.expected == self.in_report

    @property
    def over(self) -> bool:
        return self.on_card is not None and self.report is not None


def topic(card: Card) -> str:
    return str(card.get("source", {}).get("topic", {}).get("code", ""))


def send_first_hooks(ehr: Ehr, patients: Sequence[Patient]) -> list[RoundTrip]:
    """One `patient-view` for each patient, all at once, as in a busy clinic."""

    def send(patient: Patient) -> RoundTrip:
        begun = time.monotonic()
        cards = ehr.open_chart(patient)
        return RoundTrip(
            patient=patient, first=cards, first_ms=(time.monotonic() - begun) * 1000, cards=cards
        )

    with ThreadPoolExecutor(len(patients)) as pool:
        return list(pool.map(send, patients))


def follow(
    trips: Sequence[RoundTrip],
    ehr: Ehr,
    hospital: Hospital,
    *,
    timeout_s: float,
    told: Callable[[RoundTrip], None],
) -> None:
    """Ask again until every card and report is there or the time is over; `told` hears of each that is complete."""
    begun = time.monotonic()
    waiting = list(trips)
    while waiting and time.monotonic() < begun + timeout_s:
        for trip in list(waiting):
            if trip.on_card is None:
                trip.cards = ehr.open_chart(trip.patient)
            if reports := reports_of(hospital, trip.patient.id):
                trip.report, trip.results = reports[-1], results_of(hospital, reports[-1])
            if trip.over:
                # Once more, so that the card shown knows of the report.
                trip.cards = ehr.open_chart(trip.patient)
                trip.seconds = time.monotonic() - begun
                waiting.remove(trip)
                told(trip)
        time.sleep(_POLL_S)


def _pattern_of(text: str) -> str:
    """Pattern that a card's summary or an impression names."""
    for pattern, name in PATTERN_NAMES.items():
        if text.startswith(name):
            return pattern.value
    return Pattern.INDETERMINATE.value if "ndeterminate" in text else text
