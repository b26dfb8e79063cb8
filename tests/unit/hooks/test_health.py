from dataclasses import replace

import pytest

from cds.errors import StoreError
from hooks.app import create_app
from tests.fakes.assessments import MODEL, study


@pytest.mark.parametrize("path", ["/health", "/health/"])
def test_health_says_that_the_process_lives_and_what_it_is(client, path):
    response = client.get(path)
    assert response.status_code == 200
    assert response.json["status"] == "alive"
    assert response.json["version"]
    assert response.json["model"]["digest"] == MODEL.digest


def test_ready_counts_the_jobs(client, context):
    context.store.enqueue(study(), MODEL.digest)
    response = client.get("/ready")
    assert (response.status_code, response.json["status"]) == (200, "ready")
    assert response.json["jobs"]["queued"] == 1


def test_a_part_that_is_out_makes_503_with_the_reason(context):
    parts = {"store": "ok", "queue": "the broker does not answer"}
    response = create_app(replace(context, ready=lambda: parts)).test_client().get("/ready")
    assert (response.status_code, response.json["status"]) == (503, "not ready")
    assert response.json["parts"]["queue"] == "the broker does not answer"
    assert response.headers["Retry-After"]


class BrokenStore:
    def job_counts(self):
        raise StoreError("The store does not answer.")


def test_a_store_that_fails_while_counting_is_not_ready(context):
    response = create_app(replace(context, store=BrokenStore())).test_client().get("/ready")
    assert response.status_code == 503
    assert response.json["parts"]["store"] == "The store does not answer."
    assert create_app(replace(context, store=BrokenStore())).test_client().get("/health").status_code == 200
