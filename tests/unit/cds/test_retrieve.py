"""Retrieving a study: order, bounded memory, and what is a broken image and what an outage."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from cds.deadline import Deadline
from cds.dicomweb import DicomWebArchive
from cds.errors import (
    DeadlineExceeded,
    UpstreamError,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamTooLarge,
    UpstreamUnavailable,
)
from cds.pixels import PixelLimits, decode_dicom
from cds.retrieve import retrieve_images
from cds.values import ImageRef, RefusedImage, SmearImage
from tests.fakes.dicomweb import FakeArchive, Fault
from tests.fakes.images import SERIES_UID, STUDY_UID, dicom_file, drawing, encapsulated, encoded

LIMITS = PixelLimits(max_megapixels=1, max_frames=16)


def ref(number: int, sop_class_uid: str | None = None) -> ImageRef:
    return ImageRef(
        study_uid=STUDY_UID,
        series_uid=SERIES_UID,
        sop_instance_uid=f"2.25.{number}",
        sop_class_uid=sop_class_uid,
    )


def instance(number: int, frames: int = 1) -> bytes:
    if frames == 1:
        return dicom_file(drawing(8, 8, seed=number), sop_instance_uid=f"2.25.{number}")
    pictures = np.stack([drawing(8, 8, seed=frame) for frame in range(frames)])
    return dicom_file(pictures, sop_instance_uid=f"2.25.{number}")


class Archive:
    """In-process stand-in for the port where a socket would only add time: `answer` is called in the threads."""

    base_url = "http://archive.example"

    def __init__(self, answer: Callable[[int], bytes]) -> None:
        self._answer = answer
        self.asked: list[int] = []

    def instances(self, study_uid: str, deadline: Deadline | None = None) -> tuple[ImageRef, ...]:
        raise NotImplementedError

    def store(self, instances: Any, deadline: Deadline | None = None) -> None:
        raise NotImplementedError

    def retrieve(self, image: ImageRef, deadline: Deadline | None = None) -> bytes:
        number = int(image.sop_instance_uid.rpartition(".")[2])
        self.asked.append(number)
        return self._answer(number)


def retrieve(archive: Any, count: int, **options: Any) -> Iterator[SmearImage | RefusedImage]:
    refs = [ref(n) for n in range(1, count + 1)]
    return retrieve_images(archive, refs, **({"concurrency": 4, "limits": LIMITS} | options))


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind() -> Iterator[None]:
    yield
    gc.collect()
    ends = time.monotonic() + 3
    while time.monotonic() < ends:
        left = [t for t in threading.enumerate() if t.name.startswith("retrieve-")]
        if not left:
            return
        time.sleep(0.02)
    pytest.fail(f"threads left behind: {left}")


def test_images_come_in_the_order_asked_for() -> None:
    def answer(number: int) -> bytes:
        time.sleep(0.02 * (number % 3))
        return instance(number)

    images = list(retrieve(Archive(answer), 20))
    assert [i.source for i in images] == [f"2.25.{n}" for n in range(1, 21)]
    assert isinstance(images[4], SmearImage)
    assert np.array_equal(images[4].pixels, drawing(8, 8, seed=5))


def test_no_instances_are_no_images() -> None:
    assert list(retrieve(Archive(instance), 0)) == []


def test_several_instances_are_retrieved_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=5)

    def answer(number: int) -> bytes:
        together.wait()  # breaks unless three are here at once
        return instance(number)

    assert len(list(retrieve(Archive(answer), 9, concurrency=3))) == 9


@pytest.mark.parametrize(("frames", "concurrency"), [(1, 4), (1, 1), (8, 3)])
def test_a_study_of_500_images_stays_within_its_memory(
    frames: int, concurrency: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts the decoded images that are alive, each time that one comes to be."""
    alive = most = 0
    lock = threading.RLock()

    def gone() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def counted(data: bytes, limits: PixelLimits, **options: Any) -> Iterator[Any]:
        nonlocal alive, most
        for image in decode_dicom(data, limits, **options):
            with lock:
                alive += 1
                most = max(most, alive)
            weakref.finalize(image.pixels, gone)
            yield image
            del image

    monkeypatch.setattr("cds.retrieve.decode_dicom", counted)
    count = 500 // frames
    seen = 0
    for number, image in enumerate(
        retrieve(Archive(lambda n: instance(n, frames)), count, concurrency=concurrency)
    ):
        assert isinstance(image, SmearImage)
        seen += 1
        if number % 50 == 0:
            time.sleep(0.05)  # a slow reader: the threads run ahead as far as they may
    assert seen == count * frames
    assert concurrency <= most <= concurrency + 2


def test_multi_frame_instances_cannot_block_one_another() -> None:
    """More frames in each instance than there are permits: the head must always get on."""
    images = list(retrieve(Archive(lambda n: instance(n, 12)), 6, concurrency=2, deadline=Deadline(20)))
    assert [i.source for i in images] == [f"2.25.{n}#{f}" for n in range(1, 7) for f in range(1, 13)]


@pytest.mark.parametrize(
    "fault", [Fault.BROKEN, Fault.NOT_FOUND, Fault.HTML, Fault.DAMAGED, Fault.OTHER, Fault.CUT_OFF]
)
@pytest.mark.parametrize("broken", [1, 5, 10])
def test_one_broken_instance_is_refused_and_the_rest_go_on(fault: Fault, broken: int) -> None:
    with FakeArchive(*(instance(n) for n in range(1, 11))) as fake:
        archive = DicomWebArchive(fake.url, backoff_s=0.01)
        fake.faults[f"2.25.{broken}"] = fault
        images = list(retrieve_images(archive, archive.instances(STUDY_UID), concurrency=3, limits=LIMITS))
    refused = [i for i in images if isinstance(i, RefusedImage)]
    assert [r.source for r in refused] == [f"2.25.{broken}"]
    assert len(images) == 10


@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.HTML, Fault.NOT_FOUND, Fault.UNAUTHORIZED])
@pytest.mark.parametrize("count", [1, 3, 30])
def test_when_no_instance_comes_the_error_is_raised(fault: Fault, count: int) -> None:
    with FakeArchive(*(instance(n) for n in range(1, count + 1))) as fake:
        archive = DicomWebArchive(fake.url, backoff_s=0.01, attempts=2)
        refs = archive.instances(STUDY_UID)
        fake.fault = fault
        with pytest.raises(UpstreamError) as caught:
            list(retrieve_images(archive, refs, concurrency=2, limits=LIMITS))
    assert caught.value.retryable == (fault is Fault.BROKEN)
    assert fake.count("GET") < 60, "a dead archive is not asked for every instance"


@pytest.mark.parametrize("dies_after", [1, 5, 29])
def test_an_archive_that_goes_down_half_way_is_an_outage(dies_after: int) -> None:
    done = 0
    lock = threading.Lock()

    def answer(number: int) -> bytes:
        nonlocal done
        with lock:
            done += 1
            if done > dies_after:
                raise UpstreamUnavailable("down")
        return instance(number)

    with pytest.raises(UpstreamUnavailable):
        list(retrieve(Archive(answer), 30, concurrency=3))


def test_an_instance_that_failed_comes_at_the_end_when_it_can_be_had() -> None:
    failed: set[int] = set()

    def answer(number: int) -> bytes:
        if number == 3 and number not in failed:
            failed.add(number)
            raise UpstreamUnavailable("busy")
        return instance(number)

    images = list(retrieve(Archive(answer), 8))
    assert all(isinstance(i, SmearImage) for i in images)
    assert [i.source for i in images] == [f"2.25.{n}" for n in (1, 2, 4, 5, 6, 7, 8, 3)]


def test_many_instances_that_fail_here_and_there_are_an_outage() -> None:
    def answer(number: int) -> bytes:
        if number % 4 == 0:
            raise UpstreamUnavailable("overloaded")
        return instance(number)

    with pytest.raises(UpstreamUnavailable):
        list(retrieve(Archive(answer), 40))


@pytest.mark.parametrize("good", [False, True])
def test_instances_that_are_too_large_are_refused_and_no_outage(good: bool) -> None:
    """However many; a whole slide by an archive without single frames is the usual case."""

    def answer(number: int) -> bytes:
        if good and number == 19:
            return instance(number)
        raise UpstreamTooLarge("it sent more than is allowed")

    whole_slide = "1.2.840.10008.5.1.4.1.1.77.1.6"
    refs = [ref(0, whole_slide), *map(ref, range(1, 20))]
    images = list(retrieve_images(Archive(answer), refs, concurrency=2, limits=LIMITS))
    assert len(images) == 20
    refused = [i for i in images if isinstance(i, RefusedImage)]
    assert len(refused) == 20 - good
    assert "single frames" in str(refused[0].reason)
    assert "single frames" not in str(refused[1].reason)


def test_some_that_are_not_found_are_refused() -> None:
    def answer(number: int) -> bytes:
        if number % 4 == 0:
            raise UpstreamNotFound("gone")
        return instance(number)

    images = list(retrieve(Archive(answer), 20))
    assert [i.source for i in images if isinstance(i, RefusedImage)] == [
        f"2.25.{n}" for n in (4, 8, 12, 16, 20)
    ]


def test_reports_and_documents_in_the_study_are_not_retrieved() -> None:
    archive = Archive(instance)
    refs = [ref(1, "1.2.840.10008.5.1.4.1.1.88.33"), ref(2, "1.2.840.10008.5.1.4.1.1.77.1.2")]
    images = list(retrieve_images(archive, refs, limits=LIMITS))
    assert [type(i) for i in images] == [RefusedImage, SmearImage]
    assert archive.asked == [2]


def test_a_study_of_reports_and_an_archive_that_is_down_is_still_an_outage() -> None:
    def answer(number: int) -> bytes:
        raise UpstreamInvalid("a login page")

    with pytest.raises(UpstreamInvalid):
        list(
            retrieve_images(Archive(answer), [ref(1, "1.2.840.10008.5.1.4.1.1.88.33"), ref(2)], limits=LIMITS)
        )


def test_a_bug_in_a_thread_surfaces() -> None:
    def answer(number: int) -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(retrieve(Archive(answer), 5))


def test_the_deadline_passes() -> None:
    blocked = threading.Event()

    def answer(number: int) -> bytes:
        if number > 2:
            blocked.wait(3)
        return instance(number)

    began = time.monotonic()
    images = retrieve(Archive(answer), 50, deadline=Deadline(0.3))
    try:
        with pytest.raises(DeadlineExceeded):
            list(images)
        assert time.monotonic() - began < 2
    finally:
        blocked.set()


def test_a_consumer_that_stops_early_leaves_no_threads() -> None:
    archive = Archive(instance)
    images = retrieve(archive, 500)
    for _ in range(3):
        next(images)
    images.close()  # type: ignore[attr-defined]
    asked = len(archive.asked)
    assert asked < 20, "the threads ran further ahead than their bound"
    time.sleep(0.1)
    assert len(archive.asked) == asked


def test_jpeg_instances_over_a_socket() -> None:
    picture = drawing()
    data = encapsulated(picture, [encoded(picture)])
    with FakeArchive(data) as fake:
        archive = DicomWebArchive(fake.url)
        (image,) = retrieve_images(archive, archive.instances(STUDY_UID), limits=LIMITS)
    assert isinstance(image, SmearImage)
    assert np.abs(image.pixels.astype(int) - picture).mean() < 2
