"""How long a study takes from the hook to its report: real archive, real FHIR server, the embedded worker.

    python -m benchmarks.study [--images 100] [--pattern AML] [--archive URL] [--fhir URL]

Synthetic single-cell images are ingested as a new study of a new patient; a hook is posted as an EHR would; the time
runs until the report can be read from the FHIR server. Addresses are by default those that `make servers` started.
The model package is loaded within that time: the study is the first that the process reads. `--warm` reads another
one before.
"""

import argparse
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import requests
from PIL import Image

from cds.dicomweb import DicomWebArchive
from cds.fhir_client import HttpFhirServer
from cds.ingest import ingest_folder
from cds.store import SqlAssessmentStore
from cds.values import JobState, NotAnalysed
from hooks.demo.serving import Serving
from models.package import bundled_package, load_identity
from models.synthetic.studies import PATTERNS, compose_study

TARGET_S = 20.0
PATIENCE_S = 300.0
ROOT = Path(__file__).resolve().parent.parent

T = TypeVar("T")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--pattern", choices=PATTERNS, default="AML")
    parser.add_argument("--archive", default=_running("orthanc"), help="DICOMweb service root")
    parser.add_argument("--fhir", default=_running("hapi"), help="FHIR R4 server")
    parser.add_argument("--warm", action="store_true", help="read another study first")
    options = parser.parse_args()
    if not options.archive or not options.fhir:
        parser.error("no servers: `make servers` starts them, or give --archive and --fhir")
    archive = DicomWebArchive(options.archive)
    fhir = HttpFhirServer(options.fhir)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {
            "archive_url": options.archive,
            "fhir_url": options.fhir,
            # On a machine that does much else the hook is slow, and says so here, instead of giving up.
            "hook_budget_s": "60",
        }
        began = time.perf_counter()
        with Serving(folder, settings) as serving:
            serving.wait_until_ready(120)
            _say("`leukocds serve` is ready", began)
            store = SqlAssessmentStore(f"sqlite:///{folder / 'leukocds.db'}")
            try:
                for measured in [False, True] if options.warm else [True]:
                    study = _ingest(folder, options.pattern, options.images, archive, fhir, say=measured)
                    seconds = _one_study(serving.url, study, store, fhir, say=measured)
            except TimeoutError as error:
                raise SystemExit(f"{error}\n{serving.log_tail()}") from None
    met = seconds < TARGET_S
    print(f"{seconds:10.2f} s from hook to report; target {TARGET_S:g} s: {'met' if met else 'MISSED'}")
    print(f"{options.images} images, {os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}")
    return 0 if met else 1


def _ingest(
    folder: Path, pattern: str, images: int, archive: DicomWebArchive, fhir: HttpFhirServer, *, say: bool
) -> dict[str, str]:
    """Patient and study UID of a study that no one has seen before."""
    began = time.perf_counter()
    unique = uuid.uuid4()
    pictures = folder / str(unique)
    pictures.mkdir()
    for image in compose_study(pattern, unique.int % 2**32, cells=images).images:
        Image.fromarray(image.pixels).save(pictures / f"{image.source}.jpg", quality=92)
        um_per_px = image.um_per_px
    if say:
        _say(f"{images} images drawn", began)
    began = time.perf_counter()
    patient = {
        "resourceType": "Patient",
        "identifier": [{"system": "urn:leukocds:benchmark", "value": str(unique)}],
    }
    entry = {
        "fullUrl": f"urn:uuid:{unique}",
        "resource": patient,
        "request": {"method": "POST", "url": "Patient"},
    }
    made = fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
    reference = "/".join(made["entry"][0]["response"]["location"].split("/_history")[0].split("/")[-2:])
    ingested = ingest_folder(
        pictures, archive=archive, fhir=fhir, patient=reference, um_per_px=um_per_px, started="2026-01-01"
    )
    if ingested.instances != images or ingested.imaging_study is None:
        raise SystemExit(f"ingested {ingested.instances} of {images} images: {ingested.refused[:3]}")
    if say:
        _say("ingested", began)
    return {"patient": reference, "imaging_study": ingested.imaging_study, "study_uid": ingested.study_uid}


def _one_study(
    url: str, study: dict[str, str], store: SqlAssessmentStore, fhir: HttpFhirServer, *, say: bool
) -> float:
    """Seconds from the hook to the report."""
    digest = load_identity(Path(os.environ.get("LEUKOCDS_MODEL_PACKAGE") or bundled_package())).digest
    began = time.perf_counter()
    cards = _hook(url, study, fhir.base_url)
    if say:
        _say(f"hook answered: {cards[0]['summary']}", began)
    assessment = _wait_for(lambda: store.latest(study["study_uid"], digest), store).assessment
    if say:
        outcome = assessment.outcome
        what = outcome.reason if isinstance(outcome, NotAnalysed) else outcome.pattern
        _say(f"read and stored: {what}", began)
        print(f"{assessment.seconds:10.2f} s of these to retrieve, decode and read")
    reference = _wait_for(lambda: store.report_state(assessment.key)[1], store)
    report = fhir.read(reference)
    seconds = time.perf_counter() - began
    if say:
        _say(f"{reference} read back, {report['status']}", began)
    return seconds


def _hook(url: str, study: dict[str, str], fhir_server: str) -> list[dict[str, Any]]:
    """Cards of one `org.leukocds.imagingstudy-available`, which finds everything else on the FHIR server."""
    body = {
        "hook": "org.leukocds.imagingstudy-available",
        "hookInstance": str(uuid.uuid4()),
        "fhirServer": fhir_server,
        "context": {
            "patientId": study["patient"].partition("/")[2],
            "imagingStudies": [study["imaging_study"]],
        },
    }
    answer = requests.post(f"{url}/cds-services/leukemia-smear", json=body, timeout=30)
    answer.raise_for_status()
    cards: list[dict[str, Any]] = answer.json()["cards"]
    if not cards:
        raise SystemExit("the hook found no study")
    return cards


def _wait_for(look: Callable[[], T | None], store: SqlAssessmentStore) -> T:
    ends = time.monotonic() + PATIENCE_S
    while (found := look()) is None:
        if store.job_counts()[JobState.FAILED] or time.monotonic() > ends:
            raise TimeoutError(f"it came to nothing: {dict(store.job_counts())}")
        time.sleep(0.05)
    return found


def _running(name: str) -> str | None:
    """Address of a server that `make servers` started."""
    state = ROOT / ".servers" / "state.json"
    running = json.loads(state.read_text())["running"] if state.exists() else {}
    return running[name]["url"] if name in running else None


def _say(what: str, began: float) -> None:
    print(f"{time.perf_counter() - began:10.2f} s {what}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
