from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from cds.settings import Settings
from hooks.app import create_app
from hooks.context import Context
from tests.fakes.context import make_context
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.hook_requests import imaging_study, patient


@pytest.fixture
def context(tmp_path) -> Context:
    """Little patience with FHIR servers, so that tests of slow ones are short."""
    return make_context(tmp_path, settings=Settings(hook_budget_s=1.0, max_request_bytes=100_000))


@pytest.fixture
def client(context) -> FlaskClient:
    return create_app(context).test_client()


@pytest.fixture
def client_with(context):
    """A client of the same service under other settings."""

    def make(**changes) -> FlaskClient:
        return create_app(replace(context, settings=replace(context.settings, **changes))).test_client()

    return make


@pytest.fixture
def fhir() -> Iterator[FakeFhirServer]:
    with FakeFhirServer(patient(), imaging_study()) as server:
        yield server
