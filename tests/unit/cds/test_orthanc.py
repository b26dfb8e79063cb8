"""Orthanc's REST API as far as a double shows it; the real one stands in tests/servers/test_archive_kinds.py."""

import json

import pytest
from pydicom.uid import JPEGBaseline8Bit

from cds.errors import (
    InstancesRefused,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamUnavailable,
)
from cds.orthanc import OrthancArchive
from cds.upstream import FixedCredentials
from cds.values import ImageRef
from tests.fakes.http_archive import Answer, HttpArchive
from tests.fakes.images import SERIES_UID, STUDY_UID, dicom_file, drawing

FILE = dicom_file(drawing(), sop_instance_uid="2.25.1")
REF = ImageRef(study_uid=STUDY_UID, series_uid=SERIES_UID, sop_instance_uid="2.25.1")
STUDY, SERIES, INSTANCE = ("-".join([digit * 8] * 5) for digit in "abc")
CLASS = "1.2.840.10008.5.1.4.1.1.77.1.2"
SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
TAGS = {
    "0008,0008": {"Name": "ImageType", "Type": "String", "Value": "ORIGINAL\\PRIMARY\\VOLUME\\NONE"},
    "0008,0018": {"Name": "SOPInstanceUID", "Type": "String", "Value": "2.25.1"},
    "0009,1001": {"Name": "Unknown Tag & Data", "PrivateCreator": "ACME", "Type": "String", "Value": "x"},
    "0028,0010": {"Name": "Rows", "Type": "String", "Value": "256"},
    "0028,0011": {"Name": "Columns", "Type": "String", "Value": "many"},
    "5200,9229": {
        "Name": "SharedFunctionalGroupsSequence",
        "Type": "Sequence",
        "Value": [
            {
                "0028,9110": {
                    "Name": "PixelMeasuresSequence",
                    "Type": "Sequence",
                    "Value": [{"0028,0030": {"Name": "PixelSpacing", "Type": "String", "Value": "0.1\\0.1"}}],
                }
            }
        ],
    },
    "7fe0,0010": {"Name": "PixelData", "Type": "Null", "Value": None},
}


class Double:
    """faults: answers by path instead of the right ones."""

    def __init__(self):
        self.faults = {}

    def __call__(self, asked):
        if asked.path in self.faults:
            return self.faults[asked.path]
        if asked.path == "/tools/lookup":
            kinds = {STUDY_UID: ("Study", STUDY), "2.25.1": ("Instance", INSTANCE)}
            found = kinds.get(asked.body.decode())
            return Answer(
                json.dumps([{"Type": found[0], "ID": found[1], "Path": ""}] if found else []).encode()
            )
        answers = {
            f"/studies/{STUDY}/series": [{"ID": SERIES, "MainDicomTags": {"SeriesInstanceUID": SERIES_UID}}],
            f"/series/{SERIES}/instances": [
                {
                    "ID": INSTANCE,
                    "MainDicomTags": {"SOPInstanceUID": "2.25.1", "NumberOfFrames": "3"},
                    "RequestedTags": {"SOPClassUID": CLASS},
                }
            ],
            "/system": {"Version": "1.12.0"},
            "/instances": {"Status": "Success"},
        }
        bare = {
            f"/instances/{INSTANCE}/file": FILE,
            f"/instances/{INSTANCE}/metadata/SopClassUid": SLIDE.encode(),
            f"/instances/{INSTANCE}/metadata/TransferSyntax": JPEGBaseline8Bit.encode(),
            f"/instances/{INSTANCE}/frames/0/raw": b"first",
            f"/instances/{INSTANCE}/frames/2/raw": b"third",
            f"/instances/{INSTANCE}/tags": json.dumps(TAGS).encode(),
        }
        if asked.path in bare:
            return Answer(bare[asked.path])
        return (
            Answer(json.dumps(answers[asked.path]).encode()) if asked.path in answers else Answer(status=404)
        )


@pytest.fixture
def double():
    return Double()


@pytest.fixture
def server(double):
    with HttpArchive(double) as running:
        yield running


@pytest.fixture
def archive(server):
    return OrthancArchive(
        server.url, credentials=FixedCredentials(user="u", password="p"), attempts=2, backoff_s=0.01,
        max_instance_bytes=1 << 19,
    )  # fmt: skip


def test_it_lists_and_retrieves_with_its_password(archive, server):
    (ref,) = archive.instances(STUDY_UID)
    assert (ref, ref.sop_class_uid, ref.number_of_frames) == (
        ImageRef(**{name: getattr(REF, name) for name in ("study_uid", "series_uid", "sop_instance_uid")},
                 sop_class_uid=CLASS, number_of_frames=3),
        CLASS,
        3,
    )  # fmt: skip
    asked = len(server.asked)
    assert archive.retrieve(ref) == FILE
    assert len(server.asked) == asked + 1  # its own id was known from the list
    assert archive.retrieve(REF) == FILE  # and is looked up where it was not
    assert {a.authorization for a in server.asked} == {"Basic dTpw"}
    assert archive.instances("2.25.404") == ()


def test_an_instance_that_is_not_there(archive):
    with pytest.raises(UpstreamNotFound):
        archive.retrieve(ImageRef(study_uid=STUDY_UID, series_uid=SERIES_UID, sop_instance_uid="2.25.404"))


@pytest.mark.parametrize(
    ("path", "answer", "error"),
    [
        ("/tools/lookup", Answer(status=503), UpstreamUnavailable),
        ("/tools/lookup", Answer(status=401), UpstreamRefused),
        ("/tools/lookup", Answer(status=404), UpstreamNotFound),
        ("/tools/lookup", Answer(b"<html>log in"), UpstreamInvalid),
        ("/tools/lookup", Answer(b'{"a": 1}'), UpstreamInvalid),
        ("/tools/lookup", Answer(b'[{"Type": "Study", "ID": "../system"}]'), UpstreamInvalid),
        (
            f"/series/{SERIES}/instances",
            Answer(json.dumps([{"ID": INSTANCE, "MainDicomTags": {}}]).encode()),
            UpstreamInvalid,
        ),
    ],
)
def test_a_list_that_cannot_be_had(archive, double, path, answer, error):
    double.faults[path] = answer
    with pytest.raises(error):
        archive.instances(STUDY_UID)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(FILE[: len(FILE) // 2], announced=len(FILE)), UpstreamUnavailable),
        (Answer(FILE + b"\0" * (1 << 20)), UpstreamInvalid),
        (Answer(b"<html>log in"), UpstreamInvalid),
        (Answer(status=500), UpstreamUnavailable),
    ],
)
def test_a_file_that_does_not_come(archive, double, answer, error):
    double.faults[f"/instances/{INSTANCE}/file"] = answer
    with pytest.raises(error):
        archive.retrieve(REF)


def test_storing(archive, double, server):
    archive.store([FILE, FILE])
    assert [a.body for a in server.asked if a.path == "/instances"] == [FILE, FILE]
    double.faults["/instances"] = Answer(b'{"Status": "AlreadyStored"}')
    archive.store([FILE])
    double.faults["/instances"] = Answer(status=400)
    with pytest.raises(InstancesRefused, match="did not accept 1 of 1"):
        archive.store([FILE])
    double.faults["/instances"] = Answer(b"<html>thank you")
    with pytest.raises(UpstreamInvalid):
        archive.store([FILE])


def test_check(archive, double):
    assert archive.check().endswith("answers: Orthanc 1.12.0, REST")
    double.faults["/system"] = Answer(b"{}")
    with pytest.raises(UpstreamRefused, match="is no Orthanc"):
        archive.check()


def test_it_describes_an_instance_and_hands_out_frames(archive):
    described = archive.metadata(REF)
    assert described["00080008"] == {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]}
    assert described["00280010"] == {"vr": "US", "Value": [256]}
    spacing = described["52009229"]["Value"][0]["00289110"]["Value"][0]["00280030"]
    assert spacing == {"vr": "DS", "Value": ["0.1", "0.1"]}
    # Neither what is private, nor what is no number where one belongs, nor the pixels.
    assert not {"00091001", "00280011", "7FE00010"} & set(described)
    first, third = archive.frames(REF, [1, 3])
    assert (first.data, third.data) == (b"first", b"third")
    assert first.transfer_syntax_uid == third.transfer_syntax_uid == JPEGBaseline8Bit


def test_an_old_orthanc_is_asked_what_an_instance_of_several_frames_is(archive, double, server):
    listed = {"ID": INSTANCE, "MainDicomTags": {"SOPInstanceUID": "2.25.1", "NumberOfFrames": "3"}}
    double.faults[f"/series/{SERIES}/instances"] = Answer(json.dumps([listed]).encode())
    assert archive.instances(STUDY_UID)[0].sop_class_uid == SLIDE
    double.faults[f"/instances/{INSTANCE}/metadata/SopClassUid"] = Answer(status=404)
    assert archive.instances(STUDY_UID)[0].sop_class_uid is None
    listed["MainDicomTags"].pop("NumberOfFrames")
    double.faults[f"/series/{SERIES}/instances"] = Answer(json.dumps([listed]).encode())
    asked = len(server.asked)
    assert archive.instances(STUDY_UID)[0].sop_class_uid is None
    assert not any("SopClassUid" in a.path for a in server.asked[asked:])


@pytest.mark.parametrize(
    ("path", "answer", "error"),
    [
        ("frames/0/raw", Answer(status=400), UpstreamRefused),
        ("frames/0/raw", Answer(status=503), UpstreamUnavailable),
        ("frames/0/raw", Answer(b"0" * (1 << 20)), UpstreamInvalid),
        ("metadata/TransferSyntax", Answer(b"<html>"), UpstreamInvalid),
        ("metadata/TransferSyntax", Answer(status=404), UpstreamNotFound),
    ],
)
def test_frames_that_it_does_not_deliver(archive, double, path, answer, error):
    double.faults[f"/instances/{INSTANCE}/{path}"] = answer
    with pytest.raises(error):
        archive.frames(REF, [1])


@pytest.mark.parametrize(
    "body", [b"[]", b"<html>", b'{"0008,0008":' * 400 + b"{}" + b"}" * 400, b"[" * 100_000]
)
def test_a_description_that_is_none(archive, double, body):
    double.faults[f"/instances/{INSTANCE}/tags"] = Answer(body)
    try:
        assert archive.metadata(REF) == {}
    except UpstreamInvalid:
        assert body[:1] != b"{"
