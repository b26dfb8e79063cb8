"""How a picture goes on: its order is looked up, it becomes a DICOM instance, the archive confirms it, and its study
is made known on the FHIR server and queued to be read.

Every step may be interrupted anywhere and done again: the instance's UID follows from accession number and content, the
archive is asked before anything is sent a second time, the ImagingStudy is created conditionally and changed only in
the version that was read, and the job has one key.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from cds.allowlist import AllowList
from cds.errors import (
    BadRequest,
    InstancesRefused,
    LeukoError,
    UnreadableImage,
    UpstreamError,
    UpstreamInvalid,
    UpstreamRefused,
)
from cds.image_files import PixelLimits
from cds.imaging_study import Ordered, find_imaging_study, register_study, subject_of
from cds.locate import locate
from cds.microscopy import derived_uid, to_dicom
from cds.orders import NoOrder, Order, find_order
from cds.pixels import instance_ref, is_dicom
from cds.ports import FhirServer, ImageArchive
from cds.settings import Settings
from cds.slide import Slide
from cds.values import ImageRef, StudyRef
from hooks.gateway.folders import DiskTrouble, Folders, image_file, in_our_words
from hooks.gateway.intake import read_data
from hooks.gateway.journal import PLACE_OF, ImageState, Journal, JournalledImage, JournalledStudy
from hooks.gateway.quarantine import note_reason

_log = structlog.get_logger(__name__)

#: One STOW-RS request holds at most so many instances and, save where one alone is larger, so many bytes.
BATCH_INSTANCES, BATCH_BYTES = 16, 32 << 20


class NotYet(LeukoError):
    """A server has not done what it was asked for, and may do so later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Collaborators of the passage."""

    settings: Settings
    folders: Folders
    journal: Journal
    archive: ImageArchive
    fhir: FhirServer
    #: Queues the study as a hook would; raises LeukoError where that cannot be done now.
    enqueue: Callable[[StudyRef], None]
    #: Whether the gateway has been told to end: no further batch is begun then.
    stopping: Callable[[], bool] = lambda: False
    wall: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class _Made:
    """A picture as a DICOM instance."""

    image: JournalledImage
    ref: ImageRef
    data: bytes


class Passage:
    def __init__(self, parts: Parts) -> None:
        self._p = parts
        settings = parts.settings
        self._limits = PixelLimits(
            max_megapixels=settings.max_image_megapixels, max_frames=settings.max_frames_per_instance
        )
        self._allow_list = AllowList.from_settings(settings)

    def go_on(self) -> int:
        """Do what is due of every accession number; the number of those with which something was done.

        A server that is out holds an accession number up for a growing pause. Raises DiskTrouble.
        """
        done = 0
        for accession in self._p.journal.accessions(self._p.wall()):
            if self._p.stopping():
                break
            try:
                done += self._accession(accession)
            except DiskTrouble:
                raise
            except LeukoError as problem:
                self._hold_up(accession, problem, str(problem))
                if isinstance(problem, UpstreamError) and problem.retryable:
                    break  # who is out for one is out for all; the folder must not wait for each of them
            except Exception as bug:  # noqa: BLE001 - the images of others go on
                _log.exception("images held up: bug")
                self._hold_up(accession, bug, f"internal error ({type(bug).__name__})")
            else:
                self._p.journal.goes_on(accession)
        return done

    def _hold_up(self, accession: str, problem: Exception, words: str) -> None:
        now = self._p.wall()
        held = self._p.journal.hold_up(accession, words, self._pause, now)
        _log.warning(
            "images held up",
            attempt=held.attempts,
            pause_s=round(held.due_at - now, 1),
            error=type(problem).__name__,
            reason=words,
        )

    def tidy(self) -> None:
        """Put every image's folder where its state has it. Raises DiskTrouble."""
        for image in self._p.journal.to_move():
            with self._p.folders.in_turn():
                note_reason(self._p.folders, image)
                self._p.folders.move(image.id, PLACE_OF[image.state])
            self._p.journal.moved(image)

    def _accession(self, accession: str) -> bool:
        moved = False
        while not self._p.stopping() and (batch := self._p.journal.ready(accession, BATCH_INSTANCES)):
            self._store(accession, batch)
            self.tidy()
            moved = True
        return (not self._p.stopping() and self._make_known(accession)) or moved

    def _store(self, accession: str, batch: Sequence[JournalledImage]) -> None:
        journal = self._p.journal
        with_data = list(self._with_data(batch))
        sound = [(image, slide) for image, slide in with_data if not self._is_repetition(image)]
        matched = list(self._matched(accession, sound))
        if not matched:
            return
        made: list[_Made] = []
        for image, slide, order in matched:
            instance = self._make(image, slide, order)
            if instance is None:
                continue
            if made and sum(len(m.data) for m in made) + len(instance.data) > BATCH_BYTES:
                break  # the rest is still ready, for the next round
            made.append(instance)
        if not made:
            return
        study_uid = made[0].ref.study_uid
        tried_before = any(m.image.sent_at is not None for m in made)
        journal.about_to_send({m.image.id: m.ref.sop_instance_uid for m in made}, self._p.wall())
        held = self._held(study_uid) if tried_before else frozenset()
        self._send([m for m in made if m.ref.sop_instance_uid not in held])
        held = self._held(study_uid)
        there = [m.image.id for m in made if m.ref.sop_instance_uid in held]
        journal.confirmed(there)
        _log.info("images stored", images=len(there))
        refused = [m for m in made if self._is_ready(m.image.id)]
        if len(there) < len(made) and refused:
            raise NotYet("the archive took images and does not list them yet")

    def _with_data(self, batch: Sequence[JournalledImage]) -> Iterator[tuple[JournalledImage, Slide]]:
        for image in batch:
            folder = self._p.folders.find(image.id)
            if folder is None or image_file(folder) is None:
                self._quarantine(image, "its file is gone from the gateway's folder")
                continue
            try:
                slide = read_data(folder)
            except BadRequest as wrong:
                self._quarantine(image, str(wrong))
                continue
            if slide.accession_number != image.accession:
                self._quarantine(image, "its data were changed by hand; assign it again")
                continue
            yield image, slide

    def _is_repetition(self, image: JournalledImage) -> bool:
        other = self._p.journal.same_content(image)
        if other is None:
            return False
        if other.accession == image.accession:
            self._p.journal.set_state(
                image.id, ImageState.DUPLICATE, reason=f"the same picture as {other.id}"
            )
            _log.info("image came before", image=image.id, same_as=other.id)
        else:
            self._quarantine(image, f"the same picture came with another accession number: {other.id}")
        return True

    def _matched(
        self, accession: str, images: Sequence[tuple[JournalledImage, Slide]]
    ) -> Iterator[tuple[JournalledImage, Slide, Order]]:
        """Those whose order could be found. What the labels say may differ within a batch, so each is compared."""
        settings = self._p.settings
        found: dict[tuple[object, ...], Order | NoOrder] = {}
        for image, slide in images:
            label = (slide.patient_id, slide.patient_name, slide.patient_birth_date)
            if label not in found:
                try:
                    found[label] = find_order(
                        self._p.fhir,
                        slide,
                        accession_system=settings.gateway_accession_system,
                        codes=settings.gateway_order_codes,
                    )
                except NoOrder as none:
                    found[label] = none
            order = found[label]
            if isinstance(order, NoOrder):
                self._quarantine(image, str(order))
                continue
            study = self._study(accession, slide, order)
            if study.patient != order.patient:
                self._quarantine(image, "earlier images of this accession number belong to another patient")
                continue
            yield image, slide, order

    def _study(self, accession: str, slide: Slide, order: Order) -> JournalledStudy:
        known = self._p.journal.study(accession)
        if known is None:
            system = self._p.settings.gateway_accession_system
            began = slide.acquired or datetime.fromtimestamp(int(self._p.wall()), UTC)
            known = JournalledStudy(
                accession=accession,
                study_uid=derived_uid("study of accession", system, accession),
                patient=order.patient,
                service_request=order.service_request,
                encounter=order.encounter,
                started=began.replace(microsecond=0).isoformat(),
                imaging_study=None,
                registered=0,
                queued=0,
            )
            self._p.journal.add_study(known)
        return known

    def _make(self, image: JournalledImage, slide: Slide, order: Order) -> _Made | None:
        study = self._p.journal.study(slide.accession_number)
        folder = self._p.folders.find(image.id)
        path = image_file(folder) if folder else None
        if study is None or path is None:
            raise BadRequest("an image or its study is gone from the journal")
        try:
            with in_our_words():
                content = path.read_bytes()
            if is_dicom(content):
                raise UnreadableImage(
                    "it is a DICOM file already: send it to the archive, or use `leukocds ingest`"
                )
            data = to_dicom(
                content,
                study_uid=study.study_uid,
                series_uid=derived_uid("series", study.study_uid),
                subject=order.subject,
                slide=slide,
                instance_number=self._p.journal.number(image.id, slide.accession_number),
                acquired=datetime.fromisoformat(study.started),
                limits=self._limits,
            )
        except UnreadableImage as problem:
            self._quarantine(image, str(problem))
            return None
        except LeukoError:
            raise
        except Exception as bug:  # noqa: BLE001 - a file that leads a decoder astray must not hold up the others
            _log.exception("image quarantined: bug", image=image.id)
            self._quarantine(image, f"internal error while it was read ({type(bug).__name__})")
            return None
        return _Made(image, instance_ref(data), data)

    def _send(self, made: Sequence[_Made]) -> None:
        """To the archive; what it refuses by itself goes to quarantine. Raises UpstreamError."""
        refused: list[tuple[_Made, UpstreamError]] = []
        if not made or (problem := self._refusal(made)) is None:
            return
        # Which of them is it?
        for one in made:
            found = self._refusal([one]) if len(made) > 1 else problem
            if found is not None:
                refused.append((one, found))
        for one, why in refused:
            # An archive that takes nothing at all, for want of a password say, is no matter of single pictures.
            if not isinstance(why, InstancesRefused) and len(refused) == len(made):
                raise why
            self._quarantine(one.image, f"the archive refused it: {why}")

    def _refusal(self, made: Sequence[_Made]) -> UpstreamError | None:
        """Why the archive did not store them; an outage is raised."""
        try:
            self._p.archive.store([m.data for m in made])
        except (UpstreamInvalid, UpstreamRefused) as problem:
            return problem
        return None

    def _held(self, study_uid: str) -> frozenset[str]:
        return frozenset(ref.sop_instance_uid for ref in self._p.archive.instances(study_uid))

    def _make_known(self, accession: str) -> bool:
        """ImagingStudy and queue, once no further images come. Raises UpstreamError, NotYet."""
        journal, settings = self._p.journal, self._p.settings
        study, stored = journal.study(accession), journal.stored_count(accession)
        if study is None or stored <= min(study.registered, study.queued):
            return False
        if self._p.wall() - journal.newest(accession) < settings.gateway_settle_s:
            return False
        if stored > study.registered:
            known = find_imaging_study(self._p.fhir, study.study_uid)
            if known is not None and subject_of(known) != study.patient:
                raise NotYet("the ImagingStudy on the FHIR server is another patient's: correct it there")
            reference = register_study(
                self._p.fhir,
                known,
                study_uid=study.study_uid,
                patient=study.patient,
                instances=self._p.archive.instances(study.study_uid),
                started=study.started,
                archive_url=self._p.archive.base_url,
                order=Ordered(
                    accession_number=accession,
                    accession_system=settings.gateway_accession_system,
                    service_request=study.service_request,
                    encounter=study.encounter,
                ),
            )
            journal.registered(accession, reference, stored)
            _log.info("study made known", images=stored, imaging_study=reference)
        try:
            self._p.enqueue(self._study_ref(study))
        except UpstreamError:
            raise
        except LeukoError as problem:
            raise NotYet(f"the study could not be queued: {problem}") from problem
        journal.queued(accession, stored)
        return True

    def _study_ref(self, study: JournalledStudy) -> StudyRef:
        """The study as a hook will see it, so that both mean the same job."""
        resource = find_imaging_study(self._p.fhir, study.study_uid)
        located = locate(
            [resource] if resource else [],
            modalities=self._p.settings.modalities,
            allow_list=self._allow_list,
            endpoint=self._p.fhir.read,
            base_url=self._p.fhir.base_url,
        )
        if located.problems:
            raise NotYet(f"the study made known cannot be read: {located.problems[0].reason}")
        if not located.studies:
            raise NotYet("the FHIR server does not show the ImagingStudy yet")
        return located.studies[0]

    def _is_ready(self, image_id: str) -> bool:
        image = self._p.journal.image(image_id)
        return image is not None and image.state is ImageState.READY

    def _quarantine(self, image: JournalledImage, reason: str) -> None:
        if image.sent_at is not None and image.sop_instance_uid:
            reason += f"; the archive may hold it already, as instance {image.sop_instance_uid}"
        self._p.journal.set_state(image.id, ImageState.QUARANTINED, reason=reason)
        _log.warning("image quarantined", image=image.id, reason=reason)

    def _pause(self, failures: int) -> float:
        """Exponential, with jitter that leaves at least half of it."""
        settings = self._p.settings
        longest = min(settings.job_backoff_max_s, settings.job_backoff_s * 2.0 ** min(failures - 1, 60))
        return random.uniform(longest / 2, longest)
