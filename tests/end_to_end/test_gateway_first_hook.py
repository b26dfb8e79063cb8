"""Files in a folder, and the first hook that ever comes finds the answer and the report."""

import io
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from PIL import Image

from hooks.cli import cli
from hooks.demo.hospital import Hospital
from hooks.demo.serving import Serving
from models.synthetic.studies import compose_study
from tests.fakes.gateway import order, patient
from tests.fakes.hook_requests import SERVICE

pytestmark = pytest.mark.timeout(300)

PATIENCE_S = 200.0


def test_the_first_hook_finds_the_answer(tmp_path: Path) -> None:
    hospital = Hospital()
    hospital.fhir.put(patient(1))
    hospital.fhir.put(order("A-1", "p-1"))
    study = compose_study("AML", 13, cells=40)
    incoming = tmp_path / "gateway" / "in" / "slide-1"
    incoming.mkdir(parents=True)
    for image in study.images:
        buffer = io.BytesIO()
        Image.fromarray(image.pixels).save(buffer, "JPEG", quality=95, subsampling=0)
        (incoming / f"{image.source}.jpg").write_bytes(buffer.getvalue())
    data = {"accession_number": "A-1", "um_per_px": study.images[0].um_per_px, "objective": 100}
    (incoming / "slide.json").write_text(json.dumps(data))
    with hospital, Serving(tmp_path, _servers(hospital)) as serving:
        serving.wait_until_ready(120)
        shared = {
            "gateway_folder": tmp_path / "gateway",
            "database_url": f"sqlite:///{tmp_path / 'leukocds.db'}",
            "gateway_stable_s": 0.2,
            "gateway_settle_s": 0.5,
        }
        environ = {f"LEUKOCDS_{n.upper()}": str(v) for n, v in {**_servers(hospital), **shared}.items()}
        once = CliRunner().invoke(cli, ["gateway", "--once"], env=environ)
        assert once.exit_code == 0, once.output
        assert f"stored {len(study.images)}" in once.output
        report = _report(hospital, serving)
        assert report["status"] == "preliminary"
        (card,) = _hook(hospital, serving)
    assert card["indicator"] == "critical"
    assert "suggestions" in card


def _servers(hospital: Hospital) -> dict[str, str]:
    return {
        "fhir_url": hospital.fhir_url,
        "archive_url": hospital.archive_url,
        "sweep_interval_s": "1",
    }


def _report(hospital: Hospital, serving: Serving) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE_S
    while not (found := hospital.fhir.search("DiagnosticReport", {"patient": "p-1"})):
        assert time.monotonic() < until, serving.log_tail()
        time.sleep(0.3)
    return found[0]


def _hook(hospital: Hospital, serving: Serving) -> list[dict[str, Any]]:
    body = {
        "hook": "patient-view",
        "hookInstance": str(uuid.uuid4()),
        "fhirServer": hospital.fhir_url,
        "context": {"userId": "Practitioner/1", "patientId": "p-1"},
    }
    answer = requests.post(serving.url + SERVICE, json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    cards: list[dict[str, Any]] = answer.json()["cards"]
    return cards
