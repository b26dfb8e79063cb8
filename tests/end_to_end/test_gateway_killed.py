"""kill -9 at random moments: every picture becomes an instance, and none becomes two."""

from pathlib import Path

import pytest

from hooks.demo.hospital import Hospital
from tests.fakes.gateway import order, patient
from tests.fakes.gateway_process import KilledGateway

pytestmark = pytest.mark.timeout(240)

IMAGES, KILLS = 36, 5


def test_a_gateway_that_is_killed_loses_nothing_and_stores_nothing_twice(tmp_path: Path) -> None:
    hospital = Hospital()
    hospital.fhir.put(patient(1))
    accessions = ["K-1", "K-2", "K-3"]
    for accession in accessions:
        hospital.fhir.put(order(accession, "p-1"))
    with hospital:
        gateway = KilledGateway(
            tmp_path, archive=hospital.archive_url, fhir=hospital.fhir_url, accessions=accessions
        )
        try:
            outcome = gateway.run(images=IMAGES, kills=KILLS, patience_s=180)
        finally:
            gateway.kill()
    assert outcome.instances == {accession: IMAGES // 3 for accession in accessions}, gateway.log()[-3000:]
    assert outcome.states["stored"] == IMAGES
    studies = hospital.fhir.search("ImagingStudy", {})
    assert sorted(study["numberOfInstances"] for study in studies) == [12, 12, 12]
    assert "p-1" not in gateway.log()
    assert "K-1" not in gateway.log()
