"""The early stroke against a real HAPI: an ImagingStudy is created, and the report is there before any hook."""

import secrets
import time
import uuid
from contextlib import closing
from datetime import UTC, datetime

import pytest
import requests

from cds.fhir_client import HttpFhirServer
from cds.fhir_writing import AdaptingFhirServer
from cds.store import SqlAssessmentStore
from cds.subscription import find, remove
from tests.fakes.dicomweb import FakeArchive
from tests.fakes.hook_requests import SERVICE, hook_request
from tests.fakes.images import dicom_file, drawing
from tests.fakes.processes import Process, free_port

pytestmark = pytest.mark.timeout(280)

#: A modality that no other test's studies have: the server is shared.
MODALITY = "OPM"


class Site:
    """One patient whose smear the laboratory photographs while `leukocds serve` runs."""

    def __init__(self, folder, hapi_url, archive, fhir):
        self.folder, self.hapi_url, self.archive, self.fhir = folder, hapi_url, archive, fhir
        self.port = free_port()
        self.patient, self.number = f"p-{secrets.randbelow(10**12)}", f"t-{uuid.uuid4().hex[:12]}"
        self.study_uid = f"2.25.{uuid.uuid4().int}"
        self.database_url = f"sqlite:///{folder}/store.db"
        self.put({"resourceType": "Patient", "id": self.patient})

    def serve(self, **changes):
        settings = {
            "port": self.port,
            "database_url": self.database_url,
            "archive_url": self.archive.url,
            "fhir_url": self.hapi_url,
            "modalities": MODALITY,
            "early_days": 0.001,
            "sweep_interval_s": 0.5,
            "hook_budget_s": 30,
            "read_timeout_s": 60,
        }
        return Process("serve", self.folder, **{**settings, **changes})

    def put(self, resource):
        reference = f"{resource['resourceType']}/{resource['id']}"
        entry = {"resource": resource, "request": {"method": "PUT", "url": reference}}
        self.fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})

    def photograph(self, instances):
        """So many images in the archive, and the ImagingStudy that says so."""
        for n in range(instances):
            uids = {"StudyInstanceUID": self.study_uid, "SOPInstanceUID": f"{self.study_uid}.{n + 1}"}
            self.archive.archive.add(dicom_file(drawing(seed=n), **uids))
        dicom = "http://dicom.nema.org/resources/ontology/DCM"
        self.put(
            {
                "resourceType": "ImagingStudy",
                "id": self.number,
                "status": "available",
                "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{self.study_uid}"}],
                "subject": {"reference": f"Patient/{self.patient}"},
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "numberOfInstances": instances,
                "series": [
                    {
                        "uid": f"{self.study_uid}.0",
                        "modality": {"system": dicom, "code": MODALITY},
                        "numberOfInstances": instances,
                    }
                ],
            }
        )

    def reports(self):
        """Status of the patient's reports."""
        found = self.fhir.search("DiagnosticReport", {"patient": self.patient})
        return sorted(report["status"] for report in found)

    def hook(self):
        body = hook_request(fhir_server=self.hapi_url, patientId=self.patient)
        del body["fhirAuthorization"]  # HAPI is open
        answer = requests.post(f"http://127.0.0.1:{self.port}{SERVICE}", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()["cards"]

    def watch(self):
        with closing(SqlAssessmentStore(self.database_url)) as store:
            return store.watch(self.hapi_url)

    def looked(self):
        """Whether the first look is over, so that what comes now is found by the next."""
        try:
            return self.watch().cursor is not None
        except Exception:  # noqa: BLE001 - the tables are being made
            return False


@pytest.fixture
def fhir(hapi_url):
    with HttpFhirServer(hapi_url, connect_timeout_s=5, read_timeout_s=120) as client:
        yield AdaptingFhirServer(client)


@pytest.fixture
def site(tmp_path, hapi_url, fhir):
    with FakeArchive() as archive:
        yield Site(tmp_path, hapi_url, archive, fhir)


def answered_from_the_store(site, server):
    """The first hook of all finds the reading, and asks for nothing to be read."""
    (card,) = site.hook()
    assert card["summary"].startswith("AML pattern")
    assert server.log().count('"study read"') == server.log().count('"study is being read"')


def test_by_polling_the_report_is_there_before_any_hook_and_grows_with_the_study(site):
    with site.serve(early_reading="poll", early_poll_s=0.5) as server:
        server.until(site.looked)
        site.photograph(2)
        server.until(lambda: site.reports() == ["preliminary"])
        answered_from_the_store(site, server)
        assert server.log().count('"study read"') == 1
        site.photograph(3)
        server.until(lambda: site.reports() == ["cancelled", "preliminary"])
        assert server.log().count('"study read"') == 2
        answered_from_the_store(site, server)


def test_what_came_while_we_were_down_is_read_at_the_next_start(site):
    with site.serve(early_reading="poll", early_poll_s=0.5) as first:
        first.until(site.looked)
        first.kill()
    site.photograph(2)
    with site.serve(early_reading="poll", early_poll_s=0.5) as second:
        second.until(lambda: site.reports() == ["preliminary"])
        answered_from_the_store(site, second)


def test_by_subscription_the_server_tells_and_the_report_is_there_before_any_hook(site, fhir):
    try:
        with site.serve(early_reading="subscribe", early_poll_s=3600) as server:
            server.until(lambda: site.looked() and site.watch().subscription is not None)
            watch = site.watch()
            server.until(lambda: [s["status"] for s in find(fhir, watch.installation)] == ["active"])
            time.sleep(2.0)  # HAPI gathers the active Subscriptions now and then
            site.photograph(2)
            server.until(lambda: site.reports() == ["preliminary"])
            assert site.watch().notified_at is not None
            answered_from_the_store(site, server)
            assert watch.secret not in server.log()
        # Found again and not made anew at the next start, also where we have another address by then.
        site.port = free_port()
        with site.serve(early_reading="subscribe", early_poll_s=3600) as server:
            endpoint = f"http://127.0.0.1:{site.port}/fhir-notifications"
            server.until(
                lambda: [s["channel"]["endpoint"] for s in find(fhir, watch.installation)] == [endpoint]
            )
    finally:
        remove(fhir, site.watch().installation)
