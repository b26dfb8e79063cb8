"""kill -9 the gateway at random moments while images come in, against a real archive and FHIR server.

    python -m benchmarks.gateway_kill [--images 1000] [--kills 50] [--archive URL] [--fhir URL]

Two thirds of the images come by the watched folder, one third by HTTP from a sender that repeats until it is told that
the image was taken. Afterwards the archive must hold each image once, and the ImagingStudies must say so. Exit status
1 otherwise. Addresses are by default those that `make servers` started.
"""

import argparse
import tempfile
import uuid
from pathlib import Path

from benchmarks.study import _running
from cds.fhir_client import HttpFhirServer
from cds.imaging_study import find_imaging_study
from tests.fakes.gateway import order, patient
from tests.fakes.gateway_process import KilledGateway, study_uid

STUDIES = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--archive", default=_running("orthanc"), help="DICOMweb service root")
    parser.add_argument("--fhir", default=_running("hapi"), help="FHIR R4 server")
    options = parser.parse_args()
    if not options.archive or not options.fhir:
        parser.error("no servers: `make servers` starts them, or give --archive and --fhir")
    run = uuid.uuid4().hex[:8]
    accessions = [f"{run}-{number}" for number in range(STUDIES)]
    fhir = HttpFhirServer(options.fhir)
    _orders(fhir, accessions, run)
    with tempfile.TemporaryDirectory() as folder:
        gateway = KilledGateway(
            Path(folder), archive=options.archive, fhir=options.fhir, accessions=accessions
        )
        try:
            outcome = gateway.run(
                images=options.images, kills=options.kills, patience_s=3600, seed=options.seed
            )
        finally:
            gateway.kill()
        told = gateway.log()
    stored = sum(outcome.instances.values())
    said = sum(
        int((find_imaging_study(fhir, study_uid(a)) or {}).get("numberOfInstances", 0)) for a in accessions
    )
    print(f"{options.images} images, {outcome.kills} times kill -9, {outcome.seconds:.0f} s")
    print(f"in the archive {stored}, in the ImagingStudies {said}, journal {outcome.states}")
    print(
        f"adopted after a kill between folder and journal: {told.count(chr(34) + 'adopted' + chr(34) + ': 1')}"
    )
    well = stored == said == options.images
    print("each image once" if well else "WRONG")
    return 0 if well else 1


def _orders(fhir: HttpFhirServer, accessions: list[str], run: str) -> None:
    person = patient(1) | {"id": f"gateway-{run}"}
    orders = [order(a, person["id"]) for a in accessions]
    entries = [
        {"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}}
        for r in (person, *orders)
    ]
    fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries})


if __name__ == "__main__":
    raise SystemExit(main())
