import socket
from contextlib import closing
from datetime import UTC, datetime

import pytest
import requests

from cds.agreement import Fate, Looked
from cds.errors import ConfigurationError
from cds.settings import Settings
from cds.store import SqlAssessmentStore
from cds.values import ReportState
from hooks.worker_metrics import WorkerMetrics
from tests.fakes.assessments import MODEL, assessment, study
from tests.fakes.processes import free_port


@pytest.fixture
def store(tmp_path):
    with closing(SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db")) as made:
        made.migrate()
        yield made


@pytest.fixture
def serve(store):
    started = []

    def make(**settings):
        made = WorkerMetrics(Settings(worker_metrics=str(free_port()), **settings), store)
        made.start()
        started.append(made)
        return f"http://127.0.0.1:{made.port}"

    yield make
    for made in started:
        made.stop()


def test_it_tells_of_the_stores_jobs_and_of_nothing_else(serve, store):
    store.enqueue(study(), MODEL.digest)
    url = serve()
    told = requests.get(f"{url}/metrics", timeout=5)
    assert told.status_code == 200
    assert told.headers["Content-Type"].startswith("text/plain")
    assert 'leukocds_jobs{state="queued"} 1.0' in told.text
    assert requests.get(f"{url}/", timeout=5).status_code == 404
    assert requests.post(f"{url}/metrics", timeout=5).status_code == 501


def test_agreement_is_among_it(serve, store):
    made = assessment()
    store.save(made, ReportState.PENDING)
    store.mark_written(made.key, "DiagnosticReport/1")
    (report,) = store.written_reports(1)
    store.take_written(report, 60)
    store.looked_at(made.key, Looked(fate=Fate.SIGNED, conclusion="AML"), datetime(2030, 1, 1, tzinfo=UTC))
    text = requests.get(f"{serve()}/metrics", timeout=5).text
    labels = 'model="cells",pattern="AML"'
    assert f'leukocds_reports_followed{{{labels},result="agreed",version="1.2.3"}} 1.0' in text
    assert f'leukocds_reports_followed{{{labels},result="open",version="1.2.3"}} 0.0' in text
    assert f'leukocds_signed_agreement{{bound="share",{labels},version="1.2.3"}} 1.0' in text
    assert f'leukocds_signed_agreement{{bound="high",{labels},version="1.2.3"}} 1.0' in text


def test_with_a_token_only_who_has_it_may_ask(serve):
    url = serve(metrics_token="secret") + "/metrics"
    assert requests.get(url, timeout=5).status_code == 401
    assert requests.get(url, headers={"Authorization": "Bearer wrong"}, timeout=5).status_code == 401
    assert requests.get(url, headers={"Authorization": "Bearer secret"}, timeout=5).status_code == 200


def test_a_port_that_is_taken_is_said(store):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"LEUKOCDS_WORKER_METRICS: cannot listen on .*{port}"):
            WorkerMetrics(Settings(worker_metrics=f"127.0.0.1:{port}"), store)
