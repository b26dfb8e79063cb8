"""WADO-URI against archives that differ, and ones that do not keep their word."""

import pytest

from cds.dicomweb import DicomWebArchive
from cds.errors import UpstreamInvalid, UpstreamNotFound, UpstreamRefused, UpstreamUnavailable
from cds.upstream import FixedCredentials
from cds.values import ImageRef, StudyRef
from cds.wado_uri import WadoUriArchive
from tests.fakes.dicomweb import FakeArchive
from tests.fakes.http_archive import Answer, HttpArchive
from tests.fakes.images import SERIES_UID, STUDY_UID, dicom_file, drawing

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
