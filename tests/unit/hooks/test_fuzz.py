"""Every endpoint, asked anything: no 5xx, no null, no bug in the log. More of it: `python -m benchmarks.fuzz`."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cds.settings import Settings
from cds.values import ReportState
from hooks.app import create_app
from tests.fakes.assessments import assessment
from tests.fakes.context import make_context
from tests.fakes.fuzz import requests_to, send, wrong_with


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    fuzzed = Settings(max_request_bytes=100_000, connect_timeout_s=0.2, cors_origins=("*",))
    context = make_context(tmp_path_factory.mktemp("fuzz"), settings=fuzzed)
    context.store.save(assessment(), ReportState.PENDING)
    return create_app(context).test_client()


# The same examples every time: a run that fails by chance teaches people to run again.
@settings(
    max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_any_request_is_answered_or_refused(client, data):
    request = data.draw(requests_to(client.application))
    with capture_logs() as logs:
        response = send(client, request)
    assert not list(wrong_with(response))
    assert not [
        line for line in logs if line["log_level"] in ("error", "critical") and "sweeper" not in line["event"]
    ]
