"""The gateway against a real Orthanc and a real HAPI."""

import io
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from pydicom import dcmread

from cds.dicomweb import DicomWebArchive
from cds.errors import UpstreamUnavailable
from cds.fhir_client import HttpFhirServer
from cds.imaging_study import find_imaging_study, register_study
from cds.values import ImageRef
from tests.fakes.gateway import GatewayWorld, order, patient
from tests.fakes.images import drawing, encoded

RUN = uuid.uuid4().hex[:8]
ACCESSION = f"S-{RUN}"


@pytest.fixture(scope="module")
def fhir(hapi_url: str) -> HttpFhirServer:
    server = HttpFhirServer(hapi_url)
    person = patient(1) | {"id": f"gw-{RUN}"}
    resources = [person, order(ACCESSION, person["id"])]
    entries = [
        {"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}}
        for r in resources
    ]
    server.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries})
    return server


@pytest.fixture
def world(tmp_path: Path, fhir: HttpFhirServer, orthanc_url: str) -> Iterator[GatewayWorld]:
    servers: Any = SimpleNamespace(archive_url=orthanc_url, fhir_url=fhir.base_url)
    world = GatewayWorld(tmp_path, servers)
    yield world
    world.close()


def test_pictures_become_a_valid_study_that_grows(
    world: GatewayWorld, fhir: HttpFhirServer, orthanc_url: str
) -> None:
    data = {"accession_number": ACCESSION, "stain": "MGG", "objective": 100, "um_per_px": 0.08}
    pictures = [
        encoded(drawing(seed=1)),
        encoded(drawing(seed=2), "PNG"),
        encoded(drawing(seed=3), progressive=True),
    ]
    for number, picture in enumerate(pictures):
        world.leave(f"{number}.{'png' if number == 1 else 'jpg'}", picture, data)
    world.work()
    world.leave("again.jpg", pictures[0], data)
    world.leave("late.jpg", encoded(drawing(seed=4)), data)
    world.work()
    assert world.states() == {"stored": 4, "duplicate": 1}
    assert [len(study.instance_uids) for study in world.queued] == [3, 4]
    resource = find_imaging_study(fhir, world.queued[0].study_uid)
    assert resource is not None
    assert (resource["numberOfInstances"], resource["basedOn"][0]["reference"]) == (
        4,
        f"ServiceRequest/order-{ACCESSION}",
    )
    answer = requests.post(f"{fhir.base_url}/ImagingStudy/$validate", json=resource, timeout=60).json()
    assert [i for i in answer["issue"] if i["severity"] in ("error", "fatal")] == []
    archive = DicomWebArchive(orthanc_url)
    refs = archive.instances(world.queued[0].study_uid)
    assert len(refs) == 4
    stored = [dcmread(io.BytesIO(archive.retrieve(ref))) for ref in refs]
    assert {str(s.PatientName) for s in stored} == {"Müller1^Ann^Eva"}
    assert sorted(int(s.InstanceNumber) for s in stored) == [1, 2, 3, 4]
    assert sum(pictures[0] in s.PixelData for s in stored) == 1


def test_an_imaging_study_that_another_has_changed_is_not_overwritten(
    world: GatewayWorld, fhir: HttpFhirServer
) -> None:
    study_uid, series_uid = f"2.25.{uuid.uuid4().int}", f"2.25.{uuid.uuid4().int}"
    refs = [
        ImageRef(study_uid=study_uid, series_uid=series_uid, sop_instance_uid=f"2.25.{uuid.uuid4().int}")
        for _ in range(3)
    ]
    common: dict[str, Any] = {
        "study_uid": study_uid, "patient": f"Patient/gw-{RUN}", "started": None, "archive_url": None,
    }  # fmt: skip
    register_study(fhir, None, instances=refs[:1], **common)
    stale = find_imaging_study(fhir, study_uid)
    register_study(fhir, stale, instances=refs[:2], **common)
    with pytest.raises(UpstreamUnavailable):
        register_study(fhir, stale, instances=refs, **common)
    register_study(fhir, find_imaging_study(fhir, study_uid), instances=refs, **common)
    final = find_imaging_study(fhir, study_uid)
    assert final is not None
    assert (final["numberOfInstances"], final["meta"]["versionId"]) == (3, "3")
