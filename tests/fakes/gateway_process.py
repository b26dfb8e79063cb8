"""`leukocds gateway` as a process that is killed again and again while pictures come in, and what must come of it."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from cds.dicomweb import DicomWebArchive
from cds.microscopy import derived_uid
from hooks.gateway.app import DATA_HEADER
from hooks.gateway.journal import Journal
from tests.fakes.images import drawing, encoded

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """instances: in the archive, by accession number. states: of the journal. kills: how many there were."""

    instances: dict[str, int]
    states: dict[str, int]
    kills: int
    seconds: float


class KilledGateway:
    """archive, fhir: addresses of servers that live on. accessions: of orders that are on the FHIR server."""

    def __init__(self, folder: Path, *, archive: str, fhir: str, accessions: Sequence[str]) -> None:
        self.folder, self.accessions = folder, accessions
        self.archive = DicomWebArchive(archive)
        self.incoming = folder / "gateway" / "in"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environ = {name: text for name, text in os.environ.items() if not name.startswith("LEUKOCDS_")}
        self._environ = environ | {
            "PYTHONPATH": str(ROOT),
            "LEUKOCDS_GATEWAY_FOLDER": str(folder / "gateway"),
            "LEUKOCDS_GATEWAY_PORT": str(self.port),
            "LEUKOCDS_GATEWAY_STABLE_S": "0.1",
            "LEUKOCDS_GATEWAY_SETTLE_S": "1",
            "LEUKOCDS_JOB_BACKOFF_S": "0.2",
            "LEUKOCDS_ARCHIVE_URL": archive,
            "LEUKOCDS_FHIR_URL": fhir,
            "LEUKOCDS_DATABASE_URL": f"sqlite:///{folder}/store.db",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "gateway.log"

    def run(self, *, images: int, kills: int, patience_s: float, seed: int = 0) -> Outcome:
        """Feed that many pictures, every third by HTTP, and kill that often meanwhile; then wait until all is done."""
        began, rng = time.monotonic(), random.Random(seed)
        self.incoming.mkdir(parents=True, exist_ok=True)
        fed = threading.Semaphore(0)
        feeder = threading.Thread(target=self._feed, args=(images, fed, began + patience_s), daemon=True)
        feeder.start()
        share, left = max(1, images // (kills + 1)), images
        for _ in range(kills):
            self._start()
            for _ in range(min(share, left)):
                fed.release()
            left -= min(share, left)
            # Anywhere from its first steps to long after it has done all there was to do.
            if rng.random() < 0.85:
                self._wait_for_line(b"gateway begins", 60)
            time.sleep(rng.uniform(0.0, 1.6))
            self.kill()
        for _ in range(left):
            fed.release()
        self._start()
        feeder.join(patience_s)
        while not self._done(images) and time.monotonic() - began < patience_s:
            time.sleep(0.5)
        self.kill()
        return Outcome(
            instances={a: len(self.archive.instances(study_uid(a))) for a in self.accessions},
            states={state: n for state, n in self._counts().items() if n},
            kills=kills,
            seconds=time.monotonic() - began,
        )

    def kill(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(20)
            self._process = None

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _feed(self, images: int, fed: threading.Semaphore, until: float) -> None:
        for number in range(images):
            fed.acquire()
            accession = self.accessions[number % len(self.accessions)]
            content = encoded(drawing(seed=number), quality=80)
            data = json.dumps({"accession_number": accession, "um_per_px": 0.1, "objective": 100})
            if number % 3 == 2:
                self._send(content, data, until)
            else:
                self._leave(f"{number:05}.jpg", content, data)

    def _leave(self, name: str, content: bytes, data: str) -> None:
        made = self.incoming / f"{name}.part"
        made.write_bytes(content)
        (self.incoming / f"{name}.json").write_text(data)
        made.rename(self.incoming / name)

    def _send(self, content: bytes, data: str, until: float) -> None:
        """As a camera does: again until it is told that the picture has been taken."""
        headers = {"Content-Type": "image/jpeg", DATA_HEADER: data}
        while time.monotonic() < until:
            try:
                answer = requests.post(
                    f"http://127.0.0.1:{self.port}/images", data=content, headers=headers, timeout=20
                )
                if answer.ok:
                    return
            except requests.RequestException:
                pass  # it was killed, or is not there yet
            time.sleep(0.1)

    def _start(self) -> None:
        self._begun_at = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hooks.cli", "gateway"],
                env=self._environ, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _wait_for_line(self, text: bytes, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._process is not None and self._process.poll() is None:
            with self._log.open("rb") as log:
                log.seek(self._begun_at)
                if text in log.read():
                    return
            time.sleep(0.02)
        raise AssertionError(f"the gateway does not begin:\n{self.log()[-3000:]}")

    def _done(self, images: int) -> bool:
        counts = Counter(self._counts())
        over = images <= counts["stored"] + counts["duplicate"] + counts["quarantined"]
        return (
            over
            and not counts["ready"]
            and self.log().count('"event": "study made known"') > 0
            and self._known()
        )

    def _known(self) -> bool:
        journal = Journal(self.folder / "gateway" / "journal.db")
        try:
            return not journal.accessions(0.0) and not journal.held_up()
        finally:
            journal.close()

    def _counts(self) -> dict[str, int]:
        journal = Journal(self.folder / "gateway" / "journal.db")
        try:
            return journal.counts()
        finally:
            journal.close()


def study_uid(accession: str) -> str:
    return derived_uid("study of accession", "", accession)
