"""From a file in the folder to a study that waits to be read, and what keeps a picture from it."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from cds.allowlist import AllowList
from cds.dicomweb import DicomWebArchive
from cds.errors import InstancesRefused, UpstreamError, UpstreamRefused
from cds.locate import locate
from cds.values import job_key
from hooks.commands.upstreams import fhir_of
from hooks.demo.hospital import Hospital
from hooks.gateway import passage
from hooks.gateway.folders import DISCARDED, QUARANTINE, REASON, STORED, image_file
from hooks.gateway.journal import ImageState
from hooks.gateway.passage import Passage
from hooks.gateway.quarantine import Quarantine
from hooks.gateway.sidecar import slide_of
from tests.fakes.gateway import GatewayWorld, order, patient
from tests.fakes.images import dicom_file, drawing, encoded

SIDECAR = {
    "accession_number": "A-1",
    "specimen_id": "A-1-S1",
    "stain": "MGG",
    "objective": 100,
    "um_per_px": 0.08,
    "acquired": "2026-03-04T05:06:07+01:00",
}


def test_a_picture_with_its_sidecar_becomes_a_study_to_be_read(world: GatewayWorld) -> None:
    data = encoded(drawing())
    world.leave("field-1.jpg", data, SIDECAR)
    world.work()
    assert world.states() == {"stored": 1}
    (resource,) = world.hospital.fhir.search("ImagingStudy", {"patient": "p-1"})
    assert resource["basedOn"] == [{"reference": "ServiceRequest/order-A-1"}]
    assert resource["identifier"][1]["value"] == "A-1"
    assert resource["started"] == "2026-03-04T05:06:07+01:00"
    (study,) = world.queued
    assert (study.patient, len(study.instance_uids)) == ("Patient/p-1", 1)
    (ref,) = world.gateway_archive().instances(study.study_uid)
    stored = dcmread(io.BytesIO(world.gateway_archive().retrieve(ref)))
    assert (stored.PatientID, str(stored.PatientName)) == ("MRN-1", "Müller1^Ann^Eva")
    assert (stored.PatientBirthDate, stored.PatientSex, stored.AccessionNumber) == ("19700102", "F", "A-1")
    assert stored.OpticalPathSequence[0].ObjectiveLensPower == 100
    assert data in stored.PixelData
    (folder,) = (world.folders.root / STORED).iterdir()
    kept = image_file(folder)
    assert kept is not None
    assert kept.read_bytes() == data
    assert [p.name for p in world.folders.incoming.iterdir()] == []


def test_the_study_queued_is_the_one_that_a_hook_finds(world: GatewayWorld) -> None:
    world.leave("1.jpg", data=SIDECAR)
    world.work()
    (resource,) = world.hospital.fhir.search("ImagingStudy", {})

    fhir = fhir_of(world.settings)
    (found,) = locate(
        [resource],
        modalities=world.settings.modalities,
        allow_list=AllowList.from_settings(world.settings),
        endpoint=fhir.read,
        base_url=fhir.base_url,
    ).studies
    assert job_key(found, "digest") == job_key(world.queued[0], "digest")


def test_later_pictures_grow_the_same_study(world: GatewayWorld) -> None:
    for number in range(3):
        world.leave(f"{number}.png", encoded(drawing(seed=number), "PNG"), SIDECAR)
    world.work()
    world.leave("late.png", encoded(drawing(seed=9), "PNG"), SIDECAR)
    world.work()
    (resource,) = world.hospital.fhir.search("ImagingStudy", {})
    assert resource["numberOfInstances"] == 4
    assert [len(study.instance_uids) for study in world.queued] == [3, 4]
    assert len({study.study_uid for study in world.queued}) == 1


def test_the_same_picture_never_becomes_two_instances(world: GatewayWorld) -> None:
    data = encoded(drawing())
    world.leave("a.jpg", data, SIDECAR)
    world.leave("b.jpg", data, SIDECAR)
    world.work()
    world.leave("c.jpg", data, SIDECAR)
    world.work()
    assert world.states() == {"stored": 1, "duplicate": 2}
    assert len(world.instances()) == 1
    assert len(list((world.folders.root / DISCARDED).iterdir())) == 2


def test_the_same_picture_with_another_number_waits(world: GatewayWorld) -> None:
    data = encoded(drawing())
    world.leave("a.jpg", data, SIDECAR)
    world.work()
    world.leave("b.jpg", data, {"accession_number": "A-2"})
    world.work()
    assert world.states() == {"stored": 1, "quarantined": 1}
    assert "another accession number" in world.reasons()[0]


@pytest.mark.parametrize(
    ("data", "changes", "reason"),
    [
        ({"accession_number": "A-9"}, [], "no order and no specimen"),
        ({"accession_number": "A-1", "patient_id": "MRN-2"}, [], "patient_id is not one of"),
        ({"accession_number": "A-1", "patient_birth_date": "1971-01-02"}, [], "patient_birth_date"),
        ({"accession_number": "A-1", "patient_name": "Smith, Ann"}, [], "patient_name"),
        ({"accession_number": "A-1"}, [order("A-1", "p-1", status="revoked")], "not in force: revoked"),
        ({"accession_number": "A-1"}, [order("A-1", "p-1", intent="proposal")], "intent is proposal"),
        ({"accession_number": "A-1"}, [order("A-1", "p-1", order_id="second")], "2 orders"),
        ({"accession_number": "A-1"}, [order("A-1", "p-2", order_id="second")], "2 orders"),
        (
            {"accession_number": "A-1"},
            [
                {
                    "resourceType": "Specimen",
                    "id": "s",
                    "accessionIdentifier": {"value": "A-1"},
                    "subject": {"reference": "Patient/p-2"},
                }
            ],
            "different patients",
        ),
        ({"stain": "MGG"}, [], "accession_number: Field required"),
        ({"accession_number": "A-1", "objektiv": 100}, [], "objektiv: Extra inputs"),
        ({"accession_number": "A-1", "um_per_px": 900}, [], "um_per_px"),
    ],
)
def test_what_does_not_fit_waits_in_quarantine(
    world: GatewayWorld, data: dict[str, Any], changes: list[dict[str, Any]], reason: str
) -> None:
    for resource in changes:
        world.hospital.fhir.put(resource)
    world.leave("1.jpg", data=data)
    world.work()
    assert world.states() == {"quarantined": 1}
    assert reason in world.reasons()[0]
    (folder,) = (world.folders.root / QUARANTINE).iterdir()
    assert reason in (folder / REASON).read_text()
    assert world.hospital.fhir.search("ImagingStudy", {}) == []


def test_an_order_of_another_kind_waits(tmp_path: Path, hospital: Hospital) -> None:
    world = GatewayWorld(tmp_path, hospital, gateway_order_codes=("24318-8",))
    world.leave("1.jpg", data=SIDECAR)
    world.work()
    assert "of another kind" in world.reasons()[0]
    world.close()


def test_a_specimen_alone_leads_to_its_patient(world: GatewayWorld) -> None:
    world.hospital.fhir.put(
        {
            "resourceType": "Specimen",
            "id": "s",
            "accessionIdentifier": {"value": "S-7"},
            "subject": {"reference": "Patient/p-2"},
        }
    )
    world.leave("1.jpg", data={"accession_number": "S-7"})
    world.work()
    assert [study.patient for study in world.queued] == ["Patient/p-2"]


def test_a_person_releases_what_waits(world: GatewayWorld) -> None:
    world.leave("1.jpg", data={"accession_number": "A-3"})
    world.leave("2.jpg", data={"accession_number": "A-4"})
    world.work()
    quarantine = Quarantine(world.folders, world.gateway.journal)
    waiting = {i.name: i.id for i in world.gateway.journal.images(*_open_states())}
    world.hospital.fhir.put(order("A-3", "p-1"))
    quarantine.retry(waiting["1.jpg"])
    quarantine.discard(waiting["2.jpg"], "a test slide")
    world.work()
    assert world.states() == {"stored": 1, "discarded": 1}
    (discarded,) = (world.folders.root / DISCARDED).iterdir()
    assert image_file(discarded) is not None
    quarantine.restore(discarded.name)

    quarantine.assign(discarded.name, slide_of({"accession_number": "A-2"}))
    world.work()
    assert world.states() == {"stored": 2}
    assert sorted(str(s.patient) for s in world.queued) == ["Patient/p-1", "Patient/p-2"]


def test_a_study_keeps_to_its_patient(world: GatewayWorld) -> None:
    world.leave("1.jpg", data=SIDECAR)
    world.work()
    world.hospital.fhir.put(order("A-1", "p-2"))
    world.leave("2.jpg", data=SIDECAR)
    world.work()
    assert "another patient" in world.reasons()[0]
    assert len(world.instances()) == 1


def test_the_archive_down_then_up(world: GatewayWorld, hospital: Hospital) -> None:
    world.leave("1.jpg", data=SIDECAR)
    hospital.stop()
    world.work(4)
    assert world.states() == {"ready": 1}
    (held,) = world.gateway.journal.held_up()
    assert "does not accept connections" in held.problem
    assert held.attempts >= 1
    with Hospital(port=int(hospital.url.rpartition(":")[2])) as again:
        again.fhir.put(patient(1))
        again.fhir.put(order("A-1", "p-1"))
        world.work(12)
        assert world.states() == {"stored": 1}
        assert world.gateway.journal.held_up() == []


@pytest.mark.parametrize(
    "refusal",
    [InstancesRefused("did not accept 1 of 1 instances"), UpstreamRefused("refused the request (HTTP 409)")],
)
def test_what_the_archive_refuses_is_quarantined_and_the_rest_stored(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch, refusal: UpstreamError
) -> None:

    store, bad = DicomWebArchive.store, encoded(drawing(seed=2))

    def refuse(self: DicomWebArchive, instances: Any, deadline: Any = None) -> None:
        if any(bad in i for i in instances):
            raise refusal
        store(self, instances, deadline)

    monkeypatch.setattr(DicomWebArchive, "store", refuse)
    world.leave("1.jpg", encoded(drawing(seed=1)), SIDECAR)
    world.leave("2.jpg", bad, SIDECAR)
    world.work()
    assert world.states() == {"stored": 1, "quarantined": 1}
    assert "the archive refused it" in world.reasons()[0]


def test_an_archive_that_takes_nothing_is_waited_for(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise UpstreamRefused("the image archive refused our credentials (HTTP 401)")

    with monkeypatch.context() as patch:
        patch.setattr(DicomWebArchive, "store", refuse)
        for number in range(3):
            world.leave(f"{number}.jpg", data=SIDECAR)
        world.work(3)
        assert world.states() == {"ready": 3}
        assert "credentials" in world.gateway.journal.held_up()[0].problem
    world.gateway.journal.everything_goes_on()
    world.work()
    assert world.states() == {"stored": 3}


def test_an_archive_that_says_yes_and_keeps_nothing_is_not_believed(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:

    with monkeypatch.context() as patch:
        patch.setattr(DicomWebArchive, "store", lambda *_: None)
        world.leave("1.jpg", data=SIDECAR)
        world.work(3)
        assert world.states() == {"ready": 1}
        assert "does not list them" in world.gateway.journal.held_up()[0].problem
    world.gateway.journal.everything_goes_on()
    world.work()
    assert world.states() == {"stored": 1}


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(drawing(), exif=exif)


def _sixteen_bit() -> bytes:

    wide = drawing().astype(np.uint16) * 257
    done, data = cv2.imencode(".tif", wide[:, :, ::-1])
    assert done
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "content", "image_type"),
    [
        ("turned.jpg", _turned(), "DERIVED"),
        ("progressive.jpg", encoded(drawing(), progressive=True), "ORIGINAL"),
        ("wide.tif", _sixteen_bit(), "DERIVED"),
        ("plain.jpg", encoded(drawing()), "ORIGINAL"),
    ],
)
def test_files_that_dicom_cannot_hold_as_they_are(
    world: GatewayWorld, name: str, content: bytes, image_type: str
) -> None:
    world.leave(name, content, SIDECAR)
    world.work()
    assert world.states() == {"stored": 1}, world.reasons()
    (ref,) = world.gateway_archive().instances(world.queued[0].study_uid)
    stored = dcmread(io.BytesIO(world.gateway_archive().retrieve(ref)))
    assert stored.ImageType[0] == image_type
    assert ("DerivationDescription" in stored) == (image_type == "DERIVED")


def _animated() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.fromarray(drawing(seed=s)) for s in (1, 2)]
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _pages() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.fromarray(drawing(seed=s)) for s in (1, 2)]
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _cmyk() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(drawing()).convert("CMYK").save(buffer, "JPEG")
    return buffer.getvalue()


def _bomb() -> bytes:
    return encoded(np.zeros((9000, 9000, 3), np.uint8), "PNG")


def _twelve_bit() -> bytes:
    data = bytearray(encoded(drawing()))
    data[data.index(b"\xff\xc0") + 1] = 0xC1
    data[data.index(b"\xff\xc1") + 4] = 12
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("animated.png", _animated(), "2 pages or frames"),
        ("pages.tif", _pages(), "2 pages or frames"),
        ("cmyk.jpg", _cmyk(), "for print (CMYK)"),
        ("bomb.png", _bomb(), "larger"),
        ("deep.jpg", _twelve_bit(), "12 bits per sample"),
        ("cut.jpg", encoded(drawing())[:-200], "cut short"),
        ("grey.png", encoded(drawing()[..., 0], "PNG"), "monochrome"),
        ("dicom.jpg", dicom_file(drawing()), "DICOM file already"),
        ("zip.jpg", b"PK\x03\x04" + bytes(99), "not a DICOM, JPEG, PNG or TIFF"),
        ("empty.jpg", b"", "not a DICOM, JPEG, PNG or TIFF"),
    ],
)
def test_what_is_no_whole_picture_is_refused_with_the_reason(
    world: GatewayWorld, name: str, content: bytes, reason: str
) -> None:
    world.leave(name, content, SIDECAR)
    world.work()
    assert world.states() == {"quarantined": 1}
    assert reason in world.reasons()[0]


def test_a_merged_patient_waits(world: GatewayWorld) -> None:
    link = [{"type": "replaced-by", "other": {"reference": "Patient/p-2"}}]
    world.hospital.fhir.put(patient(1) | {"active": False, "link": link})
    world.leave("1.jpg", data=SIDECAR)
    world.work()
    assert "merged" in world.reasons()[0]


def test_a_picture_that_leads_a_decoder_astray_holds_up_no_other(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:

    convert, bad = passage.to_dicom, encoded(drawing(seed=2))

    def fail(data: bytes, **options: Any) -> bytes:
        if data == bad:
            raise MemoryError
        return convert(data, **options)

    monkeypatch.setattr(passage, "to_dicom", fail)
    world.leave("1.jpg", bad, SIDECAR)
    world.leave("2.jpg", encoded(drawing(seed=3)), SIDECAR)
    world.work()
    assert world.states() == {"stored": 1, "quarantined": 1}
    assert "internal error" in world.reasons()[0]


def test_a_bug_with_one_number_holds_up_no_other(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:

    make_known = Passage._make_known

    def fail(self: Passage, accession: str) -> bool:
        if accession == "A-1":
            raise ZeroDivisionError
        return make_known(self, accession)

    monkeypatch.setattr(Passage, "_make_known", fail)
    world.leave("1.jpg", data=SIDECAR)
    world.leave("2.jpg", data={"accession_number": "A-2"})
    world.work()
    assert [h.problem for h in world.gateway.journal.held_up()] == ["internal error (ZeroDivisionError)"]
    assert [study.patient for study in world.queued] == ["Patient/p-2"]


def _open_states() -> tuple[Any, ...]:

    return ImageState.QUARANTINED, ImageState.WAITING
