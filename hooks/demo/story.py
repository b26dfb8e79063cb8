"""The demonstration from end to end: a simulated hospital, the real service, hooks, cards, reports."""

import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

import click

from hooks.demo import telling
from hooks.demo.ehr import EhrError
from hooks.demo.hospital import Hospital
from hooks.demo.patients import PATIENTS, Admitted, admit_all
from hooks.demo.round_trip import RoundTrip, follow, send_first_hooks
from hooks.demo.serving import ServeFailed
from hooks.demo.stage import Stage, staged

_T = TypeVar("_T")

READY_TIMEOUT_S = 90.0
ANSWER_TIMEOUT_S = 180.0
#: Ctrl-C, `kill`, and the terminal being closed: the service must not outlive the demo.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def tell(*, once: bool, port: int, smart: bool = False) -> int:
    """Run it. Without `once` it then serves the hospital's pages until Ctrl-C. smart: see `hooks.demo.stage`.

    Returns the exit status: 0 when every expected card and report came back. Raises ClickException when the service
    does not start or does not answer.
    """
    for number in _ENDS:
        signal.signal(number, _end)
    with (
        tempfile.TemporaryDirectory(prefix="leukocds-demo-") as folder,
        staged(Path(folder), port=port, smart=smart) as stage,
    ):
        try:
            trips = _round_trips(stage)
        except ServeFailed as error:
            raise click.ClickException(str(error)) from error
        except EhrError as error:
            raise click.ClickException(f"{error}\n{stage.serving.log_tail()}") from error
        except KeyboardInterrupt:
            telling.say("Ended before the round trip was over.")
            return 130
        if not all(trip.as_expected for trip in trips):
            telling.log_tail(stage.serving.log_tail())
        if not once:
            _wait(stage.hospital)
    return 0 if all(trip.as_expected for trip in trips) else 1


def _round_trips(stage: Stage) -> list[RoundTrip]:
    hospital, serving, ehr, charts = stage.hospital, stage.serving, stage.ehr, stage.charts
    telling.opening(hospital, serving.url)

    images = _timed("smears drawn and put into the archive", lambda: _admit(hospital, charts))
    telling.say(f"{len(charts)} patients, {images} images")
    _timed("LeukoCDS ready", lambda: serving.wait_until_ready(READY_TIMEOUT_S))
    telling.services(ehr.discover())

    before = hospital.fhir.counts()
    trips = send_first_hooks(ehr, PATIENTS)
    telling.first_answers(trips)
    with telling.waiting(len(trips)) as told:
        follow(trips, ehr, hospital, timeout_s=ANSWER_TIMEOUT_S, told=told)
    telling.cards(trips)
    telling.written_back(trips, before, hospital.fhir.counts())
    telling.summary(trips)
    return trips


def _admit(hospital: Hospital, charts: dict[str, Admitted]) -> int:
    for person in admit_all(hospital):
        charts[person.patient.id] = person
    return sum(len(person.images) for person in charts.values())


def _timed(what: str, work: Callable[[], _T]) -> _T:
    begun = time.monotonic()
    outcome = work()
    telling.done(what, time.monotonic() - begun)
    return outcome


def _wait(hospital: Hospital) -> None:
    try:
        telling.invitation(hospital.url)
        signal.pause()
    except KeyboardInterrupt:
        telling.say("Ending.")


def _end(number: int, frame: FrameType | None) -> NoReturn:
    # Once is enough: a second one must not break into ending the service.
    for again in _ENDS:
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt
