"""The clinician's part of the story on real servers: images in Orthanc, chart and reports on HAPI, bundled reader."""

import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from cds.dicomweb import DicomWebArchive
from cds.fhir_client import HttpFhirServer
from cds.ingest import ingest_folder
from hooks.demo.serving import Serving
from models.synthetic.studies import compose_study
from tests.fakes.hook_requests import SERVICE
from tests.fakes.validation import belongings, install_profiles, validate

CLINICIAN, NAME = "Practitioner/reviewer-1", "Dr. Ada Reviewer"
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Ward:
    """A patient whose smear lies in Orthanc, and the service."""

    url: str
    fhir: HttpFhirServer
    patient: str

    def cards(self) -> list[dict]:
        body = {
            "hook": "patient-view",
            "hookInstance": str(uuid.uuid4()),
            "fhirServer": self.fhir.base_url,
            "context": {"userId": "Practitioner/1", "patientId": self.patient.removeprefix("Patient/")},
        }
        answer = requests.post(self.url + SERVICE, json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()["cards"]

    def result(self) -> dict:
        """The card once the smear is read and its report stands on the FHIR server."""
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            (card,) = self.cards()
            if "DiagnosticReport/" in card.get("detail", ""):
                return card
            time.sleep(0.5)
        pytest.fail(f"no result: {card['summary']}")

    def report(self) -> dict:
        (report,) = self.fhir.search("DiagnosticReport", {"patient": self.patient})
        return report


@pytest.fixture
def ward(tmp_path, hapi_url, orthanc_url) -> Iterator[Ward]:
    smear = tmp_path / "smear"
    smear.mkdir()
    drawn = compose_study("AML", 71, cells=40)
    for number, image in enumerate(drawn.images):
        Image.fromarray(image.pixels).save(smear / f"{number}.jpg", quality=95, subsampling=0)
    patient = f"Patient/browser-{uuid.uuid4().hex[:12]}"
    settings = {
        "fhir_url": hapi_url, "archive_url": orthanc_url, "hook_budget_s": "20", "sweep_interval_s": "2",
        "development_login": "true",
    }  # fmt: skip
    with HttpFhirServer(hapi_url, read_timeout_s=120) as fhir:
        install_profiles(fhir)
        named = {"family": "Rowan", "given": ["Synthetic"]}
        for resource in (
            {"resourceType": "Patient", "id": patient.removeprefix("Patient/"), "name": [named]},
            {"resourceType": "Practitioner", "id": CLINICIAN.removeprefix("Practitioner/")},
        ):
            url = f"{resource['resourceType']}/{resource['id']}"
            entry = {"resource": resource, "request": {"method": "PUT", "url": url}}
            fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
        ingested = ingest_folder(
            smear, archive=DicomWebArchive(orthanc_url), fhir=fhir, patient=patient,
            um_per_px=drawn.images[0].um_per_px, started="2026-02-03T10:00:00Z",
        )  # fmt: skip
        assert not ingested.refused
        with Serving(Path(tmp_path), settings) as serving:
            serving.wait_until_ready(120)
            yield Ward(serving.url, fhir, patient)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1366, "height": 900})
    yield context.new_page()
    context.close()


def test_from_the_card_by_the_cells_to_the_final_report(ward: Ward, page: Page, shoot) -> None:
    card = ward.result()
    assert card["indicator"] == "critical"
    assert ward.report()["status"] == "preliminary"

    tiles: list[int] = []
    page.on("response", lambda r: tiles.append(r.status) if "/tiles/" in r.url else None)
    page.goto(card["links"][0]["url"])
    page.get_by_role("button", name=NAME).click()
    page.wait_for_url(re.compile(f"{ward.url}/studies/"))
    expect(page.locator("#patient-name")).to_contain_text("Rowan", timeout=20_000)
    blasts = page.locator('.group[data-group="myeloblast"] .tile')
    expect(blasts.first).to_be_visible()
    assert blasts.first.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.locator("#viewer").scroll_into_view_if_needed()
    expect(page.locator("#viewer canvas").first).to_be_visible(timeout=30_000)
    page.wait_for_function("() => document.querySelector('#viewer canvas')?.width > 0")

    before = blasts.count()
    blasts.first.click()
    page.keyboard.press("p")
    expect(blasts).to_have_count(before - 1)
    page.get_by_label("Amend").check()
    expect(page.locator(".history li").first).to_contain_text("Amend")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=f"Sign as {NAME}").click()
    expect(page.locator(".state.written")).to_be_visible(timeout=60_000)
    shoot(page, "real-signed", full_page=True)
    assert tiles
    assert set(tiles) <= {200, 304}

    report = ward.report()
    assert report["status"] == "final"
    assert [person["reference"] for person in report["resultsInterpreter"]] == [CLINICIAN]
    for resource in belongings(ward.fhir, ward.patient):
        assert validate(ward.fhir.base_url, resource).errors == []
    paper = page.request.get(page.url.partition("?")[0].partition("#")[0] + "/report.pdf")
    assert paper.ok
    assert paper.body().startswith(b"%PDF")

    (now,) = ward.cards()
    assert now["summary"].endswith("signed by a clinician")
    assert f"Signed by {NAME}" in now["detail"]
    assert "Preliminary" not in now["detail"]
    drafted = [{"id": now["suggestions"][0]["uuid"]}]
    told = {"card": now["uuid"], "outcome": "accepted", "acceptedSuggestions": drafted}
    told["outcomeTimestamp"] = "2026-02-03T11:00:00Z"
    answer = requests.post(f"{ward.url}{SERVICE}/feedback", json={"feedback": [told]}, timeout=30)
    assert "Stored: 1" in answer.text
