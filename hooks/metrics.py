"""What operators can count: `/metrics` in the text format of Prometheus. No label holds anything of a patient.

Under several serving processes the counters lie in files that all of them write (`hooks.serve` names the folder before
this module is first imported, since prometheus_client looks for it on import) and each process answers for all.
"""

import hmac
import os
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from cds.agreement import AgreementLine
from cds.errors import LeukoError, Unauthenticated, UnknownService
from cds.ports import HookStore
from cds.settings import Settings
from cds.upstream import tell_failures_to
from cds.values import utc_now
from hooks.current import current_request
from hooks.headers import from_this_machine

REQUEST_SECONDS = Histogram(
    "leukocds_request_seconds",
    "Time from the request's header to the answer's, by endpoint, method and status.",
    ["endpoint", "method", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
PREFETCH = Counter(
    "leukocds_prefetch",
    "What hooks brought under each prefetch key, by client: hit (complete or no data) or miss.",
    ["client", "key", "result"],
)
CARDS = Counter("leukocds_cards", "Cards sent, by kind (source.topic) and indicator.", ["kind", "indicator"])
VIOLATIONS = Counter(
    "leukocds_outgoing_violations",
    "Rules of CDS Hooks 2.0 that an answer of ours would have broken.",
    ["rule"],
)
UPSTREAM_ERRORS = Counter(
    "leukocds_upstream_errors",
    "Failed exchanges with servers behind us, by role, host and error.",
    ["upstream", "host", "error"],
)


# What stands under a set of labels, looked up once.


@lru_cache(maxsize=1024)
def _request_seconds(endpoint: str, method: str, status: int) -> Histogram:
    return REQUEST_SECONDS.labels(endpoint=endpoint, method=method, status=str(status))


@lru_cache(maxsize=256)
def _prefetch(client: str, key: str, result: str) -> Counter:
    return PREFETCH.labels(client=client, key=key, result=result)


@lru_cache(maxsize=256)
def _cards(kind: str, indicator: str) -> Counter:
    return CARDS.labels(kind=kind, indicator=indicator)


def count_cards(response: dict[str, Any]) -> None:
    for card in response["cards"]:
        topic = card.get("source", {}).get("topic", {})
        _cards(topic.get("code", "unknown"), card.get("indicator", "unknown")).inc()


def count_prefetch(client: str | None, states: Iterable[tuple[str, bool]]) -> None:
    """states: prefetch key and whether it spared us the search."""
    for key, hit in states:
        _prefetch(client or "open", key, "hit" if hit else "miss").inc()


def count_upstream_error(server: str, host: str, error: str) -> None:
    UPSTREAM_ERRORS.labels(upstream=server, host=host, error=error).inc()


def metrics_routes(app: Flask, settings: Settings, store: HookStore) -> None:
    """Time every request, count what fails upstream, and answer `GET /metrics`."""
    tell_failures_to(count_upstream_error)

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        if "began" in g:
            request = current_request()
            endpoint = request.url_rule.rule if request.url_rule else "(none)"
            # A method is whatever the caller writes; only those that a rule could have are told apart.
            method = request.method if request.method in ("GET", "HEAD", "POST", "OPTIONS") else "(other)"
            seconds = time.perf_counter() - g.began
            _request_seconds(endpoint, method, response.status_code).observe(seconds)
        return response

    @app.get("/metrics")
    def metrics() -> Response:
        _check_caller(settings)
        return Response(exposition(store), mimetype="text/plain", content_type=CONTENT_TYPE_PLAIN_0_0_4)


def exposition(store: HookStore) -> bytes:
    """Everything counted so far, and the jobs as the store has them now."""
    counted = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        counted = CollectorRegistry()
        MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
    jobs = CollectorRegistry()
    jobs.register(_Jobs(store))
    return generate_latest(counted) + generate_latest(jobs)


class _Jobs(Collector):
    """The queue is the store's table of jobs, whatever carries the messages; so every process tells the same."""

    def __init__(self, store: HookStore) -> None:
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("leukocds_store_up", "Whether the assessment store answers.")
        try:
            counts, oldest = self._store.job_counts(), self._store.oldest_queued()
            audit = self._store.audit_counts()
            agreement = self._store.agreement()
        except LeukoError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        states = GaugeMetricFamily(
            "leukocds_jobs",
            "Jobs by state: queued is the queue's depth, done and failed are results.",
            labels=["state"],
        )
        for state, count in sorted(counts.items()):
            states.add_metric([state], count)
        yield states
        age = max(0.0, (utc_now() - oldest).total_seconds()) if oldest else 0.0
        yield GaugeMetricFamily(
            "leukocds_oldest_queued_seconds", "Age of the oldest job that waits; 0 when none does.", value=age
        )
        entries = GaugeMetricFamily(
            "leukocds_audit_entries",
            "Audit entries that wait for the FHIR server, and those that it refused for good.",
            labels=["state"],
        )
        for state, count in sorted(audit.items()):
            entries.add_metric([state], count)
        yield entries
        yield from _signed(agreement)


def _signed(lines: Iterable[AgreementLine]) -> Iterator[GaugeMetricFamily]:
    by = ["pattern", "model", "version"]
    reports = GaugeMetricFamily(
        "leukocds_reports_followed",
        "Written reports by what became of them: open, agreed, disagreed, uncoded (signed), superseded, withdrawn.",
        labels=[*by, "result"],
    )
    share = GaugeMetricFamily(
        "leukocds_signed_agreement",
        "Share of signed reports with a coded conclusion that agree with the reading, and its 95 % interval (Wilson).",
        labels=[*by, "bound"],
    )
    for line in lines:
        group = [line.pattern or "not-analysed", line.model_name, line.model_version]
        results = {
            "open": line.reports - line.signed - line.superseded - line.withdrawn,
            "agreed": line.agreed,
            "disagreed": line.coded - line.agreed,
            "uncoded": line.signed - line.coded,
            "superseded": line.superseded,
            "withdrawn": line.withdrawn,
        }
        for result, count in results.items():
            reports.add_metric([*group, result], count)
        if line.share is not None and line.interval is not None:
            for bound, value in zip(("share", "low", "high"), (line.share, *line.interval), strict=True):
                share.add_metric([*group, bound], value)
    yield reports
    yield share


def _check_caller(settings: Settings) -> None:
    """Raises Unauthenticated for a wrong token and, where none is set, UnknownService for a caller from elsewhere."""
    if settings.metrics_token:
        given = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {settings.metrics_token}".encode()):
            raise Unauthenticated("/metrics asks for LEUKOCDS_METRICS_TOKEN")
        return
    if not from_this_machine():
        raise UnknownService("There is nothing at this address.")
