"""One study in one real Orthanc, read by every kind of archive: the same pixels, and nothing where there is nothing."""

import io
import socket
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from pydicom import dcmread
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
)

from cds.associations import OVERHEAD_BYTES, TRANSFER_SYNTAXES
from cds.deadline import Deadline
from cds.dicomweb import DicomWebArchive
from cds.errors import UpstreamError, UpstreamNotFound, UpstreamRefused, UpstreamUnavailable
from cds.image_files import PixelLimits
from cds.orthanc import OrthancArchive
from cds.pipeline import assess_study
from cds.pixels import decode_dicom
from cds.ports import ImageArchive
from cds.retrieve import retrieve_images
from cds.settings import Settings
from cds.store import SqlAssessmentStore
from cds.values import ImageRef, RefusedImage, SmearImage, StudyRef
from hooks.outbound import archives, open_archive
from tests.fakes.assessments import MODEL
from tests.fakes.counting_archive import counted
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.hook_requests import SERVICE, imaging_study, with_studies
from tests.fakes.images import dicom_file, drawing, encapsulated, encoded
from tests.fakes.processes import Process, free_port
from tests.fakes.reading import FakeReader
from tests.fakes.slides import synthetic_slide
from tests.fakes.transfer_syntaxes import instance

KINDS = ("dicomweb", "wado-uri", "orthanc", "dimse-get", "dimse-move")


def new_uid() -> str:
    return f"2.25.{uuid.uuid4().int}"


@dataclass(frozen=True)
class Site:
    """The Orthanc under each of its addresses. receive_port: of ours, which it knows under our AE title."""

    dicomweb: str
    dicom_port: int
    title: str
    receive_port: int
    folder: Path

    @property
    def root(self) -> str:
        return self.dicomweb.removesuffix("/dicom-web")

    def settings(self, kind: str, *, dead: bool = False, **changes: object) -> Settings:
        """Settings whose only archive is this one, by that kind; dead: at a port that nobody listens on."""
        root = f"http://127.0.0.1:{free_port()}" if dead else self.root
        dimse = (
            f'kind = "dimse"\nhost = "127.0.0.1"\nport = {free_port() if dead else self.dicom_port}\n'
            f'ae_title = "ORTHANC"\nown_ae_title = "{self.title}"\n'
        )
        table = {
            "dicomweb": f'url = "{root}/dicom-web"\n',
            "wado-uri": f'kind = "wado-uri"\nurl = "{root}/wado"\nqido_url = "{root}/dicom-web"\n',
            "orthanc": f'kind = "orthanc"\nurl = "{root}"\n',
            "dimse-get": dimse,
            "dimse-move": f'{dimse}retrieve = "c-move"\nreceive_host = "127.0.0.1"\n'
            f"receive_port = {self.receive_port}\n",
        }[kind]
        path = self.folder / f"{kind}.toml"
        path.write_text(f'[[archive]]\nname = "Orthanc"\n{table}')
        return Settings(archives=str(path), **changes)  # type: ignore[arg-type]

    def archive(self, kind: str, *, dead: bool = False) -> ImageArchive:
        settings = self.settings(kind, dead=dead)
        return open_archive(archives(settings)[0], settings)


@pytest.fixture
def site(orthanc_url: str, tmp_path: Path) -> Iterator[Site]:
    root = orthanc_url.removesuffix("/dicom-web")
    port = requests.get(f"{root}/system", timeout=30).json()["DicomPort"]
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        pytest.skip("orthanc's DICOM port is shut: `make servers` starts one that speaks DIMSE")
    title, receive_port = f"LK{uuid.uuid4().hex[:10].upper()}", free_port()
    modality = {"AET": title, "Host": "127.0.0.1", "Port": receive_port, "AllowGet": True, "AllowMove": True}
    requests.put(f"{root}/modalities/{title}", json=modality, timeout=30).raise_for_status()
    yield Site(orthanc_url, port, title, receive_port, tmp_path)
    requests.delete(f"{root}/modalities/{title}", timeout=30).raise_for_status()


def files_of(study: str) -> list[bytes]:
    """Two series: uncompressed, JPEG, and JPEG of two frames."""
    pictures = [drawing(seed=seed) for seed in range(3)]
    common = {"StudyInstanceUID": study}
    first, second = new_uid(), new_uid()
    return [
        dicom_file(pictures[0], sop_instance_uid=new_uid(), SeriesInstanceUID=first, **common),
        encapsulated(
            pictures[1], [encoded(pictures[1])], sop_instance_uid=new_uid(), SeriesInstanceUID=first, **common
        ),
        encapsulated(
            pictures[1],
            [encoded(p) for p in pictures[1:]],
            sop_instance_uid=new_uid(),
            SeriesInstanceUID=second,
            **common,
        ),
    ]


@pytest.fixture
def study(site: Site) -> str:
    uid = new_uid()
    DicomWebArchive(site.dicomweb).store(files_of(uid))
    return uid


def shown(archive: ImageArchive, refs: tuple[ImageRef, ...]) -> list[tuple[str, bytes, str | None]]:
    images = list(retrieve_images(archive, refs, concurrency=2))
    assert all(isinstance(i, SmearImage) for i in images)
    return [
        (i.source, i.pixels.tobytes(), i.transfer_syntax_uid) for i in images if isinstance(i, SmearImage)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_pixels(site: Site, study: str, kind: str) -> None:
    web, other = site.archive("dicomweb"), site.archive(kind)
    refs = other.instances(study)
    assert [(r.series_uid, r.sop_instance_uid, r.number_of_frames) for r in refs] == [
        (r.series_uid, r.sop_instance_uid, r.number_of_frames) for r in web.instances(study)
    ]
    # With their transfer syntaxes: nothing was transcoded on the way.
    assert shown(other, refs) == shown(web, web.instances(study))


@pytest.mark.parametrize("kind", ["dimse-get", "dimse-move"])
def test_no_transfer_syntax_is_transcoded_on_the_way(site: Site, kind: str) -> None:
    """All but HTJ2K, which Orthanc's side of DIMSE does not know (tests/unit/cds/test_dimse.py has them)."""
    study, series = new_uid(), new_uid()
    known = [s for s in TRANSFER_SYNTAXES if s not in (HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL)]
    photometric = {JPEG2000Lossless: "YBR_RCT", JPEG2000: "YBR_ICT"}
    files = [
        instance(
            drawing(), syntax, photometric.get(syntax, "RGB"), sop_instance_uid=new_uid(),
            StudyInstanceUID=study, SeriesInstanceUID=series,
        )
        for syntax in known
    ]  # fmt: skip
    web, other = site.archive("dicomweb"), site.archive(kind)
    web.store(files)
    images = shown(other, other.instances(study))
    assert sorted(str(syntax) for _, _, syntax in images) == sorted(known)
    pixels = {uid: data for uid, data, _ in images}
    for file in files:
        (expected,) = decode_dicom(file, PixelLimits())
        assert isinstance(expected, SmearImage)
        assert pixels[expected.source] == expected.pixels.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_study_is_empty_and_an_unknown_instance_not_found(site: Site, kind: str) -> None:
    archive = site.archive(kind)
    assert archive.instances(new_uid()) == ()
    nowhere = ImageRef(study_uid=new_uid(), series_uid=new_uid(), sop_instance_uid=new_uid())
    with pytest.raises(UpstreamError) as caught:
        archive.retrieve(nowhere)
    if not kind.startswith("dimse"):  # Orthanc calls a C-GET or C-MOVE of nothing a failure of its own
        assert isinstance(caught.value, UpstreamNotFound)


@pytest.mark.parametrize("kind", KINDS)
def test_an_outage_is_an_outage(site: Site, kind: str) -> None:
    archive = site.archive(kind, dead=True)
    ref = ImageRef(study_uid=new_uid(), series_uid=new_uid(), sop_instance_uid=new_uid())
    for call in (lambda: archive.instances(ref.study_uid, Deadline(20)), lambda: archive.retrieve(ref)):
        with pytest.raises(UpstreamUnavailable):
            call()


def test_a_whole_slide_is_read_by_its_frames_without_dicomweb(site: Site) -> None:
    """As they are stored, and as few of them as by DICOMweb."""
    slide = synthetic_slide(45, sparse=True)
    web, rest = site.archive("dicomweb"), site.archive("orthanc")
    assert isinstance(rest, OrthancArchive)
    for file in slide.instances:
        web.store([file])
    count = counted(rest)
    images = shown(rest, rest.instances(slide.study_uid))
    assert images == shown(web, web.instances(slide.study_uid))
    assert {syntax for _, _, syntax in images} == {JPEGBaseline8Bit}
    assert 0 < count.received < 0.05 * slide.size


@pytest.mark.parametrize("kind", ["wado-uri", "dimse-get"])
def test_a_whole_slide_by_an_archive_without_frames(site: Site, kind: str) -> None:
    """Orthanc's WADO-URI refuses `frameNumber`, DIMSE has none: as a whole, as far as that is allowed."""
    slide = synthetic_slide(28, levels=(1,))
    assert slide.size > (1 << 20) + OVERHEAD_BYTES
    site.archive("dicomweb").store(slide.instances)
    archive = site.archive(kind)
    assert len(shown(archive, archive.instances(slide.study_uid))) == 64
    settings = site.settings(kind, max_instance_mb=1)
    limited = open_archive(archives(settings)[0], settings)
    (image,) = retrieve_images(limited, archive.instances(slide.study_uid))
    assert isinstance(image, RefusedImage)
    assert "single frames" in str(image.reason)


@pytest.mark.parametrize("kind", ["wado-uri", "orthanc", "dimse-get"])
def test_what_is_stored_comes_back_byte_for_byte(site: Site, kind: str) -> None:
    study = new_uid()
    files = files_of(study)
    archive = site.archive(kind)
    archive.store(files)
    archive.store(files[:1])  # again
    refs = site.archive("dicomweb").instances(study)
    assert len(refs) == len(files)
    had = {dcmread(io.BytesIO(f)).SOPInstanceUID: dcmread(io.BytesIO(f)).PixelData for f in files}
    for ref in refs:
        assert dcmread(io.BytesIO(archive.retrieve(ref))).PixelData == had[ref.sop_instance_uid]


@pytest.mark.parametrize("kind", ["orthanc", "dimse-get"])
def test_what_is_no_dicom_is_refused(site: Site, kind: str) -> None:
    with pytest.raises(UpstreamError):
        site.archive(kind).store([b"this is no DICOM file"])


def test_wado_uri_without_a_list_reads_what_the_imaging_study_names(site: Site, study: str) -> None:
    path = site.folder / "unlisted.toml"
    path.write_text(f'[[archive]]\nname = "A"\nkind = "wado-uri"\nurl = "{site.root}/wado"\n')
    settings = Settings(archives=str(path))
    listed = site.archive("dicomweb").instances(study)
    by_uid = sorted((r.sop_instance_uid, r.series_uid) for r in listed)
    named = StudyRef(
        study_uid=study, instance_uids=tuple(u for u, _ in by_uid), series_uids=tuple(s for _, s in by_uid)
    )
    archive = open_archive(archives(settings)[0], settings, named)
    assert [r.sop_instance_uid for r in archive.instances(study)] == [r.sop_instance_uid for r in listed]
    assert shown(archive, archive.instances(study)) == shown(site.archive("dicomweb"), listed)
    assessment = assess_study(named, archive=archive, reader=FakeReader())
    assert len(assessment.instance_uids) == 3
    with pytest.raises(UpstreamRefused, match="no ImagingStudy names its instances"):
        archive.instances(new_uid())
    with pytest.raises(UpstreamRefused, match="WADO-URI only reads"):
        archive.store([])


def test_an_archive_that_does_not_know_our_ae_title(site: Site, study: str) -> None:
    stranger = Site(site.dicomweb, site.dicom_port, "NOBODY", free_port(), site.folder)
    with pytest.raises((UpstreamRefused, UpstreamUnavailable)):
        stranger.archive("dimse-get").instances(study)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["dimse-get", "dimse-move"])
def test_the_embedded_worker_reads_a_study_by_dimse(site: Site, kind: str, tmp_path: Path) -> None:
    study = "1.2.826.0.1.1"  # that of `imaging_study(1)`
    DicomWebArchive(site.dicomweb).store(
        [
            dicom_file(
                drawing(seed=n),
                StudyInstanceUID=study,
                SeriesInstanceUID="2.25.910",
                SOPInstanceUID=f"2.25.91{n}",
            )
            for n in range(2)
        ]
    )
    database = f"sqlite:///{tmp_path}/store.db"
    port = free_port()
    with FakeFhirServer(imaging_study(1)) as fhir, closing(SqlAssessmentStore(database)) as store:
        values = {
            "port": port,
            "database_url": database,
            "archives": site.settings(kind).archives,
            "fhir_url": fhir.url,
            "sweep_interval_s": 0.5,
        }
        with Process("serve", tmp_path, **values) as server:
            server.until(lambda: _is_ready(port))
            body = with_studies(imaging_study(1))
            answer = requests.post(f"http://127.0.0.1:{port}{SERVICE}", json=body, timeout=30)
            assert answer.status_code == 200
            server.until(lambda: store.latest(study, MODEL.digest) is not None)
            server.until(lambda: len(fhir.of_type("DiagnosticReport")) == 1)
            assert study not in server.log()
            assert server.stop(30) == 0
        found = store.latest(study, MODEL.digest)
        assert found is not None
        assessment = store.get(found.assessment.key)
        assert assessment is not None
        assert set(assessment.instance_uids) == {"2.25.910", "2.25.911"}


def _is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/ready", timeout=10).status_code == 200
    except (requests.ConnectionError, requests.Timeout):
        return False
