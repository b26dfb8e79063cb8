"""How fast hooks are answered from a warm store: `leukocds serve` on loopback, SQLite, open loop.

    python -m benchmarks.hooks [--rate 50] [--seconds 20] [--jwt]

Open loop: requests are due at fixed times whether or not earlier ones were answered, and each time is counted from
when it was due, so that a stall shows in every request that it delayed (no coordinated omission). Every request
carries a complete prefetch and asks for another of the stored patients. No network is loaded: a hook never runs one.
With --jwt each request has a token of its own (ES384, signed before the clock runs), which is verified and used up.
"""

import argparse
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cds.store import SqlAssessmentStore
from cds.values import (
    CLASSES,
    Assessment,
    Cell,
    Differential,
    Finding,
    ImageReading,
    Pattern,
    ReportState,
    StudyRef,
)
from hooks.signing import Signer, clients_toml
from models.package import load_identity

PATIENTS = 200
CELLS, THUMBNAILS, IMAGES = 200, 120, 100
SENDERS = 32
TIMEOUT_S = 10.0
_PATH = "/cds-services/leukemia-smear"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long (at most 120)")
    parser.add_argument("--jwt", action="store_true", help="authenticate every request")
    options = parser.parse_args()
    if not 0 < options.rate <= 1000 or not 0 < options.seconds <= 120:
        parser.error("--rate must be above 0 and at most 1000, --seconds above 0 and at most 120")
    load = os.getloadavg()[0]
    signer = Signer.new("https://ehr.example", lifetime_s=300) if options.jwt else None
    with tempfile.TemporaryDirectory() as name, _server(Path(name), signer) as port:
        for patient in range(PATIENTS):
            _check(_post(port, _body(patient), _authorization(signer, port)))
        times, errors = _load(port, options.rate, options.seconds, signer)
    times.sort()
    cut = statistics.quantiles(times, n=100, method="inclusive")
    print(
        f"{len(times)} hooks at {options.rate:g}/s, {'JWT, ' if options.jwt else ''}{PATIENTS} patients, "
        f"{os.cpu_count()} CPUs, load before {load:.1f}"
    )
    print(f"p50 {cut[49]:.1f} ms   p95 {cut[94]:.1f} ms   p99 {cut[98]:.1f} ms   max {times[-1]:.1f} ms")
    print(f"errors: {len(errors)}" + "".join(f"\n  {e}" for e in sorted(set(errors))[:5]))
    return 1 if errors else 0


def _load(port: int, rate: float, seconds: float, signer: Signer | None) -> tuple[list[float], list[str]]:
    """Milliseconds of each answer from when its request was due, and what went wrong."""
    chance = random.Random(1)
    bodies = [_body(chance.randrange(PATIENTS)) for _ in range(int(rate * seconds))]
    authorizations = [_authorization(signer, port) for _ in bodies]
    local = threading.local()
    start = time.perf_counter() + 0.2

    def send(number: int) -> tuple[float, str | None]:
        due = start + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        error = None
        try:
            if not hasattr(local, "connection"):
                local.connection = _connect(port)
            _check(_post(port, bodies[number], authorizations[number], local.connection))
        except (OSError, http.client.HTTPException, AssertionError) as failure:
            error = f"{type(failure).__name__}: {failure}"
            local.__dict__.pop("connection", None)
        return 1000 * (time.perf_counter() - due), error

    with ThreadPoolExecutor(SENDERS) as pool:
        answers = list(pool.map(send, range(len(bodies))))
    return [ms for ms, _ in answers], [error for _, error in answers if error]


def _check(answer: tuple[int, bytes]) -> None:
    status, body = answer
    cards = json.loads(body)["cards"] if status == 200 else []
    if len(cards) != 1 or "AML pattern" not in cards[0]["summary"]:
        raise AssertionError(f"status {status} with {len(cards)} cards")


def _connect(port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _authorization(signer: Signer | None, port: int) -> dict[str, str]:
    if signer is None:
        return {}
    return {"Authorization": f"Bearer {signer.token(f'http://127.0.0.1:{port}{_PATH}')}"}


def _post(
    port: int,
    body: bytes,
    authorization: Mapping[str, str],
    connection: http.client.HTTPConnection | None = None,
) -> tuple[int, bytes]:
    own = connection or _connect(port)
    own.request("POST", _PATH, body, {"Content-Type": "application/json", **authorization})
    response = own.getresponse()
    answer = response.status, response.read()
    if connection is None:
        own.close()
    return answer


def _body(patient: int) -> bytes:
    study = {
        "resourceType": "ImagingStudy",
        "id": f"study-{patient}",
        "status": "available",
        "subject": {"reference": f"Patient/p-{patient}"},
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:1.2.826.0.1.{patient}"}],
        "modality": [{"code": "GM"}],
        "series": [
            {
                "uid": f"1.2.826.0.2.{patient}",
                "modality": {"code": "GM"},
                "instance": [{"uid": uid, "sopClass": {"code": "x"}} for uid in _uids(patient)],
            }
        ],
        "numberOfInstances": IMAGES,
        "started": "2026-03-04",
    }
    body: dict[str, Any] = {
        "hook": "patient-view",
        "hookInstance": str(uuid.uuid4()),
        "context": {"userId": "Practitioner/d-1", "patientId": f"p-{patient}"},
        "prefetch": {
            "patient": {"resourceType": "Patient", "id": f"p-{patient}"},
            "studies": {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": study}]},
            "reports": {"resourceType": "Bundle", "type": "searchset"},
        },
    }
    return json.dumps(body).encode()


def _uids(patient: int) -> list[str]:
    return [f"1.2.826.0.3.{patient}.{image}" for image in range(IMAGES)]


@contextmanager
def _server(
    folder: Path, signer: Signer | None, started: Callable[[subprocess.Popen[bytes]], object] | None = None
) -> Iterator[int]:
    """`leukocds serve` with a store full of assessments; yields its port. started: is told of the process."""
    package = folder / "package"
    package.mkdir()
    card = {"name": "benchmark", "version": "0", "files": {"weights.onnx": "0" * 64}}
    (package / "card.json").write_text(json.dumps(card))
    database_url = f"sqlite:///{folder / 'store.db'}"
    _fill(database_url, package)
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LEUKOCDS_")},
        "LEUKOCDS_PORT": str(port),
        "LEUKOCDS_DATABASE_URL": database_url,
        "LEUKOCDS_MODEL_PACKAGE": str(package),
        "LEUKOCDS_LOG_LEVEL": "WARNING",
        # All requests come from one address.
        "LEUKOCDS_RATE_LIMIT_PER_S": "1000000",
        "LEUKOCDS_RATE_LIMIT_BURST": "1000000",
    }
    if signer is not None:
        (folder / "clients.toml").write_text(clients_toml(signer, name="Benchmark"))
        environment["LEUKOCDS_CLIENTS"] = str(folder / "clients.toml")
    process = subprocess.Popen([sys.executable, "-m", "hooks.serve"], env=environment)
    if started is not None:
        started(process)
    try:
        _wait_until_ready(process, port)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"the server ended with status {process.returncode}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass  # not listening yet
        time.sleep(0.1)
    raise SystemExit("the server did not start within 60 s")


def _fill(database_url: str, package: Path) -> None:
    store = SqlAssessmentStore(database_url)
    store.migrate()
    model = load_identity(package)
    jpeg = bytes(3000)
    cells = tuple(
        Cell(
            source="1.2.3", row=1.0, column=1.0, cell_type="myeloblast", probability=0.9,
            thumbnail=jpeg if n < THUMBNAILS else None,
        )
        for n in range(CELLS)
    )  # fmt: skip
    finding = Finding(
        pattern=Pattern.AML,
        probabilities=dict(zip(CLASSES, (0.02, 0.04, 0.9, 0.02, 0.02), strict=True)),
        differential=Differential({"myeloblast": 80, "monocyte": 20, "segmented_neutrophil": 100}),
        evidence=("80 of 200 white cells are blasts.", "20 of 200 white cells are monocytes."),
        cells=cells,
    )
    for patient in range(PATIENTS):
        uids = tuple(sorted(_uids(patient)))
        assessment = Assessment(
            study=StudyRef(
                study_uid=f"1.2.826.0.1.{patient}", patient=f"Patient/p-{patient}",
                imaging_study=f"ImagingStudy/study-{patient}", instance_uids=uids, started="2026-03-04",
            ),
            model=model,
            instance_uids=uids,
            outcome=finding,
            images=tuple(ImageReading(source=uid, cells=2, quality=0.9, um_per_px=0.1) for uid in uids),
            read_at=datetime(2026, 3, 4, tzinfo=UTC),
            seconds=10.0,
        )  # fmt: skip
        store.save(assessment, ReportState.NOT_CONFIGURED)
    store.close()


if __name__ == "__main__":
    sys.exit(main())
