"""Requests in which something is replaced by something else: answered or refused, never a bug, never with a null."""

import copy
import json
import random

import pytest

from cds.values import ReportState
from hooks.cds_requests import hooks
from tests.fakes.assessments import assessment
from tests.fakes.hook_requests import SERVICE, bundle, emptiness, hook_request, imaging_study, patient

JUNK = [
    None, True, False, 0, -1, 1e308, 10**40, "", " ", "x", "\ud800", "\x00", "é" * 300, "../..", "<b>", "urn:oid:1.2",
    [], [[]], [None], {}, {"": None}, {"reference": 1}, {"reference": "Patient/p-1"},
    {"resourceType": "Bundle"}, {"resourceType": []}, [{"coding": 3}], [{"system": 1, "value": []}],
    {"resourceType": "OperationOutcome", "issue": 3},
]  # fmt: skip


def places(value, path=()):
    """Paths to everything inside, the root left out."""
    if path:
        yield path
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        yield from places(child, (*path, key))


def mangled(body, chance):
    body = copy.deepcopy(body)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        path = chance.choice(list(places(body)))
        parent = body
        for key in path[:-1]:
            parent = parent[key]
        if isinstance(parent, dict) and chance.random() < 0.2:
            del parent[path[-1]]
        else:
            parent[path[-1]] = copy.deepcopy(chance.choice(JUNK))
    return body


@pytest.mark.parametrize("hook", hooks())
def test_any_mangled_request_is_answered_or_refused(client, context, hook):
    context.store.save(assessment(), ReportState.PENDING)
    report = {
        "resourceType": "DiagnosticReport",
        "status": "preliminary",
        "identifier": [{"system": "urn:leukocds:assessment", "value": "x"}],
        "effectiveDateTime": "2026-01-02",
        "conclusion": "Pattern of ALL. And more.",
    }
    endpoint = {
        "resourceType": "Endpoint",
        "id": "1",
        "status": "active",
        "connectionType": {"code": "dicom-wado-rs"},
        "address": "http://127.0.0.1:8042/dicom-web",
    }
    series = [
        {"uid": "1.2.3", "modality": {"code": "GM"}, "instance": [{"uid": "1.2.3.0"}, {"uid": "1.2.3.1"}]}
    ]
    studies = [
        imaging_study(1, series=series),
        imaging_study(2, endpoint=[{"reference": "Endpoint/1"}], encounter={"reference": "Encounter/1"}),
    ]
    order = {"resourceType": "ServiceRequest", "code": {"coding": [{"system": "a", "code": "b"}]}}
    extra = {"draftOrders": bundle(order)} if hook.startswith("order") else {}
    valid = hook_request(
        hook,
        prefetch={"patient": patient(), "studies": bundle(*studies, endpoint), "reports": bundle(report)},
        **extra,
    )
    assert client.post(SERVICE, json=valid).status_code == 200
    chance = random.Random(hook)
    seen = set()
    for _ in range(400):
        body = mangled(valid, chance)
        response = client.post(SERVICE, data=json.dumps(body), content_type="application/json")
        seen.add(response.status_code)
        assert response.status_code in (200, 400, 412), json.dumps(body)
        assert not list(emptiness(response.json)), json.dumps(body)
        response.data.decode("utf-8")
    assert {200, 400} <= seen
