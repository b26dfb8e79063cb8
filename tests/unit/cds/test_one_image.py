"""One image of a study again, over a real socket: what is fetched for it, and that it is the one that was read."""

from collections.abc import Iterator

import numpy as np
import pytest

from cds.dicomweb import DicomWebArchive
from cds.errors import UpstreamUnavailable
from cds.one_image import one_image
from cds.pixels import PixelLimits, decode_dicom
from cds.values import ImageRef, RefusedImage, SmearImage
from tests.fakes.dicomweb import FakeArchive, Fault
from tests.fakes.images import STUDY_UID, dicom_file, drawing, encapsulated, encoded
from tests.fakes.slides import Slide, synthetic_slide

LIMITS = PixelLimits(max_frames=1000)
FIELDS, SINGLE = "2.25.31", "2.25.32"


@pytest.fixture(scope="module")
def slide() -> Slide:
    return synthetic_slide(16, seed=2, study_uid=STUDY_UID)


@pytest.fixture(scope="module")
def fields() -> bytes:
    """Six fields in one instance."""
    pictures = [drawing(seed=n) for n in range(6)]
    streams = [encoded(p, subsampling=2) for p in pictures]
    return encapsulated(pictures[0], streams, sop_instance_uid=FIELDS)


@pytest.fixture
def fake(slide: Slide, fields: bytes) -> Iterator[FakeArchive]:
    with FakeArchive(*slide.instances, fields, dicom_file(drawing(), sop_instance_uid=SINGLE)) as archive:
        yield archive


def look(fake: FakeArchive, source: str) -> SmearImage | RefusedImage | None:
    archive = DicomWebArchive(fake.url, attempts=1, backoff_s=0.01)
    uid = source.partition("#")[0]
    ref = next(r for r in archive.instances(STUDY_UID) if r.sop_instance_uid == uid)
    fake.requests.clear()
    return one_image(archive, ref, source, LIMITS)


def pixels(image: SmearImage | RefusedImage | None) -> np.ndarray:
    assert isinstance(image, SmearImage), image
    return image.pixels


def asked(fake: FakeArchive) -> list[str]:
    """What of the instance was asked for; empty: the whole of it."""
    return [path.partition("/instances/")[2].partition("/")[2] for _, path in fake.requests]


def slide_uid(fake: FakeArchive) -> str:
    refs = DicomWebArchive(fake.url).instances(STUDY_UID)
    return next(r.sop_instance_uid for r in refs if r.number_of_frames == 256)


def test_of_many_frames_one_is_fetched(fake: FakeArchive, fields: bytes) -> None:
    whole = {i.source: i for i in decode_dicom(fields, LIMITS)}
    assert len(whole) == 6
    for source, expected in whole.items():
        image = look(fake, source)
        assert np.array_equal(pixels(image), pixels(expected))
        assert image is not None
        assert image.source == source
        assert asked(fake) == ["metadata", f"frames/{source.rpartition('#')[2]}"]


def test_of_a_slide_the_tiles_of_the_field_are_fetched(fake: FakeArchive, slide: Slide) -> None:
    uid = slide_uid(fake)
    tiles = {i.source: i for i in decode_dicom(slide.instances[0], LIMITS)}
    field = pixels(look(fake, f"{uid}#35+36+51+52"))
    assert asked(fake) == ["metadata", "frames/35,36,51,52"]
    upper = np.hstack([pixels(tiles[f"{uid}#{n}"]) for n in (35, 36)])
    lower = np.hstack([pixels(tiles[f"{uid}#{n}"]) for n in (51, 52)])
    assert np.array_equal(field, np.vstack([upper, lower]))
    assert np.array_equal(pixels(look(fake, f"{uid}#7")), pixels(tiles[f"{uid}#7"]))


def test_an_instance_of_one_frame_comes_whole(fake: FakeArchive) -> None:
    assert np.array_equal(pixels(look(fake, SINGLE)), drawing())
    assert asked(fake) == [""]


def test_an_archive_without_frames_gives_the_instance(fake: FakeArchive, fields: bytes) -> None:
    expected = next(i for i in decode_dicom(fields, LIMITS) if i.source == f"{FIELDS}#3")
    fake.hands_out_frames = False
    assert np.array_equal(pixels(look(fake, f"{FIELDS}#3")), pixels(expected))
    assert asked(fake)[-1] == ""


def test_frames_that_it_refuses_or_spoils_are_taken_from_the_instance(
    fake: FakeArchive, fields: bytes
) -> None:
    expected = next(i for i in decode_dicom(fields, LIMITS) if i.source == f"{FIELDS}#3")
    fake.refuse_frames = {3}
    assert np.array_equal(pixels(look(fake, f"{FIELDS}#3")), pixels(expected))
    fake.refuse_frames, fake.frames_as = set(), "1.2.840.10008.1.2.4.90"
    assert np.array_equal(pixels(look(fake, f"{FIELDS}#3")), pixels(expected))
    assert asked(fake) == ["metadata", "frames/3", ""]


@pytest.mark.parametrize("fault", ["metadata", "frames"])
def test_an_outage_is_no_reason_to_fetch_everything(fake: FakeArchive, fault: str) -> None:
    if fault == "metadata":
        fake.faults["metadata"] = Fault.BROKEN
    else:
        fake.break_frames = {3}
    with pytest.raises(UpstreamUnavailable):
        look(fake, f"{FIELDS}#3")
    assert "" not in asked(fake)


@pytest.mark.parametrize("numbers", ["7", "0", "1+2", "x", "", "1+", "³"])
def test_what_the_instance_does_not_have_is_none(fake: FakeArchive, numbers: str) -> None:
    assert look(fake, f"{FIELDS}#{numbers}") is None


@pytest.mark.parametrize("numbers", ["1+2+3+4", "15+16+31+32+47", "16+17+32+33", "2+1+18+17"])
def test_frames_that_are_no_field_are_none(fake: FakeArchive, numbers: str) -> None:
    assert look(fake, f"{slide_uid(fake)}#{numbers}") is None


def test_another_instance_in_its_place_is_refused(fake: FakeArchive) -> None:
    archive = DicomWebArchive(fake.url)
    ref = next(r for r in archive.instances(STUDY_UID) if r.sop_instance_uid == FIELDS)

    class Mixed:
        base_url = archive.base_url
        instances, store, frames = archive.instances, archive.store, archive.frames

        def metadata(self, image: ImageRef, deadline=None):
            return {**archive.metadata(image, deadline), "00080018": {"vr": "UI", "Value": [SINGLE]}}

        def retrieve(self, image: ImageRef, deadline=None) -> bytes:
            return dicom_file(drawing(), sop_instance_uid=SINGLE)

    assert one_image(Mixed(), ref, f"{FIELDS}#3", LIMITS) is None
