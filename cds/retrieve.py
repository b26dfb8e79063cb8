"""A study's images out of the archive: several at a time, in order, in bounded memory."""

import logging
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

from cds.deadline import Deadline
from cds.errors import DeadlineExceeded, UpstreamError
from cds.pixels import PixelLimits, decode_dicom
from cds.ports import ImageArchive
from cds.values import ImageRef, RefusedImage, SmearImage

_log = logging.getLogger(__name__)

Image = SmearImage | RefusedImage

#: Storage classes that hold no picture: structured reports (and ours among them), presentation states, documents.
_NO_PICTURE = tuple(f"1.2.840.10008.5.1.4.1.1.{group}." for group in (11, 66, 88, 104))
_JOIN_S = 1.0


def retrieve_images(
    archive: ImageArchive,
    refs: Sequence[ImageRef],
    *,
    concurrency: int = 4,
    limits: PixelLimits | None = None,
    deadline: Deadline | None = None,
) -> Generator[Image, None, None]:
    """The images of `refs`, retrieved and decoded by `concurrency` threads, in the order of `refs`.

    At most ``concurrency + 2`` decoded images are alive at any time, the consumer's own included, as long as it drops
    each one before it asks for the second next; encoded instances add at most `concurrency`.

    What cannot be used comes out as a RefusedImage and the rest go on. An outage of the archive must not pass for
    that, so failures to *retrieve* follow these rules:

    1. An instance that the archive will never deliver (not found, not permitted, an answer that is no DICOM) is
       refused; one whose failure may pass (5xx, time-out, connection) is put off and tried again at the end.
    2. When ``2 * concurrency`` (at least 4) retrievals in a row have failed, the error is raised at once.
    3. Of those put off, what fails again is refused when it is one instance, or at most a tenth of the study, and the
       archive then still delivers one that it delivered before: the instance is broken, not the archive. Otherwise
       the error is raised.
    4. When no instance at all could be retrieved, the error is raised, whatever its kind.

    Raises UpstreamError as above, and DeadlineExceeded. The threads end when the consumer closes the iterator, or
    soon after: one that waits for the archive just then ends with that request.
    """
    run = _Run(archive, refs, max(1, concurrency), limits or PixelLimits(), deadline)
    threads = [
        threading.Thread(target=run.work, name=f"retrieve-{n}", daemon=True)
        for n in range(min(max(1, concurrency), len(refs)))
    ]
    for thread in threads:
        thread.start()
    try:
        yield from run.images()
        yield from run.put_off_again()
    finally:
        run.stop()
        patience = Deadline(_JOIN_S)
        for thread in threads:
            thread.join(max(0.0, _left(patience)))


@dataclass(slots=True)
class _Slot:
    """What has come of one instance so far."""

    images: deque[Image] = field(default_factory=deque)
    done: bool = False
    failure: UpstreamError | None = None


class _Run:
    """State shared by the threads and the consumer, under one condition.

    Permits bound the decoded images. The instance that the consumer waits for (the head) may always take the last
    one; were it not kept for it, later instances could hold every permit while the consumer waits for the head.
    """

    def __init__(
        self,
        archive: ImageArchive,
        refs: Sequence[ImageRef],
        concurrency: int,
        limits: PixelLimits,
        deadline: Deadline | None,
    ) -> None:
        self._archive, self._refs, self._limits, self._deadline = archive, refs, limits, deadline
        self._slots = [_Slot() for _ in refs]
        self._permits = concurrency + 1  # the consumer may still hold one whose permit is back
        self._tolerated_in_a_row = max(4, 2 * concurrency)
        self._alive = 0
        self._next = 0
        self._head = 0
        self._delivered: ImageRef | None = None  # the last that the archive did deliver
        self._failed_in_a_row = 0
        self._broken: BaseException | None = None
        self._stopped = False
        self._changed = threading.Condition()

    def work(self) -> None:
        """Body of each thread: take the next instance until there is none."""
        while (index := self._take()) is not None:
            try:
                self._fill(index)
            except _Stopped:
                return
            except UpstreamError as failure:
                self._note_failure(index, failure)
            except BaseException as error:  # noqa: BLE001 - it is raised again where the consumer stands
                with self._changed:
                    self._broken = self._broken or error
                    self._changed.notify_all()
                return

    def images(self) -> Iterator[Image]:
        """The consumer's side: images in order; those of instances that were put off are missing."""
        for index, slot in enumerate(self._slots):
            with self._changed:
                self._head = index
                self._changed.notify_all()
            while (image := self._await(slot)) is not None:
                yield image
                del image
                with self._changed:
                    self._alive -= 1
                    self._changed.notify_all()
            if slot.failure is not None and not slot.failure.retryable:
                yield _refusal(self._refs[index], slot.failure)
        self._raise_if_nothing_came()

    def put_off_again(self) -> Iterator[Image]:
        """Rule 3, in the consumer's own thread."""
        failed = 0
        for ref, slot in zip(self._refs, self._slots, strict=True):
            if slot.failure is None or not slot.failure.retryable:
                continue
            try:
                data = self._archive.retrieve(ref, self._deadline)
            except UpstreamError as failure:
                failed += 1
                if failed > max(1, len(self._refs) // 10):
                    raise
                assert self._delivered is not None  # rule 4 has been applied
                self._archive.retrieve(self._delivered, self._deadline)
                yield _refusal(ref, failure)
            else:
                yield from decode_dicom(data, self._limits, expected=ref)

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _take(self) -> int | None:
        with self._changed:
            if self._stopped or self._broken is not None or self._next >= len(self._refs):
                return None
            self._next += 1
            return self._next - 1

    def _fill(self, index: int) -> None:
        ref, slot = self._refs[index], self._slots[index]
        if (ref.sop_class_uid or "").startswith(_NO_PICTURE):
            with self._changed:
                self._wait_for_permit(index)
                slot.images.append(RefusedImage(source=ref.sop_instance_uid, reason="it holds no picture"))
                slot.done = True
                self._changed.notify_all()
            return
        data = self._archive.retrieve(ref, self._deadline)
        with self._changed:
            self._delivered = ref
            self._failed_in_a_row = 0
        frames = decode_dicom(data, self._limits, expected=ref)
        del data
        while True:
            with self._changed:
                self._wait_for_permit(index)
            image = next(frames, None)
            with self._changed:
                if image is None:
                    self._alive -= 1
                    slot.done = True
                else:
                    slot.images.append(image)
                self._changed.notify_all()
            if image is None:
                return
            del image

    def _wait_for_permit(self, index: int) -> None:
        while not self._stopped:
            if self._alive < self._permits - (index != self._head):
                self._alive += 1
                return
            self._changed.wait()
        raise _Stopped

    def _note_failure(self, index: int, failure: UpstreamError) -> None:
        _log.warning("an instance was not retrieved", extra={"error": type(failure).__name__})
        slot = self._slots[index]
        with self._changed:
            slot.failure, slot.done = failure, True
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= self._tolerated_in_a_row:
                self._broken = self._broken or failure
            self._changed.notify_all()

    def _await(self, slot: _Slot) -> Image | None:
        """The next image of the slot, or None when it is through."""
        with self._changed:
            while True:
                if self._broken is not None:
                    raise self._broken
                if slot.images:
                    return slot.images.popleft()
                if slot.done:
                    return None
                self._changed.wait(None if self._deadline is None else self._deadline.remaining())

    def _raise_if_nothing_came(self) -> None:
        failures = [slot.failure for slot in self._slots if slot.failure is not None]
        if failures and self._delivered is None:
            raise next((f for f in failures if f.retryable), failures[-1])


class _Stopped(Exception):
    """The consumer has gone."""


def _refusal(ref: ImageRef, failure: UpstreamError) -> RefusedImage:
    return RefusedImage(source=ref.sop_instance_uid, reason=f"the archive did not deliver it: {failure}")


def _left(deadline: Deadline) -> float:
    try:
        return deadline.remaining()
    except DeadlineExceeded:
        return 0.0
