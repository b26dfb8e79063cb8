"""Fixtures that lead to the real servers and images, and the rule about skipping.

The servers' addresses come from LEUKOCDS_TEST_HAPI, _ORTHANC, _REDIS, _POSTGRES, or from what `make servers` wrote.
Without a server, the tests that need it are skipped, saying why. With LEUKOCDS_REQUIRE_SERVERS=1 (CI) a skip is a
failure, unless its reason begins with "needs ../shared": those images cannot be handed on.
"""

import json
import os
import socket
from collections.abc import Generator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask import Flask

from tests.fakes.conforming_client import ConformingClient
from tests.fakes.databases import postgres_database, redis_database
from tests.fakes.log_watch import WATCH

ROOT = Path(__file__).resolve().parent.parent
EXCUSED = "needs ../shared"
#: Variables of ours that are for the tests; every other LEUKOCDS_ variable is a setting of the program.
TEST_VARIABLES = ("LEUKOCDS_TEST_", "LEUKOCDS_SERVERS_", "LEUKOCDS_REQUIRE_SERVERS", "LEUKOCDS_SMEARS")


def pytest_configure() -> None:
    """Settings of the developer's shell must not leak into tests, and every Flask app answers a client that looks."""
    Flask.test_client_class = ConformingClient
    WATCH.watch_captured()
    for name in [n for n in os.environ if n.startswith("LEUKOCDS_") and not n.startswith(TEST_VARIABLES)]:
        del os.environ[name]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _forbid_skip(report)
    _forbid_leaks(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _forbid_skip(report)
    return report


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("LEUKOCDS_REQUIRE_SERVERS") != "1" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(EXCUSED):
        report.outcome = "failed"
        report.longrepr = f"skipped although LEUKOCDS_REQUIRE_SERVERS=1 forbids it: {reason}"


def _forbid_leaks(report: pytest.TestReport) -> None:
    """A test fails when a log line written meanwhile holds a token or a patient of the fixtures."""
    leaks, WATCH.leaks = WATCH.leaks, []
    if leaks:
        report.outcome = "failed"
        report.longrepr = "\n".join(
            ["a token or a patient of the fixtures stands in a log line:", *leaks[:5]]
        )


@pytest.fixture(autouse=True)
def _watched_logs() -> None:
    WATCH.install()


@pytest.fixture(scope="session")
def hapi_url() -> str:
    """FHIR base of a HAPI R4 server, shared by all tests: use identifiers of your own."""
    return _server("hapi", "LEUKOCDS_TEST_HAPI")


@pytest.fixture(scope="session")
def orthanc_url() -> str:
    """DICOMweb service root of an Orthanc, shared by all tests: use UIDs of your own."""
    return _server("orthanc", "LEUKOCDS_TEST_ORTHANC")


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A Redis server, database 0; `redis_database_url` is what a test should use."""
    return _server("redis", "LEUKOCDS_TEST_REDIS")


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """A PostgreSQL server as SQLAlchemy URL; `postgres_database_url` is what a test should use."""
    return _server("postgres", "LEUKOCDS_TEST_POSTGRES")


@pytest.fixture
def redis_database_url(redis_url: str) -> Iterator[str]:
    """An empty Redis database for this test alone."""
    with redis_database(redis_url) as url:
        yield url


@pytest.fixture
def postgres_database_url(postgres_url: str) -> Iterator[str]:
    """An empty PostgreSQL database for this test alone, `postgresql+psycopg://…`."""
    with postgres_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def smears() -> Path:
    """The folder of real smear images, which stands beside the checkout where it may be used."""
    folder = Path(os.environ.get("LEUKOCDS_SMEARS") or ROOT.parent / "shared" / "smears")
    if not folder.is_dir():
        pytest.skip("needs ../shared/smears")
    return folder


def _server(name: str, variable: str) -> str:
    """The server's address. Skips the test, saying how to get one, when nothing listens there."""
    state = ROOT / ".servers" / "state.json"
    known = json.loads(state.read_text()) if state.exists() else {"running": {}, "left_out": {}}
    url = os.environ.get(variable) or known["running"].get(name, {}).get("url")
    if not url:
        pytest.skip(f"{name} is not running: {known['left_out'].get(name, '`make servers` starts it')}")
    place = urlsplit(url)
    try:
        socket.create_connection((place.hostname or "", place.port or 80), timeout=5).close()
    except OSError as error:
        pytest.skip(f"{name} does not answer at {place.hostname}:{place.port} ({error})")
    return str(url).rstrip("/")
