"""The DICOMweb client and the ingest against a real Orthanc (and a real HAPI for the ImagingStudy)."""

import io
import uuid
from pathlib import Path

import numpy as np
import pytest
from highdicom.sr import Comprehensive3DSR
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from cds.dicom_results import store_results
from cds.dicomweb import DicomWebArchive
from cds.errors import UpstreamError, UpstreamNotFound
from cds.fhir_client import HttpFhirServer
from cds.ingest import ingest_folder
from cds.pipeline import assess_study
from cds.retrieve import retrieve_images
from cds.values import ImageRef, SmearImage, StudyRef
from tests.fakes.counting_archive import counted
from tests.fakes.images import dicom_file, drawing, encapsulated, encoded
from tests.fakes.reading import FakeReader
from tests.fakes.slides import synthetic_slide


def new_uid() -> str:
    return f"2.25.{uuid.uuid4().int}"


@pytest.fixture
def archive(orthanc_url: str) -> DicomWebArchive:
    return DicomWebArchive(orthanc_url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five JPEGs, a PNG and a TIFF."""
    for seed in range(5):
        (tmp_path / f"{seed}.jpg").write_bytes(encoded(drawing(seed=seed), subsampling=seed % 3))
    (tmp_path / "5.png").write_bytes(encoded(drawing(seed=5), "PNG"))
    (tmp_path / "6.tif").write_bytes(encoded(drawing(seed=6), "TIFF"))
    return tmp_path


def shown(file: Path) -> bytes:
    with Image.open(file) as picture:
        return np.array(picture).tobytes()


def test_what_is_ingested_comes_back_pixel_for_pixel(archive: DicomWebArchive, folder: Path) -> None:
    study = new_uid()
    done = ingest_folder(
        folder, archive=archive, fhir=None, patient="Patient/x", um_per_px=0.12, study_uid=study
    )
    assert (done.instances, done.refused) == (7, ())

    refs = archive.instances(study)
    assert len(refs) == 7
    images = [i for i in retrieve_images(archive, refs, concurrency=3) if isinstance(i, SmearImage)]
    assert sorted(i.pixels.tobytes() for i in images) == sorted(shown(f) for f in folder.iterdir())
    assert all(i.um_per_px == pytest.approx(0.12) for i in images)


def test_jpeg_is_not_transcoded_on_the_way(archive: DicomWebArchive, folder: Path) -> None:
    study = new_uid()
    ingest_folder(folder, archive=archive, fhir=None, patient="Patient/x", study_uid=study)
    streams = set()
    for ref in archive.instances(study):
        dataset = dcmread(io.BytesIO(archive.retrieve(ref)))
        if dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit:
            streams.add(next(generate_frames(dataset.PixelData, number_of_frames=1)).removesuffix(b"\0"))
    assert streams == {f.read_bytes() for f in folder.glob("*.jpg")}


def test_storing_twice_does_not_duplicate(archive: DicomWebArchive) -> None:
    study = new_uid()
    data = dicom_file(
        drawing(), StudyInstanceUID=study, SeriesInstanceUID=new_uid(), sop_instance_uid=new_uid()
    )
    archive.store([data])
    archive.store([data])
    assert len(archive.instances(study)) == 1


def test_a_multi_frame_jpeg_2000_instance(archive: DicomWebArchive) -> None:
    study, pictures = new_uid(), [drawing(seed=seed) for seed in range(3)]
    streams = [encoded(p, "JPEG2000", irreversible=False, no_jp2=True, mct=1) for p in pictures]
    data = encapsulated(
        pictures[0],
        streams,
        "YBR_RCT",
        JPEG2000Lossless,
        StudyInstanceUID=study,
        SeriesInstanceUID=new_uid(),
        sop_instance_uid=new_uid(),
    )
    archive.store([data])
    (ref,) = archive.instances(study)
    assert ref.number_of_frames == 3
    images = list(retrieve_images(archive, [ref]))
    for image, picture in zip(images, pictures, strict=True):
        assert isinstance(image, SmearImage)
        assert np.array_equal(image.pixels, picture)
        assert image.transfer_syntax_uid == JPEG2000Lossless


def test_pages(archive: DicomWebArchive, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = new_uid()
    ingest_folder(folder, archive=archive, fhir=None, patient="Patient/x", study_uid=study)
    monkeypatch.setattr("cds.dicomweb._PAGE", 3)
    assert len(archive.instances(study)) == 7


def test_what_is_not_there(archive: DicomWebArchive, orthanc_url: str) -> None:
    assert archive.instances(new_uid()) == ()
    with pytest.raises(UpstreamNotFound):
        archive.retrieve(ImageRef(study_uid=new_uid(), series_uid=new_uid(), sop_instance_uid=new_uid()))
    with pytest.raises(UpstreamNotFound):
        DicomWebArchive(f"{orthanc_url}/elsewhere").instances(new_uid())


def test_what_is_no_dicom_is_not_accepted(archive: DicomWebArchive) -> None:
    with pytest.raises(UpstreamError):
        archive.store([b"this is no DICOM file"])


def test_the_imaging_study_on_a_real_server(archive: DicomWebArchive, folder: Path, hapi_url: str) -> None:
    fhir = HttpFhirServer(hapi_url)
    mrn = str(uuid.uuid4())
    entry = {
        "resource": {
            "resourceType": "Patient",
            "identifier": [{"system": "urn:leukocds:test", "value": mrn}],
        },
        "request": {"method": "POST", "url": "Patient"},
    }
    fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
    (patient,) = fhir.search("Patient", {"identifier": f"urn:leukocds:test|{mrn}"})
    reference = f"Patient/{patient['id']}"

    def ingest() -> tuple[str, str, int]:
        done = ingest_folder(
            folder,
            archive=archive,
            fhir=fhir,
            patient=reference,
            started="2026-02-03T04:05:06Z",
            study_uid=study_uid,
        )
        assert done.imaging_study is not None
        return done.study_uid, done.imaging_study, done.instances

    study_uid = new_uid()
    first = ingest()
    assert ingest() == first
    (study,) = fhir.search("ImagingStudy", {"patient": reference})
    assert first == (study_uid, f"ImagingStudy/{study['id']}", 7)
    assert study["identifier"][0]["value"] == f"urn:oid:{study_uid}"
    assert {i["uid"] for s in study["series"] for i in s["instance"]} == {
        r.sop_instance_uid for r in archive.instances(study_uid)
    }
    endpoint = fhir.read(study["endpoint"][0]["reference"])
    assert endpoint["address"] == archive.base_url

    (folder / "7.jpg").write_bytes(encoded(drawing(seed=7)))
    assert ingest() == (study_uid, first[1], 8)
    (grown,) = fhir.search("ImagingStudy", {"patient": reference})
    assert (grown["id"], grown["numberOfInstances"]) == (study["id"], 8)
    assert b"%s" % mrn.encode() in archive.retrieve(archive.instances(study_uid)[0])


@pytest.mark.parametrize("sparse", [False, True], ids=["full", "sparse"])
def test_a_whole_slide_is_read_by_few_of_its_frames(archive: DicomWebArchive, sparse: bool) -> None:
    """2,025 tiles on three levels: less than 5 % of it is fetched, also where every tile says where it lies."""
    slide = synthetic_slide(45, sparse=sparse)
    for instance in slide.instances:
        archive.store([instance])
    count = counted(archive)
    images = list(retrieve_images(archive, archive.instances(slide.study_uid)))
    assert 24 <= len(images) <= 50
    for image in images:
        assert isinstance(image, SmearImage), image
        assert (image.pixels.shape, image.um_per_px) == ((256, 256, 3), pytest.approx(0.25))
    with_cells = sum(slide.place(image.source) in slide.cells for image in images)
    assert with_cells >= 0.8 * len(images)
    assert 0 < count.received < 0.05 * slide.size
    assert 5 < count.answers <= 2 + 3 + 1 + -(-len(images) // 16)


def test_frames_come_as_they_are_stored(archive: DicomWebArchive) -> None:
    slide = synthetic_slide(5, levels=(1,))
    archive.store(slide.instances)
    (ref,) = archive.instances(slide.study_uid)
    stored = list(generate_frames(dcmread(io.BytesIO(slide.instances[0])).PixelData, number_of_frames=25))
    frames = archive.frames(ref, [7, 2, 25])
    assert {f.transfer_syntax_uid for f in frames} == {JPEGBaseline8Bit}
    assert [f.data.removesuffix(b"\0") for f in frames] == [
        stored[n - 1].removesuffix(b"\0") for n in (7, 2, 25)
    ]
    with pytest.raises(UpstreamError):
        archive.frames(ref, [26])


def test_a_finding_lies_beside_its_images(archive: DicomWebArchive) -> None:
    study = StudyRef(study_uid=new_uid())
    series = new_uid()
    files = [
        dicom_file(
            drawing(seed=n),
            sop_instance_uid=new_uid(),
            StudyInstanceUID=study.study_uid,
            SeriesInstanceUID=series,
            PatientID="p-2101",
            PatientName="Müller^Jörg",
            SpecificCharacterSet="ISO_IR 100",
        )
        for n in range(2)
    ]
    archive.store(files)
    assessment = assess_study(study, archive=archive, reader=FakeReader())
    for _ in range(2):
        store_results(assessment, archive)
    (report,) = [r for r in archive.instances(study.study_uid) if r.series_uid != series]
    stored = Comprehensive3DSR.from_dataset(dcmread(io.BytesIO(archive.retrieve(report))))
    assert (str(stored.PatientName), stored.PatientID) == ("Müller^Jörg", "p-2101")
    (group,) = stored.content.get_image_measurement_groups()
    assert {m.name.value: m.value for m in group.get_measurements()}["26446-5"] == 100  # blasts
    assert assess_study(study, archive=archive, reader=FakeReader()).key == assessment.key
