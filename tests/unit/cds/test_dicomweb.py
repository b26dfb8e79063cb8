"""The DICOMweb client against a real socket: what it asks, and how each misbehaviour comes out."""

import base64
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cds.deadline import Deadline
from cds.dicomweb import DicomWebArchive
from cds.errors import (
    DeadlineExceeded,
    UpstreamError,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from cds.values import ImageRef
from tests.fakes.dicomweb import FakeArchive, Fault
from tests.fakes.images import STUDY_UID, dicom_file, drawing


def instance(number: int) -> bytes:
    return dicom_file(drawing(8, 8), sop_instance_uid=f"2.25.{number}")


@pytest.fixture
def fake() -> Iterator[FakeArchive]:
    with FakeArchive(*(instance(n) for n in range(1, 6))) as archive:
        yield archive


def client(fake: FakeArchive, **options: Any) -> DicomWebArchive:
    settings = {"connect_timeout_s": 1.0, "read_timeout_s": 0.5, "backoff_s": 0.01}
    return DicomWebArchive(fake.url, **(settings | options))


def test_instances_of_a_study(fake: FakeArchive) -> None:
    refs = client(fake).instances(STUDY_UID)
    assert [r.sop_instance_uid for r in refs] == [f"2.25.{n}" for n in range(1, 6)]
    assert refs[0].sop_class_uid == "1.2.840.10008.5.1.4.1.1.77.1.2"
    assert refs[0].number_of_frames == 1


def test_the_address_may_end_with_a_slash(fake: FakeArchive) -> None:
    archive = DicomWebArchive(fake.url + "/")
    assert len(archive.instances(STUDY_UID)) == 5
    assert archive.base_url == fake.url


@pytest.mark.parametrize("page_size", [1, 2, 5])
def test_pages_are_followed_to_the_end(page_size: int, fake: FakeArchive) -> None:
    fake.page_size = page_size
    assert len(client(fake).instances(STUDY_UID)) == 5


def test_an_archive_that_ignores_the_offset_is_asked_twice(fake: FakeArchive) -> None:
    fake.ignores_offset = True
    assert len(client(fake).instances(STUDY_UID)) == 5
    assert fake.count("GET") == 2


@pytest.mark.parametrize("fault", [Fault.NONE, Fault.EMPTY])
def test_an_unknown_study_is_empty(fault: Fault, fake: FakeArchive) -> None:
    fake.fault = fault
    assert client(fake).instances("2.25.404") == ()


def test_a_404_for_the_study_is_empty_when_the_archive_is_there() -> None:
    with FakeArchive() as fake:
        fake.faults["search"] = Fault.NOT_FOUND
        fake.failures_left = 1
        assert client(fake).instances(STUDY_UID) == ()


def test_a_404_for_everything_is_a_wrong_address(fake: FakeArchive) -> None:
    with pytest.raises(UpstreamNotFound):
        DicomWebArchive(fake.url + "/elsewhere").instances(STUDY_UID)


def test_entries_without_uids_or_of_another_study_are_left_out_and_logged(
    fake: FakeArchive, caplog: pytest.LogCaptureFixture
) -> None:
    fake.extra_entries = [
        {},
        {"00080018": {"vr": "UI"}, "0020000E": {"vr": "UI", "Value": ["2.25.7"]}},
        {"00080018": {"vr": "UI", "Value": ["x"]}, "0020000E": {"vr": "UI", "Value": ["2.25.7"]}},
        {
            "00080018": {"vr": "UI", "Value": ["2.25.8"]},
            "0020000E": {"vr": "UI", "Value": ["2.25.7"]},
            "0020000D": {"vr": "UI", "Value": ["2.25.9"]},
        },
    ]
    assert len(client(fake).instances(STUDY_UID)) == 5
    assert "left out" in caplog.text


def test_a_study_of_nothing_but_such_entries_is_not_empty() -> None:
    with FakeArchive() as fake:
        fake.extra_entries = [{"00080018": {"vr": "UI", "Value": ["x"]}}]
        with pytest.raises(UpstreamInvalid):
            client(fake).instances(STUDY_UID)


def test_retrieve_asks_for_the_stored_transfer_syntax(fake: FakeArchive) -> None:
    archive = client(fake)
    ref = archive.instances(STUDY_UID)[2]
    assert archive.retrieve(ref) == instance(3)
    assert fake.accepted[-1] == 'multipart/related; type="application/dicom"; transfer-syntax=*'


@pytest.mark.parametrize("rung", [0, 1, 2])
def test_the_ladder_of_accept_headers_is_climbed_once(rung: int, fake: FakeArchive) -> None:
    ladder = (
        'multipart/related; type="application/dicom"; transfer-syntax=*',
        'multipart/related; type="application/dicom"',
        "application/dicom",
    )
    archive = client(fake)
    refs = archive.instances(STUDY_UID)
    asked = fake.count("GET")
    fake.accepts, fake.bare = (ladder[rung],), rung == 2
    for ref in refs:
        assert archive.retrieve(ref)
    assert fake.accepted[asked:] == [*ladder[: rung + 1], *[ladder[rung]] * 4]


def test_an_archive_that_accepts_nothing(fake: FakeArchive) -> None:
    archive = client(fake)
    ref = archive.instances(STUDY_UID)[0]
    fake.accepts = ()
    with pytest.raises(UpstreamRefused, match="406"):
        archive.retrieve(ref)


def test_single_part_answers_are_understood(fake: FakeArchive) -> None:
    archive = client(fake)
    fake.bare = True
    assert archive.retrieve(archive.instances(STUDY_UID)[0]) == instance(1)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.BROKEN, UpstreamUnavailable),
        (Fault.UNAUTHORIZED, UpstreamRefused),
        (Fault.HTML, UpstreamInvalid),
        (Fault.SLOW, UpstreamTimeout),
    ],
)
@pytest.mark.parametrize("what", ["instances", "retrieve", "store"])
def test_faults_come_out_as_the_error_that_fits(
    what: str, fault: Fault, error: type[UpstreamError], fake: FakeArchive
) -> None:
    archive = client(fake, attempts=1)
    ref = archive.instances(STUDY_UID)[0]
    fake.fault = fault
    with pytest.raises(error):
        if what == "instances":
            archive.instances(STUDY_UID)
        elif what == "retrieve":
            archive.retrieve(ref)
        else:
            archive.store([instance(9)])


@pytest.mark.parametrize("fault", [Fault.EMPTY, Fault.CUT_OFF, Fault.HTML])
def test_an_answer_that_is_no_instance(fault: Fault, fake: FakeArchive) -> None:
    archive = client(fake)
    ref = archive.instances(STUDY_UID)[0]
    fake.fault = fault
    with pytest.raises(UpstreamInvalid) as caught:
        archive.retrieve(ref)
    assert not caught.value.retryable


def test_an_unknown_instance(fake: FakeArchive) -> None:
    ref = ImageRef(study_uid=STUDY_UID, series_uid="2.25.1", sop_instance_uid="2.25.404")
    with pytest.raises(UpstreamNotFound):
        client(fake).retrieve(ref)


def test_down(fake: FakeArchive) -> None:
    fake.down()
    with pytest.raises(UpstreamUnavailable):
        client(fake).instances(STUDY_UID)


def test_what_may_pass_is_tried_again_and_the_rest_is_not(fake: FakeArchive) -> None:
    archive = client(fake)
    ref = archive.instances(STUDY_UID)[0]
    before = fake.count("GET")
    fake.fault, fake.failures_left = Fault.BROKEN, 2
    assert archive.retrieve(ref) == instance(1)
    assert fake.count("GET") == before + 3
    fake.fault, fake.failures_left = Fault.UNAUTHORIZED, None
    with pytest.raises(UpstreamRefused):
        archive.retrieve(ref)
    assert fake.count("GET") == before + 4


def test_an_instance_larger_than_allowed_is_not_read(fake: FakeArchive) -> None:
    archive = client(fake, max_instance_bytes=100)
    with pytest.raises(UpstreamInvalid, match="larger"):
        archive.retrieve(archive.instances(STUDY_UID)[0])


@pytest.mark.parametrize("fault", [Fault.DRIP, Fault.SLOW])
def test_the_deadline_ends_everything(fault: Fault, fake: FakeArchive) -> None:
    archive = client(fake, read_timeout_s=30)
    ref = archive.instances(STUDY_UID)[0]
    fake.fault = fault
    began = time.monotonic()
    with pytest.raises((UpstreamTimeout, DeadlineExceeded)):
        archive.retrieve(ref, Deadline(0.4))
    assert time.monotonic() - began < 2


def test_credentials_are_sent_as_basic(fake: FakeArchive) -> None:
    client(fake, user="me", password="secret").instances(STUDY_UID)
    client(fake).instances(STUDY_UID)
    assert fake.authorizations[0] == "Basic " + base64.b64encode(b"me:secret").decode()
    assert fake.authorizations[-1] is None


def test_store_keeps_the_bytes() -> None:
    with FakeArchive() as fake:
        archive = client(fake)
        archive.store([instance(1), instance(2)])
        refs = archive.instances(STUDY_UID)
        assert [archive.retrieve(r) for r in refs] == [instance(1), instance(2)]
        archive.store([])
        assert fake.count("POST") == 1


def test_instances_that_were_not_accepted_are_counted_and_named(fake: FakeArchive) -> None:
    fake.refuse_store = {"2.25.11": 0xA700, "2.25.12": 0xC000}
    archive = client(fake)
    with pytest.raises(
        UpstreamInvalid, match=r"2 of 3 instances: 2\.25\.11, 2\.25\.12 \(reason 0xA700, 0xC000\)"
    ):
        archive.store([instance(10), instance(11), instance(12)])
    with pytest.raises(UpstreamInvalid, match="1 of 1"):
        archive.store([instance(11)])  # HTTP 409


def test_an_instance_that_is_there_already_counts_as_stored(fake: FakeArchive) -> None:
    fake.refuse_store = {"2.25.1": 0x0111}
    client(fake).store([instance(1), instance(6)])
    client(fake).store([instance(1)])
