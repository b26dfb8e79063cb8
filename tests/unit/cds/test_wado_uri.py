"""WADO-URI against archives that differ, and ones that do not keep their word."""

import io

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import generate_frames

from cds.dicomweb import DicomWebArchive
from cds.errors import UpstreamError, UpstreamInvalid, UpstreamNotFound, UpstreamRefused, UpstreamUnavailable
from cds.retrieve import retrieve_images
from cds.upstream import FixedCredentials
from cds.values import ImageRef, RefusedImage, SmearImage, StudyRef
from cds.wado_uri import WadoUriArchive
from tests.fakes.dicomweb import FakeArchive
from tests.fakes.http_archive import Answer, HttpArchive
from tests.fakes.images import SERIES_UID, STUDY_UID, dicom_file, drawing, encoded
from tests.fakes.slides import synthetic_slide

FILE = dicom_file(drawing(), sop_instance_uid="2.25.1")
REF = ImageRef(study_uid=STUDY_UID, series_uid=SERIES_UID, sop_instance_uid="2.25.1")
NAMED = StudyRef(study_uid=STUDY_UID, instance_uids=("2.25.1", "2.25.2"), series_uids=("2.25.9", "2.25.8"))


def pacs(server, **changes):
    return WadoUriArchive(f"{server.url}/wado", **{"attempts": 2, "backoff_s": 0.01} | changes)


def test_what_is_asked():
    with HttpArchive(lambda asked: Answer(FILE)) as server:
        archive = pacs(server, credentials=FixedCredentials(user="u", password="p"))
        assert archive.retrieve(REF) == FILE
        (asked,) = server.asked
    assert (asked.method, asked.path, asked.authorization) == ("GET", "/wado", "Basic dTpw")
    assert asked.query == {
        "requestType": "WADO",
        "studyUID": STUDY_UID,
        "seriesUID": SERIES_UID,
        "objectUID": "2.25.1",
        "contentType": "application/dicom",
        "transferSyntax": "*",
    }


@pytest.mark.parametrize("status", [400, 406])
def test_an_archive_that_does_not_know_the_asterisk_is_asked_without_from_then_on(status):
    def answer(asked):
        return Answer(status=status) if "transferSyntax" in asked.query else Answer(FILE)

    with HttpArchive(answer) as server:
        archive = pacs(server)
        assert archive.retrieve(REF) == archive.retrieve(REF) == FILE
        assert ["transferSyntax" in a.query for a in server.asked] == [True, False, False]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(FILE[: len(FILE) // 2], announced=len(FILE)), UpstreamUnavailable),
        (Answer(b"<html>log in"), UpstreamInvalid),
        (Answer(b""), UpstreamInvalid),
        (Answer(FILE + b"\0" * (1 << 20)), UpstreamInvalid),
        (Answer(status=404), UpstreamNotFound),
        (Answer(status=401), UpstreamRefused),
        (Answer(status=400), UpstreamRefused),
        (Answer(status=503), UpstreamUnavailable),
        (Answer(status=302, headers={"Location": "http://elsewhere.example/"}), UpstreamInvalid),
    ],
)
def test_an_archive_that_does_not_deliver(answer, error):
    with HttpArchive(lambda asked: answer) as server:
        with pytest.raises(error):
            pacs(server, max_instance_bytes=1 << 19).retrieve(REF)


def test_a_list_comes_from_qido_rs_or_from_the_imaging_study():
    with HttpArchive(lambda asked: Answer(FILE)) as server, FakeArchive(FILE) as web:
        listed = pacs(server, listing=DicomWebArchive(web.url))
        assert [r.sop_instance_uid for r in listed.instances(STUDY_UID)] == ["2.25.1"]
        assert listed.instances("2.25.404") == ()
        listed.store([dicom_file(drawing(), sop_instance_uid="2.25.3")])
        assert web.count("POST") == 1

        named = pacs(server, study=NAMED)
        assert [(r.series_uid, r.sop_instance_uid) for r in named.instances(STUDY_UID)] == [
            ("2.25.8", "2.25.2"),
            ("2.25.9", "2.25.1"),
        ]
        for study in (None, StudyRef(study_uid=STUDY_UID, number_of_instances=2)):
            with pytest.raises(UpstreamRefused, match="no ImagingStudy names its instances"):
                pacs(server, study=study).instances(STUDY_UID)


def test_check():
    with HttpArchive(lambda asked: Answer(status=404)) as server:
        assert pacs(server).check() == (
            f"{server.url}/wado answers WADO-URI; ImagingStudies must name their instances"
        )
    with HttpArchive(lambda asked: Answer(status=401)) as server:
        with pytest.raises(UpstreamRefused):
            pacs(server).check()


def test_endpoints_name_it_only_as_configured():
    assert WadoUriArchive("http://pacs.example/wado").base_url is None
    archive = WadoUriArchive("http://pacs.example/wado", endpoint="http://pacs.example/rs")
    assert archive.base_url == "http://pacs.example/rs"


SLIDE = synthetic_slide(16, seed=2, levels=(1, 16), study_uid=STUDY_UID)
STREAMS = {
    str(dataset.SOPInstanceUID): list(
        generate_frames(dataset.PixelData, number_of_frames=dataset.NumberOfFrames)
    )
    for dataset in (dcmread(io.BytesIO(instance)) for instance in SLIDE.instances)
}


def as_png(jpeg, size=None):
    with Image.open(io.BytesIO(jpeg)) as picture:
        return encoded(np.array(picture.resize(size) if size else picture), "PNG")


def renders(asked, of=lambda query: as_png(STREAMS[query["objectUID"]][int(query["frameNumber"]) - 1])):
    """A PACS that renders frames, and knows whole files."""
    if asked.query["contentType"] == "image/png":
        return Answer(of(asked.query))
    return Answer(next(i for i in SLIDE.instances if asked.query["objectUID"].encode() in i))


def read(server, listing):
    archive = pacs(server, listing=DicomWebArchive(listing.url, attempts=1))
    return [*retrieve_images(archive, archive.instances(STUDY_UID))]


def test_a_slide_is_read_by_frames_that_the_archive_renders():
    with FakeArchive(*SLIDE.instances) as listing, HttpArchive(renders) as server:
        images = read(server, listing)
        by_frames = [*retrieve_images(listed := DicomWebArchive(listing.url), listed.instances(STUDY_UID))]
    assert {a.query["contentType"] for a in server.asked} == {"image/png"}
    # Two to see whether it can, of either level; the coarse one; and the fields.
    assert len(server.asked) <= 2 + 1 + len(images)
    assert [i.source for i in images] == [i.source for i in by_frames]
    for image, other in zip(images, by_frames, strict=True):
        assert isinstance(image, SmearImage)
        assert isinstance(other, SmearImage)
        assert np.array_equal(image.pixels, other.pixels)
        assert image.um_per_px == other.um_per_px


@pytest.mark.parametrize(
    "of",
    [
        lambda query: as_png(STREAMS[query["objectUID"]][0]),  # whatever the number
        lambda query: b"",
    ],
)
def test_an_archive_that_does_not_know_the_number_is_asked_for_whole_instances(of):
    with FakeArchive(*SLIDE.instances) as listing, HttpArchive(lambda asked: renders(asked, of)) as server:
        images = read(server, listing)
    assert "application/dicom" in {a.query["contentType"] for a in server.asked}
    assert any(isinstance(i, SmearImage) for i in images)
    (refused,) = (
        i for i in images if isinstance(i, RefusedImage)
    )  # in no order: instances arrive as they come
    assert "coarser" in str(refused.reason)


def test_an_archive_that_refuses_frames_is_asked_for_whole_instances():
    def answer(asked):
        return Answer(status=400) if "frameNumber" in asked.query else renders(asked)

    with FakeArchive(*SLIDE.instances) as listing, HttpArchive(answer) as server:
        assert [str(i.reason) for i in read(server, listing) if not isinstance(i, SmearImage)] == [
            "it shows a slide again, coarser than another of its images"
        ]


@pytest.mark.parametrize(
    "of",
    [
        lambda query: STREAMS[query["objectUID"]][int(query["frameNumber"]) - 1],  # JPEG all the same
        lambda query: as_png(STREAMS[query["objectUID"]][int(query["frameNumber"]) - 1], (128, 128)),
        lambda query: as_png(STREAMS[query["objectUID"]][int(query["frameNumber"]) - 1])[:-12],
    ],
)
def test_frames_that_are_not_what_was_asked_for_are_refused(of):
    with FakeArchive(*SLIDE.instances) as listing, HttpArchive(lambda asked: renders(asked, of)) as server:
        archive = pacs(server, listing=DicomWebArchive(listing.url))
        (ref,) = [r for r in archive.instances(STUDY_UID) if r.number_of_frames > 1]
        with pytest.raises(UpstreamInvalid, match="a frame that cannot be used"):
            archive.frames(ref, [7])


def test_without_a_dicomweb_service_beside_nothing_says_where_tiles_lie():
    with HttpArchive(renders) as server, pytest.raises(UpstreamError, match="qido_url"):
        pacs(server).metadata(REF)
