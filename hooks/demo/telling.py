"""What the demo prints."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hooks.demo.ehr import Card
from hooks.demo.hospital import Hospital
from hooks.demo.round_trip import RoundTrip

_console = Console(highlight=False)
_TONE = {"info": "blue", "warning": "yellow", "critical": "red"}
#: Detail lines of a card that fit a terminal; the page shows all.
_DETAIL_LINES = 4


def say(line: str) -> None:
    _console.print(Text(line), soft_wrap=True)


def opening(hospital: Hospital, service_url: str) -> None:
    _console.print(Text("LeukoCDS demo", style="bold"))
    say("For research; not a medical device. Patients are invented and their smears are drawn.")
    say(f"Simulated hospital (a test double: FHIR, DICOMweb, EHR)  {hospital.url}")
    say(f"LeukoCDS (`leukocds serve`: SQLite, embedded broker)     {service_url}")
    _console.print()


def done(what: str, seconds: float) -> None:
    _console.print(f"[green]done[/green] {what} [dim]{seconds:.1f} s[/dim]")


def services(found: Sequence[Mapping[str, Any]]) -> None:
    for service_id in dict.fromkeys(service["id"] for service in found):
        hooks = ", ".join(service["hook"] for service in found if service["id"] == service_id)
        say(f"discovery: {service_id} under {hooks}")


def first_answers(trips: Sequence[RoundTrip]) -> None:
    table = Table("patient", "data", "answer", "first card", title="patient-view sent", title_justify="left")
    for trip in trips:
        table.add_row(
            trip.patient.family,
            "prefetch" if trip.patient.prefetch else "fhirServer",
            f"{trip.first_ms:.0f} ms",
            Text("\n".join(card["summary"] for card in trip.first) or trip.topics),
        )
    _console.print()
    _console.print(table)


@contextmanager
def waiting(total: int) -> Iterator[Callable[[RoundTrip], None]]:
    """A line that says how many are complete; each is named as it comes."""
    complete = 0
    with _console.status(f"reading: 0 of {total} reports back") as status:

        def told(trip: RoundTrip) -> None:
            nonlocal complete
            complete += 1
            _console.print(f"[green]back[/green] {trip.patient.family} [dim]{trip.seconds:.1f} s[/dim]")
            status.update(f"reading: {complete} of {total} reports back")

        yield told


def cards(trips: Sequence[RoundTrip]) -> None:
    _console.print()
    for trip in trips:
        for card in trip.cards:
            _console.print(_card(trip.patient.family, card))


def written_back(trips: Sequence[RoundTrip], before: Mapping[str, int], after: Mapping[str, int]) -> None:
    table = Table(
        "patient",
        "report",
        "status",
        "conclusion",
        title="Written back to the hospital",
        title_justify="left",
    )
    for trip in trips:
        report = trip.report or {}
        table.add_row(
            trip.patient.family,
            f"DiagnosticReport/{report['id']}" if report else "none",
            report.get("status", ""),
            Text(report.get("conclusion", "").partition(". ")[0]),
        )
    _console.print(table)
    new = {kind: count - before.get(kind, 0) for kind, count in sorted(after.items())}
    say("new resources: " + ", ".join(f"{count} {kind}" for kind, count in new.items() if count))
    _console.print()


def summary(trips: Sequence[RoundTrip]) -> None:
    table = Table("patient", "expected", "card", "report", title="Round trip", title_justify="left")
    table.add_column("seconds", justify="right")
    table.add_column("as expected")
    for trip in trips:
        table.add_row(
            trip.patient.family,
            trip.patient.expected,
            trip.on_card or trip.topics,
            trip.in_report or "none",
            "" if trip.seconds is None else f"{trip.seconds:.1f}",
            "[green]yes[/green]" if trip.as_expected else "[red]NO[/red]",
        )
    _console.print(table)
    wrong = [trip.patient.family for trip in trips if not trip.as_expected]
    if wrong:
        _console.print(f"[red]Not as expected: {', '.join(wrong)}.[/red]")
    else:
        say(f"All {len(trips)} cards and reports came back as expected.")


def log_tail(lines: str) -> None:
    say("The last lines of the service's log:")
    say(lines)


def invitation(url: str) -> None:
    _console.print()
    say(f"Charts, cards and reports: {url}/")
    say("Ctrl-C ends the demo.")


def _card(name: str, card: Card) -> Panel:
    tone = _TONE[card["indicator"]]
    lines = [line for line in card.get("detail", "").splitlines() if line.strip()]
    prose = [line for line in lines if not line.startswith("|")][:_DETAIL_LINES]
    if prose and prose[-1].endswith(":"):  # what it announces was left out
        prose.pop()
    parts: list[RenderableType] = [Text(card["summary"], style="bold"), Markdown("\n\n".join(prose))]
    for suggestion in card.get("suggestions", ()):
        recommended = " (recommended)" if suggestion.get("isRecommended") else ""
        parts.append(Text(f"+ {suggestion['label']}{recommended}", style=tone))
    for link in card.get("links", ()):
        parts.append(Text(f"{link['label']}: {link['url']}", style="dim"))
    return Panel(Group(*parts), title=f"{name}: {card['indicator']}", title_align="left", border_style=tone)
