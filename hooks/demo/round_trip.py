"""One patient's way through the demo: the hook, the queued card, the result card, the report in the chart."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from cds.language import LANGUAGES, words
from cds.values import Pattern
from fhir_profiles.codes import LOINC, PATTERN
from hooks.demo.charts import reports_of, results_of
from hooks.demo.ehr import Card, Ehr, HookRefused
from hooks.demo.hospital import Hospital
from hooks.demo.patients import NOT_ANALYSED, Patient
from hooks.wording import PATTERN_NAMES

Resource = dict[str, Any]

#: Topic of the card after which neither result nor report will come. One that names a problem may still be followed by
#: them: the hospital's server was too slow for the hook's budget, say.
_GIVEN_UP = "smear-failed"
_POLL_S = 0.25


@dataclass(slots=True, kw_only=True)
class RoundTrip:
    """What came back for one patient, so far."""

    patient: Patient
    #: The answer to the first hook, and how long it took.
    first: list[Card] = field(default_factory=list)
    first_ms: float = 0.0
    cards: list[Card] = field(default_factory=list)
    #: What the service said instead of cards, the last time.
    refusal: str | None = None
    report: Resource | None = None
    results: list[Resource] = field(default_factory=list)
    #: From the first hook until card and report were there.
    seconds: float | None = None

    @property
    def on_card(self) -> str | None:
        """Pattern that the cards name, `NOT_ANALYSED`, or None while there is no result."""
        for card in self.cards:
            if topic(card) == "smear-not-analysed":
                return NOT_ANALYSED
            if topic(card) == "smear-result":
                return _pattern_of(card["summary"])
        return None

    @property
    def topics(self) -> str:
        """What the cards are about, for a reader who got no result."""
        return self.refusal or ", ".join(topic(card) for card in self.cards) or "no card"

    @property
    def in_report(self) -> str | None:
        """Pattern that the report in the chart states, `NOT_ANALYSED`, or None while there is no report."""
        if self.report is None:
            return None
        for result in self.results:
            if "5909-7" in _codes(result["code"], LOINC):  # the impression
                absent = "dataAbsentReason" in result
                patterns = [NOT_ANALYSED] if absent else _codes(result.get("valueCodeableConcept"), PATTERN)
                return ", ".join(patterns)
        return "a report without an impression"

    @property
    def as_expected(self) -> bool:
        return self.on_card == self.patient.expected == self.in_report

    @property
    def over(self) -> bool:
        """Nothing more will come: card and report are there, or the service has given up."""
        given_up = any(topic(card) == _GIVEN_UP for card in self.cards)
        return given_up or (self.on_card is not None and self.report is not None)


def topic(card: Card) -> str:
    return str(card.get("source", {}).get("topic", {}).get("code", ""))


def send_first_hooks(ehr: Ehr, patients: Sequence[Patient]) -> list[RoundTrip]:
    """One `patient-view` for each patient, all at once, as in a busy clinic."""

    def send(patient: Patient) -> RoundTrip:
        trip = RoundTrip(patient=patient)
        begun = time.monotonic()
        _ask(ehr, trip)
        trip.first, trip.first_ms = trip.cards, (time.monotonic() - begun) * 1000
        return trip

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
                _ask(ehr, trip)
            if reports := reports_of(hospital, trip.patient.id):
                trip.report, trip.results = reports[-1], results_of(hospital, reports[-1])
            if trip.over:
                # Once more, so that the card shown knows of the report.
                _ask(ehr, trip)
                trip.seconds = time.monotonic() - begun
                waiting.remove(trip)
                told(trip)
        time.sleep(_POLL_S)


def _ask(ehr: Ehr, trip: RoundTrip) -> None:
    try:
        trip.cards, trip.refusal = ehr.open_chart(trip.patient), None
    except HookRefused as refused:
        trip.cards, trip.refusal = [], str(refused)


def _pattern_of(summary: str) -> str:
    """Pattern that the summary of a result card names, in whatever language."""
    for language in LANGUAGES:
        names = {pattern: words(language).text(name) for pattern, name in PATTERN_NAMES.items()}
        for pattern, name in names.items():
            if summary.startswith(name):
                return pattern.value
        if names[Pattern.INDETERMINATE].lower() in summary.lower():
            return Pattern.INDETERMINATE.value
    return summary


def _codes(concept: Resource | None, system: str) -> list[str]:
    return [c["code"] for c in (concept or {}).get("coding", []) if c.get("system") == system]
