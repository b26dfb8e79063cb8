"""Whole slides over a real socket: what is fetched, and what comes of an archive that fails meanwhile."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from cds.dicomweb import DicomWebArchive
from cds.errors import UpstreamError, UpstreamInvalid, UpstreamUnavailable
from cds.pixels import PixelLimits, decode_dicom, instance_ref
from cds.retrieve import retrieve_images
from cds.values import RefusedImage, SmearImage, StoredFrame
from tests.fakes.dicomweb import FakeArchive, Fault
from tests.fakes.images import SERIES_UID, STUDY_UID, dicom_file, drawing
from tests.fakes.slides import Slide, synthetic_slide

LIMITS = PixelLimits(max_frames=40)


@pytest.fixture(scope="module")
def slide() -> Slide:
    return synthetic_slide(16, seed=2, study_uid=STUDY_UID)


@pytest.fixture
def fake(slide: Slide) -> Iterator[FakeArchive]:
    with FakeArchive(*slide.instances) as archive:
        yield archive


def read(fake: FakeArchive, **options: Any) -> list[SmearImage | RefusedImage]:
    settings = {"connect_timeout_s": 1.0, "read_timeout_s": 2.0, "backoff_s": 0.01, "attempts": 2}
    archive = DicomWebArchive(fake.url, **settings)
    refs = archive.instances(STUDY_UID)
    return list(retrieve_images(archive, refs, **({"limits": LIMITS, "concurrency": 2} | options)))


def test_tiles_with_cells_are_fetched_and_nothing_else(fake: FakeArchive, slide: Slide) -> None:
    images = read(fake)
    assert 12 <= len(images) <= 24
    places = set()
    for image in images:
        assert isinstance(image, SmearImage)
        assert image.pixels.shape == (256, 256, 3)
        assert image.um_per_px == pytest.approx(0.25)
        assert image.frames_left_out == 256 - len(images)
        assert image.transfer_syntax_uid == JPEGBaseline8Bit
        places.add(divmod(int(image.source.rpartition("#")[2]) - 1, 16))
    assert len(places) == len(images)
    assert places >= slide.cells  # and some more: a slide this small has too few of them for a sample
    # Metadata of three instances, one coarse tile, and the fields by sixteens: no instance as a whole.
    assert fake.count("GET", "/metadata") == 3
    assert sum("/frames/" in path for _, path in fake.requests) <= 3
    assert not any(path.rpartition("/")[0].endswith("/instances") for _, path in fake.requests)


def test_the_pixels_are_those_of_the_tile(fake: FakeArchive) -> None:
    whole = [i for i in read(fake) if isinstance(i, SmearImage)]
    fake.hands_out_frames = False
    limits = PixelLimits(max_frames=1000)
    by_source = {i.source: i for i in read(fake, limits=limits) if isinstance(i, SmearImage)}
    for image in whole:
        assert np.array_equal(image.pixels, by_source[image.source].pixels)


def coarser(fake: FakeArchive) -> list[str]:
    refs = fake.archive.instances(STUDY_UID)
    sizes = {
        r.sop_instance_uid: dcmread(io.BytesIO(r.data), stop_before_pixels=True).NumberOfFrames for r in refs
    }
    return sorted(uid for uid, frames in sizes.items() if frames < 256)


def test_an_archive_without_frames_is_asked_for_whole_instances(fake: FakeArchive) -> None:
    fake.hands_out_frames = False
    images = read(fake)
    # The coarser levels would show the same cells again.
    assert [i.source for i in images if isinstance(i, RefusedImage)] == coarser(fake)
    assert len(images) == 40 + 2
    assert fake.count("GET", "/metadata") == 1


def test_frames_without_a_transfer_syntax_are_taken_by_their_media_type(fake: FakeArchive) -> None:
    """image/jpeg alone means lossless to the standard; what the stream itself says is what counts."""
    fake.frames_as = None
    assert all(isinstance(i, SmearImage) for i in read(fake))


def test_frames_under_a_false_label_are_refused(fake: FakeArchive) -> None:
    fake.frames_as = str(JPEG2000Lossless)
    images = read(fake)
    assert images
    assert all(isinstance(i, RefusedImage) for i in images)


def test_half_a_frame_in_a_sound_answer_is_refused(
    fake: FakeArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = DicomWebArchive.frames

    def halves(*args: Any, **options: Any) -> tuple[StoredFrame, ...]:
        return tuple(replace(f, data=f.data[: len(f.data) // 2]) for f in whole(*args, **options))

    monkeypatch.setattr(DicomWebArchive, "frames", halves)
    images = read(fake)
    assert images
    assert all(isinstance(i, RefusedImage) and "cut short" in str(i.reason) for i in images)


def test_frames_that_the_archive_does_not_have_are_refused(fake: FakeArchive) -> None:
    fake.refuse_frames = set(range(2, 257))
    images = read(fake)
    assert images
    assert all(isinstance(i, RefusedImage) and "did not deliver" in str(i.reason) for i in images)


def test_a_slide_that_breaks_off_is_an_outage(fake: FakeArchive) -> None:
    fake.break_frames = set(range(120, 257))
    with pytest.raises(UpstreamUnavailable):
        read(fake)


def test_an_archive_that_is_out_is_an_outage(fake: FakeArchive) -> None:
    fake.faults["metadata"] = Fault.BROKEN
    with pytest.raises(UpstreamError):
        read(fake)


def test_an_outage_that_passes_costs_nothing(fake: FakeArchive) -> None:
    fake.faults["metadata"] = Fault.BROKEN
    fake.failures_left = 3
    fake.archive.add(dicom_file(drawing(), sop_instance_uid="2.25.1"))
    images = read(fake)
    assert len(images) > 10
    assert all(isinstance(i, SmearImage) for i in images)


def test_other_instances_of_the_study_are_read_beside(fake: FakeArchive) -> None:
    fake.archive.add(dicom_file(drawing(), sop_instance_uid="2.25.1", SeriesInstanceUID=SERIES_UID))
    assert "2.25.1" in [i.source for i in read(fake)]


def test_a_coarse_level_that_cannot_be_decoded_is_done_without(fake: FakeArchive) -> None:
    fake.refuse_frames = {1}  # the only frame of the coarsest level; the first of the finest is not asked for
    images = read(fake)
    assert len([i for i in images if isinstance(i, SmearImage)]) == 24


def test_fewer_frames_than_asked_for_are_no_answer(fake: FakeArchive) -> None:
    archive = DicomWebArchive(fake.url)
    (ref,) = [r for r in archive.instances(STUDY_UID) if r.number_of_frames == 256]
    assert len(archive.frames(ref, [3, 1])) == 2
    fake.faults["frames"] = Fault.HTML
    with pytest.raises(UpstreamInvalid):
        archive.frames(ref, [1, 2])


def test_a_label_is_refused_by_what_it_is() -> None:
    label = dicom_file(
        drawing(),
        sop_instance_uid="2.25.7",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6",
        ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"],
    )
    with FakeArchive(label) as fake:
        (image,) = read(fake)
    assert isinstance(image, RefusedImage)
    assert "label" in str(image.reason)


@pytest.mark.parametrize("name", ["jpeg", "jpeg2000"])
def test_a_real_slide_by_its_frames(name: str, smears: Path) -> None:
    """Twelve tiles of which six are whole; what comes of each is what comes of it in the file."""
    data = (smears / "dicom" / f"{name}.dcm").read_bytes()
    study = instance_ref(data).study_uid
    with FakeArchive(data) as fake:
        fake.frames_as = str(JPEGBaseline8Bit if name == "jpeg" else JPEG2000Lossless)
        archive = DicomWebArchive(fake.url)
        images = list(retrieve_images(archive, archive.instances(study)))
        assert any("/frames/" in path for _, path in fake.requests)
    in_file = {i.source: i for i in decode_dicom(data, PixelLimits())}
    assert len(images) == 6
    for image in images:
        same = in_file[image.source]
        assert isinstance(image, SmearImage)
        assert isinstance(same, SmearImage)
        assert np.array_equal(image.pixels, same.pixels)
        assert image.um_per_px == same.um_per_px
