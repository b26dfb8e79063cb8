"""The main job on real servers: images ingested into Orthanc, a hook posted, report and cards read back from HAPI.

Once with everything embedded (SQLite, the worker in a thread) and once scaled out (Redis, PostgreSQL, a process of its
own for the worker), with the bundled model package.
"""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from PIL import Image

from cds.audit_event import AUDIT_SYSTEM
from cds.dicomweb import DicomWebArchive
from cds.fhir_client import HttpFhirServer
from cds.ingest import ingest_folder
from fhir_profiles import codes
from hooks.demo.serving import Serving
from models.synthetic.studies import compose_study
from tests.fakes.databases import postgres_database, redis_database
from tests.fakes.hook_requests import SERVICE, emptiness
from tests.fakes.validation import belongings, install_profiles, validate

pytestmark = pytest.mark.timeout(600)

PATIENCE_S = 180.0
INDICATOR = {"AML": "critical", "ALL": "critical", "CLL": "warning", "CML": "warning", "healthy": "info"}


@dataclass(frozen=True)
class Hospital:
    """What the tests talk to: our address, the FHIR server, the archive."""

    url: str
    fhir: HttpFhirServer
    archive: DicomWebArchive


@contextmanager
def _embedded(folder: Path, servers: dict[str, str]) -> Iterator[str]:
    with Serving(folder, servers) as serving:
        serving.wait_until_ready(120)
        yield serving.url


@contextmanager
def _scaled_out(folder: Path, servers: dict[str, str], redis_url: str, postgres_url: str) -> Iterator[str]:
    with redis_database(redis_url) as redis, postgres_database(postgres_url) as postgres:
        with _with_worker(folder, servers | {"broker_url": redis, "database_url": postgres}) as url:
            yield url


@contextmanager
def _with_worker(folder: Path, shared: dict[str, str]) -> Iterator[str]:
    environ = {n: t for n, t in os.environ.items() if not n.startswith("LEUKOCDS_")}
    environ |= {f"LEUKOCDS_{name.upper()}": text for name, text in shared.items()}
    with Serving(folder, shared) as serving, (folder / "worker.log").open("wb") as log:
        serving.wait_until_ready(120)
        worker = subprocess.Popen(
            [sys.executable, "-m", "hooks.cli", "worker"],
            env=environ, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            yield serving.url
        finally:
            worker.terminate()
            try:
                worker.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait(10)


@pytest.fixture(scope="module", params=["embedded", "scaled out"])
def hospital(request, tmp_path_factory, hapi_url, orthanc_url) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("site")
    servers = {
        "fhir_url": hapi_url,
        "archive_url": orthanc_url,
        "hook_budget_s": "20",
        "sweep_interval_s": "2",
        "development_login": "true",
    }
    if request.param == "embedded":
        site = _embedded(folder, servers)
    else:
        databases = [request.getfixturevalue(f"{name}_url") for name in ("redis", "postgres")]
        site = _scaled_out(folder, servers, *databases)
    with site as url, HttpFhirServer(hapi_url, read_timeout_s=120) as fhir:
        install_profiles(fhir)
        yield Hospital(url, fhir, DicomWebArchive(orthanc_url))


def admit(hospital: Hospital, folder: Path, um_per_px: float | None) -> str:
    """A new patient whose smear is `folder`; `Patient/…`."""
    stem = f"e2e-{uuid.uuid4().hex[:12]}"
    patient = {"resourceType": "Patient", "id": stem, "name": [{"family": "Synthetic"}]}
    hospital.fhir.transaction(
        {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [{"resource": patient, "request": {"method": "PUT", "url": f"Patient/{stem}"}}],
        }
    )
    ingested = ingest_folder(
        folder, archive=hospital.archive, fhir=hospital.fhir, patient=f"Patient/{stem}",
        um_per_px=um_per_px, started="2026-02-03T10:00:00Z",
    )  # fmt: skip
    assert not ingested.refused
    assert ingested.instances == len(list(folder.iterdir()))
    return f"Patient/{stem}"


def hook(hospital: Hospital, patient: str) -> list[dict]:
    """Cards of one patient-view without prefetch: everything is on the FHIR server."""
    body = {
        "hook": "patient-view",
        "hookInstance": str(uuid.uuid4()),
        "fhirServer": hospital.fhir.base_url,
        "context": {"userId": "Practitioner/1", "patientId": patient.partition("/")[2]},
    }
    answer = requests.post(hospital.url + SERVICE, json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert list(emptiness(answer.json())) == []
    return answer.json()["cards"]


def result_cards(hospital: Hospital, patient: str) -> list[dict]:
    """Cards once there is an answer; the first hook must say that it is on its way."""
    (first,) = hook(hospital, patient)
    assert first["indicator"] == "info"
    assert re.search("queued|being read", first["summary"]), first["summary"]
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        cards = hook(hospital, patient)
        if not re.search("queued|being read", cards[0]["summary"]):
            return cards
        time.sleep(0.5)
    pytest.fail(f"no result within {PATIENCE_S:g} s: {cards[0]['summary']}")


def reports(hospital: Hospital, patient: str) -> list[dict]:
    """The patient's DiagnosticReports by search, once there is one."""
    ends = time.monotonic() + PATIENCE_S
    while not (found := hospital.fhir.search("DiagnosticReport", {"patient": patient})):
        assert time.monotonic() < ends, "no report was written"
        time.sleep(0.5)
    return found


def pattern_codes(observation: dict) -> set[str]:
    return {c["code"] for c in observation.get("valueCodeableConcept", {}).get("coding", [])}


def check_report(hospital: Hospital, patient: str, pattern: str) -> None:
    (report,) = reports(hospital, patient)
    assert report["status"] == "preliminary"
    assert report["subject"]["reference"] == patient
    assert report["imagingStudy"][0]["reference"].startswith("ImagingStudy/")
    assert "conclusionCode" not in report
    observations = hospital.fhir.search("Observation", {"patient": patient})
    assert {f"Observation/{o['id']}" for o in observations} == {r["reference"] for r in report["result"]}
    (impression,) = [o for o in observations if "valueCodeableConcept" in o or "dataAbsentReason" in o]
    if pattern == "not analysed":
        assert "dataAbsentReason" in impression
    else:
        assert codes.PATTERNS[pattern].code in pattern_codes(impression)
    check_all_that_was_written(hospital, patient, "not analysed" if pattern == "not analysed" else "finding")


def check_all_that_was_written(hospital: Hospital, patient: str, outcome: str) -> None:
    """Every resource about the patient is valid by the profile that it claims; the job's Task is completed."""
    ends = time.monotonic() + PATIENCE_S
    while [t["status"] for t in hospital.fhir.search("Task", {"patient": patient})] != ["completed"]:
        assert time.monotonic() < ends, "the task does not complete"
        time.sleep(0.5)
    written = belongings(hospital.fhir, patient)
    kinds = Counter(resource["resourceType"] for resource in written)
    # Of the reading and of the report; whoever looked at the page has another tag.
    assert sum(r["resourceType"] == "AuditEvent" and not _is_of_a_page(r) for r in written) == 2
    assert {"Device", "DocumentReference", "Provenance", "Task"} < set(kinds)
    # A cell that carried the finding has a picture; a smear that was not analysed has no finding.
    assert (1 <= kinds["Media"] <= 8) if outcome == "finding" else kinds["Media"] == 0
    pictures = [resource for resource in written if resource["resourceType"] == "Media"]
    assert all(p["extension"][0]["extension"][-1]["valueBoolean"] for p in pictures), "each with its map"
    for resource in written:
        # The package's Device may be there from before: it is created once for all time.
        assert resource["resourceType"] == "Device" or _is_of_a_page(resource) or resource["meta"]["profile"]
        assert validate(hospital.fhir.base_url, resource).errors == []


def _is_of_a_page(resource: dict) -> bool:
    return any(tag["system"] == AUDIT_SYSTEM for tag in resource["meta"].get("tag", []))


def signed_in_page(hospital: Hospital, url: str) -> str:
    """The page as somebody sees it who has signed in by the development login."""
    with requests.Session() as browser:
        form = {"person": "reviewer-1", "next": url.removeprefix(hospital.url)}
        browser.get(url, timeout=30, headers={"Accept": "text/html"})
        shown = browser.post(f"{hospital.url}/sign-in/development", data=form, timeout=30)
    assert (shown.status_code, shown.url) == (200, url)
    return shown.text


def draw(folder: Path, pattern: str, seed: int) -> float | None:
    """JPEG files of a synthetic study in `folder`; its scale in µm/px."""
    folder.mkdir(exist_ok=True)
    study = compose_study(pattern, seed, cells=40 if pattern != "unreadable" else 8)
    for image in study.images:
        Image.fromarray(image.pixels).save(folder / f"{image.source}.jpg", quality=95, subsampling=0)
    return study.images[0].um_per_px


@pytest.mark.parametrize(("pattern", "seed"), [("AML", 13), ("healthy", 11), ("CLL", 14)])
def test_a_synthetic_smear_becomes_card_and_report(hospital, tmp_path, pattern, seed):
    scale = draw(tmp_path / "smear", pattern, seed)
    patient = admit(hospital, tmp_path / "smear", scale)
    (card,) = result_cards(hospital, patient)
    assert card["indicator"] == INDICATOR[pattern]
    assert ("suggestions" in card) == (pattern != "healthy")
    assert card["links"][0]["url"].startswith(hospital.url)
    assert requests.get(card["links"][0]["url"], timeout=30).status_code == 401, "not signed in"
    assert "95 % interval" in signed_in_page(hospital, card["links"][0]["url"])
    check_report(hospital, patient, pattern)


def test_an_unreadable_smear_is_said_to_be_so(hospital, tmp_path):
    scale = draw(tmp_path / "smear", "unreadable", 16)
    patient = admit(hospital, tmp_path / "smear", scale)
    (card,) = result_cards(hospital, patient)
    assert card["indicator"] == "warning"
    assert "suggestions" not in card or "pattern" not in card["summary"]
    check_report(hospital, patient, "not analysed")


@pytest.mark.parametrize(
    ("folder", "um_per_px", "pattern"),
    [
        ("hopkins/hopkins-08", 0.105, "AML"),
        ("hopkins/hopkins-46", 0.105, "AML"),
        ("barcelona/healthy-mix", 0.105, "healthy"),
        ("lyon/lyon-P15", 0.167, "CLL"),
    ],
)
def test_a_real_smear_becomes_card_and_report(hospital, smears, folder, um_per_px, pattern):
    patient = admit(hospital, smears / "originals" / folder, um_per_px)
    (card,) = result_cards(hospital, patient)
    assert card["indicator"] == INDICATOR[pattern], card["summary"]
    check_report(hospital, patient, pattern)


def test_a_tissue_section_is_refused(hospital, smears, tmp_path):
    # Own UIDs: several studies of the same slide would share one on the archive.
    import pydicom

    folder = tmp_path / "slide"
    folder.mkdir()
    study_uid, series_uid = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    for path in sorted((smears / "dicom").glob("*.dcm")):
        slide = pydicom.dcmread(path)
        slide.StudyInstanceUID, slide.SeriesInstanceUID = study_uid, series_uid
        slide.SOPInstanceUID = slide.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        slide.save_as(folder / path.name)
    patient = admit(hospital, folder, None)
    (card,) = result_cards(hospital, patient)
    assert card["indicator"] == "warning"
    check_report(hospital, patient, "not analysed")
