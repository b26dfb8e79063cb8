"""A study's images out of the archive: several at a time, in order, in bounded memory."""

import logging
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

from cds.deadline import Deadline
from cds.errors import DeadlineExceeded, UpstreamError, UpstreamTooLarge
from cds.language import Message, message
from cds.pixels import PixelLimits, decode_dicom
from cds.ports import FrameArchive, ImageArchive
from cds.slide_retrieval import not_delivered, open_slides
from cds.slides import is_slide
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

    The whole slides of a series are one item, in the place of the first of them: where the archive hands out frames,
    some fields of one level are read (`cds.slide_retrieval`); where not, each instance is an item like any other, and
    those that show the same again, coarser, are refused.

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
    4. When no instance at all could be retrieved, the error is raised, whatever its kind, unless all were too large.
    5. A slide that breaks off half way, by a failure that may pass, is an outage: the error is raised.

    Raises UpstreamError as above, and DeadlineExceeded. The threads end when the consumer closes the iterator, or
    soon after: one that waits for the archive just then ends with that request.
    """
    items = _items(archive, refs)
    run = _Run(archive, items, max(1, concurrency), limits or PixelLimits(), deadline)
    threads = [
        threading.Thread(target=run.work, name=f"retrieve-{n}", daemon=True)
        for n in range(min(max(1, concurrency), len(items)))
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


def holds_picture(ref: ImageRef) -> bool:
    """False for storage classes of documents and the like; true for those that the archive does not name."""
    return not (ref.sop_class_uid or "").startswith(_NO_PICTURE)


#: One instance, or the whole slides of one series.
_Item = tuple[ImageRef, ...]


def _items(archive: ImageArchive, refs: Sequence[ImageRef]) -> list[_Item]:
    if not isinstance(archive, FrameArchive):
        return [(ref,) for ref in refs]
    by_series: dict[str, list[ImageRef]] = {}
    for ref in refs:
        # An item of its own for whatever is no slide.
        key = f"slides of {ref.series_uid}" if is_slide(ref) else ref.sop_instance_uid
        by_series.setdefault(key, []).append(ref)
    return [tuple(together) for together in by_series.values()]


def _open(
    archive: ImageArchive,
    item: _Item,
    limits: PixelLimits,
    deadline: Deadline | None,
    coarse: frozenset[ImageRef] = frozenset(),
) -> Iterator[Image]:
    """Begin to retrieve. Raises UpstreamError for what is known to fail before the first image."""
    if isinstance(archive, FrameArchive) and is_slide(item[0]):
        try:
            return open_slides(archive, item, limits, deadline)
        except UpstreamError as failure:
            if failure.retryable:
                raise
            _log.info("the archive does not describe a slide; it is retrieved whole")
    first = archive.retrieve(item[0], deadline)
    return _decoded(archive, item, first, limits, deadline, coarse)


def _coarse(items: Sequence[_Item]) -> frozenset[ImageRef]:
    """Whole slides' instances beside which there are larger ones, as far as a list of them can tell.

    Each level of a pyramid has a quarter of the tiles of the next finer one, or less; rounding up adds a few.
    """
    slides = [ref for item in items for ref in item if is_slide(ref)]
    most: dict[str, int] = {}
    for ref in slides:
        most[ref.series_uid] = max(most.get(ref.series_uid, 0), ref.number_of_frames)
    return frozenset(ref for ref in slides if most[ref.series_uid] >= 3 * ref.number_of_frames)


def _decoded(
    archive: ImageArchive,
    item: _Item,
    first: bytes,
    limits: PixelLimits,
    deadline: Deadline | None,
    coarse: frozenset[ImageRef],
) -> Iterator[Image]:
    frames = decode_dicom(first, limits, expected=item[0], finer_elsewhere=item[0] in coarse)
    del first
    yield from frames
    for ref in item[1:]:
        try:
            data = archive.retrieve(ref, deadline)
        except UpstreamError as failure:
            if failure.retryable:
                raise
            yield _refusal(ref, failure)
        else:
            frames = decode_dicom(data, limits, expected=ref, finer_elsewhere=ref in coarse)
            del data
            yield from frames


@dataclass(slots=True)
class _Slot:
    """What has come of one item so far."""

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
        items: Sequence[_Item],
        concurrency: int,
        limits: PixelLimits,
        deadline: Deadline | None,
    ) -> None:
        self._archive, self._items, self._limits, self._deadline = archive, items, limits, deadline
        self._coarse = _coarse(items)
        self._slots = [_Slot() for _ in items]
        self._permits = concurrency + 1  # the consumer may still hold one whose permit is back
        self._tolerated_in_a_row = max(4, 2 * concurrency)
        self._alive = 0
        self._next = 0
        self._head = 0
        self._delivered: _Item | None = None  # the last that the archive did deliver
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
            except _BrokeOff as broke_off:
                self._break(broke_off.__cause__ or broke_off)
                return
            except BaseException as error:  # noqa: BLE001 - it is raised again where the consumer stands
                self._break(error)
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
                yield _refusal(self._items[index][0], slot.failure)
        self._raise_if_nothing_came()

    def put_off_again(self) -> Iterator[Image]:
        """Rule 3, in the consumer's own thread."""
        failed = 0
        for item, slot in zip(self._items, self._slots, strict=True):
            if slot.failure is None or not slot.failure.retryable:
                continue
            try:
                images = _open(self._archive, item, self._limits, self._deadline, self._coarse)
            except UpstreamError as failure:
                failed += 1
                if failed > max(1, len(self._items) // 10):
                    raise
                assert self._delivered is not None  # rule 4 has been applied
                _open(self._archive, self._delivered, self._limits, self._deadline)
                yield _refusal(item[0], failure)
            else:
                yield from images

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _take(self) -> int | None:
        with self._changed:
            if self._stopped or self._broken is not None or self._next >= len(self._items):
                return None
            self._next += 1
            return self._next - 1

    def _fill(self, index: int) -> None:
        item, slot = self._items[index], self._slots[index]
        ref = item[0]
        if not holds_picture(ref):
            with self._changed:
                self._wait_for_permit(index)
                slot.images.append(
                    RefusedImage(source=ref.sop_instance_uid, reason=message("it holds no picture"))
                )
                slot.done = True
                self._changed.notify_all()
            return
        images = _open(self._archive, item, self._limits, self._deadline, self._coarse)
        with self._changed:
            self._delivered = item
            self._failed_in_a_row = 0
        while True:
            with self._changed:
                self._wait_for_permit(index)
            try:
                image = next(images, None)
            except UpstreamError as failure:
                raise _BrokeOff from failure
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

    def _break(self, error: BaseException) -> None:
        with self._changed:
            self._broken = self._broken or error
            self._changed.notify_all()

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
            # The archive is in order: it would have sent it.
            self._failed_in_a_row += not isinstance(failure, UpstreamTooLarge)
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
        failures = [
            slot.failure
            for slot in self._slots
            if slot.failure is not None and not isinstance(slot.failure, UpstreamTooLarge)
        ]
        if failures and self._delivered is None:
            raise next((f for f in failures if f.retryable), failures[-1])


class _Stopped(Exception):
    """The consumer has gone."""


class _BrokeOff(Exception):
    """Rule 5; its cause says why."""


def _refusal(ref: ImageRef, failure: UpstreamError) -> RefusedImage:
    reason: Message = not_delivered(failure)
    if is_slide(ref) and isinstance(failure, UpstreamTooLarge):
        reason = message(
            "{reason}; a whole slide of this size can only be read from an archive that hands out single frames",
            reason=reason,
        )
    return RefusedImage(source=ref.sop_instance_uid, reason=reason)


def _left(deadline: Deadline) -> float:
    try:
        return deadline.remaining()
    except DeadlineExceeded:
        return 0.0
