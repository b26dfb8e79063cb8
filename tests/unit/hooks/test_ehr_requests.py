"""Requests in the shapes of EHRs, with the habits that are known of them; put together by hand, recorded from none."""

import json
from pathlib import Path

import pytest

from cds.values import ReportState
from tests.fakes.assessments import assessment
from tests.fakes.hook_requests import SERVICE, TOKEN, with_studies

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "ehr_requests"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.fixture
def post(client, fhir, context):
    """Send the request of that name; its FHIR server is the fake one, and the smear has been read."""
    context.store.save(assessment(), ReportState.PENDING)

    def send(name, **changes):
        sample = json.loads((FOLDER / f"{name}.json").read_text("utf-8").replace("FHIR_SERVER", fhir.url))
        body = {**sample["request"], **changes}
        return client.post(sample["path"], data=json.dumps(body), headers=sample["headers"])

    return send


def summaries(response):
    assert response.status_code == 200, response.text
    return [card["summary"] for card in response.json["cards"]]


def test_there_are_the_shapes_of_several() -> None:
    assert len(NAMES) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_each_shape_is_answered(post, name):
    assert post(name).status_code == 200


def test_extensions_of_a_vendor_change_nothing(post, client, fhir):
    assert summaries(post("vendor_extensions")) == summaries(
        client.post(SERVICE, json=with_studies(_study()))
    )
    assert fhir.received == []


def test_a_hook_instance_that_comes_again_under_another_hook_is_answered_again(post):
    first = post("vendor_extensions")
    again = post("vendor_extensions", hook="patient-view")
    assert summaries(first) == summaries(again)
    assert first.headers["X-Correlation-Id"] == again.headers["X-Correlation-Id"]


def test_without_prefetch_everything_is_fetched_with_the_hooks_token(post, fhir):
    (shown,) = summaries(post("nothing_prefetched"))
    assert "AML pattern" in shown
    assert {received.headers["Authorization"] for received in fhir.received} == {f"Bearer {TOKEN}"}
    assert all(received.path.startswith("/fhir/") for received in fhir.received)


def test_null_means_that_there_is_nothing(post):
    assert summaries(post("null_for_nothing")) == []


def test_null_for_all_of_the_prefetch_is_as_if_it_were_absent(post, fhir):
    (shown,) = summaries(post("older_version"))
    assert "AML pattern" in shown
    assert fhir.received
    assert post("null_for_nothing", prefetch=None).status_code == 412


def test_a_first_page_is_completed_from_the_server(post, fhir):
    assert len(summaries(post("first_page_only"))) == 1
    assert any("ImagingStudy" in received.path for received in fhir.received)
    assert not any("page/2" in received.path for received in fhir.received)


def _study():
    sample = json.loads((FOLDER / "vendor_extensions.json").read_text("utf-8"))
    return sample["request"]["prefetch"]["studies"]["entry"][0]["resource"]
