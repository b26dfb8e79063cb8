"""The worker stroke without its queue: from a study to its assessment, and from the assessment to its report."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from cds.deadline import Deadline
from cds.dicom_results import own_series
from cds.errors import UpstreamError, UpstreamInvalid
from cds.imaging_study import find_imaging_study
from cds.interpret import interpret
from cds.language import ENGLISH, Message, Words, joined, message
from cds.locate import is_study_of_patient
from cds.model_cards import ModelCards
from cds.pixels import PixelLimits
from cds.ports import FhirServer, ImageArchive, SmearReader
from cds.report import report_bundle, report_reference
from cds.report_attachments import NO_ATTACHMENTS, Attachments
from cds.retrieve import retrieve_images
from cds.supersession import supersede_older
from cds.values import (
    Assessment,
    Finding,
    ImageReading,
    ImageRef,
    NotAnalysed,
    NotAnalysedReason,
    RefusedImage,
    SmearImage,
    StudyRef,
    assessment_key,
    utc_now,
)
from fhir_profiles.codes import ASSESSMENT_SYSTEM

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What one pass over the images gave."""

    outcome: Finding | NotAnalysed
    images: tuple[ImageReading, ...]


def assess_study(
    study: StudyRef,
    *,
    archive: ImageArchive,
    reader: SmearReader,
    limits: PixelLimits | None = None,
    concurrency: int = 4,
    max_images: int = 2000,
    deadline: Deadline | None = None,
    known: Callable[[str], Assessment | None] | None = None,
) -> Assessment:
    """List the study's instances, retrieve and read them, and interpret what was seen.

    A study without instances is an assessment (not analysed: no images). Of more than `max_images` instances, that
    many are read, evenly spread, and the outcome says so; the assessment still stands for all of them. known: key to
    an assessment made earlier, which is returned as it is.

    Raises UpstreamError when the archive fails, DeadlineExceeded when the time is up.
    """
    began = time.monotonic()
    # Our own results in the archive are none of the study's images: with them the study would have grown by being read.
    own = own_series(study.study_uid)
    refs = [ref for ref in archive.instances(study.study_uid, deadline) if ref.series_uid not in own]
    held = tuple(sorted(ref.sop_instance_uid for ref in refs))
    if known is not None and (
        earlier := known(assessment_key(study.study_uid, held, reader.identity.digest))
    ):
        return earlier
    if not refs:
        detail = message("The image archive holds no images of this study.")
        nothing = NotAnalysed(reason=NotAnalysedReason.NO_IMAGES, detail=detail)
        return _assessment(study, held, _Read(outcome=nothing, images=()), reader, began)
    chosen = _evenly(refs, max_images)
    images = retrieve_images(archive, chosen, concurrency=concurrency, limits=limits, deadline=deadline)
    try:
        read = _read(images, reader, deadline)
    finally:
        # Ends the retrieving threads now, also when the reader gave up half way.
        images.close()
    if len(chosen) < len(refs):
        note = message(
            "Only {chosen} of the study's {held} images were read, evenly spread.",
            chosen=len(chosen),
            held=len(refs),
        )
        read = replace(read, outcome=_noted(read.outcome, note))
    return _assessment(study, held, read, reader, began)


def assess_images(
    images: Iterable[SmearImage | RefusedImage],
    study: StudyRef,
    reader: SmearReader,
    deadline: Deadline | None = None,
) -> Assessment:
    """The same for images at hand (the command line); they carry no SOP Instance UIDs."""
    began = time.monotonic()
    return _assessment(study, (), _read(images, reader, deadline), reader, began)


def write_back(
    assessment: Assessment,
    fhir: FhirServer,
    deadline: Deadline | None = None,
    attachments: Attachments = NO_ATTACHMENTS,
    older_stand: Callable[[UpstreamError], None] | None = None,
    cards: ModelCards | None = None,
    words: Words = ENGLISH,
) -> str:
    """Write the report and all that belongs to it in one transaction, after the model card where the server has none
    yet and takes one; then cancel older ones of the same study that nobody signed; repeating it changes nothing.

    older_stand: told when the server took the report but will not have older ones changed, ever; without it that is
    raised. cards: remembers where the card is; without it the server is asked. words: of the language that people
    read it in. Returns the DiagnosticReport's reference. Raises UpstreamError, also when that server does not hold the
    study under that patient: what the hook's server calls Patient/1 may be somebody else on this one.
    """
    confirm_patient(assessment.study, fhir, deadline)
    cards, card = cards or ModelCards(), None
    if attachments.model_card is not None:
        try:
            card = cards.reference(assessment.model, attachments.model_card, fhir, deadline, words)
        except UpstreamError as error:
            if error.retryable:
                raise
            _log.warning("report without its model card: %s", error)
    bundle = report_bundle(
        assessment, attachments, card=card, server=fhir.base_url, written_at=utc_now(), words=words
    )
    try:
        answer = fhir.transaction(bundle, deadline)
    except UpstreamError:
        cards.forget(assessment.model, fhir)  # should somebody have deleted it, the next try creates it anew
        raise
    try:
        reference = report_reference(answer)
    except UpstreamInvalid:
        reference = _find_report(assessment, fhir, deadline)
    try:
        supersede_older(assessment, fhir, deadline, words)
    except UpstreamError as error:
        if error.retryable or older_stand is None:
            raise
        older_stand(error)
    return reference


def _find_report(assessment: Assessment, fhir: FhirServer, deadline: Deadline | None) -> str:
    """The report's reference by its identifier, from a server whose answer to writing it does not say."""
    found = fhir.search("DiagnosticReport", {"identifier": f"{ASSESSMENT_SYSTEM}|{assessment.key}"}, deadline)
    for resource in found:
        if resource.get("resourceType") == "DiagnosticReport" and isinstance(resource.get("id"), str):
            return f"DiagnosticReport/{resource['id']}"
    raise UpstreamInvalid(message("the FHIR server took the report and does not find it"))


def confirm_patient(study: StudyRef, fhir: FhirServer, deadline: Deadline | None = None) -> None:
    """Raises UpstreamInvalid unless the server holds that study under that patient."""
    resource = (
        fhir.read(study.imaging_study, deadline)
        if study.imaging_study is not None
        else find_imaging_study(fhir, study.study_uid, deadline)
    )
    if resource is None or not is_study_of_patient(resource, study, fhir.base_url):
        raise UpstreamInvalid(
            message(
                "the FHIR server that reports go to does not hold this study under this patient, so nothing was "
                "written; it has to be the server that the hooks come from"
            )
        )


def _read(
    images: Iterable[SmearImage | RefusedImage], reader: SmearReader, deadline: Deadline | None
) -> _Read:
    left_out: dict[str, int] = {}
    reading = reader.read(_noting_left_out(images, left_out), deadline)
    outcome = interpret(reading, reader.pattern_model)
    if left_out:
        note = message(
            "{frames} frames of {images} multi-frame images were left out; "
            "those read are evenly spread, on whole slides over the parts that hold cells.",
            frames=sum(left_out.values()),
            images=len(left_out),
        )
        outcome = _noted(outcome, note)
    return _Read(outcome=outcome, images=reading.images)


def _noting_left_out(
    images: Iterable[SmearImage | RefusedImage], left_out: dict[str, int]
) -> Iterator[SmearImage | RefusedImage]:
    """The images as they are; `left_out` becomes instance to number of its frames that are not among them."""
    for image in images:
        if isinstance(image, SmearImage) and image.frames_left_out:
            left_out[image.source.rpartition("#")[0]] = image.frames_left_out
        yield image
        del image  # while the next one is awaited this one must not stay alive


def _evenly(refs: Sequence[ImageRef], at_most: int) -> Sequence[ImageRef]:
    if len(refs) <= at_most:
        return refs
    return [refs[i * len(refs) // at_most] for i in range(at_most)]


def _noted(outcome: Finding | NotAnalysed, note: Message) -> Finding | NotAnalysed:
    if isinstance(outcome, NotAnalysed):
        return replace(outcome, detail=joined((outcome.detail, note), " "))
    return replace(outcome, evidence=(*outcome.evidence, note))


def _assessment(
    study: StudyRef, instance_uids: tuple[str, ...], read: _Read, reader: SmearReader, began: float
) -> Assessment:
    return Assessment(
        study=study,
        model=reader.identity,
        instance_uids=instance_uids,
        outcome=read.outcome,
        images=read.images,
        read_at=utc_now(),
        seconds=time.monotonic() - began,
    )
