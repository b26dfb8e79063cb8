"""A folder of images becomes a study: DICOM instances in the archive, an ImagingStudy on the FHIR server.

Everything is derived from the folder's content and the patient, so ingesting it again, after a crash for one, adds
what is missing and nothing twice.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cds.deadline import Deadline
from cds.errors import BadRequest, UnreadableImage, UpstreamError, UpstreamInvalid, UpstreamRefused
from cds.identifiers import is_reference, is_uid
from cds.imaging_study import find_imaging_study, register_study, subject_of
from cds.microscopy import derived_uid, to_dicom
from cds.orders import record_number
from cds.pixels import PixelLimits, decode_file, instance_ref, is_dicom
from cds.ports import FhirServer, ImageArchive
from cds.values import ImageRef, RefusedImage

#: One STOW-RS request holds at most so many instances and, save where one alone is larger, so many bytes.
_BATCH_INSTANCES = 16
_BATCH_BYTES = 32 << 20
_FULL_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")

#: Files done, files in all, name of the one just done.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What became of a folder. instances: how many of its files the archive now holds."""

    study_uid: str
    #: `ImagingStudy/…`; None without a FHIR server, or when nothing could be stored.
    imaging_study: str | None
    instances: int
    refused: tuple[RefusedImage, ...] = ()


def ingest_folder(
    folder: Path,
    *,
    archive: ImageArchive,
    fhir: FhirServer | None,
    patient: str,
    um_per_px: float | None = None,
    started: str | None = None,
    on_progress: Progress | None = None,
    study_uid: str | None = None,
    limits: PixelLimits | None = None,
    with_endpoint: bool = True,
    deadline: Deadline | None = None,
) -> Ingested:
    """Store the images of `folder` (and its subfolders) as one study of `patient` (`Patient/…`).

    um_per_px: scale of the JPEG, PNG and TIFF files that do not state theirs better. started: FHIR dateTime.
    study_uid: the study they belong to; by default that of the DICOM files among them, else one derived from content
    and patient. with_endpoint: also write the archive's address as an Endpoint that the ImagingStudy refers to.

    A file that is not one whole colour picture, or that the archive does not accept, is in `refused`; the rest is
    stored. Raises BadRequest for a folder, patient or study that cannot be, and UpstreamError when a server fails:
    call again then.
    """
    if not folder.is_dir():
        raise BadRequest(f"there is no folder {folder}")
    if not is_reference(patient) or not patient.startswith("Patient/"):
        raise BadRequest("a patient is named as Patient/ID")
    if study_uid is not None and not is_uid(study_uid):
        raise BadRequest(f"not a DICOM UID: {study_uid!r}")
    limits = limits or PixelLimits()
    # An unknown patient must come to light before anything is stored.
    patient_id = record_number(fhir.read(patient, deadline)) if fhir else patient.partition("/")[2]

    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    tell = _Teller(on_progress, total=2 * len(files))
    pictures, refused = _examine(files, folder, limits, tell)
    if not pictures:
        return Ingested(study_uid=study_uid or "", imaging_study=None, instances=0, refused=tuple(refused))
    uid = study_uid or _study_uid(pictures, patient)
    known = find_imaging_study(fhir, uid, deadline) if fhir else None
    if known is not None and subject_of(known) != patient:
        raise BadRequest("that study is another patient's on the FHIR server")

    series_uid = derived_uid("series", uid)
    stored: list[ImageRef] = []
    refusal: UpstreamError | None = None
    held = {ref.sop_instance_uid for ref in archive.instances(uid, deadline)}
    converted = _convert(
        pictures,
        refused,
        study_uid=uid,
        series_uid=series_uid,
        patient_id=patient_id,
        um_per_px=um_per_px,
        acquired=_datetime(started),
        limits=limits,
        tell=tell,
    )
    for batch in _batches(c for c in converted if not _is_held(c, held, stored)):
        for instance, problem in _store(archive, batch, deadline):
            if problem is None:
                stored.append(instance.ref)
            else:
                reason = f"the archive did not accept it: {problem}"
                refused.append(RefusedImage(source=instance.name, reason=reason))
                refusal = problem
    if refusal is not None and not stored:
        raise refusal  # it accepts nothing from us: that is no matter of single files
    reference = None
    if fhir and stored:
        reference = register_study(
            fhir,
            known,
            study_uid=uid,
            patient=patient,
            instances=_all_instances(stored, archive.instances(uid, deadline)),
            started=started,
            archive_url=archive.base_url if with_endpoint else None,
            deadline=deadline,
        )
    return Ingested(study_uid=uid, imaging_study=reference, instances=len(stored), refused=tuple(refused))


@dataclass(frozen=True, slots=True)
class _Picture:
    """A file that holds a usable picture. dicom: its identity where it is a DICOM file."""

    path: Path
    name: str
    digest: str
    dicom: ImageRef | None


@dataclass(frozen=True, slots=True)
class _Instance:
    name: str
    ref: ImageRef
    data: bytes


class _Teller:
    """Each file counts twice: when it has been examined and when it has been dealt with."""

    def __init__(self, on_progress: Progress | None, total: int) -> None:
        self._on_progress, self._total, self._done = on_progress, total, 0

    def done(self, name: str, steps: int = 1) -> None:
        self._done += steps
        if self._on_progress is not None:
            self._on_progress(self._done, self._total, name)


def _examine(
    files: Sequence[Path], folder: Path, limits: PixelLimits, tell: _Teller
) -> tuple[list[_Picture], list[RefusedImage]]:
    """Decode every file once, so that nothing goes to the archive that could not be read there."""
    pictures: list[_Picture] = []
    refused: list[RefusedImage] = []
    names: dict[str, str] = {}
    one_frame = PixelLimits(max_megapixels=limits.max_megapixels, max_frames=1)
    for path in files:
        name = path.relative_to(folder).as_posix()
        reason = next((i.reason for i in decode_file(path, one_frame) if isinstance(i, RefusedImage)), None)
        if reason is None:
            data = path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            if digest in names:
                reason = f"it is the same picture as {names[digest]}"
            else:
                names[digest] = name
                try:
                    dicom = instance_ref(data) if is_dicom(data) else None
                    pictures.append(_Picture(path, name, digest, dicom))
                except UnreadableImage as problem:
                    reason = str(problem)
        if reason is not None:
            refused.append(RefusedImage(source=name, reason=reason))
        tell.done(name, steps=1 if reason is None else 2)
    return pictures, refused


def _study_uid(pictures: Iterable[_Picture], patient: str) -> str:
    studies = {p.dicom.study_uid for p in pictures if p.dicom is not None}
    if len(studies) > 1:
        raise BadRequest(f"the folder holds DICOM files of {len(studies)} studies; ingest each by itself")
    return studies.pop() if studies else derived_uid("study", patient, *sorted(p.digest for p in pictures))


def _convert(
    pictures: Iterable[_Picture],
    refused: list[RefusedImage],
    *,
    study_uid: str,
    series_uid: str,
    patient_id: str,
    um_per_px: float | None,
    acquired: datetime | None,
    limits: PixelLimits,
    tell: _Teller,
) -> Iterator[_Instance]:
    """One picture at a time as DICOM; what fails is added to `refused`."""
    for number, picture in enumerate(pictures, start=1):
        try:
            if picture.dicom is not None and picture.dicom.study_uid != study_uid:
                raise UnreadableImage("it is a DICOM file of another study")
            data = to_dicom(
                picture.path.read_bytes(),
                study_uid=study_uid,
                series_uid=series_uid,
                patient_id=patient_id,
                um_per_px=um_per_px,
                instance_number=number,
                acquired=acquired,
                limits=limits,
            )
            yield _Instance(picture.name, picture.dicom or instance_ref(data), data)
        except UnreadableImage as problem:
            refused.append(RefusedImage(source=picture.name, reason=str(problem)))
        tell.done(picture.name)


def _is_held(instance: _Instance, held: set[str], stored: list[ImageRef]) -> bool:
    """Whether the archive has it from an earlier time; it then counts as stored."""
    if instance.ref.sop_instance_uid not in held:
        return False
    stored.append(instance.ref)
    return True


def _batches(instances: Iterable[_Instance]) -> Iterator[list[_Instance]]:
    batch: list[_Instance] = []
    size = 0
    for instance in instances:
        if batch and (len(batch) == _BATCH_INSTANCES or size + len(instance.data) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(instance)
        size += len(instance.data)
    if batch:
        yield batch


def _store(
    archive: ImageArchive, batch: Sequence[_Instance], deadline: Deadline | None
) -> Iterator[tuple[_Instance, UpstreamError | None]]:
    """Each instance with None, or with why the archive did not take it. An outage is raised."""
    try:
        archive.store([i.data for i in batch], deadline)
    except (UpstreamInvalid, UpstreamRefused) as problem:
        if len(batch) == 1:
            yield batch[0], problem
            return
        for instance in batch:  # to find out which
            yield from _store(archive, [instance], deadline)
        return
    yield from ((instance, None) for instance in batch)


def _all_instances(stored: Iterable[ImageRef], listed: Iterable[ImageRef]) -> list[ImageRef]:
    """What the archive lists, and what it has just taken but may not list yet."""
    found = {ref.sop_instance_uid: ref for ref in (*stored, *listed)}
    return sorted(found.values(), key=lambda r: (r.series_uid, r.sop_instance_uid))


def _datetime(started: str | None) -> datetime | None:
    if started is None or not _FULL_DATETIME.match(started):
        return None
    try:
        return datetime.fromisoformat(started)
    except ValueError:
        raise BadRequest(f"not a FHIR dateTime: {started!r}") from None
