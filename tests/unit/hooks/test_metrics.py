import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cds.errors import StoreError
from cds.values import ReportState, utc_now
from hooks import metrics
from hooks.app import create_app
from tests.fakes.assessments import MODEL, assessment, study
from tests.fakes.hook_requests import SERVICE, TOKEN, hook_request, imaging_study, with_studies


def value(asking, name, **labels):
    """The sample of that name and those labels; 0 where it has not been counted yet."""
    for line in asking.get("/metrics").text.splitlines():
        sample, _, number = line.rpartition(" ")
        if sample.partition("{")[0] == name and all(f'{k}="{v}"' in sample for k, v in labels.items()):
            return float(number)
    return 0.0


def test_requests_are_timed_by_endpoint_method_and_status(client):
    labels = {"endpoint": "/cds-services/<service_id>", "method": "POST", "status": "200"}
    before = value(client, "leukocds_request_seconds_count", **labels)
    client.post(SERVICE, json=with_studies())
    assert value(client, "leukocds_request_seconds_count", **labels) == before + 1
    client.get("/some/zebra/path")
    client.open("/cds-services", method="BREW")
    text = client.get("/metrics").text
    assert "zebra" not in text
    assert "BREW" not in text


def test_prefetch_hits_and_misses_are_counted_by_key(client, fhir):
    hit, miss = ({"client": "open", "key": "studies", "result": r} for r in ("hit", "miss"))
    hits, misses = (value(client, "leukocds_prefetch_total", **labels) for labels in (hit, miss))
    client.post(SERVICE, json=with_studies())
    client.post(SERVICE, json=hook_request(fhir_server=fhir.url))
    assert value(client, "leukocds_prefetch_total", **hit) == hits + 1
    assert value(client, "leukocds_prefetch_total", **miss) == misses + 1


def test_cards_are_counted_by_kind_and_indicator(client, context):
    context.store.save(assessment(), ReportState.PENDING)
    (shown,) = client.post(SERVICE, json=with_studies(imaging_study())).json["cards"]
    labels = {"kind": "smear-result", "indicator": shown["indicator"]}
    before = value(client, "leukocds_cards_total", **labels)
    client.post(SERVICE, json=with_studies(imaging_study()))
    assert value(client, "leukocds_cards_total", **labels) == before + 1


def test_the_queue_is_the_stores(client, context):
    assert value(client, "leukocds_jobs", state="queued") == 0
    assert value(client, "leukocds_oldest_queued_seconds") == 0
    context.store._clock = lambda: utc_now() - timedelta(seconds=90)
    context.store.enqueue(study(), MODEL.digest)
    assert value(client, "leukocds_jobs", state="queued") == 1
    assert 90 <= value(client, "leukocds_oldest_queued_seconds") < 150
    assert value(client, "leukocds_store_up") == 1


class BrokenStore:
    def job_counts(self):
        raise StoreError("The store does not answer.")


def test_a_store_that_is_out_does_not_hide_the_rest(context):
    client = create_app(replace(context, store=BrokenStore())).test_client()
    assert value(client, "leukocds_store_up") == 0
    assert "leukocds_request_seconds" in client.get("/metrics").text


def test_failures_of_servers_behind_us_are_counted(client, fhir):
    fhir.down()
    where = fhir.url.partition("//")[2].partition("/")[0]
    labels = {"upstream": "FHIR server", "host": where, "error": "UpstreamUnavailable"}
    assert client.post(SERVICE, json=hook_request(fhir_server=fhir.url)).status_code == 412
    assert value(client, "leukocds_upstream_errors_total", **labels) >= 1


def test_no_label_holds_a_patient_or_token(client, fhir):
    client.post(SERVICE, json=hook_request(fhir_server=fhir.url))
    client.get("/studies/p-1")
    text = client.get("/metrics").text
    for private in (TOKEN, "p-1", "Practitioner"):
        assert private not in text


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1"])
def test_without_a_token_loopback_may_ask(client, address):
    response = client.get("/metrics", environ_base={"REMOTE_ADDR": address})
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("10.0.0.7", {}),
        ("", {}),
        ("127.0.0.1", {"X-Forwarded-For": "10.0.0.7"}),
        ("127.0.0.1", {"Forwarded": "for=10.0.0.7"}),
        ("127.0.0.1", {"Via": "1.1 gateway"}),
    ],
)
def test_without_a_token_nobody_else_learns_that_it_is_there(client, address, headers):
    assert client.get("/metrics", headers=headers, environ_base={"REMOTE_ADDR": address}).status_code == 404


def test_with_a_token_whoever_has_it_may_ask(client_with):
    client = client_with(metrics_token="scrape-me")
    far = {"REMOTE_ADDR": "10.0.0.7"}
    right, wrong = {"Authorization": "Bearer scrape-me"}, {"Authorization": "Bearer scrape-m\xe9"}
    assert client.get("/metrics", headers=right, environ_base=far).status_code == 200
    for headers in ({}, wrong, {"Authorization": "scrape-me"}):
        response = client.get("/metrics", headers=headers)
        assert (response.status_code, response.data) == (401, b"")


def test_several_processes_tell_of_all_of_them(tmp_path):
    """Each writes a file of its own; any one reads them all."""
    program = (
        "from hooks import metrics; import sys\n"
        "metrics.count_upstream_error('FHIR server', 'fhir.example', 'UpstreamTimeout')\n"
        "class Store:\n"
        "    def job_counts(self): return {}\n"
        "    def oldest_queued(self): return None\n"
        "    def audit_counts(self): return {}\n"
        "    def agreement(self): return ()\n"
        "print(metrics.exposition(Store()).decode())\n"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for expected in ("1.0", "2.0"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        (line,) = [x for x in done.stdout.splitlines() if x.startswith("leukocds_upstream_errors_total{")]
        assert line.endswith(f" {expected}")


def test_serving_decides_about_processes_before_the_metrics_are_imported():
    done = subprocess.run(
        [sys.executable, "-c", "import sys, hooks.serve, hooks.cli; print('prometheus_client' in sys.modules)"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"


def test_every_metric_is_documented():
    guide = (Path(__file__).resolve().parents[3] / "docs" / "integration.md").read_text()
    names = [
        metrics.REQUEST_SECONDS._name, *(f"{c._name}_total" for c in (
            metrics.PREFETCH, metrics.CARDS, metrics.VIOLATIONS, metrics.UPSTREAM_ERRORS)),
        "leukocds_audit_entries", "leukocds_jobs", "leukocds_oldest_queued_seconds", "leukocds_store_up",
        "leukocds_reports_followed",
        "leukocds_signed_agreement",
    ]  # fmt: skip
    for name in names:
        assert f"`{name}`" in guide, name
