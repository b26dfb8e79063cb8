"""Findings stored in the archive: beside the right images, once, and never taken for images themselves."""

import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
from pydicom import dcmread

from cds.dicom_results import own_series, store_results
from cds.dicomweb import DicomWebArchive
from cds.errors import UpstreamInvalid, UpstreamUnavailable
from cds.pipeline import assess_study
from cds.values import Assessment, Finding, StudyRef
from tests.fakes.assessments import not_analysed
from tests.fakes.dicomweb import FakeArchive, Fault
from tests.fakes.images import STUDY_UID, dicom_file, drawing, encoded
from tests.fakes.reading import FakeReader

STUDY = StudyRef(study_uid=STUDY_UID)


@pytest.fixture
def fake() -> Iterator[FakeArchive]:
    files = [dicom_file(drawing(seed=n), sop_instance_uid=f"2.25.{n}", PatientID="p-2099") for n in (1, 2)]
    with FakeArchive(*files) as archive:
        yield archive


def client(fake: FakeArchive) -> DicomWebArchive:
    return DicomWebArchive(fake.url, backoff_s=0.01, attempts=2)


def assess(fake: FakeArchive) -> Assessment:
    return assess_study(STUDY, archive=client(fake), reader=FakeReader())


def results(fake: FakeArchive) -> list[bytes]:
    return [i.data for i in fake.archive.instances(STUDY_UID) if i.series_uid in own_series(STUDY_UID)]


@pytest.mark.parametrize("hands_out_frames", [True, False], ids=["by metadata", "by the instance"])
def test_a_result_lies_beside_its_images(hands_out_frames: bool, fake: FakeArchive) -> None:
    fake.hands_out_frames = hands_out_frames
    store_results(assess(fake), client(fake))
    (data,) = results(fake)
    report = dcmread(io.BytesIO(data))
    assert (report.Modality, report.StudyInstanceUID, report.PatientID) == ("SR", STUDY_UID, "p-2099")


def test_stored_again_it_is_there_once(fake: FakeArchive) -> None:
    assessment = assess(fake)
    for _ in range(2):
        store_results(assessment, client(fake))
    assert len(results(fake)) == 1


def test_a_study_does_not_grow_by_its_result(fake: FakeArchive) -> None:
    """Otherwise each reading would make a new key, and be read again, for ever."""
    before = assess(fake)
    store_results(before, client(fake))
    after = assess(fake)
    assert (after.key, after.instance_uids) == (before.key, before.instance_uids)
    assert len(after.images) == 2


def test_what_was_not_analysed_is_not_stored(fake: FakeArchive) -> None:
    store_results(replace(assess(fake), outcome=not_analysed()), client(fake))
    assert not results(fake)
    assert fake.count("POST") == 0


def test_without_its_images_a_result_is_not_stored(fake: FakeArchive) -> None:
    assessment = replace(assess(fake), instance_uids=("2.25.404",))
    with pytest.raises(UpstreamInvalid, match="does not hold any more"):
        store_results(assessment, client(fake))


def test_an_archive_that_is_out_is_an_error(fake: FakeArchive) -> None:
    assessment = assess(fake)
    fake.faults["store"] = Fault.BROKEN
    with pytest.raises(UpstreamUnavailable):
        store_results(assessment, client(fake))


def test_a_gallery_lies_beside_where_cells_were_kept(fake: FakeArchive) -> None:
    assessment = assess(fake)
    assert isinstance(assessment.outcome, Finding)
    shown = [
        replace(cell, thumbnail=encoded(drawing(96, 96, seed=n)))
        for n, cell in enumerate(assessment.outcome.cells[:8])
    ]
    assessment = replace(assessment, outcome=replace(assessment.outcome, cells=tuple(shown)))
    for _ in range(2):
        store_results(assessment, client(fake))
    report, gallery = sorted(map(dcmread, map(io.BytesIO, results(fake))), key=lambda d: d.Modality != "SR")
    assert (report.Modality, gallery.Modality) == ("SR", "OT")
    assert report.SeriesInstanceUID != gallery.SeriesInstanceUID
    assert gallery.PatientID == "p-2099"
    assert float(gallery.LossyImageCompressionRatio) > 1
    assert gallery.pixel_array.shape == (2 * 144, 6 * 128, 3)
    assert gallery.pixel_array[2:126, 2:126].std() > 10  # a cell
    assert (gallery.pixel_array[144:272, 256:] == 255).all()  # no ninth cell
    assert assess(fake).key == assessment.key
