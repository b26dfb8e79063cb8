"""A whole write-back to a real HAPI behind a guard, with tokens that our signed assertions brought."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from werkzeug.serving import make_server

from cds.fhir_client import HttpFhirServer
from cds.settings import Settings
from cds.signing_key import SigningKey
from cds.values import Assessment, ModelIdentity, ReportState, StudyRef
from hooks import bootstrap
from hooks.app import create_app
from hooks.stroke import write_report
from hooks.well_known import PATH
from tests.fakes.assessments import MODEL
from tests.fakes.authorization_server import AuthorizationServer, Guard
from tests.fakes.context import make_context
from tests.fakes.results import AML, result

MICROSCOPY = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "GM"}


@pytest.fixture(scope="module")
def fhir(hapi_url):
    """HAPI itself, past the guard."""
    with HttpFhirServer(hapi_url, connect_timeout_s=5, read_timeout_s=60) as server:
        yield server


@pytest.fixture
def assessment(fhir) -> Assessment:
    """About a study that HAPI holds, new for each test."""
    patient, smear, uid = uuid.uuid4().urn, uuid.uuid4().urn, f"2.25.{uuid.uuid4().int}"
    resources = {
        patient: {"resourceType": "Patient", "active": True},
        smear: {
            "resourceType": "ImagingStudy",
            "status": "available",
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
            "subject": {"reference": patient},
            "modality": [MICROSCOPY],
        },
    }
    entries = [
        {"fullUrl": url, "resource": r, "request": {"method": "POST", "url": r["resourceType"]}}
        for url, r in resources.items()
    ]
    created = fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries})
    references = [e["response"]["location"].partition("/_history/")[0] for e in created["entry"]]
    study = StudyRef(study_uid=uid, patient=references[0], imaging_study=references[1])
    model = ModelIdentity(name="test", version="1", digest=uuid.uuid4().hex * 2)
    return replace(result(AML, study=study, model=model), instance_uids=(f"{uid}.1.1",))


@pytest.fixture
def key(tmp_path):
    made = SigningKey.new()
    (tmp_path / "signing.pem").write_bytes(made.pem)
    return made


@pytest.fixture
def jwks_url(tmp_path, key):
    """Where our own service publishes the key, as an authorization server finds it."""
    app = create_app(replace(make_context(tmp_path), signing_keys=(key,)))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}{PATH}"
    server.shutdown()


@pytest.fixture
def authority(jwks_url):
    with AuthorizationServer(jwks_url=jwks_url) as server:
        yield server


@pytest.fixture
def guard(hapi_url, authority):
    with Guard(hapi_url, authority) as made:
        yield made


@pytest.fixture
def parts(tmp_path, guard, key, monkeypatch):
    """The worker's collaborators, as `leukocds worker` has them."""
    monkeypatch.setattr(bootstrap, "model_identity", lambda settings: MODEL)
    settings = Settings(
        database_url=f"sqlite:///{tmp_path}/worker.db",
        fhir_url=guard.url,
        fhir_client_id="leukocds",
        signing_key=str(tmp_path / "signing.pem"),
        job_backoff_s=0.01,
        job_backoff_max_s=0.02,
        read_timeout_s=30.0,
        sweep_interval_s=0.01,
    )
    made = bootstrap.worker_parts(settings, threading.Event())
    made.store.migrate()
    yield made
    made.store.close()


def reports(fhir, assessment):
    return fhir.search("DiagnosticReport", {"identifier": f"urn:leukocds:assessment|{assessment.key}"})


def state(parts, assessment):
    return parts.store.report_state(assessment.key)[0]


def test_a_report_is_written_with_a_token_of_our_own(fhir, parts, assessment, authority, guard):
    parts.store.save(assessment, ReportState.PENDING)
    with capture_logs() as logs:
        write_report(parts, assessment.key)
    assert state(parts, assessment) is ReportState.WRITTEN
    (report,) = reports(fhir, assessment)
    assert report["subject"]["reference"] == assessment.study.patient
    assert (len(authority.issued), authority.ways, authority.refused) == (1, ["private_key_jwt"], [])
    assert guard.seen
    assert all(through for *_, through in guard.seen)
    assert authority.issued[0] not in str(logs)


def test_without_a_token_nothing_is_let_through(fhir, parts, assessment, guard):
    unarmed = replace(parts, fhir=HttpFhirServer(guard.url))
    parts.store.save(assessment, ReportState.PENDING)
    write_report(unarmed, assessment.key)
    assert state(parts, assessment) is ReportState.PENDING
    assert reports(fhir, assessment) == []


@pytest.mark.parametrize("outage", ["down", "broken", "slow"])
def test_while_the_token_endpoint_is_out_the_report_stays_due(
    fhir, parts, assessment, authority, outage, monkeypatch
):
    monkeypatch.setattr("cds.oauth.FETCH_S", 0.5)
    parts.store.save(assessment, ReportState.PENDING)
    {
        "down": authority.down,
        "broken": lambda: setattr(authority, "status", 503),
        "slow": authority.gate.clear,
    }[outage]()
    with capture_logs() as logs:
        write_report(parts, assessment.key)
    assert state(parts, assessment) is ReportState.PENDING
    (told,) = [line for line in logs if line["event"] == "report not written"]
    assert told["error"] in ("UpstreamUnavailable", "UpstreamTimeout")
    assert "token endpoint" in told["reason"]
    assert reports(fhir, assessment) == []

    {"down": authority.up, "broken": lambda: setattr(authority, "status", 200), "slow": authority.gate.set}[
        outage
    ]()
    write_report(parts, assessment.key)
    assert state(parts, assessment) is ReportState.WRITTEN
    assert len(reports(fhir, assessment)) == 1


def test_a_key_that_is_not_published_leaves_the_report_due_and_says_why(parts, assessment, authority):
    authority.jwks_url, authority.jwks = None, [SigningKey.new().jwk]
    parts.store.save(assessment, ReportState.PENDING)
    with capture_logs() as logs:
        write_report(parts, assessment.key)
    assert state(parts, assessment) is ReportState.PENDING
    assert "refuses client 'leukocds' (invalid_client)" in str(logs)


def test_a_token_revoked_between_two_reports_costs_one_more(fhir, parts, assessment, authority):
    parts.store.save(assessment, ReportState.PENDING)
    parts.fhir.search("Patient", {"_id": "nobody"})
    authority.revoke()
    write_report(parts, assessment.key)
    assert state(parts, assessment) is ReportState.WRITTEN
    assert len(authority.issued) == 2


def test_many_threads_write_with_one_token(fhir, parts, assessment, authority):
    model = assessment.model
    many = [replace(assessment, model=replace(model, digest=uuid.uuid4().hex * 2)) for _ in range(4)]
    for one in many:
        parts.store.save(one, ReportState.PENDING)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: write_report(parts, one.key), many))
    assert [state(parts, one) for one in many] == [ReportState.WRITTEN] * 4
    assert len(authority.issued) == 1
