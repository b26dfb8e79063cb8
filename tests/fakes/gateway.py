"""A gateway beside the simulated hospital, with orders in it, and clocks that the test turns."""

import json
import time
import zlib
from pathlib import Path
from typing import Any

from cds.settings import Settings
from cds.values import StudyRef
from hooks.commands.upstreams import archive_of
from hooks.demo.hospital import Hospital
from hooks.gateway.folders import Folders
from hooks.gateway.gateway import Gateway, prepare
from hooks.gateway.journal import ImageState
from tests.fakes.images import drawing, encoded

V2_0203 = "http://terminology.hl7.org/CodeSystem/v2-0203"


def patient(number: int) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": f"p-{number}",
        "identifier": [
            {
                "system": "urn:mrn",
                "value": f"MRN-{number}",
                "type": {"coding": [{"system": V2_0203, "code": "MR"}]},
            }
        ],
        "name": [{"use": "official", "family": f"Müller{number}", "given": ["Ann", "Eva"]}],
        "birthDate": "1970-01-02",
        "gender": "female",
    }


def order(accession: str, patient_id: str, *, order_id: str | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "id": order_id or f"order-{accession}",
        "status": "active",
        "intent": "order",
        "identifier": [{"value": accession, "type": {"coding": [{"system": V2_0203, "code": "ACSN"}]}}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "5909-7"}]},
        "subject": {"reference": f"Patient/{patient_id}"},
        **changes,
    }


class GatewayWorld:
    """`world.leave(...)`, `world.work()`, `world.states()`. queued: studies that were queued to be read."""

    def __init__(self, root: Path, hospital: Hospital, **settings: Any) -> None:
        values = {
            "gateway_folder": str(root),
            "gateway_stable_s": 0.001,
            "gateway_sidecar_wait_s": 0.001,
            "gateway_settle_s": 0.001,
            "job_backoff_s": 0.01,
            "archive_url": hospital.archive_url,
            "fhir_url": hospital.fhir_url,
        }
        self.settings = Settings(**(values | settings))
        self.hospital, self.queued = hospital, list[StudyRef]()
        self._claim = prepare(self.settings)
        self.gateway = Gateway(self.settings, self.queued.append)
        self.gateway.take_up()

    @property
    def folders(self) -> Folders:
        return self.gateway.folders

    def leave(self, name: str, content: bytes | None = None, data: dict[str, Any] | None = None) -> None:
        """What a microscope's program does: the picture, then its sidecar."""
        path = self.folders.incoming / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(drawing(seed=zlib.crc32(name.encode()))) if content is None else content)
        if data is not None:
            path.with_name(f"{path.name}.json").write_text(json.dumps(data))

    def work(self, rounds: int = 6) -> None:
        for _ in range(rounds):
            self.gateway.once()
            time.sleep(0.03)

    def states(self) -> dict[str, int]:
        return {state: count for state, count in self.gateway.journal.counts().items() if count}

    def reasons(self) -> list[str]:

        return [i.reason or "" for i in self.gateway.journal.images(ImageState.QUARANTINED)]

    def instances(self) -> list[str]:
        return [uid for study in self.studies() for uid in study]

    def studies(self) -> list[list[str]]:
        found = []
        for resource in self.hospital.fhir.search("ImagingStudy", {}):
            uid = resource["identifier"][0]["value"].removeprefix("urn:oid:")
            found.append([ref.sop_instance_uid for ref in self.gateway_archive().instances(uid)])
        return found

    def gateway_archive(self) -> Any:

        return archive_of(self.settings)

    def close(self) -> None:
        self.gateway.stop()
        self._claim.close()
