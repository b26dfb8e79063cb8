"""Early reading scaled out: two workers watch, another process takes the notifications, and each study is read once."""

from contextlib import closing

import pytest
import requests

from cds.settings import Settings
from cds.subscription import HEADER
from cds.values import utc_now
from hooks.bootstrap import open_store
from hooks.notifications import PATH
from tests.fakes.dicomweb import FakeArchive
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.hook_requests import imaging_study
from tests.fakes.images import dicom_file, drawing
from tests.fakes.processes import Process, free_port

pytestmark = pytest.mark.timeout(240)

STUDIES = 6


@pytest.fixture
def archive():
    instances = [
        dicom_file(
            drawing(seed=n), StudyInstanceUID=f"1.2.826.0.1.{n}", SOPInstanceUID=f"1.2.826.0.1.{n}.{i}"
        )
        for n in range(1, STUDIES + 1)
        for i in (1, 2)
    ]
    with FakeArchive(*instances) as fake:
        yield fake


def test_two_workers_read_each_new_study_once_when_the_server_tells(
    tmp_path, postgres_database_url, redis_database_url, archive
):
    with FakeFhirServer() as fhir:
        port = free_port()
        values = {
            "database_url": postgres_database_url, "broker_url": redis_database_url, "archive_url": archive.url,
            "fhir_url": fhir.url, "sweep_interval_s": 1.0, "early_reading": "subscribe", "early_poll_s": 3600,
            "port": port,
        }  # fmt: skip
        with closing(open_store(Settings(**values))) as store:
            store.migrate()
            workers = [Process("worker", tmp_path, **values) for _ in range(2)]
            with Process("serve", tmp_path, **values) as server, workers[0] as first, workers[1] as second:
                first.until(lambda: "worker ready" in first.log())
                second.until(lambda: "worker ready" in second.log())
                first.until(lambda: store.watch(fhir.url).cursor is not None)
                first.until(lambda: len(fhir.of_type("Subscription")) == 1)
                (subscription,) = fhir.of_type("Subscription")
                assert subscription["channel"]["endpoint"] == f"http://127.0.0.1:{port}{PATH}"
                for number in range(1, STUDIES + 1):
                    study = imaging_study(
                        number, meta={"versionId": "1", "lastUpdated": utc_now().isoformat()}
                    )
                    fhir.resources[f"ImagingStudy/{study['id']}"] = study
                header, _, secret = subscription["channel"]["header"][0].partition(": ")
                assert header == HEADER
                server.until(lambda: _answers(port))
                for _ in range(10):
                    told = requests.post(
                        f"http://127.0.0.1:{port}{PATH}", headers={HEADER: secret}, timeout=30
                    )
                    assert told.status_code == 200
                first.until(lambda: len(fhir.of_type("DiagnosticReport")) == STUDIES)
                first.until(lambda: store.job_counts()["done"] == STUDIES)
                logs = first.log() + second.log() + server.log()
        assert logs.count('"study read"') == STUDIES
        assert secret not in logs
        assert len(fhir.of_type("Subscription")) == 1


def _answers(port):
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok
    except requests.ConnectionError:
        return False
