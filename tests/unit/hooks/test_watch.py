"""The early stroke's thread, tick by tick, with a fake FHIR server."""

import time
from contextlib import closing
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from cds.allowlist import AllowList
from cds.fhir_client import HttpFhirServer
from cds.fhir_writing import AdaptingFhirServer
from cds.new_studies import LookedFor, NewStudies
from cds.store import SqlAssessmentStore
from cds.values import utc_now
from hooks.early_metrics import EarlyMetrics
from hooks.watch import StudyWatch, subscribing
from tests.fakes.assessments import MODEL
from tests.fakes.fhir_server import FakeFhirServer, Fault
from tests.fakes.hook_requests import imaging_study

ENDPOINT = "https://leuko.example/fhir-notifications"


class Bench:
    def __init__(self, folder):
        self.server = FakeFhirServer()
        self.server.statement = None
        self.client = HttpFhirServer(self.server.url, connect_timeout_s=1, read_timeout_s=2)
        self.fhir = AdaptingFhirServer(self.client)
        self.store = SqlAssessmentStore(f"sqlite:///{folder}/store.db")
        self.store.migrate()
        self.queued = []

    def watch(self, subscribe=True, at_once=200, **changes):
        new_studies = NewStudies(
            fhir=self.fhir,
            store=self.store,
            model_digest=MODEL.digest,
            modalities=("GM", "SM"),
            allow_list=AllowList(["127.0.0.1:8042"]),
            submit=self.queued.append,
            first=timedelta(days=1),
            at_once=at_once,
        )
        keeper = subscribing(
            self.fhir,
            self.store,
            criteria="ImagingStudy?modality=GM,SM",
            endpoint=ENDPOINT,
            supported=lambda: self.fhir.said().has("Subscription"),
            timeout_s=5.0,
        )
        values = {
            "poll_s": 60.0,
            "look_timeout_s": 5.0,
            "subscribing": keeper if subscribe else None,
            "check_s": 0.0,
        }
        return StudyWatch(new_studies, self.store, **{**values, **changes})

    def put(self, number):
        study = {**imaging_study(number), "meta": {"versionId": "1", "lastUpdated": utc_now().isoformat()}}
        self.server.resources[f"ImagingStudy/{study['id']}"] = study

    def remembered(self):
        return self.store.watch(self.server.url)


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    with made.server, made.client, closing(made.store):
        yield made


def test_a_tick_makes_the_subscription_and_looks(bench):
    bench.put(1)
    watch = bench.watch()
    watch.tick()
    assert len(bench.queued) == 1
    (subscription,) = bench.server.of_type("Subscription")
    assert subscription["channel"]["endpoint"] == ENDPOINT
    assert bench.remembered().subscription == f"Subscription/{subscription['id']}, requested"


def test_between_two_looks_the_server_is_asked_nothing_unless_it_tells(bench):
    watch = bench.watch(check_s=300.0)
    watch.tick()
    asked = len(bench.server.received)
    watch.tick()
    assert len(bench.server.received) == asked
    bench.put(1)
    bench.store.look_now(bench.server.url, notified=True)
    watch.tick()
    assert len(bench.queued) == 1


def test_a_backlog_is_looked_through_in_one_tick(bench):
    bench.server.page_size = 2
    for number in range(9):
        bench.put(number)
    bench.watch(at_once=2).tick()
    assert len(bench.queued) == 9


@pytest.mark.parametrize("abilities", [{"transaction", "write"}, set()])
def test_without_subscriptions_it_polls_and_says_so_once(bench, abilities):
    bench.server.abilities = abilities
    statement = bench.server.capability_statement()
    statement["rest"][0]["resource"] = [
        r for r in statement["rest"][0]["resource"] if r["type"] != "Subscription"
    ]
    bench.server.statement = statement
    bench.put(1)
    watch = bench.watch()
    with capture_logs() as lines:
        watch.tick()
        watch.tick()
    assert len(bench.queued) == 1
    said = [line["reason"] for line in lines if line["event"] == "early reading"]
    assert said == ["the FHIR server knows no Subscriptions; new studies are found by polling"]


def test_a_subscription_that_is_refused_holds_up_no_look(bench):
    bench.server.statement = {"resourceType": "CapabilityStatement"}
    bench.server.abilities = set()
    bench.put(1)
    watch = bench.watch()
    with capture_logs() as lines:
        watch.tick()
        watch.tick()
    assert len(bench.queued) == 1
    assert [line["part"] for line in lines if line["event"] == "early reading"] == ["subscription"]


def test_one_that_the_server_switched_off_is_made_active_with_a_hint(bench):
    watch = bench.watch()
    watch.tick()
    bench.server.of_type("Subscription")[0]["status"] = "error"
    with capture_logs() as lines:
        watch.tick()
    assert bench.server.of_type("Subscription")[0]["status"] == "requested"
    assert [line["endpoint"] for line in lines if line["log_level"] == "warning"] == [ENDPOINT]


def test_polling_alone_removes_what_an_earlier_run_made(bench):
    bench.watch().tick()
    bench.watch(subscribe=False).tick()
    assert bench.server.of_type("Subscription") == []
    assert bench.remembered().subscription is None


def test_an_outage_is_said_once_and_what_came_meanwhile_is_found(bench):
    watch = bench.watch(subscribe=False, poll_s=0.001)
    bench.server.fault = Fault.BROKEN
    with capture_logs() as lines:
        for _ in range(3):
            watch.tick()
            time.sleep(0.005)
    assert len(lines) == 1
    bench.put(1)
    bench.server.fault = Fault.NONE
    watch.tick()
    assert len(bench.queued) == 1


def test_no_line_holds_the_secret(bench):
    with capture_logs() as lines:
        bench.watch().tick()
    assert bench.remembered().secret not in str(lines)


def test_the_thread_looks_until_it_is_stopped(bench):
    watch = bench.watch(subscribe=False, poll_s=0.01)
    watch.start()
    bench.put(1)
    ends = time.monotonic() + 10
    while not bench.queued and time.monotonic() < ends:
        time.sleep(0.01)
    watch.stop()
    assert len(bench.queued) == 1
    asked = len(bench.server.received)
    time.sleep(0.1)
    assert len(bench.server.received) == asked


class Noted:
    def __init__(self):
        self.events = []

    def looked(self, found):
        self.events.append(("looked", found.found, found.queued))

    def looked_again(self, found):
        self.events.append(("again", found.queued))

    def failed(self, part):
        self.events.append(("failed", part))


def test_what_it_does_is_told(bench):
    told = Noted()
    watch = bench.watch(subscribe=False, poll_s=0.001, told=told)
    bench.put(1)
    watch.tick()
    assert told.events == [("looked", 1, 1), ("again", 0)]
    told.events.clear()
    bench.server.fault = Fault.BROKEN
    time.sleep(0.005)
    watch.tick()
    assert told.events == [("failed", "look")]


def test_what_was_read_too_early_is_looked_at_again_now_and_then(bench, tmp_path):
    bench.store.close()
    bench.store = SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db", retry_failed_after_s=0.0)
    told = Noted()
    watch = bench.watch(subscribe=False, poll_s=0.001, told=told, again_s=0.2)
    bench.put(1)
    watch.tick()
    (key,) = bench.queued
    bench.store.claim(key, "worker", 60)
    bench.store.fail(key, "worker", "the archive is out")
    time.sleep(0.005)
    watch.tick()
    assert bench.queued == [key], "not at every look"
    time.sleep(0.25)
    watch.tick()
    assert bench.queued == [key, key]
    assert told.events.count(("again", 1)) == 1


def test_it_is_counted():
    def value(name, **labels):
        return REGISTRY.get_sample_value(name, labels) or 0.0

    metrics = EarlyMetrics()
    queued = value("leukocds_early_studies_total", result="queued")
    failed = value("leukocds_early_looks_total", result="failed")
    again = value("leukocds_early_studies_total", result="again")
    subscription = value("leukocds_early_failures_total", part="subscription")
    metrics.looked(LookedFor(found=3, queued=2))
    metrics.looked_again(LookedFor(found=1, queued=1))
    metrics.failed("look")
    metrics.failed("subscription")
    assert value("leukocds_early_studies_total", result="queued") == queued + 2
    assert value("leukocds_early_studies_total", result="again") == again + 1
    assert value("leukocds_early_looks_total", result="failed") == failed + 1
    assert value("leukocds_early_failures_total", part="subscription") == subscription + 1
    assert time.time() - value("leukocds_early_last_success_timestamp_seconds") < 5
