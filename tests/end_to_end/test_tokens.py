"""Whose token goes where: the hook's while it is answered, ours when the report is written, in a process of its own."""

import time
from contextlib import closing

import pytest
import requests

from cds.signing_key import SigningKey
from cds.store import SqlAssessmentStore
from cds.values import ReportState
from tests.fakes.assessments import MODEL
from tests.fakes.authorization_server import AuthorizationServer
from tests.fakes.dicomweb import FakeArchive
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.hook_requests import SERVICE, TOKEN, hook_request, imaging_study, patient
from tests.fakes.images import dicom_file, drawing
from tests.fakes.processes import Process, free_port

pytestmark = pytest.mark.timeout(240)

STUDY_UID = "1.2.826.0.1.1"  # that of `imaging_study(1)`


def test_the_hooks_token_reads_and_ours_writes(tmp_path):
    key, port = SigningKey.new(), free_port()
    (tmp_path / "signing.pem").write_bytes(key.pem)
    instances = [
        dicom_file(drawing(), StudyInstanceUID=STUDY_UID, SOPInstanceUID=f"2.25.{n}") for n in (1, 2)
    ]
    with (
        FakeArchive(*instances) as archive,
        FakeFhirServer(patient(), imaging_study(1)) as fhir,
        AuthorizationServer(jwks_url=f"http://127.0.0.1:{port}/.well-known/jwks.json") as authority,
        closing(SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db")) as store,
        Process(
            "serve",
            tmp_path,
            port=port,
            database_url=f"sqlite:///{tmp_path}/store.db",
            archive_url=archive.url,
            fhir_url=fhir.url,
            fhir_client_id="leukocds",
            fhir_token_url=authority.token_url,
            signing_key=tmp_path / "signing.pem",
            sweep_interval_s=0.5,
            job_backoff_s=0.2,
        ) as server,
    ):
        authority.status = 503  # at first; the report waits
        base = f"http://127.0.0.1:{port}"
        server.until(lambda: _answers(f"{base}/ready"))
        answer = requests.post(f"{base}{SERVICE}", json=hook_request(fhir_server=fhir.url), timeout=30)
        assert len(answer.json()["cards"]) == 1
        by_hook = len(fhir.received)

        def state():
            found = store.latest(STUDY_UID, MODEL.digest)
            return None if found is None else found.report_state

        server.until(lambda: state() is ReportState.PENDING and authority.asked > 0)
        assert len(fhir.received) == by_hook  # not without a token
        authority.status = 200
        server.until(lambda: state() is ReportState.WRITTEN)
        log = server.log()
    assert len(fhir.of_type("DiagnosticReport")) == 1
    assert {r.headers.get("Authorization") for r in fhir.received[:by_hook]} == {f"Bearer {TOKEN}"}
    assert {r.headers.get("Authorization") for r in fhir.received[by_hook:]} == {
        f"Bearer {authority.issued[0]}"
    }
    assert not any(
        "eyJ" in line or token in line for line in log.splitlines() for token in [TOKEN, *authority.issued]
    )
    for path in tmp_path.glob("store.db*"):
        assert TOKEN.encode() not in path.read_bytes()
        assert not any(token.encode() in path.read_bytes() for token in authority.issued)


def _answers(url):
    try:
        return requests.get(url, timeout=10).status_code == 200
    except requests.ConnectionError:
        time.sleep(0.2)
        return False
