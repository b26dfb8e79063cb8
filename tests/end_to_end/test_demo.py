"""`leukocds demo` as a user starts it: the simulated hospital, the real service, the bundled model."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

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


def test_the_pages_show_patients_cards_and_reports(running: tuple[str, subprocess.Popen[bytes]]) -> None:
    url, _ = running
    patients = page(url)
    for name in EXPECTED:
        assert f"Synthetic {name}" in patients
    chart = page(f"{url}/chart/demo-3")
    assert "AML pattern in blood smear" in chart
    assert re.search(r'class="card critical"', chart)
    assert "Order urgently" in chart
    assert "DiagnosticReport/" in chart
    (study,) = re.findall(r'href="(http://127\.0\.0\.1:\d+/studies/[0-9a-f-]+)"', chart)
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
    assert "could not be analysed" in page(f"{url}/chart/demo-6")
    assert requests.get(f"{url}/chart/nobody", timeout=10).status_code == 404


def test_ctrl_c_ends_the_demo_and_its_service(running: tuple[str, subprocess.Popen[bytes]]) -> None:
    url, process = running
    service = re.findall(r'href="(http://127\.0\.0\.1:\d+)/studies', page(f"{url}/chart/demo-3"))[0]
    assert requests.get(f"{service}/health", timeout=5).status_code == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    for gone in (url, service):
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{gone}/", timeout=5)
