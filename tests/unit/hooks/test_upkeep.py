import time
from contextlib import closing
from datetime import timedelta
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from cds.errors import UpstreamUnavailable
from cds.fhir_client import HttpFhirServer
from cds.store import SqlAssessmentStore
from cds.values import ReportState
from hooks.upkeep import REPORTS_AT_ONCE, Kept, Upkeep
from tests.fakes.assessments import READ_AT, assessment
from tests.fakes.feedback import SHOWN_AT, overridden, shown
from tests.fakes.fhir_server import FakeFhirServer, Fault

DAY = timedelta(days=1)
AML = {"coding": [{"system": "http://snomed.info/sct", "code": "91861009"}]}


class Bench:
    def __init__(self, folder):
        self.now = READ_AT
        self.store = SqlAssessmentStore(f"sqlite:///{folder}/store.db", clock=lambda: self.now)
        self.store.migrate()
        self.server = FakeFhirServer()
        self.fhir = HttpFhirServer(self.server.url, connect_timeout_s=1, read_timeout_s=2)

    def upkeep(self, fhir=True, interval_s=600.0):
        return Upkeep(
            self.store,
            self.fhir if fhir else None,
            interval_s=interval_s,
            read_timeout_s=2.0,
            follow_for=365 * DAY,
            keep_cards=400 * DAY,
            clock=lambda: self.now,
        )

    def written(self, number, **changes):
        made = assessment(number)
        self.store.save(made, ReportState.PENDING)
        self.store.mark_written(made.key, f"DiagnosticReport/{number}")
        report = {
            "resourceType": "DiagnosticReport",
            "id": str(number),
            "status": "preliminary",
            "identifier": [{"system": "urn:leukocds:assessment", "value": made.key}],
        }
        self.server.resources[f"DiagnosticReport/{number}"] = report
        self.change(number, **changes)

    def change(self, number, **changes):
        self.server.resources[f"DiagnosticReport/{number}"].update(changes)


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    with closing(made.store), made.server:
        yield made


def test_a_report_is_followed_until_it_is_signed_and_after(bench):
    bench.written(1)
    assert bench.upkeep().round() == Kept(reports=1)
    assert bench.upkeep().round() == Kept(), "not due yet"
    bench.change(1, status="final", conclusionCode=[AML])
    bench.now += timedelta(seconds=600)
    assert bench.upkeep().round() == Kept(reports=1, signed=1)
    (line,) = bench.store.agreement()
    assert (line.signed, line.coded, line.agreed) == (1, 1, 1)
    bench.change(1, status="entered-in-error")
    bench.now += DAY
    assert bench.upkeep().round() == Kept(reports=1)
    (line,) = bench.store.agreement()
    assert (line.signed, line.withdrawn) == (0, 1)


def test_an_old_report_is_looked_at_ever_more_rarely_and_then_no_more(bench):
    bench.written(1)
    looks = []
    for day in range(800):
        if bench.upkeep().round().reports:
            looks.append(day)
        bench.now += DAY
    assert looks[:3] == [0, 1, 2]
    assert max(b - a for a, b in pairwise(looks)) == 7
    assert 365 <= looks[-1] <= 373


def test_a_deleted_report_is_not_looked_at_again(bench):
    bench.written(1)
    bench.server.resources.clear()
    assert bench.upkeep().round() == Kept(reports=1)
    bench.now += 30 * DAY
    assert bench.upkeep().round() == Kept()
    assert bench.store.agreement()[0].withdrawn == 1


def test_a_round_is_bounded(bench):
    for number in range(REPORTS_AT_ONCE + 3):
        bench.written(number)
    assert bench.upkeep().round().reports == REPORTS_AT_ONCE
    assert bench.upkeep().round().reports == 3


def test_an_outage_ends_the_round_and_nothing_is_taken_for_deleted(bench):
    bench.written(1)
    bench.written(2)
    bench.server.down()
    with pytest.raises(UpstreamUnavailable):
        bench.upkeep().round()
    assert bench.store.agreement()[0].withdrawn == 0
    bench.server.up()
    bench.now += timedelta(seconds=600)
    assert bench.upkeep().round().reports == 2


def test_a_report_that_is_refused_does_not_keep_the_others(bench):
    bench.written(1)
    bench.written(2)
    bench.server.fault = Fault.UNAUTHORIZED
    with capture_logs() as logs:
        assert bench.upkeep().round() == Kept(reports=2)
    assert [line["event"] for line in logs] == ["report not followed"] * 2


def test_old_cards_without_feedback_are_deleted_with_or_without_a_fhir_server(bench):
    bench.now = SHOWN_AT
    bench.store.remember_cards([shown(1), shown(2)])
    bench.store.take_feedback("leukemia-smear", [overridden(2)])
    bench.now += 400 * DAY
    assert bench.upkeep(fhir=False).round() == Kept()
    bench.now += timedelta(seconds=1)
    assert bench.upkeep(fhir=False).round() == Kept(cards=1)
    (line,) = bench.store.feedback_summary().lines
    assert (line.cards, line.overridden) == (1, 1)


def test_reports_for_clients_go_a_week_after_one_was_handed_over_or_with_the_cards(bench):
    for key in ("handed", "never"):
        bench.store.keep_resources(key, [{"resourceType": "DiagnosticReport"}])
    assert bench.store.hand_over("ehr", "handed")
    bench.now += 7 * DAY
    assert bench.upkeep(fhir=False).round() == Kept()
    assert list(bench.store.resources_for("another ehr", ["handed"])) == ["handed"]
    bench.now += timedelta(seconds=1)
    assert bench.upkeep(fhir=False).round() == Kept(resources=1)
    assert bench.store.resources_for("another ehr", ["handed"]) == {}
    assert not bench.store.hand_over("ehr", "handed"), "that it was is not forgotten"
    bench.now += 393 * DAY
    assert bench.upkeep(fhir=False).round() == Kept(resources=1)
    assert bench.store.resources_for("ehr", ["never"]) == {}


def test_the_thread_goes_on_after_an_outage_and_tells_of_it_once(bench):
    bench.written(1)
    bench.server.down()
    upkeep = bench.upkeep(interval_s=0.02)
    with capture_logs() as logs:
        upkeep.start()
        time.sleep(0.3)
        bench.now += DAY
        time.sleep(0.3)
        bench.server.up()
        bench.now += DAY
        until = time.monotonic() + 5
        while not bench.server.received and time.monotonic() < until:
            time.sleep(0.02)
            bench.now += timedelta(seconds=1)
        upkeep.stop()
    assert bench.server.received
    assert len([line for line in logs if line["event"] == "upkeep not done"]) == 1
