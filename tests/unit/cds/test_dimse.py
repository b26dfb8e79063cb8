"""The DIMSE adapter against peers that behave and peers that do not.

It reads a real Orthanc in tests/servers/test_archive_kinds.py.
"""

import io
import socket
import threading
import time

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import HTJ2K, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, JPEG2000Lossless
from pynetdicom import AE, build_context

from cds.associations import TRANSFER_SYNTAXES, client_context, server_context
from cds.deadline import Deadline
from cds.delivery import Delivery
from cds.dimse import FIND, MOVE, DimseArchive
from cds.dimse_site import DimseSite
from cds.errors import (
    InstancesRefused,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnavailable,
)
from cds.image_files import PixelLimits
from cds.pixels import decode_dicom
from cds.retrieve import retrieve_images
from cds.storage_scp import storage_scp
from cds.tls import Tls
from cds.upstream import tell_failures_to
from cds.values import ImageRef, RefusedImage, SmearImage
from tests.fakes.dimse_peer import DimsePeer, Fault, RawPeer, reception
from tests.fakes.images import STUDY_UID, dicom_file, drawing, encapsulated, encoded
from tests.fakes.processes import free_port
from tests.fakes.tls import Authority
from tests.fakes.transfer_syntaxes import instance

PICTURE = drawing()
FIRST = dicom_file(PICTURE, sop_instance_uid="2.25.1")
SECOND = encapsulated(PICTURE, [encoded(PICTURE)], sop_instance_uid="2.25.2")
#: An A-ASSOCIATE-AC (PS3.8 section 9.3.3) that announces four gigabytes.
VAST = b"\x02\x00\xff\xff\xff\xff"


def archive(peer, **changes):
    site = {name: changes.pop(name) for name in ("reception", "own_ae_title", "tls_on") if name in changes}
    if site.pop("tls_on", False):
        site["tls"] = True
    return DimseArchive(peer.site(**site), **{"connect_timeout_s": 2.0, "read_timeout_s": 5.0} | changes)


@pytest.fixture(params=["c-get", "c-move"])
def way(request):
    """Settings of the peer and of the archive for each way of retrieval."""
    if request.param == "c-get":
        return {}, {}
    port = free_port()
    return {"destination": ("127.0.0.1", port)}, {"reception": reception(port)}


def test_instances_are_listed_and_retrieved_as_they_are_stored(way):
    with DimsePeer(FIRST, SECOND, **way[0]) as peer:
        pacs = archive(peer, **way[1])
        refs = pacs.instances(STUDY_UID)
        assert [r.sop_instance_uid for r in refs] == ["2.25.1", "2.25.2"]
        assert pacs.instances("2.25.404") == ()
        for ref, stored in zip(refs, (FIRST, SECOND), strict=True):
            got, had = dcmread(io.BytesIO(pacs.retrieve(ref))), dcmread(io.BytesIO(stored))
            assert got.file_meta.TransferSyntaxUID == had.file_meta.TransferSyntaxUID
            assert got.PixelData == had.PixelData
        images = list(retrieve_images(pacs, refs, concurrency=3))
        assert [type(i) for i in images] == [SmearImage, SmearImage]


def test_every_transfer_syntax_that_is_decoded_comes_as_it_is_stored(way):
    photometric = {
        **dict.fromkeys((JPEG2000Lossless, HTJ2KLossless, HTJ2KLosslessRPCL), "YBR_RCT"),
        **dict.fromkeys((JPEG2000, HTJ2K), "YBR_ICT"),
    }
    files = [
        instance(PICTURE, syntax, photometric.get(syntax, "RGB"), sop_instance_uid=f"2.25.{100 + n}")
        for n, syntax in enumerate(TRANSFER_SYNTAXES)
    ]
    with DimsePeer(*files, **way[0]) as peer:
        pacs = archive(peer, **way[1])
        refs = pacs.instances(STUDY_UID)
        images = list(retrieve_images(pacs, refs, concurrency=4))
    stored = [next(decode_dicom(file, PixelLimits())) for file in files]
    assert [i.transfer_syntax_uid for i in images] == list(TRANSFER_SYNTAXES)
    assert all(np.array_equal(i.pixels, s.pixels) for i, s in zip(images, stored, strict=True))


def test_an_instance_whose_class_is_not_listed(way):
    with DimsePeer(FIRST, **way[0]) as peer:
        ref = ImageRef(study_uid=STUDY_UID, series_uid="2.25.1002", sop_instance_uid="2.25.1")
        assert archive(peer, **way[1]).retrieve(ref)[128:132] == b"DICM"


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (Fault.OTHER_STUDY, UpstreamInvalid, "sent an instance of another study in its place"),
        (Fault.NOTHING, UpstreamNotFound, "sent no instance"),
    ],
)
def test_what_is_not_what_was_asked_for_is_not_taken(way, fault, error, message):
    with DimsePeer(FIRST, SECOND, **way[0]) as peer:
        pacs = archive(peer, **way[1])
        ref = pacs.instances(STUDY_UID)[0]
        peer.fault = fault
        with pytest.raises(error, match=message):
            pacs.retrieve(ref)


def test_an_instance_that_nobody_asked_for_is_not_taken(way):
    with DimsePeer(FIRST, SECOND, **way[0]) as peer:
        pacs = archive(peer, **way[1])
        ref = pacs.instances(STUDY_UID)[0]
        peer.fault = Fault.OTHER_INSTANCE
        # By C-MOVE all that we hear is that the archive could not deliver.
        with pytest.raises((UpstreamInvalid, UpstreamUnavailable)):
            pacs.retrieve(ref)


def test_half_a_picture_is_refused(way):
    with DimsePeer(FIRST, **way[0]) as peer:
        pacs = archive(peer, **way[1])
        (ref,) = pacs.instances(STUDY_UID)
        peer.fault = Fault.HALF
        (image,) = decode_dicom(pacs.retrieve(ref), PixelLimits(), expected=ref)
        assert isinstance(image, RefusedImage)


def test_more_than_is_allowed_ends_early(way):
    with DimsePeer(FIRST, **way[0]) as peer:
        pacs = archive(peer, max_instance_bytes=1 << 16, **way[1])
        (ref,) = pacs.instances(STUDY_UID)
        peer.fault = Fault.LARGE
        with pytest.raises(UpstreamTooLarge, match="bytes allowed"):
            pacs.retrieve(ref)


def test_a_peer_that_answers_pending_for_ever():
    with DimsePeer(FIRST) as peer:
        pacs = archive(peer)
        (ref,) = pacs.instances(STUDY_UID)
        peer.fault = Fault.PENDING
        for call in (lambda d: pacs.instances(STUDY_UID, d), lambda d: pacs.retrieve(ref, d)):
            began = time.monotonic()
            with pytest.raises(UpstreamTimeout):
                call(Deadline(0.8))
            assert time.monotonic() - began < 4


def test_a_deadline_cancels_the_query():
    with DimsePeer(FIRST) as peer:
        peer.fault = Fault.PENDING
        with pytest.raises(UpstreamTimeout):
            archive(peer).instances(STUDY_UID, Deadline(0.6))
        assert peer.cancelled.wait(3)


@pytest.mark.parametrize("fault", [Fault.FAILS, Fault.ABORTS])
def test_a_failure_is_an_outage(fault):
    with DimsePeer(FIRST) as peer:
        pacs = archive(peer)
        (ref,) = pacs.instances(STUDY_UID)
        peer.fault = fault
        for call in (lambda: pacs.instances(STUDY_UID), lambda: pacs.retrieve(ref)):
            with pytest.raises(UpstreamUnavailable):
                call()


def test_refused_contexts_are_named():
    ref = ImageRef(study_uid=STUDY_UID, series_uid="2.25.1002", sop_instance_uid="2.25.1")
    with DimsePeer(FIRST, models=(FIND, MOVE)) as peer:
        with pytest.raises(UpstreamRefused, match="does not offer C-GET to LEUKOCDS"):
            archive(peer).retrieve(ref)
    with DimsePeer(FIRST, models=()) as peer:
        with pytest.raises(UpstreamRefused, match="accepts none of what we propose"):
            archive(peer).instances(STUDY_UID)
    with DimsePeer(FIRST, storage=False) as peer:
        with pytest.raises(UpstreamRefused, match="sends none of what we take by C-GET"):
            archive(peer).retrieve(ref)


def test_ae_titles():
    with DimsePeer(FIRST, calling=("OTHER",)) as peer:
        with pytest.raises(
            UpstreamRefused, match=r"refused the association of LEUKOCDS: .*[Cc]alling AE title"
        ):
            archive(peer).instances(STUDY_UID)
        assert len(archive(peer, own_ae_title="OTHER").instances(STUDY_UID)) == 1


def test_an_unknown_destination_is_named():
    ref = ImageRef(study_uid=STUDY_UID, series_uid="2.25.1002", sop_instance_uid="2.25.1")
    with DimsePeer(FIRST) as peer:
        with pytest.raises(UpstreamRefused, match=r"0xA801.*does not know LEUKOCDS as a destination"):
            archive(peer, reception=reception(free_port())).retrieve(ref)


def test_nobody_there_is_an_outage_and_is_told(monkeypatch):
    told = []
    monkeypatch.setattr("cds.upstream._observer", None)
    tell_failures_to(lambda *what: told.append(what))
    port = free_port()
    site = DimseSite(host="127.0.0.1", port=port, ae_title="PEER")
    with pytest.raises(UpstreamUnavailable, match=r"PEER@127\.0\.0\.1"):
        DimseArchive(site).instances(STUDY_UID)
    assert told == [("image archive", f"127.0.0.1:{port}", "UpstreamUnavailable")]


def test_a_silent_peer_and_one_that_drips():
    for peer in (RawPeer(b"", times=0), RawPeer(b"\0", pause_s=0.05, times=400)):
        with peer:
            site = DimseSite(host="127.0.0.1", port=peer.port, ae_title="PEER")
            began = time.monotonic()
            with pytest.raises((UpstreamTimeout, UpstreamUnavailable)):
                DimseArchive(site, read_timeout_s=1.0).instances(STUDY_UID, Deadline(1.0))
            assert time.monotonic() - began < 5


def test_a_pdu_that_announces_gigabytes_is_not_read():
    with RawPeer(VAST + b"\0" * (1 << 20), times=500) as peer:
        site = DimseSite(host="127.0.0.1", port=peer.port, ae_title="PEER")
        with pytest.raises((UpstreamInvalid, UpstreamUnavailable)):
            DimseArchive(site, read_timeout_s=3.0).instances(STUDY_UID)
        assert peer.sent < 100 << 20


def test_storing():
    with DimsePeer() as peer:
        pacs = archive(peer)
        pacs.store([FIRST, SECOND])
        assert [dcmread(io.BytesIO(d)).file_meta.TransferSyntaxUID for d in peer.stored] == [
            dcmread(io.BytesIO(d)).file_meta.TransferSyntaxUID for d in (FIRST, SECOND)
        ]
        assert dcmread(io.BytesIO(peer.stored[1])).PixelData == dcmread(io.BytesIO(SECOND)).PixelData
        peer.fault = Fault.FAILS
        with pytest.raises(InstancesRefused, match=r"did not accept 1 of 1 instances: 2\.25\.1"):
            pacs.store([FIRST])
        with pytest.raises(InstancesRefused, match="no DICOM file"):
            pacs.store([b"nothing of the kind"])
    with DimsePeer(storage=False) as peer:
        with pytest.raises(UpstreamRefused, match="accepts none"):
            archive(peer).store([FIRST])


def test_check_says_what_answers(way):
    with DimsePeer(FIRST, **way[0]) as peer:
        said = archive(peer, **way[1]).check()
        assert "answers C-ECHO and C-FIND; retrieval by" in said
        assert said.endswith("C-GET") or "C-MOVE to LEUKOCDS at our port" in said


def test_our_port_takes_from_no_stranger():
    """Neither under another AE title, nor under another called one, nor an instance that is not awaited."""
    port = free_port()
    with DimsePeer(FIRST) as peer:
        pacs = archive(peer, reception=reception(port))
        ref = pacs.instances(STUDY_UID)[0]
        scp = storage_scp(pacs._peer)
        delivery = Delivery(ref)
        with scp.awaiting(delivery, pacs._peer, 1 << 20, None):
            assert not _send(port, FIRST, calling="STRANGER")
            assert not _send(port, FIRST, called="SOMEBODY")
            assert not _send(port, SECOND)
            assert delivery.data is None
            assert _send(port, FIRST)
            assert delivery.data is not None
        assert not _send(port, FIRST)  # nobody waits for it any more


def test_our_port_takes_from_the_archive_s_own_address_alone(monkeypatch):
    monkeypatch.setattr("cds.storage_scp.addresses", lambda host: frozenset({"192.0.2.1"}))
    port = free_port()
    with DimsePeer(FIRST) as peer:
        pacs = archive(peer, reception=reception(port))
        ref = pacs.instances(STUDY_UID)[0]
        delivery = Delivery(ref)
        with storage_scp(pacs._peer).awaiting(delivery, pacs._peer, 1 << 20, None):
            assert not _send(port, FIRST)
            assert delivery.data is None


def test_a_port_that_another_process_holds_is_waited_for():
    port = free_port()
    with DimsePeer(FIRST, destination=("127.0.0.1", port)) as peer:
        pacs = archive(peer, reception=reception(port))
        (ref,) = pacs.instances(STUDY_UID)
        other = AE(ae_title="OTHER")
        other.add_supported_context(FIND)
        taken = other.start_server(("127.0.0.1", port), block=False)
        with pytest.raises(UpstreamTimeout, match="did not come free"):
            pacs.retrieve(ref, Deadline(0.5))
        threading.Timer(0.5, taken.shutdown).start()
        assert pacs.retrieve(ref, Deadline(10))[128:132] == b"DICM"


def test_tls(tmp_path, way):
    authority = Authority(tmp_path)
    theirs = Tls(ca_bundle=authority.ca_file, **_pair(authority, "pacs"))
    ours = Tls(ca_bundle=authority.ca_file, **_pair(authority, "leukocds"))
    stranger = Authority(tmp_path / "other")
    with DimsePeer(FIRST, context=server_context(theirs)) as peer:
        pacs = archive(peer, tls_on=True, tls=ours)
        (ref,) = pacs.instances(STUDY_UID)
        assert pacs.retrieve(ref)[128:132] == b"DICM"
        for wrong in (
            Tls(ca_bundle=authority.ca_file),
            Tls(ca_bundle=stranger.ca_file, **_pair(authority, "x")),
        ):
            with pytest.raises((UpstreamUnavailable, UpstreamTimeout)):
                archive(peer, tls_on=True, tls=wrong).instances(STUDY_UID)
        with pytest.raises((UpstreamUnavailable, UpstreamTimeout)):
            archive(peer).instances(STUDY_UID)
    port = free_port()
    with DimsePeer(FIRST, context=server_context(theirs)) as peer:
        pacs = archive(peer, tls_on=True, tls=ours, reception=reception(port))
        delivery = Delivery(ref)
        with storage_scp(pacs._peer).awaiting(delivery, pacs._peer, 1 << 20, None):
            with socket.create_connection(("127.0.0.1", port)):  # which says nothing, and keeps nobody out
                assert not _send(port, FIRST)
                assert _send(port, FIRST, tls=theirs)
            assert delivery.data is not None


def _pair(authority, name):
    certificate, key = authority.issue(name)
    return {"certificate": certificate, "key": key}


def _send(port, file, *, calling="PEER", called="LEUKOCDS", tls=None):
    """Whether that instance was taken at our port."""
    dataset = dcmread(io.BytesIO(file))
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = 3
    association = entity.associate(
        "127.0.0.1",
        port,
        contexts=[build_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)],
        ae_title=called,
        tls_args=(client_context(tls), "127.0.0.1") if tls else None,
    )
    if not association.is_established:
        return False
    status = association.send_c_store(dataset)
    association.abort()
    return status.get("Status") == 0x0000
