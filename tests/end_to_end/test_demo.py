"""`leukocds demo` as a user starts it: the simulated hospital, the real service, the bundled model."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

DEMO = [sys.executable, "-m", "hooks.cli", "demo"]
ENVIRON = {**os.environ, "COLUMNS": "120"}
EXPECTED = {
    "Alder": "healthy",
    "Birch": "ALL",
    "Cedar": "AML",
    "Dogwood": "CLL",
    "Elm": "CML",
    "Fir": "not analysed",
}
#: The machine may be busy; the demo itself is told how long it takes by its own output.
TIMEOUT_S = 280


def test_once_ends_well_and_shows_every_card_and_report() -> None:
    done = subprocess.run(
        [*DEMO, "--once"], env=ENVIRON, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    queued, _, rest = done.stdout.partition("Written back to the hospital")
    reports, _, summary = rest.partition("Round trip")
    for name, pattern in EXPECTED.items():
        assert re.search(rf"{name}.*analysis queued", queued)
        assert re.search(rf"{name} .*DiagnosticReport/\w+ .*preliminary", reports)
        assert re.search(rf"{name} .* {pattern} .* {pattern} .* {pattern} .*\d\.\d .* yes", summary)
    assert "6 DiagnosticReport" in reports
    assert "All 6 cards and reports came back as expected." in summary


def test_in_german_every_card_and_report_is_german() -> None:
    done = subprocess.run(
        [*DEMO, "--once"],
        env={**ENVIRON, "LEUKOCDS_LANGUAGE": "de"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall("wartet auf Auswertung", done.stdout)) >= 6
    for said in (
        "Kein Hinweis auf ein Leukämie-Muster",
        "Muster einer akuten",
        "Dringend anfordern",
        "Blasten",
    ):
        assert said in done.stdout
    for said in ("analysis queued", "Pattern of", "white cells are"):
        assert said not in done.stdout
    assert "All 6 cards and reports came back as expected." in done.stdout


def test_a_demo_that_cannot_start_its_service_says_why_and_fails(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--once"],
        env={**ENVIRON, "LEUKOCDS_MODEL_PACKAGE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 1
    assert "leukocds serve ended with status 1" in done.stderr
    assert "card.json" in done.stderr


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A demo that waits: the address of its pages, and the process."""
    output = tmp_path_factory.mktemp("demo") / "output.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(DEMO, env=ENVIRON, stdout=file, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + TIMEOUT_S
        while not (found := re.search(r"Charts, cards and reports: (\S+)/", output.read_text())):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.2)
        yield found[1], process
    finally:
        process.kill()
        process.wait()


def page(url: str) -> str:
    answer = requests.get(url, timeout=10)
    assert answer.status_code == 200
    assert "test double" in answer.headers["X-Test-Double"]
    assert "test double" in answer.text
    return answer.text


def configuration(url: str, patient: str) -> dict[str, Any]:
    """What the chart's page knows."""
    found = re.search(r'id="ehr">(.*?)</script>', page(f"{url}/chart/{patient}"))
    assert found is not None
    known: dict[str, Any] = json.loads(found[1])
    return known


def cards(url: str, patient: str) -> list[dict[str, Any]]:
    """Of `patient-view`, as the page's script asks for it; tests/browser runs the script itself."""
    ehr = configuration(url, patient)
    own = {"Origin": url, "X-Chart-Token": ehr["csrf"]}
    endpoint = f"{ehr['service']}/cds-services/leukemia-smear"
    token = requests.post(f"{url}/ehr/jwt", json={"aud": endpoint}, headers=own, timeout=10).json()["token"]
    access = requests.post(f"{url}/ehr/access", json={}, headers=own, timeout=10).json()
    hook = {
        "hook": "patient-view",
        "hookInstance": str(uuid.uuid4()),
        "fhirServer": ehr["fhir"],
        "fhirAuthorization": access,
        "context": {"userId": "Practitioner/demo-ward", "patientId": patient},
    }
    headers = {"Origin": url, "Authorization": f"Bearer {token}"}
    answer = requests.post(endpoint, json=hook, headers=headers, timeout=20)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == url
    found: list[dict[str, Any]] = answer.json()["cards"]
    return found


def test_the_pages_show_patients_cards_and_reports(running: tuple[str, subprocess.Popen[bytes]]) -> None:
    url, _ = running
    patients = page(url)
    for name in EXPECTED:
        assert f"Synthetic {name}" in patients
    chart = page(f"{url}/chart/demo-3")
    assert "DiagnosticReport/" in chart
    (card,) = cards(url, "demo-3")
    assert "AML pattern in blood smear" in card["summary"]
    assert card["indicator"] == "critical"
    assert any(s["label"].startswith("Order urgently") for s in card["suggestions"])
    study = card["links"][0]["url"]
    assert requests.get(study, timeout=10).status_code == 401
    browser = requests.Session()
    asked = browser.get(study, timeout=10, headers={"Accept": "text/html"})
    assert "DEVELOPMENT LOGIN" in asked.text
    (service,) = re.findall(r"(http://127\.0\.0\.1:\d+)/studies", study)
    form = {"person": "reviewer-1", "next": study.removeprefix(service)}
    shown = browser.post(f"{service}/sign-in/development", data=form, timeout=10)
    assert (shown.status_code, shown.url) == (200, study)
    assert "AML pattern" in shown.text
    assert "AML pattern" in browser.get(f"{service}/worklist", timeout=10).text
    picture = requests.get(f"{url}/chart/demo-3/images/0.jpg", timeout=10)
    assert picture.content.startswith(b"\xff\xd8")
    assert "could not be analysed" in cards(url, "demo-6")[0]["summary"]
    assert requests.get(f"{url}/chart/nobody", timeout=10).status_code == 404


def test_ctrl_c_ends_the_demo_and_its_service(running: tuple[str, subprocess.Popen[bytes]]) -> None:
    url, process = running
    service = configuration(url, "demo-3")["service"]
    assert requests.get(f"{service}/health", timeout=5).status_code == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    for gone in (url, service):
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{gone}/", timeout=5)
